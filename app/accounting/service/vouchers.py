"""Vouchers (记账凭证): journals as an accountant reads them, line by line, numbered within their month.

A voucher's number is its place among the posted journals of the month of its value date, in the order in which they
were booked. So numbers have no gaps, and a voucher that is booked late for an earlier day takes the next one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, selectinload

import ledger
from app.accounting.models import DraftStatus, VoucherDraft
from app.accounting.service.naming import BookAccount, accounts_of
from app.errors import Code, Refusal
from app.people.models import Person
from app.periods import Month
from ledger.models import Journal, Transfer
from ledger.values import MOVES_NOTHING

PAGE_MAX = 200
CHUNK = 500
WHOLE_DRAFT = (
    selectinload(VoucherDraft.lines),
    selectinload(VoucherDraft.maker),
    selectinload(VoucherDraft.checker),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherLine:
    """What a voucher posts on one side of one account; the other side is 0."""

    account: BookAccount
    debit_fen: int
    credit_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A journal with its lines, debits first. `number` is its place in its month, None while it posted nothing."""

    id: UUID
    number: int | None
    month: Month
    kind: str
    reference: str
    text: str
    actor: str
    value_at: datetime
    booked_at: datetime
    reverses_id: UUID | None
    reversed_by_id: UUID | None
    lines: tuple[VoucherLine, ...]

    @property
    def amount_fen(self) -> int:
        """What is on each side."""
        return sum(line.debit_fen for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherList:
    """A page of vouchers; `cursor` is where the next page begins, None on the last."""

    vouchers: tuple[Voucher, ...]
    cursor: ledger.BookPlace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherView:
    """One voucher with who made it: of a voucher that was drafted, the drafter and the approver.

    `waiting` is a draft that would reverse it.
    """

    voucher: Voucher
    actor_name: str
    draft: VoucherDraft | None
    waiting: VoucherDraft | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which vouchers: of [since, until) by value date, of a kind, with words in reference, text or actor."""

    since: datetime
    until: datetime
    kind: str | None = None
    words: str | None = None


def list_vouchers(
    session: Session,
    wanted: Wanted,
    *,
    zone: ZoneInfo,
    page_size: int = 50,
    after: ledger.BookPlace | None = None,
    newest_first: bool = True,
) -> VoucherList:
    """Give a page of vouchers by value date, newest first unless told otherwise. Raises Refusal TIMES_REVERSED."""
    if wanted.until < wanted.since:
        raise Refusal(Code.TIMES_REVERSED)
    found = ledger.vouchers(
        session,
        since=wanted.since,
        until=wanted.until,
        kind=wanted.kind,
        words=wanted.words,
        limit=min(page_size, PAGE_MAX),
        after=after,
        newest_first=newest_first,
    )
    months = {Month.of(each.value_at, zone=zone) for each in found.vouchers}
    numbers = _numbers(session, months, zone=zone, among=[each.id for each in found.vouchers])
    return VoucherList(
        vouchers=tuple(_with_lines(session, found.vouchers, numbers=numbers, zone=zone)), cursor=found.cursor
    )


def all_vouchers(session: Session, wanted: Wanted, *, zone: ZoneInfo) -> Iterator[Voucher]:
    """Give all vouchers of a time, the oldest first, some at a time. Raises Refusal TIMES_REVERSED."""
    if wanted.until < wanted.since:
        raise Refusal(Code.TIMES_REVERSED)
    after: ledger.BookPlace | None = None
    numbers: dict[UUID, int] = {}
    known: set[Month] = set()
    while True:
        found = ledger.vouchers(
            session,
            since=wanted.since,
            until=wanted.until,
            kind=wanted.kind,
            words=wanted.words,
            limit=CHUNK,
            after=after,
            newest_first=False,
        )
        months = {Month.of(each.value_at, zone=zone) for each in found.vouchers}
        if not months <= known:
            # The months come in order, so the numbers of those gone by are not needed again.
            numbers, known = _numbers(session, months, zone=zone), months
        yield from _with_lines(session, found.vouchers, numbers=numbers, zone=zone)
        if (after := found.cursor) is None:
            return


def voucher_view(session: Session, *, journal_id: UUID, zone: ZoneInfo) -> VoucherView:
    """Give one voucher. Raises Refusal NOT_FOUND."""
    found = ledger.voucher(session, journal_id)
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    numbers = _numbers(session, {Month.of(found.value_at, zone=zone)}, zone=zone, among=[found.id])
    name = session.scalar(select(Person.name).where(Person.username == found.actor))
    return VoucherView(
        voucher=_with_lines(session, [found], numbers=numbers, zone=zone)[0],
        actor_name=name or found.actor,
        draft=session.scalar(select(VoucherDraft).where(VoucherDraft.journal_id == journal_id).options(*WHOLE_DRAFT)),
        waiting=session.scalar(
            select(VoucherDraft).where(
                VoucherDraft.reverses_id == journal_id, VoucherDraft.status == DraftStatus.WAITING
            )
        ),
    )


def voucher_lines(movements: Iterable[ledger.Movement], accounts: dict[UUID, BookAccount]) -> tuple[VoucherLine, ...]:
    """Give one line for each side of each account that the movements touch, debits first, in order of first touch."""
    debits: dict[UUID, int] = {}
    credits: dict[UUID, int] = {}  # noqa: A001 - the word of every book-keeper
    for debit_id, credit_id, amount_fen in movements:
        debits[debit_id] = debits.get(debit_id, 0) + amount_fen
        credits[credit_id] = credits.get(credit_id, 0) + amount_fen
    return (
        *(VoucherLine(account=accounts[each], debit_fen=fen, credit_fen=0) for each, fen in debits.items()),
        *(VoucherLine(account=accounts[each], debit_fen=0, credit_fen=fen) for each, fen in credits.items()),
    )


def _with_lines(
    session: Session, found: Sequence[ledger.Voucher], *, numbers: dict[UUID, int], zone: ZoneInfo
) -> list[Voucher]:
    touched = {
        account_id
        for each in found
        for transfer in each.transfers
        for account_id in (transfer.debit_account_id, transfer.credit_account_id)
    }
    accounts = accounts_of(session, touched)
    return [
        Voucher(
            id=each.id,
            number=numbers.get(each.id),
            month=Month.of(each.value_at, zone=zone),
            kind=each.kind,
            reference=each.reference,
            text=each.text,
            actor=each.actor,
            value_at=each.value_at,
            booked_at=each.created_at,
            reverses_id=each.reverses_id,
            reversed_by_id=each.reversed_by_id,
            lines=voucher_lines(map(_movement, each.transfers), accounts),
        )
        for each in found
    ]


def _movement(transfer: ledger.Transfer) -> ledger.Movement:
    return ledger.Movement(transfer.debit_account_id, transfer.credit_account_id, transfer.amount_fen)


def _numbers(
    session: Session, months: Iterable[Month], *, zone: ZoneInfo, among: Sequence[UUID] | None = None
) -> dict[UUID, int]:
    """Give every voucher's place in its month; of these months, and only `among` these vouchers if given."""
    numbers: dict[UUID, int] = {}
    for month in months:
        place = func.row_number().over(order_by=(Journal.created_at, Journal.id)).label("place")
        counted = (
            select(Journal.id, place)
            .where(Journal.value_at >= month.since(zone), Journal.value_at < month.until(zone), _posted())
            .subquery()
        )
        wanted = select(counted.c.id, counted.c.place)
        if among is not None:
            wanted = wanted.where(counted.c.id.in_(among))
        numbers |= {journal_id: int(number) for journal_id, number in session.execute(wanted)}
    return numbers


def _posted() -> ColumnElement[bool]:
    return (
        select(Transfer.id)
        .where(
            Transfer.journal_id == Journal.id,
            Transfer.flags.bitwise_and(int(MOVES_NOTHING)) == 0,
            Transfer.amount_fen > 0,
        )
        .exists()
    )

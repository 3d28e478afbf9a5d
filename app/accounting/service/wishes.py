"""What a voucher that somebody wants would post, checked before it is drafted and posted when it is approved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

import ledger
from app import books
from app.accounting.models import VoucherDraft
from app.accounting.service.naming import accounts_of
from app.accounting.service.vouchers import VoucherLine, voucher_lines
from app.books import NAMESPACE, Book, BookRole, TransferCode
from app.errors import Code, Refusal

LINES_MIN, LINES_MAX = 2, 100
KIND_MANUAL = "manual_voucher"
# What may be reversed here. A charge or a subsidy is corrected where it was made, for more than money hangs on it.
REVERSIBLE_KINDS = frozenset({KIND_MANUAL, "top_up_cash", "top_up_bank_transfer", "fund_received"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WishLine:
    """An amount on one side of one account: the other side is 0."""

    role: BookRole
    owner_id: int = 0
    debit_fen: int = 0
    credit_fen: int = 0

    @property
    def account_id(self) -> UUID:
        """The ledger account it means."""
        return Book(self.role, self.owner_id).id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A voucher as somebody drafts it. She makes the id, so that drafting twice is drafting once."""

    id: UUID
    text: str
    value_on: date
    lines: tuple[WishLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewLine:
    """A line that will be posted, and what its account stands at before and after, debits less credits.

    The balances are those of this moment; others go on posting.
    """

    line: VoucherLine
    before_fen: int
    after_fen: int


def check_wish(session: Session, wish: Wish, *, zone: ZoneInfo, at: datetime) -> list[PreviewLine]:
    """Check a voucher that is to be drafted, and give what it would post.

    Raises Refusal: VALIDATION_FAILED for fewer than two lines or an account on both sides, VOUCHER_UNBALANCED,
    BOOK_NOT_OPEN, VALUE_DATE_WRONG, PERIOD_CLOSED.
    """
    _check_lines(wish.lines)
    check_value_date(session, wish.value_on, zone=zone, at=at)
    return _preview(session, movements_of(wish.lines))


def is_reversible(voucher: ledger.Voucher) -> bool:
    """Say whether a posted voucher may be reversed here."""
    return voucher.kind in REVERSIBLE_KINDS and voucher.reversed_by_id is None and bool(voucher.transfers)


def preview(session: Session, draft: VoucherDraft) -> list[PreviewLine]:
    """Give what approving a draft would post now."""
    if draft.reverses_id is None:
        return _preview(session, movements_of(wish_lines(draft)))
    original = ledger.voucher(session, draft.reverses_id)
    return _preview(session, [_turned(each) for each in original.transfers] if original is not None else [])


def preview_reversal(session: Session, *, journal_id: UUID) -> list[PreviewLine]:
    """Give what reversing a voucher would post now. Raises Refusal NOT_FOUND and VOUCHER_NOT_REVERSIBLE."""
    original = ledger.voucher(session, journal_id)
    if original is None:
        raise Refusal(Code.NOT_FOUND)
    if not is_reversible(original):
        raise Refusal(Code.VOUCHER_NOT_REVERSIBLE)
    return _preview(session, [_turned(each) for each in original.transfers])


def post(session: Session, draft: VoucherDraft, *, actor: str) -> ledger.JournalResult:
    """Post what a draft asks for, under a key of its own: twice is once. The result says what came of it."""
    voucher = books.Voucher(
        key=f"voucher:{draft.number}", reference=draft.number, text=draft.text, actor=actor, value_at=draft.value_at
    )
    if draft.reverses_id is not None:
        return ledger.reverse_journal(
            session,
            draft.reverses_id,
            id=voucher.journal_id,
            reason=voucher.text,
            actor=voucher.actor,
            idempotency_key=voucher.key,
            value_at=voucher.value_at,
        )
    transfers = tuple(
        ledger.NewTransfer(
            id=uuid5(NAMESPACE, f"{voucher.key}:{position}"),
            debit_account_id=movement.debit_account_id,
            credit_account_id=movement.credit_account_id,
            amount_fen=movement.amount_fen,
            code=TransferCode.MANUAL,
        )
        for position, movement in enumerate(movements_of(wish_lines(draft)))
    )
    return ledger.post_journal(
        session,
        ledger.NewJournal(
            id=voucher.journal_id,
            kind=KIND_MANUAL,
            reference=voucher.reference,
            text=voucher.text,
            actor=voucher.actor,
            idempotency_key=voucher.key,
            value_at=voucher.value_at,
            transfers=transfers,
        ),
    )


def wish_lines(draft: VoucherDraft) -> tuple[WishLine, ...]:
    """Give the lines of a draft as they were wished."""
    return tuple(
        WishLine(role=each.role, owner_id=each.owner_id, debit_fen=each.debit_fen, credit_fen=each.credit_fen)
        for each in draft.lines
    )


def movements_of(lines: Sequence[WishLine]) -> list[ledger.Movement]:
    """Pair debits with credits in their order, so that every account moves by what its lines say and by no more."""
    movements: list[ledger.Movement] = []
    credit_lines = iter([line for line in lines if line.credit_fen])
    credit = next(credit_lines)
    room_fen = credit.credit_fen
    for line in lines:
        left_fen = line.debit_fen
        while left_fen:
            if room_fen == 0:
                credit = next(credit_lines)
                room_fen = credit.credit_fen
            part_fen = min(left_fen, room_fen)
            movements.append(ledger.Movement(line.account_id, credit.account_id, part_fen))
            left_fen -= part_fen
            room_fen -= part_fen
    return movements


def value_moment(value_on: date, *, zone: ZoneInfo) -> datetime:
    """Give the moment for which a voucher of a day counts: the day's beginning."""
    return datetime(value_on.year, value_on.month, value_on.day, tzinfo=zone)


def _check_lines(lines: Sequence[WishLine]) -> None:
    if not LINES_MIN <= len(lines) <= LINES_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"lines": [f"{LINES_MIN}–{LINES_MAX}"]})
    if any(min(line.debit_fen, line.credit_fen) != 0 or max(line.debit_fen, line.credit_fen) <= 0 for line in lines):
        raise Refusal(Code.VALIDATION_FAILED, fields={"lines": ["debit or credit, above zero"]})
    debited = {line.account_id for line in lines if line.debit_fen}
    if any(line.account_id in debited for line in lines if line.credit_fen):
        raise Refusal(Code.VALIDATION_FAILED, fields={"lines": ["an account on both sides"]})
    debit_fen, credit_fen = sum(line.debit_fen for line in lines), sum(line.credit_fen for line in lines)
    if debit_fen != credit_fen:
        raise Refusal(Code.VOUCHER_UNBALANCED, debit_fen=debit_fen, credit_fen=credit_fen)


def check_value_date(session: Session, value_on: date, *, zone: ZoneInfo, at: datetime) -> None:
    """Refuse a day that has not begun or whose month is closed: VALUE_DATE_WRONG, PERIOD_CLOSED."""
    if value_on > at.astimezone(zone).date():
        raise Refusal(Code.VALUE_DATE_WRONG)
    line = ledger.closed_until(session)
    if line is not None and value_moment(value_on, zone=zone) < line:
        raise Refusal(Code.PERIOD_CLOSED)


def _preview(session: Session, movements: Sequence[ledger.Movement]) -> list[PreviewLine]:
    touched = list(dict.fromkeys(each for movement in movements for each in movement[:2]))
    accounts = accounts_of(session, touched)
    if len(accounts) < len(touched):
        raise Refusal(Code.BOOK_NOT_OPEN)
    balances = {each: sums.debit_balance_fen for each, sums in ledger.balances(session, touched).items()}
    lines = voucher_lines(movements, accounts)
    changes = dict.fromkeys(touched, 0)
    for line in lines:
        changes[line.account.id] += line.debit_fen - line.credit_fen
    return [
        PreviewLine(
            line=line,
            before_fen=balances[line.account.id],
            after_fen=balances[line.account.id] + changes[line.account.id],
        )
        for line in lines
    ]


def _turned(transfer: ledger.Transfer) -> ledger.Movement:
    return ledger.Movement(transfer.credit_account_id, transfer.debit_account_id, transfer.amount_fen)

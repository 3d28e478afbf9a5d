"""The cardholder's statement: what came in, what went out, and what was left after each line."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, joinedload

import ledger
from app.books import Book, BookRole
from app.cards.models import CardAccount
from app.cards.service import AccountView, account_view
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord
from app.sessions.models import CardSession
from app.subsidies.models import Decision
from ledger.models import Journal, Transfer
from ledger.values import MOVES_NOTHING

TRANSFERS_MAX = 5_000
# Of a statement that is taken away as a file.
TRANSFERS_IN_FILE_MAX = 50_000


class Money(NamedTuple):
    """What an account holds on its purses, and what it owes."""

    principal_fen: int
    subsidy_fen: int
    debt_fen: int

    @property
    def total_fen(self) -> int:
        """Both purses together."""
        return self.principal_fen + self.subsidy_fen

    def plus(self, change: "Money") -> "Money":
        """Give this money after a change."""
        return Money(*(mine + other for mine, other in zip(self, change, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One journal as the customer sees it; `charge` is the card session that it charges or subsidises, if it is one."""

    at: datetime
    kind: str
    reference: str
    text: str
    change: Money
    after: Money
    charge: CardSession | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """All movements of an account in [since, until): opening + lines = closing.

    `complete` is False where there were more movements than asked for; the lines then end early, and closing with them.
    """

    view: AccountView
    since: datetime
    until: datetime
    opening: Money
    lines: tuple[StatementLine, ...]
    closing: Money
    complete: bool

    @property
    def in_fen(self) -> int:
        """Everything that came in."""
        return sum(max(line.change.total_fen, 0) for line in self.lines)

    @property
    def out_fen(self) -> int:
        """Everything that went out."""
        return sum(max(-line.change.total_fen, 0) for line in self.lines)


def statement(
    session: Session,
    *,
    account_id: int,
    reader: Principal,
    since: datetime,
    until: datetime,
    transfers_max: int = TRANSFERS_MAX,
) -> Statement:
    """Give the statement of an account by value date. Raises Refusal NOT_FOUND, also when it is somebody else's."""
    view = account_view(session, account_id=account_id, reader=reader)
    opening = _money(session, account_id, until=since)
    rows = _rows(session, account_id, since=since, until=until, transfers_max=transfers_max)
    complete = len(rows) <= transfers_max
    charges = _charges(session, rows)
    lines: list[StatementLine] = []
    after = opening
    for _key, group in groupby(rows[:transfers_max], key=lambda row: row.key):
        parts = list(group)
        change = _changes(parts, account_id)
        after = after.plus(change)
        lines.append(_line(parts, change=change, after=after, charges=charges))
    return Statement(
        view=view, since=since, until=until, opening=opening, lines=tuple(lines), closing=after, complete=complete
    )


class _Row(NamedTuple):
    key: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount_fen: int
    value_at: datetime
    kind: str | None
    reference: str | None
    text: str | None


def _books(account_id: int) -> tuple[UUID, UUID, UUID]:
    roles = (BookRole.PRINCIPAL, BookRole.SUBSIDY_PURSE, BookRole.CUSTOMER_DEBT)
    principal, subsidy, debt = (Book(role, account_id).id for role in roles)
    return principal, subsidy, debt


def _moves_money() -> ColumnElement[bool]:
    return Transfer.flags.bitwise_and(int(MOVES_NOTHING)) == 0


def _money(session: Session, account_id: int, *, until: datetime) -> Money:
    """Give what there was before a moment, by value date: a line booked late belongs where it happened."""
    books = _books(account_id)
    debits_fen = ledger.balances_by_value_date(session, books, until=until)
    principal_fen, subsidy_fen, debt_fen = (debits_fen[book] for book in books)
    return Money(-principal_fen, -subsidy_fen, debt_fen)


def _rows(session: Session, account_id: int, *, since: datetime, until: datetime, transfers_max: int) -> list[_Row]:
    books = _books(account_id)
    key = func.coalesce(Transfer.journal_id, Transfer.id)
    first = func.min(Transfer.timestamp).over(partition_by=key)
    found = session.execute(
        select(
            key,
            Transfer.debit_account_id,
            Transfer.credit_account_id,
            Transfer.amount_fen,
            Transfer.value_at,
            Journal.kind,
            Journal.reference,
            Journal.text,
        )
        .outerjoin(Journal, Journal.id == Transfer.journal_id)
        .where(
            or_(Transfer.debit_account_id.in_(books), Transfer.credit_account_id.in_(books)),
            and_(_moves_money(), Transfer.value_at >= since, Transfer.value_at < until),
        )
        .order_by(Transfer.value_at, first, key, Transfer.timestamp)
        .limit(transfers_max + 1)
    )
    return [_Row._make(row) for row in found]


def _changes(parts: Iterable[_Row], account_id: int) -> Money:
    principal, subsidy, debt = _books(account_id)
    change = {principal: 0, subsidy: 0, debt: 0}
    for row in parts:
        for book, amount_fen in ((row.credit_account_id, row.amount_fen), (row.debit_account_id, -row.amount_fen)):
            if book in change:
                change[book] += amount_fen
    return Money(change[principal], change[subsidy], -change[debt])


def _line(parts: list[_Row], *, change: Money, after: Money, charges: dict[UUID, CardSession]) -> StatementLine:
    first = parts[0]
    return StatementLine(
        at=first.value_at,
        kind=first.kind or "",
        reference=first.reference or "",
        text=first.text or "",
        change=change,
        after=after,
        charge=charges.get(first.key),
    )


def _charges(session: Session, rows: list[_Row]) -> dict[UUID, CardSession]:
    """Give the card session behind each journal that captured one, or paid its subsidy or took it back."""
    keys = {row.key for row in rows}
    whole = select(CardSession).options(joinedload(CardSession.instrument))
    captured = session.scalars(whole.where(CardSession.capture_journal_id.in_(keys)))
    found = {charge.capture_journal_id: charge for charge in captured if charge.capture_journal_id is not None}
    for column in (Decision.journal_id, Decision.claw_back_journal_id):
        subsidised = session.execute(
            whole.add_columns(column)
            .join(UsageRecord, UsageRecord.session_id == CardSession.id)
            .join(Decision, Decision.usage_record_id == UsageRecord.id)
            .where(column.in_(keys))
        )
        found |= {journal_id: charge for charge, journal_id in subsidised if journal_id is not None}
    return found


def account_name(account: CardAccount) -> tuple[str, str]:
    """Give an account's customer in Chinese and English."""
    if account.organisation is not None:
        return account.organisation.name_zh, account.organisation.name_en
    name = account.person.name if account.person is not None else account.number
    return name, name

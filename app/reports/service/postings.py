"""The ledger's transfers as people read them: which account, for whom, which voucher, which charge."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, aliased

from app.books import ChartLine, line_of_number
from ledger.models import Account, Journal, Transfer
from ledger.values import TransferFlag

PENDING = int(TransferFlag.PENDING)
POST = int(TransferFlag.POST_PENDING_TRANSFER)
FREED = int(TransferFlag.VOID_PENDING_TRANSFER | TransferFlag.EXPIRED_PENDING_TRANSFER)
POSTINGS_MAX = 500

_debited, _credited = aliased(Account), aliased(Account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One account of a posting: its line of the chart, and the card account, unit or fund it belongs to."""

    account_id: UUID
    line: ChartLine | None
    owner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One transfer. `phase` is hold, post, void or move; a hold and a void move no money yet."""

    transfer_id: UUID
    phase: str
    pending_id: UUID | None
    debit: Side
    credit: Side
    amount_fen: int
    code: int
    at: datetime
    journal_id: UUID | None
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None


def postings_of(session: Session, *, holds: Sequence[UUID], journals: Iterable[UUID]) -> list[Posting]:
    """Give everything that was posted for some holds and in some journals, in order of time."""
    of_holds = or_(Transfer.id.in_(holds), Transfer.pending_id.in_(holds))
    found = session.scalars(select(Transfer.journal_id).where(of_holds, Transfer.journal_id.is_not(None)))
    return find(session, or_(of_holds, Transfer.journal_id.in_({*found, *journals})))


def find(
    session: Session,
    criterion: ColumnElement[bool],
    *,
    newest_first: bool = False,
    limit: int = POSTINGS_MAX,
    skip: int = 0,
) -> list[Posting]:
    """Give up to `limit` (at most 500) transfers that meet a criterion, with both accounts and their journal."""
    order = Transfer.timestamp.desc() if newest_first else Transfer.timestamp.asc()
    rows = session.execute(
        select(Transfer, Journal, _debited, _credited)
        .outerjoin(Journal, Journal.id == Transfer.journal_id)
        .join(_debited, _debited.id == Transfer.debit_account_id)
        .join(_credited, _credited.id == Transfer.credit_account_id)
        .where(criterion)
        .order_by(order, Transfer.id)
        .limit(min(limit, POSTINGS_MAX))
        .offset(skip)
    )
    return [_posting(*row) for row in rows]


def _posting(transfer: Transfer, journal: Journal | None, debited: Account, credited: Account) -> Posting:
    return Posting(
        transfer_id=transfer.id,
        phase=_phase(transfer.flags),
        pending_id=transfer.pending_id,
        debit=_side(debited),
        credit=_side(credited),
        amount_fen=transfer.amount_fen,
        code=transfer.code,
        at=transfer.value_at,
        journal_id=transfer.journal_id,
        kind=_of(journal, "kind"),
        reference=_of(journal, "reference"),
        text=_of(journal, "text"),
        actor=_of(journal, "actor"),
    )


def _of(journal: Journal | None, column: str) -> Any:
    return None if journal is None else getattr(journal, column)


def _side(account: Account) -> Side:
    return Side(account_id=account.id, line=line_of_number(account.code), owner=account.user_data_64)


def _phase(flags: int) -> str:
    if flags & PENDING:
        return "hold"
    if flags & POST:
        return "post"
    return "void" if flags & FREED else "move"

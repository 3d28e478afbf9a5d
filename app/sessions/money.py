"""The money of a session: holds on both purses, their capture in one journal, and their release.

Two locks make the sums exact: the card account's row keeps two sessions of one account apart, and the ledger's rows of
both purses keep everything else from moving them between the look and the posting. The row comes first, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

import ledger
from app.books import NAMESPACE, Book, BookRole, TransferCode
from app.cards.models import CardAccount
from app.devices.messages import UnfitEvent
from app.instruments.models import Unit
from app.sessions.models import CardSession, Purse, SessionHold
from ledger import JournalResult, NewJournal, NewTransfer, PendingState, TransferFlag

# Longer than any session may be extended to (7 days), so that no hold ends before its session. Sessions give back what
# they hold by themselves; this is only what happens when nothing of this service runs for a week.
HOLD_TIMEOUT_S = 8 * 24 * 3600
BASIS_POINTS = 10_000

_ROLES = {Purse.SUBSIDY: BookRole.SUBSIDY_PURSE, Purse.PRINCIPAL: BookRole.PRINCIPAL}
# Spend order: subsidy first, then principal (domain.md, Money rules).
SPEND_ORDER = (Purse.SUBSIDY, Purse.PRINCIPAL)


class LedgerRefusal(UnfitEvent):
    """The ledger would not take a journal that this service believes to be right; nothing of it was done."""

    def __init__(self, row: CardSession, result: JournalResult) -> None:
        super().__init__("LEDGER_REFUSED", f"session {row.id}: {result.status} {result.failed}")


@dataclass(frozen=True, slots=True)
class Paid:
    """What a capture took from each purse."""

    subsidy_fen: int = 0
    principal_fen: int = 0

    @property
    def amount_fen(self) -> int:
        """Both together."""
        return self.subsidy_fen + self.principal_fen

    def plus(self, purse: Purse, amount_fen: int) -> "Paid":
        """Give this with more from one purse."""
        if purse is Purse.SUBSIDY:
            return Paid(self.subsidy_fen + amount_fen, self.principal_fen)
        return Paid(self.subsidy_fen, self.principal_fen + amount_fen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What was taken, whether a hold was gone before its session ended, and what the customer owes for it since."""

    paid: Paid
    hold_expired: bool
    advanced_fen: int = 0


def lock_purses(session: Session, account_id: int) -> dict[Purse, int]:
    """Give what each purse may spend, in fen, and keep both from changing until the transaction ends."""
    session.execute(select(CardAccount.id).where(CardAccount.id == account_id).with_for_update(key_share=True))
    books = {purse: Book(_ROLES[purse], account_id).id for purse in SPEND_ORDER}
    found = ledger.lock_balances(session, books.values())
    return {purse: max(0, found[books[purse]].available_credit_fen) for purse in SPEND_ORDER}


def available_fen(session: Session, account_id: int) -> int:
    """Give what both purses of an account may spend now."""
    ids = [Book(_ROLES[purse], account_id).id for purse in SPEND_ORDER]
    return sum(each.available_credit_fen for each in ledger.balances(session, ids).values())


def hold(
    session: Session, row: CardSession, *, amount_fen: int, purses: dict[Purse, int], unit_id: int, at: datetime
) -> tuple[SessionHold, ...] | None:
    """Reserve the amount, subsidy first, in one linked chain; give the holds to be kept, or None if it was refused.

    A refusal burns the ids, so the caller must commit that it was refused. `purses` are those of `lock_purses`.
    """
    first = 1 + max((each.sequence for each in holds_of(session, row.id)), default=0)
    holds: list[SessionHold] = []
    rest_fen = amount_fen
    for purse in SPEND_ORDER:
        part_fen = min(rest_fen, purses[purse])
        if part_fen:
            sequence = first + len(holds)
            holds.append(
                SessionHold(
                    transfer_id=_transfer_id(row.id, f"hold:{sequence}"),
                    session_id=row.id,
                    sequence=sequence,
                    purse=purse,
                    amount_fen=part_fen,
                )
            )
            rest_fen -= part_fen
    if rest_fen:
        raise ValueError(f"{rest_fen} fen more than both purses have")
    transfers = [
        NewTransfer(
            id=each.transfer_id,
            debit_account_id=Book(_ROLES[each.purse], row.account_id).id,
            credit_account_id=Book(BookRole.UNIT_PAYABLE, unit_id).id,
            amount_fen=each.amount_fen,
            code=TransferCode.SESSION_HOLD,
            flags=TransferFlag.PENDING,
            timeout_s=HOLD_TIMEOUT_S,
        )
        for each in holds
    ]
    posted = _post(session, row, phase=f"hold:{first}", kind="session_hold", transfers=transfers, at=at)
    return tuple(holds) if posted is None or posted.ok else None


def capture(
    session: Session, row: CardSession, *, amount_fen: int, unit: Unit, at: datetime, on_credit: bool = False
) -> Captured:
    """Charge the amount from the holds, subsidy first, give the rest back, and split off service fee and VAT.

    `amount_fen` is at most what is held, but `on_credit`. What no hold covers is taken from what the purses have now,
    and what they do not have is advanced to the principal as a debt, or else left uncharged.
    All of it is one journal under one key: a second capture of the session changes nothing. Raises LedgerRefusal.
    """
    purses = lock_purses(session, row.account_id)
    holds = sorted(holds_of(session, row.id), key=lambda each: (SPEND_ORDER.index(each.purse), each.sequence))
    states = ledger.pending_transfers(session, [each.transfer_id for each in holds])
    open_holds = [each for each in holds if states[each.transfer_id] is PendingState.OPEN]
    transfers, paid = _ends(open_holds, amount_fen=amount_fen)
    late, paid = _late_charges(row, unit, purses=purses, owed_fen=amount_fen - paid.amount_fen, paid=paid)
    advanced_fen = amount_fen - paid.amount_fen if on_credit else 0
    if advanced_fen:
        late += _on_credit(row, unit, amount_fen=advanced_fen)
        paid = paid.plus(Purse.PRINCIPAL, advanced_fen)
    transfers += late + _shares(row, unit, amount_fen=paid.amount_fen)
    posted = _post(session, row, phase="capture", kind="session_capture", transfers=transfers, at=at)
    if posted is not None and not posted.ok:
        raise LedgerRefusal(row, posted)
    row.capture_journal_id = posted.journal_id if posted else None
    return Captured(paid=paid, hold_expired=len(open_holds) < len(holds), advanced_fen=advanced_fen)


def release(session: Session, row: CardSession, *, at: datetime) -> None:
    """Give back all that is held; what expired is free already. Raises LedgerRefusal."""
    ids = [each.transfer_id for each in holds_of(session, row.id)]
    states = ledger.pending_transfers(session, ids)
    transfers = [_void(each) for each in ids if states[each] is PendingState.OPEN]
    posted = _post(session, row, phase="void", kind="session_void", transfers=transfers, at=at)
    if posted is not None and not posted.ok:
        raise LedgerRefusal(row, posted)


def holds_of(session: Session, session_id: UUID) -> Sequence[SessionHold]:
    """Give the holds of a session in the order in which they were made."""
    return session.scalars(
        select(SessionHold).where(SessionHold.session_id == session_id).order_by(SessionHold.sequence)
    ).all()


def share_fen(amount_fen: int, *, basis_points: int) -> int:
    """Give a share in 1/10,000, rounded half up."""
    return (amount_fen * basis_points + BASIS_POINTS // 2) // BASIS_POINTS


def _ends(holds: Sequence[SessionHold], *, amount_fen: int) -> tuple[list[NewTransfer], Paid]:
    transfers, paid = [], Paid()
    for each in holds:
        part_fen = min(each.amount_fen, amount_fen - paid.amount_fen)
        transfers.append(_post_part(each.transfer_id, part_fen) if part_fen else _void(each.transfer_id))
        paid = paid.plus(each.purse, part_fen)
    return transfers, paid


def _late_charges(
    row: CardSession, unit: Unit, *, purses: dict[Purse, int], owed_fen: int, paid: Paid
) -> tuple[list[NewTransfer], Paid]:
    transfers = []
    for purse in SPEND_ORDER:
        part_fen = min(owed_fen, purses[purse])
        if part_fen:
            transfers.append(
                NewTransfer(
                    id=_transfer_id(row.id, f"late:{purse}"),
                    debit_account_id=Book(_ROLES[purse], row.account_id).id,
                    credit_account_id=Book(BookRole.UNIT_PAYABLE, unit.id).id,
                    amount_fen=part_fen,
                    code=TransferCode.SESSION_LATE_CHARGE,
                )
            )
            owed_fen -= part_fen
            paid = paid.plus(purse, part_fen)
    return transfers, paid


def _on_credit(row: CardSession, unit: Unit, *, amount_fen: int) -> list[NewTransfer]:
    """The one way below what a customer has: her debt pays into her principal, and that pays as always."""
    principal = Book(BookRole.PRINCIPAL, row.account_id).id
    steps = (
        ("advance", Book(BookRole.CUSTOMER_DEBT, row.account_id).id, principal),
        ("on_credit", principal, Book(BookRole.UNIT_PAYABLE, unit.id).id),
    )
    return [
        NewTransfer(
            id=_transfer_id(row.id, phase),
            debit_account_id=debit,
            credit_account_id=credit,
            amount_fen=amount_fen,
            code=TransferCode.SESSION_ON_CREDIT,
        )
        for phase, debit, credit in steps
    ]


def _shares(row: CardSession, unit: Unit, *, amount_fen: int) -> list[NewTransfer]:
    """The platform's and the tax office's part of what the unit earned, both of the captured amount."""
    fee_fen = share_fen(amount_fen, basis_points=unit.service_fee_basis_points)
    vat_fen = min(share_fen(amount_fen, basis_points=unit.vat_basis_points), amount_fen - fee_fen)
    shares = (
        (fee_fen, BookRole.SERVICE_FEE, TransferCode.SESSION_SERVICE_FEE),
        (vat_fen, BookRole.VAT, TransferCode.SESSION_VAT),
    )
    return [
        NewTransfer(
            id=_transfer_id(row.id, str(role)),
            debit_account_id=Book(BookRole.UNIT_PAYABLE, unit.id).id,
            credit_account_id=Book(role, unit.id).id,
            amount_fen=part_fen,
            code=code,
        )
        for part_fen, role, code in shares
        if part_fen
    ]


def _post_part(pending_id: UUID, amount_fen: int) -> NewTransfer:
    return NewTransfer(
        id=uuid5(pending_id, "post"),
        amount_fen=amount_fen,
        flags=TransferFlag.POST_PENDING_TRANSFER,
        pending_id=pending_id,
    )


def _void(pending_id: UUID) -> NewTransfer:
    return NewTransfer(id=uuid5(pending_id, "void"), flags=TransferFlag.VOID_PENDING_TRANSFER, pending_id=pending_id)


def _post(
    session: Session, row: CardSession, *, phase: str, kind: str, transfers: Sequence[NewTransfer], at: datetime
) -> JournalResult | None:
    """Post one journal of the session; a session that costs nothing leaves no voucher."""
    if not transfers:
        return None
    return ledger.post_journal(
        session,
        NewJournal(
            id=_transfer_id(row.id, f"journal:{phase}"),
            kind=kind,
            reference=str(row.id),
            text=f"Card session {row.id}",
            actor=f"terminal:{row.terminal_id}",
            value_at=at,
            idempotency_key=f"session:{row.id}:{phase}",
            transfers=tuple(transfers),
        ),
    )


def _transfer_id(session_id: UUID, phase: str) -> UUID:
    return uuid5(NAMESPACE, f"session:{session_id}:{phase}")

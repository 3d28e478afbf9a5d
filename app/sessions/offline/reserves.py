"""What is held of accounts for what terminals may allow alone, so that in strict mode nothing can be lost.

A reserve changes only by giving all of it back and holding anew, both in one transaction in which the purses are
locked: nobody else can take the money in between.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

import ledger
from app.books import NAMESPACE, Book, BookRole, TransferCode
from app.devices.models import Terminal
from app.instruments.models import Instrument, InstrumentGroup
from app.sessions import money
from app.sessions.models import OPEN_STATUSES, CardSession, OfflineHold, OfflineList, OfflineReserve, Purse
from ledger import NewTransfer, PendingState, TransferFlag

# A terminal that is not heard of any more keeps nobody's money longer than this after its list has ended.
KEPT_AFTER_LIST = timedelta(days=6)
# The ledger's own end of a hold, behind ours: list (1 day) + kept (6) + the age at which a hold is renewed (1).
HOLD_TIMEOUT_S = 9 * 24 * 3600
RENEWED_AFTER = timedelta(days=1)

_ROLES = {Purse.SUBSIDY: BookRole.SUBSIDY_PURSE, Purse.PRINCIPAL: BookRole.PRINCIPAL}


def reserve_of(session: Session, *, terminal_id: UUID, card_id: int) -> OfflineReserve | None:
    """Give what is reserved for a card at a terminal, locked, or None."""
    return session.get(OfflineReserve, (terminal_id, card_id), with_for_update=True, populate_existing=True)


def change(
    session: Session, reserve: OfflineReserve, *, to_fen: int, purses: dict[Purse, int], unit_id: int, at: datetime
) -> int:
    """Hold `to_fen` for a reserve, or as much as the purses have; give how much it is.

    `purses` are those of `money.lock_purses`, in this transaction, without what this reserve holds; they are
    brought up to date.
    """
    freed = give_back(session, reserve)
    for purse, amount_fen in freed.items():
        purses[purse] += amount_fen
    to_fen = min(to_fen, sum(purses.values()))
    reserve.generation += 1
    reserve.held_at = at
    transfers, holds, rest_fen = [], [], to_fen
    for purse in money.SPEND_ORDER:
        part_fen = min(rest_fen, purses[purse])
        if part_fen:
            hold = _hold(reserve, purse, amount_fen=part_fen)
            holds.append(hold)
            transfers.append(_pending(hold, account_id=reserve.account_id, unit_id=unit_id))
            purses[purse] -= part_fen
            rest_fen -= part_fen
    _post(session, transfers)
    session.add_all(holds)
    reserve.held_fen = to_fen
    session.flush()
    return to_fen


def give_back(session: Session, reserve: OfflineReserve) -> Mapping[Purse, int]:
    """Hold nothing for a reserve any more; give what each purse has back. What expired is free already."""
    holds = session.scalars(
        select(OfflineHold).where(
            OfflineHold.terminal_id == reserve.terminal_id,
            OfflineHold.card_id == reserve.card_id,
            OfflineHold.generation == reserve.generation,
        )
    ).all()
    states = ledger.pending_transfers(session, [hold.transfer_id for hold in holds])
    still_open = [hold for hold in holds if states.get(hold.transfer_id) is PendingState.OPEN]
    _post(session, [_void(hold) for hold in still_open])
    reserve.held_fen = 0
    session.flush()
    freed = dict.fromkeys(money.SPEND_ORDER, 0)
    for hold in still_open:
        freed[hold.purse] += hold.amount_fen
    return freed


def release_stale(session: Session, *, at: datetime, limit: int) -> int:
    """Give back what is reserved for nothing any more; give how many reserves.

    That is when a terminal has taken a newer list without the card, having told all that it did by the older ones, or
    when it was not heard of for days. While a session that began offline runs, its card's reserve stays.
    """
    superseded = exists().where(
        OfflineList.terminal_id == OfflineReserve.terminal_id,
        OfflineList.version > OfflineReserve.last_version,
        OfflineList.taken_at.is_not(None),
    )
    runs = exists().where(
        CardSession.terminal_id == OfflineReserve.terminal_id,
        CardSession.card_id == OfflineReserve.card_id,
        CardSession.offline_version.is_not(None),
        CardSession.status.in_(OPEN_STATUSES),
    )
    stale = session.execute(
        select(OfflineReserve.account_id, OfflineReserve.terminal_id, OfflineReserve.card_id)
        .where(OfflineReserve.held_fen > 0, ~runs)
        .where(superseded | (OfflineReserve.keep_until <= at))
        .order_by(OfflineReserve.account_id, OfflineReserve.card_id)
        .limit(limit)
    ).all()
    for account_id, terminal_id, card_id in stale:
        money.lock_purses(session, account_id)
        reserve = reserve_of(session, terminal_id=terminal_id, card_id=card_id)
        if reserve is not None:
            give_back(session, reserve)
    return len(stale)


def unit_of(session: Session, terminal: Terminal) -> int:
    """Give the unit to which the use of a terminal's instrument is owed."""
    return session.scalars(
        select(InstrumentGroup.unit_id).join(Instrument).where(Instrument.id == terminal.instrument_id)
    ).one()


def _hold(reserve: OfflineReserve, purse: Purse, *, amount_fen: int) -> OfflineHold:
    name = f"offline:{reserve.terminal_id}:{reserve.card_id}:{reserve.generation}:{purse}"
    return OfflineHold(
        transfer_id=uuid5(NAMESPACE, name),
        terminal_id=reserve.terminal_id,
        card_id=reserve.card_id,
        generation=reserve.generation,
        purse=purse,
        amount_fen=amount_fen,
    )


def _pending(hold: OfflineHold, *, account_id: int, unit_id: int) -> NewTransfer:
    return NewTransfer(
        id=hold.transfer_id,
        debit_account_id=Book(_ROLES[hold.purse], account_id).id,
        credit_account_id=Book(BookRole.UNIT_PAYABLE, unit_id).id,
        amount_fen=hold.amount_fen,
        code=TransferCode.OFFLINE_HOLD,
        flags=TransferFlag.PENDING,
        timeout_s=HOLD_TIMEOUT_S,
    )


def _void(hold: OfflineHold) -> NewTransfer:
    return NewTransfer(
        id=uuid5(hold.transfer_id, "void"), flags=TransferFlag.VOID_PENDING_TRANSFER, pending_id=hold.transfer_id
    )


def _post(session: Session, transfers: Iterable[NewTransfer]) -> None:
    wanted = list(transfers)
    failed = [result for result in ledger.create_transfers(session, wanted) if not result.ok] if wanted else []
    if failed:
        raise AssertionError(f"the purses are locked, and yet the ledger refused: {failed[0].status}")

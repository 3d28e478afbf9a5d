"""What may happen to a session after its hold: started, metered, ended, reversed, forgotten, closed by staff.

Every function here has the session's row locked, asks `TRANSITIONS`, and either makes the step whole or says why not.
"""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select, text
from sqlalchemy.orm import Session, joinedload

from app.cards import life
from app.cards.models import Card, CardStatus
from app.devices.messages import ACCEPTED, Effect, UnfitEvent, parked
from app.devices.models import EventOutcome, Terminal, TerminalEvent
from app.instruments.models import Instrument, InstrumentGroup
from app.sessions import charging, money
from app.sessions.models import (
    OPEN_STATUSES,
    TRANSITIONS,
    CardSession,
    Flag,
    SessionStatus,
    SessionTombstone,
    Step,
)
from card_terminal import protocol

# How much more than the time that passed a terminal may report before a person should look.
DURATION_TOLERANCE = timedelta(seconds=120)
RECEIPT_CHARACTERS = 12


def lock(session: Session, session_id: uuid.UUID) -> CardSession | None:
    """Give the session with its row locked, or None; also what is not there yet cannot come while we look.

    Authorize and reversal of one session take turns by this, in whichever order they arrive.
    """
    key = int.from_bytes(session_id.bytes[8:], signed=True)
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    return session.scalar(
        select(CardSession)
        .where(CardSession.id == session_id)
        .options(joinedload(CardSession.instrument).joinedload(Instrument.group).joinedload(InstrumentGroup.unit))
        .with_for_update(key_share=True, of=CardSession)
        .execution_options(populate_existing=True)
    )


def step(row: CardSession, what: Step) -> bool:
    """Move the session along its table; false when the table has no such line."""
    following = TRANSITIONS.get((row.status, what))
    if following is None:
        return False
    row.status = following
    return True


def may(row: CardSession, what: Step | None) -> bool:
    """Say whether the session's table has a line for it now."""
    return what is not None and (row.status, what) in TRANSITIONS


def may_start_late(row: CardSession) -> bool:
    """Say whether the hold was given back, and not by the staff, so that it may only have been told of too late."""
    return may(row, Step.STARTED_LATE) and Flag.CLOSED_BY_STAFF not in row.flags


def flag(row: CardSession, *flags: Flag) -> None:
    """Mark the session for a person to look at."""
    row.flags = [*row.flags, *(str(each) for each in flags if each not in row.flags)]


def apply_event(session: Session, terminal: Terminal, event: protocol.Event, *, at: datetime) -> Effect:
    """Let an event of a terminal have its effect on the session it names; what does not fit is parked."""
    body = event.body
    if isinstance(body, protocol.Tamper):
        return parked("TAMPER")
    if not isinstance(body, protocol.Started | protocol.Meter | protocol.Ended | protocol.Reversal):
        return ACCEPTED
    row = lock(session, body.session_id)
    if row is None:
        return _unknown(session, terminal, body, at=at)
    if row.terminal_id != terminal.id:
        return parked("SESSION_OF_ANOTHER_TERMINAL")
    return _apply(session, row, event, at=at)


def _apply(session: Session, row: CardSession, event: protocol.Event, *, at: datetime) -> Effect:
    match event.body:
        case protocol.Started():
            return _started(session, row, at=at)
        case protocol.Ended() as body:
            return _ended(session, row, body, at=at)
        case protocol.Reversal():
            return _reversed(session, row, at=at)
        case protocol.Meter() as body:
            return _metered(row, body, at=at)
        case _:
            return ACCEPTED


def capture(session: Session, row: CardSession, *, duration: timedelta, samples: int, at: datetime) -> None:
    """Charge `duration` from the session's start by its snapshot, at most what is held; the caller made the step."""
    if row.started_at is None:
        raise ValueError(f"session {row.id} never started")
    duration_s = int(duration.total_seconds())
    terms = charging.terms_of(row)
    if samples == 0 and terms.counts_samples:
        # An instrument that was used measured something: never a silent 0, and a person may count.
        samples = 1
        flag(row, Flag.SAMPLES_ASSUMED)
    charge = terms.price(duration=timedelta(seconds=duration_s), samples=samples, at=row.started_at)
    # What a terminal began alone is charged whole, whatever could be held for it: that is its customer's risk.
    on_credit = row.offline_version is not None
    amount_fen = charge.amount_fen if on_credit else min(charge.amount_fen, row.held_fen)
    if charge.amount_fen > row.held_fen and not on_credit:
        flag(row, Flag.OVER_HOLD)
    unit = row.instrument.group.unit
    captured = money.capture(session, row, amount_fen=amount_fen, unit=unit, at=at, on_credit=on_credit)
    if captured.advanced_fen:
        row.advanced_fen = captured.advanced_fen
        flag(row, Flag.ON_CREDIT)
        _stop_card(session, row, at=at)
    if captured.hold_expired:
        flag(row, Flag.HOLD_EXPIRED)
    row.duration_s = duration_s
    row.ended_at = row.started_at + timedelta(seconds=duration_s)
    row.samples = samples
    row.price_lines = charge.up_to(captured.paid.amount_fen).as_json()
    row.amount_fen = captured.paid.amount_fen
    row.paid_principal_fen = captured.paid.principal_fen
    row.paid_subsidy_fen = captured.paid.subsidy_fen
    session.flush()


def receipt(row: CardSession) -> str:
    """Give the number that is printed on the receipt."""
    return row.id.hex[-RECEIPT_CHARACTERS:].upper()


def _stop_card(session: Session, row: CardSession, *, at: datetime) -> None:
    """Stop the card of a customer who owes: she pays in and asks for it, before it can owe more."""
    card = session.get_one(Card, row.card_id, with_for_update={"key_share": True})
    if card.status is CardStatus.ISSUED:
        reason = "离线使用欠费 / owes for a use without the network"
        life.block(session, card_id=card.id, reason=reason, actor="system:offline", at=at)


def _unknown(session: Session, terminal: Terminal, body: protocol.EventBody, *, at: datetime) -> Effect:
    if not isinstance(body, protocol.Reversal):
        return parked("SESSION_UNKNOWN")
    # The authorize may still be on its way: it must find that it was called back.
    if session.get(SessionTombstone, body.session_id) is None:
        session.add(SessionTombstone(session_id=body.session_id, terminal_id=terminal.id, received_at=at))
        session.flush()
    return ACCEPTED


def _started(session: Session, row: CardSession, *, at: datetime) -> Effect:
    if not step(row, Step.STARTED) and not _started_late(session, row, at=at):
        return parked("STARTED_TWICE" if row.started_at else "STARTED_AFTER_END")
    # The person may work as soon as the terminal hears that the money is held, and its screen reckons the cost from
    # there. What she pays must not hang on how long the report of it was on its way, nor on the terminal's wall clock.
    row.started_at = row.authorized_at
    row.alive_at = at
    return ACCEPTED


def _started_late(session: Session, row: CardSession, *, at: datetime) -> bool:
    """Take up a session whose hold was given back while its terminal was cut off, with what the purses now have.

    False where the terminal or the staff gave it up, and where another session runs at the instrument meanwhile.
    """
    if not may_start_late(row) or not _is_alone(session, row):
        return False
    purses = money.lock_purses(session, row.account_id)
    amount_fen = min(row.held_fen, sum(purses.values()))
    unit_id = row.instrument.group.unit_id
    holds = money.hold(session, row, amount_fen=amount_fen, purses=purses, unit_id=unit_id, at=at)
    if holds is None:
        raise UnfitEvent("LEDGER_REFUSED", f"session {row.id}: the purses are locked, and yet the ledger refused")
    session.add_all(holds)
    step(row, Step.STARTED_LATE)
    row.held_fen = amount_fen
    # Its end may be in the same journal, only later: from now on it is waited for as for any other.
    row.latest_end_at = max(row.latest_end_at, at)
    session.flush()
    return True


def _is_alone(session: Session, row: CardSession) -> bool:
    """Tell that the terminal did not call the session back, and that nothing else runs at its instrument."""
    reversals = exists().where(TerminalEvent.session_id == row.id, TerminalEvent.kind == protocol.EventKind.REVERSAL)
    others = exists().where(
        CardSession.instrument_id == row.instrument_id,
        CardSession.status.in_(OPEN_STATUSES),
        CardSession.offline_version.is_(None),
    )
    return not session.scalar(select(or_(reversals, others)))


def _metered(row: CardSession, body: protocol.Meter, *, at: datetime) -> Effect:
    if step(row, Step.METERED):
        row.alive_at = at
        row.metered_s = max(row.metered_s or 0, protocol.whole_seconds(body.elapsed_ms))
    return ACCEPTED


def _ended(session: Session, row: CardSession, body: protocol.Ended, *, at: datetime) -> Effect:
    if not step(row, Step.ENDED):
        return parked("ENDED_BEFORE_STARTED" if row.status is SessionStatus.HELD else "ENDED_TWICE")
    if body.lower_bound:
        flag(row, Flag.LOWER_BOUND)
    if body.cause is protocol.EndCause.TAKEN_OVER:
        flag(row, Flag.TAKEN_OVER)
    duration = _plausible(row, timedelta(seconds=protocol.whole_seconds(body.elapsed_ms)), at=at)
    capture(session, row, duration=duration, samples=body.samples or 0, at=at)
    return Effect(
        outcome=EventOutcome.ACCEPTED,
        amount_fen=row.amount_fen,
        balance_fen=money.available_fen(session, row.account_id),
        receipt=receipt(row),
    )


def _plausible(row: CardSession, reported: timedelta, *, at: datetime) -> timedelta:
    """Bound a reported duration by the time that passed since the hold."""
    # Not below zero, also when this server's clock is behind the one that held the money.
    passed = max(timedelta(0), at - row.authorized_at)
    if reported > passed + DURATION_TOLERANCE:
        flag(row, Flag.IMPLAUSIBLE_DURATION)
        reported = passed
    return reported


def _reversed(session: Session, row: CardSession, *, at: datetime) -> Effect:
    had_hold = row.status is SessionStatus.HELD
    if not step(row, Step.REVERSED):
        return parked("REVERSED_AFTER_START")
    if had_hold:
        money.release(session, row, at=at)
    return ACCEPTED

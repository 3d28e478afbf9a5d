"""Events that fitted nowhere: kept, acknowledged, and put before a person who says what became of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app import errors
from app.devices.models import EventOutcome, Settlement, Terminal, TerminalEvent
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people import service as people
from app.people.principals import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEvent:
    """An event with the terminal and the instrument that it came from."""

    event: TerminalEvent
    terminal: Terminal
    instrument: Instrument


def parked_events(
    session: Session, *, reader: Principal, resolved: bool = False, limit: int, offset: int = 0
) -> list[ParkedEvent]:
    """Give the parked events of the instruments that this person looks after, the oldest open ones first."""
    done = TerminalEvent.resolved_at.is_not(None) if resolved else TerminalEvent.resolved_at.is_(None)
    order = TerminalEvent.received_at.desc() if resolved else TerminalEvent.received_at
    rows = session.execute(
        _parked(reader)
        .where(done)
        .order_by(order, TerminalEvent.terminal_id, TerminalEvent.seq)
        .limit(limit)
        .offset(offset)
    )
    return [ParkedEvent(event=event, terminal=terminal, instrument=instrument) for event, terminal, instrument in rows]


def waiting(session: Session, *, terminal_id: UUID, seq: int, message_hash: str, reader: Principal) -> ParkedEvent:
    """Give a parked event that nobody has settled, and keep others from settling it until the transaction ends.

    Raises Refusal: NOT_FOUND, also for instruments of others; ALREADY_DECIDED.
    """
    found = session.execute(
        _parked(reader)
        .where(
            TerminalEvent.terminal_id == terminal_id,
            TerminalEvent.seq == seq,
            TerminalEvent.message_hash == message_hash,
        )
        .with_for_update(key_share=True, of=TerminalEvent)
    ).one_or_none()
    if found is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    event, terminal, instrument = found
    if event.resolved_at is not None:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    return ParkedEvent(event=event, terminal=terminal, instrument=instrument)


def note(
    session: Session, found: ParkedEvent, *, settlement: Settlement, resolution: str, resolver: Principal, at: datetime
) -> None:
    """Write down who settled a parked event, how and why."""
    event = found.event
    event.settlement = settlement
    event.resolved_at = at
    event.resolved_by = resolver.username
    event.resolution = resolution
    people.audit(
        session,
        actor=resolver.username,
        action="event.resolve",
        subject=f"terminal:{found.terminal.code}",
        detail={
            "seq": event.seq,
            "reason": event.reason,
            "settlement": str(settlement),
            "resolution": resolution,
            "session_id": None if event.session_id is None else str(event.session_id),
        },
        at=at,
    )


def _parked(reader: Principal) -> Select[TerminalEvent, Terminal, Instrument]:
    """Select the parked events of the instruments that this person looks after."""
    found = (
        select(TerminalEvent, Terminal, Instrument)
        .join(Terminal, Terminal.id == TerminalEvent.terminal_id)
        .join(Instrument, Instrument.id == Terminal.instrument_id)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .where(TerminalEvent.outcome == EventOutcome.PARKED)
    )
    if reader.sees_everything:
        return found
    return found.where(or_(InstrumentGroup.id.in_(reader.group_ids), Unit.sub_center_id.in_(reader.sub_center_ids)))

"""What the terminal signed about a session: the beginning, the end, and the signs of life between them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.devices.models import Terminal, TerminalEvent
from card_terminal.protocol import EventKind

EVENTS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEvent:
    """A signed message as it came; its hash is the one the next message of the terminal names."""

    kind: str
    terminal: str
    seq: int
    received_at: datetime
    outcome: str
    message_hash: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEvents:
    """The messages about one session in their order; of signs of life only the last, and how many there were."""

    events: tuple[CardEvent, ...]
    meters: int
    public_key: bytes | None
    """The terminal's, with which the signatures can be checked."""


def card_events(session: Session, *, session_id: UUID, terminal: Terminal) -> CardEvents:
    """Give the signed messages about a session; at most 200."""
    mine = TerminalEvent.session_id == session_id
    is_meter = TerminalEvent.kind == EventKind.METER.value
    rows = list(
        session.scalars(select(TerminalEvent).where(mine, ~is_meter).order_by(TerminalEvent.seq).limit(EVENTS_MAX - 1))
    )
    newest = session.scalar(select(TerminalEvent).where(mine, is_meter).order_by(TerminalEvent.seq.desc()).limit(1))
    rows += [newest] if newest is not None else []
    meters = session.scalar(select(func.count()).select_from(TerminalEvent).where(mine, is_meter)) or 0
    events = tuple(
        CardEvent(
            kind=row.kind,
            terminal=terminal.code,
            seq=row.seq,
            received_at=row.received_at,
            outcome=row.outcome.value,
            message_hash=row.message_hash,
            message=row.message,
        )
        for row in sorted(rows, key=lambda row: (row.seq, row.message_hash))
    )
    return CardEvents(events=events, meters=meters, public_key=terminal.public_key)

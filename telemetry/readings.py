"""Messages of the database as readings in time order, for states and sessions."""

from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from telemetry.models import Message
from telemetry.states import Reading
from telemetry.times import to_ms

# No message spans more; see `telemetry.messages`. With it the index on the start finds every message of a range.
MESSAGE_SPAN_MAX = timedelta(hours=1)


def readings(session: Session, *, box: str, channel: int, start: datetime, end: datetime) -> list[Reading]:
    """Give the readings that touch [start, end), whole, sorted by time; equal times by boot and sequence number."""
    doubtful = or_(~Message.synced, Message.device_at.is_(None), Message.device_at != Message.started_at)
    rows = session.execute(
        select(Message.started_at, Message.step_ms, Message.powers_w, Message.energy_wh, doubtful)
        .where(
            Message.box == box,
            Message.channel == channel,
            Message.kind == "m",
            Message.started_at >= start - MESSAGE_SPAN_MAX,
            Message.started_at < end,
            Message.ended_at > start,
        )
        .order_by(Message.started_at, Message.boot, Message.seq)
    )
    return [
        Reading(
            start_ms=to_ms(started_at),
            step_ms=step_ms,
            powers_w=powers_w,
            energy_wh=energy_wh,
            clock_doubtful=is_doubtful,
        )
        for started_at, step_ms, powers_w, energy_wh, is_doubtful in rows
    ]

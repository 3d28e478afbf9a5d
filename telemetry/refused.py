"""Numbers of messages that can never be taken: noted as used up, or their box would send them and wait for ever.

Our acknowledgement is cumulative, so one message that is refused would keep it where it is. What the box then forgets
is whole among the dead letters. A newer format, and what only our own program or database failed on, is not noted:
that the box keeps until we can take it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.errors import DeadReason
from telemetry.messages import COUNT_MAX, Topic

FINAL = frozenset(
    {DeadReason.CHANNEL_UNKNOWN, DeadReason.FIELD_MISSING, DeadReason.FIELD_WRONG, DeadReason.OUT_OF_RANGE}
)
NUMBERED_KINDS = ("m", "ev")
_NO_CHANNEL = -1


class Refused(NamedTuple):
    """The number of a refused message of an enrolled box, and when it came."""

    topic: Topic
    boot: int
    seq: int
    received_at: datetime


_NOTE = text("""
INSERT INTO telemetry.message (box, boot, seq, kind, channel, received_at, uptime_ms, step_ms, powers_w, synced,
                               buffered, started_at, ended_at)
VALUES (:box, :boot, :seq, 'dead', :channel, :received_at, 0, 0, '{}', false, false, :received_at, :received_at)
ON CONFLICT (box, boot, seq) DO NOTHING""")


class _Numbered(msgspec.Struct):
    boot: int
    seq: int


_decode = msgspec.json.Decoder(_Numbered).decode


def number_of(topic: Topic, *, payload: bytes, reason: DeadReason) -> tuple[int, int] | None:
    """Give (boot, seq) of a message that is refused for good, where they can be read."""
    if reason not in FINAL or topic.kind not in NUMBERED_KINDS:
        return None
    try:
        found = _decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return (found.boot, found.seq) if 0 <= found.boot <= COUNT_MAX and 1 <= found.seq <= COUNT_MAX else None


def note(session: Session, refused: Sequence[Refused]) -> None:
    """Note these numbers as used up; where a message is stored already it stays."""
    rows = [
        {
            "box": each.topic.box,
            "boot": each.boot,
            "seq": each.seq,
            "channel": _NO_CHANNEL,
            "received_at": each.received_at,
        }
        for each in sorted(refused, key=lambda each: (each.topic.box, each.boot, each.seq))
    ]
    session.execute(_NOTE, rows)

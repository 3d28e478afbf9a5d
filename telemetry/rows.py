"""Messages as rows of PostgreSQL's binary COPY, packed by hand.

The driver writes a list of numbers element by element in Python; that would cost more than reading the message. The
form is PostgreSQL's own ("COPY: Binary Format", and `array_recv` in src/backend/utils/adt/arrayfuncs.c).
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from telemetry.messages import Measured

COLUMNS = """
    place integer, boot bigint, seq bigint, channel smallint, received_at timestamptz, uptime_ms bigint,
    step_ms bigint, synced boolean, buffered boolean, started_at timestamptz, ended_at timestamptz,
    box text, kind text, device_at timestamptz, energy_wh double precision, powers_w real[]"""
"""In the order in which `copy_of` writes them: first what has a fixed length and is never null."""

_HEAD, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_FIXED = struct.Struct("!h ii iq iq ih iq iq iq i? i? iq iq")
_COLUMN_COUNT = 16
_TEXT = struct.Struct("!i")
_EIGHT_BYTES = struct.Struct("!iq")
_DOUBLE = struct.Struct("!id")
_NULL = b"\xff\xff\xff\xff"
_FLOAT4_OID = 700
_NO_VALUES = struct.pack("!4i", 12, 0, 0, _FLOAT4_OID)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_MS = 946_684_800_000
_MICROSECOND = timedelta(microseconds=1)


def copy_of(messages: Iterable[tuple[str, Measured, datetime]]) -> bytes:
    """Give what COPY reads for (box, message, time of receipt) each; `place` counts them from 0."""
    rows = [_row(place, *message) for place, message in enumerate(messages)]
    return b"".join([_HEAD, *rows, _END])


def _row(place: int, box: str, message: Measured, received_at: datetime) -> bytes:
    received_us = (received_at - _EPOCH) // _MICROSECOND
    powers_w = message.powers_w
    span_us = message.step_ms * len(powers_w) * 1000
    device_us = None if message.device_ms is None else (message.device_ms - _EPOCH_MS) * 1000
    # A first guess where the box has no clock; `telemetry.clocks` lays it in time by the box's uptime.
    started_us = device_us if device_us is not None and message.synced else received_us - span_us
    fixed = _FIXED.pack(
        *(_COLUMN_COUNT, 4, place, 8, message.boot, 8, message.seq, 2, message.channel, 8, received_us),
        *(8, message.uptime_ms, 8, message.step_ms, 1, message.synced, 1, message.buffered),
        *(8, started_us, 8, started_us + span_us),
    )
    return b"".join(
        (
            fixed,
            _text(box),
            _text(message.kind),
            _NULL if device_us is None else _EIGHT_BYTES.pack(8, device_us),
            _NULL if message.energy_wh is None else _DOUBLE.pack(8, message.energy_wh),
            _array(powers_w),
        )
    )


@lru_cache(maxsize=2**17)
def _text(text: str) -> bytes:
    raw = text.encode()
    return _TEXT.pack(len(raw)) + raw


def _array(values: tuple[float, ...]) -> bytes:
    count = len(values)
    if not count:
        return _NO_VALUES
    elements: list[float] = [4] * (2 * count)
    elements[1::2] = values
    return _array_of(count).pack(20 + 8 * count, 1, 0, _FLOAT4_OID, count, 1, *elements)


@lru_cache(maxsize=1024)
def _array_of(count: int) -> struct.Struct:
    """The length, then dimensions, nulls, type, length of the dimension, lower bound; each element after its length."""
    return struct.Struct(f"!6i{'if' * count}")

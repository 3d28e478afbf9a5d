"""The quick way to read `m`, of which nearly all messages are: types and ranges are checked in C while reading.

It takes exactly what `telemetry.messages` takes, or nothing; who is refused here is read again there, carefully, which
takes it after all or names the reason. `tests/telemetry/test_quick_reading.py` sets the two against each other.
"""

from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import (
    COUNT_MAX,
    DEVICE_MS_MAX,
    DEVICE_MS_MIN,
    ENERGY_WH_MAX,
    PAYLOAD_BYTES_MAX,
    POWER_W_MAX,
    SAMPLES_MAX,
    SPAN_MS_MAX,
    STEP_MS_MAX,
    STEP_MS_MIN,
    UPTIME_S_MAX,
    Measured,
    Topic,
    Uplink,
    parse,
    parse_topic,
)

TOPICS_KEPT = 2**17  # a nation's boxes

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Flag = Literal[0, 1]


class _Wire(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """`m` as it stands on the wire."""

    v: Literal[1]
    boot: Count
    seq: Annotated[int, Meta(ge=1, le=COUNT_MAX)]
    c: Annotated[int, Meta(ge=0, le=255)]
    up0: Annotated[float, Meta(ge=0, le=UPTIME_S_MAX)]
    dt: Annotated[int, Meta(ge=STEP_MS_MIN, le=STEP_MS_MAX)]
    p: Annotated[tuple[Annotated[float, Meta(ge=0, le=POWER_W_MAX)], ...], Meta(min_length=1, max_length=SAMPLES_MAX)]
    t0: Count | None = None
    e: Annotated[float, Meta(ge=0, le=ENERGY_WH_MAX)] | None = None
    sync: Flag = 0
    h: Flag = 0


_decode = msgspec.json.Decoder(_Wire).decode


def read(kind: str, *, payload: bytes) -> Uplink:
    """Read the payload of a topic's kind, as `telemetry.messages.parse` does. Raises MessageRefused."""
    if kind != "m" or len(payload) > PAYLOAD_BYTES_MAX:
        return parse(kind, payload=payload)
    try:
        wire = _decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return parse(kind, payload=payload)
    if wire.dt * len(wire.p) > SPAN_MS_MAX:
        return parse(kind, payload=payload)
    device_ms = wire.t0
    if device_ms is not None and not DEVICE_MS_MIN <= device_ms < DEVICE_MS_MAX:
        device_ms = None
    return Measured(
        kind="m",
        boot=wire.boot,
        seq=wire.seq,
        channel=wire.c,
        device_ms=device_ms,
        uptime_ms=round(wire.up0 * 1000),
        step_ms=wire.dt,
        powers_w=wire.p,
        energy_wh=wire.e,
        synced=wire.sync == 1,
        buffered=wire.h == 1,
    )


@lru_cache(maxsize=TOPICS_KEPT)
def topic_of(text: str) -> Topic | DeadReason:
    """Read a topic once; a refusal is given and not raised, so that it, too, is remembered."""
    try:
        return parse_topic(text)
    except MessageRefused as refused:
        return refused.reason

"""What every adapter gives, and how it reads numbers and times out of other people's JSON."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import DEVICE_MS_MAX, DEVICE_MS_MIN, ENERGY_WH_MAX, PAYLOAD_BYTES_MAX, POWER_W_MAX

WH_PER_KWH = 1000


class Flag(StrEnum):
    """What makes a single message doubtful, as far as it shows by itself."""

    CLOCK_UNSET = "clock_unset"  # the meter counts from 1970, or from when it was switched on
    POSSIBLY_CACHED = "possibly_cached"  # may be an old value that was published again
    POWER_INVALID = "power_invalid"  # the meter itself says that its power is none


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """What one message says of one channel; None is what it does not say.

    `at` is the meter's own time, and None where it has none that can be trusted: then the time of receipt counts, which
    is not before `not_before`. `energy_wh` is the lifetime counter of the channel, which moves in steps of
    `energy_step_wh`; `device_energy_wh` is that of the whole device where it has but one for several channels.
    """

    channel: int = 0
    power_w: float | None = None
    power_w_phases: tuple[float | None, ...] = ()
    voltage_v: float | None = None
    current_a: float | None = None
    energy_wh: float | None = None
    energy_step_wh: float | None = None
    device_energy_wh: float | None = None
    relay_on: bool | None = None
    by_clamp: bool = False  # measured around a wire, which no relay of the meter need cut
    online: bool | None = None
    at: datetime | None = None
    not_before: datetime | None = None
    booted_at: datetime | None = None
    flags: frozenset[Flag] = frozenset()


def parse_json(payload: bytes) -> Any:
    """Read a payload. Raises MessageRefused with too_large or not_json."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise MessageRefused(DeadReason.TOO_LARGE)
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        raise MessageRefused(DeadReason.NOT_JSON) from None


def parse_object(payload: bytes) -> dict[str, Any]:
    """Read a payload that must be an object. Raises MessageRefused."""
    content = parse_json(payload)
    if not isinstance(content, dict):
        raise MessageRefused(DeadReason.NOT_AN_OBJECT)
    return content


def parse_word(payload: bytes, *, yes: str, no: str) -> bool:
    """Read a payload that is one of two words, in any case and with or without quotes. Raises MessageRefused."""
    word = payload[:PAYLOAD_BYTES_MAX].decode(errors="replace").strip().strip('"').lower()
    if word not in (yes, no):
        raise MessageRefused(DeadReason.FIELD_WRONG)
    return word == yes


def parse_number(payload: bytes) -> float:
    """Read a payload that is a bare number. Raises MessageRefused."""
    found = number(parse_json(payload))
    if found is None:
        raise MessageRefused(DeadReason.FIELD_WRONG)
    return found


def number(value: object) -> float | None:
    """Give a finite number, or None for whatever is none: meters send null, strings and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def power(value: object) -> float | None:
    """Give a power in W; a current clamp put on the wrong way round measures the same power below 0.

    What no instrument draws is none: the server would refuse all of the message that it came in.
    """
    found = number(value)
    return None if found is None or abs(found) > POWER_W_MAX else abs(found)


def energy(value: object, factor: float = 1.0) -> float | None:
    """Give a lifetime counter in Wh, to a thousandth; what is told in another unit is multiplied by `factor`."""
    found = number(value)
    return None if found is None or not 0 <= found * factor <= ENERGY_WH_MAX else round(found * factor, 3)


def unix_time(value: object) -> datetime | None:
    """Give the moment of a count of seconds since 1970, or None where it shows a clock that was never set."""
    found = number(value)
    if found is None or not DEVICE_MS_MIN <= found * 1000 < DEVICE_MS_MAX:
        return None
    return datetime.fromtimestamp(found, UTC)


def zoned_time(value: object) -> datetime | None:
    """Give the moment of an ISO 8601 text that says its zone; without one nobody knows it."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None

"""What every adapter gives, and how it reads numbers out of other people's JSON."""

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import PAYLOAD_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """What one message says of one channel; None is what it does not say.

    `at` is the meter's own time, and None where it has none that can be trusted: then the time of receipt counts.
    """

    channel: int = 0
    power_w: float | None = None
    energy_wh: float | None = None
    relay_on: bool | None = None
    online: bool | None = None
    at: datetime | None = None


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


def number(value: object) -> float | None:
    """Give a finite number, or None for whatever is none: meters send null, strings and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def power(value: object) -> float | None:
    """Give a power in W; a current clamp put on the wrong way round measures the same power below 0."""
    found = number(value)
    return None if found is None else abs(found)


def scaled(value: object, factor: float) -> float | None:
    """Give a number in another unit, to a thousandth."""
    found = number(value)
    return None if found is None else round(found * factor, 3)

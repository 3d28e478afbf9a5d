"""How long a channel drew which power in the last week: what a person looks at before she sets a threshold."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from telemetry.readings import readings
from telemetry.states import POWER_W_FLOOR

DAYS = 7
BINS_PER_DECADE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerBin:
    """The time in which the power lay in [from_w, until_w)."""

    from_w: float
    until_w: float
    lasted_s: int


def power_histogram(session: Session, *, box: str, channel: int, at: datetime) -> list[PowerBin] | None:
    """Give the bins of a channel's power over the last week, ten to a decade, without holes; None: nothing is known."""
    lasted_ms: dict[int, int] = {}
    for reading in readings(session, box=box, channel=channel, start=at - timedelta(days=DAYS), end=at):
        for power_w in reading.powers_w:
            place = math.floor(math.log10(max(power_w, POWER_W_FLOOR)) * BINS_PER_DECADE)
            lasted_ms[place] = lasted_ms.get(place, 0) + reading.step_ms
    if not lasted_ms:
        return None
    return [
        PowerBin(
            from_w=10 ** (place / BINS_PER_DECADE),
            until_w=10 ** ((place + 1) / BINS_PER_DECADE),
            lasted_s=lasted_ms.get(place, 0) // 1000,
        )
        for place in range(min(lasted_ms) - 1, max(lasted_ms) + 2)
    ]

"""Whether the power of the last days still looks as it did when the thresholds were set, and whether it moves at all.

Pure functions over readings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from telemetry.states import POWER_W_FLOOR, Calibration, Reading

KNOWN_S_MIN = 86_400
# Whoever ran for less shows nothing of how running looks; an instrument that nobody used has not drifted.
SIDE_S_MIN = 600
SEPARATION_DECADES_MIN = 0.5
DUTY_MAX = 0.95
# In the real traces no power above 5 W stayed the same for longer than three minutes (docs/reference/alarms.md).
STUCK_W_MIN = 5.0
STUCK_KNOWN_SHARE = 0.8
ENERGY_SHARE_MIN, ENERGY_SHARE_MAX = 0.9, 1.1
MOVED_WH_MIN = 50.0
HOUR_MS = 3_600_000


class Drift(StrEnum):
    """In which way a threshold no longer separates running from not running."""

    CLOSE = "close"  # the two means are less than half a decade apart
    EDGE = "edge"  # one of the means lies within the hysteresis of the threshold
    ALWAYS_ABOVE = "always_above"  # it runs more than 95% of the time: idling now lies above the threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The powers below and above a threshold: how long, and their means as decades of watts."""

    threshold_decades: float
    below_s: float
    above_s: float
    below_decades: float | None
    above_decades: float | None

    @property
    def separation_decades(self) -> float | None:
        """By how much the two means differ; None: there is only one side."""
        if self.below_decades is None or self.above_decades is None:
            return None
        return self.above_decades - self.below_decades


def signature(readings: Sequence[Reading], *, run_threshold_w: float) -> Signature:
    """Give the two sides of a threshold in readings, by time."""
    threshold = math.log10(max(run_threshold_w, POWER_W_FLOOR))
    seconds, sums = [0.0, 0.0], [0.0, 0.0]
    for reading in readings:
        step_s = reading.step_ms / 1000
        for power_w in reading.powers_w:
            decades = math.log10(max(power_w, POWER_W_FLOOR))
            side = decades > threshold
            seconds[side] += step_s
            sums[side] += decades * step_s
    means = [total / length if length else None for total, length in zip(sums, seconds, strict=True)]
    return Signature(
        threshold_decades=threshold,
        below_s=seconds[0],
        above_s=seconds[1],
        below_decades=means[0],
        above_decades=means[1],
    )


def drift(found: Signature, *, calibration: Calibration) -> Drift | None:
    """Say how the threshold has ceased to separate, or None: it does, or too little is known to say so."""
    known_s = found.below_s + found.above_s
    if known_s < KNOWN_S_MIN or found.above_s < SIDE_S_MIN:
        return None
    if found.above_s > DUTY_MAX * known_s:
        return Drift.ALWAYS_ABOVE
    separation, below, above = found.separation_decades, found.below_decades, found.above_decades
    if separation is None or below is None or above is None or found.below_s < SIDE_S_MIN:
        return None
    if separation < SEPARATION_DECADES_MIN:
        return Drift.CLOSE
    margin = min(found.threshold_decades - below, above - found.threshold_decades)
    return Drift.EDGE if margin < calibration.hysteresis_decades else None


def stuck_at_w(readings: Sequence[Reading], *, window_ms: int) -> float | None:
    """Give the power at which a meter hangs, by readings of a window of some hours; None: it does not.

    A power that never changes is doubted unless the energy counter confirms it; a power of 0 only if the counter
    counts on beside it, for an instrument may be switched off for months.
    """
    known_ms = sum(reading.end_ms - reading.start_ms for reading in readings)
    if not readings or known_ms < STUCK_KNOWN_SHARE * window_ms:
        return None
    power_w = readings[0].powers_w[0]
    if any(value != power_w for reading in readings for value in reading.powers_w):
        return None
    counted = [(reading.end_ms, reading.energy_wh) for reading in readings if reading.energy_wh is not None]
    # The counter stands as it was after a reading's last sample.
    moved_wh = counted[-1][1] - counted[0][1] if len(counted) > 1 else None
    if power_w == 0:
        return power_w if moved_wh is not None and moved_wh >= MOVED_WH_MIN else None
    if power_w < STUCK_W_MIN:
        return None
    expected_wh = power_w * (counted[-1][0] - counted[0][0]) / HOUR_MS if counted else 0.0
    confirmed = moved_wh is not None and (ENERGY_SHARE_MIN * expected_wh <= moved_wh <= ENERGY_SHARE_MAX * expected_wh)
    return None if confirmed else power_w

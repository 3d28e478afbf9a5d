"""Finds the thresholds of an instrument from some days of its power alone, or says why it cannot.

Otsu's threshold, the one that parts two classes best, on the logarithm of power: on the power itself heating would
hide tumbling, and a washing machine lose 94% of its hours. Source of every rule: `docs/explanation/telemetry.md`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from statistics import fmean, pstdev

from telemetry.states import POWER_W_FLOOR, Calibration, Dated, Reading, State, Stretch, stretches

BINS_PER_DECADE = 50
DECADES_MIN = math.log10(POWER_W_FLOOR)
KNOWN_S_MIN = 86_400
SEPARATION_DECADES_MIN = 0.5
DUTY_MAX = 0.95
# A fridge or a heater: many short cycles a day, all alike, by night as by day. People do none of the three.
CYCLES_A_DAY_MIN = 10
CYCLE_VARIATION_MAX = 0.6
NIGHT_HOURS = range(6)
NIGHT_SHARE = (0.15, 0.40)
# Below this idle power there is no standby to speak of.
IDLE_W_MAX = 3.0


class RefusalReason(StrEnum):
    """Why power alone does not tell when an instrument is in use."""

    INSUFFICIENT = "insufficient"  # less than a day is known
    NOT_SEPARABLE = "not_separable"  # running and not running differ by less than half a decade
    CYCLIC = "cyclic"  # it switches itself, like a fridge: such runs are no use
    ALWAYS_ON = "always_on"  # it runs more than 95% of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRefusal:
    """No thresholds, and why, with the figures that a person needs to judge it."""

    reason: RefusalReason
    known_s: int
    separation_decades: float | None = None
    duty: float | None = None
    runs_a_day: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """Two classes of a histogram and where they part, in decades."""

    threshold: float
    low_mean: float
    high_mean: float

    @property
    def separation(self) -> float:
        return self.high_mean - self.low_mean


def calibrate(samples: Iterable[Reading], *, zone_offset_s: int = 0) -> Calibration | CalibrationRefusal:
    """Give thresholds from readings in time order, at best 7 to 30 days of them; no labels are needed.

    `zone_offset_s` is the site's offset from UTC: whether something also happens at night is a question of local time.
    """
    readings = list(samples)
    histogram = _histogram(readings)
    known_s = sum(histogram.values()) // 1000
    if known_s < KNOWN_S_MIN:
        return CalibrationRefusal(reason=RefusalReason.INSUFFICIENT, known_s=known_s)
    split = _otsu(histogram)
    if split is None or split.separation < SEPARATION_DECADES_MIN:
        separation = None if split is None else round(split.separation, 2)
        return CalibrationRefusal(reason=RefusalReason.NOT_SEPARABLE, known_s=known_s, separation_decades=separation)
    found = Calibration(
        run_threshold_w=round(10**split.threshold, 2),
        standby_threshold_w=_standby_threshold_w(histogram, split),
        method="otsu",
    )
    return _objection(readings, found, known_s=known_s, split=split, zone_offset_s=zone_offset_s) or found


def _histogram(readings: Iterable[Reading]) -> dict[int, int]:
    """Count milliseconds by logarithm of power."""
    histogram: dict[int, int] = {}
    for reading in readings:
        for power_w in reading.powers_w:
            place = int((math.log10(max(power_w, POWER_W_FLOOR)) - DECADES_MIN) * BINS_PER_DECADE)
            histogram[place] = histogram.get(place, 0) + reading.step_ms
    return histogram


def _middle(place: int) -> float:
    return DECADES_MIN + (place + 0.5) / BINS_PER_DECADE


def _otsu(histogram: dict[int, int]) -> _Split | None:
    """Part a histogram where the variance between the classes is greatest; None if there are no two classes.

    Between two far classes every threshold is equally good; the middle of them leaves most room on both sides.
    """
    places = sorted(histogram)
    total = sum(histogram.values())
    total_sum = sum(_middle(place) * histogram[place] for place in places)
    best: tuple[float, _Split] | None = None
    weight, weighted = 0, 0.0
    for place, following in pairwise(places):
        weight += histogram[place]
        weighted += _middle(place) * histogram[place]
        low, high = weighted / weight, (total_sum - weighted) / (total - weight)
        variance = weight * (total - weight) * (high - low) ** 2
        if best is None or variance > best[0]:
            threshold = (_middle(place) + _middle(following)) / 2
            best = variance, _Split(threshold=threshold, low_mean=low, high_mean=high)
    return None if best is None else best[1]


def _standby_threshold_w(histogram: dict[int, int], split: _Split) -> float | None:
    """Part off from standby within what does not run."""
    idle = {place: count for place, count in histogram.items() if _middle(place) < split.threshold}
    lower = _otsu(idle)
    if lower is not None and lower.separation >= SEPARATION_DECADES_MIN:
        return round(10**lower.threshold, 2)
    idle_w = 10**split.low_mean
    # Idle at a steady 20 W is standby; half a decade below it the plug must have been pulled.
    return None if idle_w < IDLE_W_MAX else round(idle_w / 10**SEPARATION_DECADES_MIN, 2)


def _objection(
    readings: Sequence[Reading], found: Calibration, *, known_s: int, split: _Split, zone_offset_s: int
) -> CalibrationRefusal | None:
    """Look at what the thresholds would make of the days they come from."""
    refusal = CalibrationRefusal(
        reason=RefusalReason.ALWAYS_ON, known_s=known_s, separation_decades=round(split.separation, 2)
    )
    dated = [Dated(valid_from_ms=-(2**62), version=1, calibration=replace(found, bridge_s=0, run_s_min=0))]
    parts = stretches(readings, calibrations=dated)
    running = [part for part in parts if part.state is State.RUNNING]
    duty = sum(part.end_ms - part.start_ms for part in running) / 1000 / known_s
    cycles_a_day = len(running) / known_s * 86_400
    refusal = replace(refusal, duty=round(duty, 3), runs_a_day=round(cycles_a_day, 1))
    if duty > DUTY_MAX:
        return refusal
    return replace(refusal, reason=RefusalReason.CYCLIC) if _is_cyclic(running, cycles_a_day, zone_offset_s) else None


def _is_cyclic(running: Sequence[Stretch], cycles_a_day: float, zone_offset_s: int) -> bool:
    """Say whether the runs come by themselves: many a day, at regular intervals, at night as much as by day."""
    if cycles_a_day <= CYCLES_A_DAY_MIN or len(running) <= CYCLES_A_DAY_MIN:
        return False
    periods_ms = [after.start_ms - before.start_ms for before, after in pairwise(running)]
    variation = pstdev(periods_ms) / fmean(periods_ms)
    hours = [(part.start_ms // 1000 + zone_offset_s) // 3600 % 24 for part in running]
    night_share = sum(hour in NIGHT_HOURS for hour in hours) / len(hours)
    return variation < CYCLE_VARIATION_MAX and NIGHT_SHARE[0] <= night_share <= NIGHT_SHARE[1]

"""Finds the thresholds of an instrument from some days of its power alone, or says why it cannot.

Otsu's threshold, the one that parts two classes best, on the logarithm of power: on the power itself heating would
hide tumbling, and a washing machine lose 94% of its hours. Where an instrument has more than two levels, the steps
between them are found in the same way, and `telemetry.levels` says which of them is the step to running.
Source of every rule: `docs/explanation/telemetry.md`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median, quantiles

from telemetry.levels import SEPARATION_DECADES_MIN, Split, chosen_step, histogram_of, otsu, samples_of, steps_of
from telemetry.sessions import uses
from telemetry.states import Calibration, Dated, Reading, State, Stretch, stretches

KNOWN_S_MIN = 86_400
# Whoever was seen to run for less than this has not been seen at work.
RAN_S_MIN = 600
DUTY_MAX = 0.95
# A fridge or a heater: many short cycles a day, all alike, by night as by day. People do none of the three.
CYCLES_A_DAY_MIN = 10
CYCLE_VARIATION_MAX = 1.25
BLOCK_MS = 6 * 3_600_000
BLOCK_KNOWN_MS_MIN = 4 * 3_600_000
BLOCKS_WITH_CYCLES_MIN = 0.9
# Below this idle power there is no standby to speak of.
IDLE_W_MAX = 3.0


class RefusalReason(StrEnum):
    """Why power alone does not tell when an instrument is in use."""

    INSUFFICIENT = "insufficient"  # less than a day is known, or it ran for less than ten minutes
    NOT_SEPARABLE = "not_separable"  # running and not running differ by less than half a decade, or only flicker
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


def calibrate(samples: Iterable[Reading]) -> Calibration | CalibrationRefusal:
    """Give thresholds from readings in time order, at best 7 to 30 days of them; no labels are needed."""
    readings = list(samples)
    measured = samples_of(readings)
    histogram = histogram_of(measured)
    known_s = sum(histogram.values()) // 1000
    best = otsu(histogram)
    refusal = CalibrationRefusal(
        reason=RefusalReason.INSUFFICIENT,
        known_s=known_s,
        separation_decades=None if best is None else round(best.separation, 2),
    )
    if known_s < KNOWN_S_MIN:
        return refusal
    steps = steps_of(histogram)
    if best is None or not steps:
        return replace(refusal, reason=RefusalReason.NOT_SEPARABLE)
    chosen = chosen_step(measured, histogram=histogram, steps=steps)
    if chosen is None:
        # Nothing lasts. A heater that pulses in a fixed beat is told apart from mere flicker.
        highest = Calibration(run_threshold_w=round(10 ** steps[-1].threshold, 2))
        objection = _objection(readings, highest, refusal=refusal)
        is_cyclic = objection is not None and objection.reason is RefusalReason.CYCLIC
        return objection if objection and is_cyclic else replace(refusal, reason=RefusalReason.NOT_SEPARABLE)
    found = Calibration(
        run_threshold_w=round(10**chosen.threshold, 2),
        standby_threshold_w=_standby_threshold_w(histogram, chosen),
        method="otsu",
    )
    refusal = replace(refusal, separation_decades=round(chosen.separation, 2))
    return _objection(readings, found, refusal=refusal) or found


def _standby_threshold_w(histogram: dict[int, int], chosen: Split) -> float | None:
    """Part off from standby within what does not run."""
    idle = {place: count for place, count in histogram.items() if place < chosen.place}
    lower = otsu(idle)
    if lower is not None and lower.separation >= SEPARATION_DECADES_MIN:
        return round(10**lower.threshold, 2)
    idle_w = 10**chosen.low_mean
    # Idle at a steady 20 W is standby; half a decade below it the plug must have been pulled.
    return None if idle_w < IDLE_W_MAX else round(idle_w / 10**SEPARATION_DECADES_MIN, 2)


def _objection(
    readings: Sequence[Reading], found: Calibration, *, refusal: CalibrationRefusal
) -> CalibrationRefusal | None:
    """Look at what the thresholds would make of the days they come from."""
    dated = [Dated(valid_from_ms=-(2**62), version=1, calibration=found)]
    parts = stretches(readings, calibrations=dated)
    running = [part for part in parts if part.state is State.RUNNING]
    ran_s = sum(part.end_ms - part.start_ms for part in running) / 1000
    cycles_a_day = len(running) / refusal.known_s * 86_400
    refusal = replace(refusal, duty=round(ran_s / refusal.known_s, 3), runs_a_day=round(cycles_a_day, 1))
    if ran_s > DUTY_MAX * refusal.known_s:
        return replace(refusal, reason=RefusalReason.ALWAYS_ON)
    if cycles_a_day > CYCLES_A_DAY_MIN and _is_regular(parts) and _goes_on_day_and_night(parts):
        return replace(refusal, reason=RefusalReason.CYCLIC)
    if ran_s < RAN_S_MIN:
        return replace(refusal, reason=RefusalReason.INSUFFICIENT)
    if sum(use.running_s for use in uses(parts, calibrations=dated)) > DUTY_MAX * refusal.known_s:
        # Its pauses are so short that all its runs are one.
        return replace(refusal, reason=RefusalReason.ALWAYS_ON)
    return None


def _is_regular(parts: Sequence[Stretch]) -> bool:
    """Say whether the runs follow each other at like intervals, by the middle four fifths; silences do not count."""
    periods_ms: list[int] = []
    began_ms: int | None = None
    for part in parts:
        if part.state is State.UNKNOWN:
            began_ms = None
        elif part.state is State.RUNNING:
            if began_ms is not None:
                periods_ms.append(part.start_ms - began_ms)
            began_ms = part.start_ms
    if len(periods_ms) < CYCLES_A_DAY_MIN:
        return False
    deciles = quantiles(periods_ms, n=10)
    return (deciles[-1] - deciles[0]) / median(periods_ms) < CYCLE_VARIATION_MAX


def _goes_on_day_and_night(parts: Sequence[Stretch]) -> bool:
    """Say whether nearly every known quarter of every day has a run: people sleep, and have weekends.

    It asks for no hour of the day, so it needs neither a zone nor a box that was heard all night.
    """
    known_ms: dict[int, int] = {}
    busy: set[int] = set()
    for part in parts:
        for block in range(part.start_ms // BLOCK_MS, (part.end_ms - 1) // BLOCK_MS + 1):
            if part.state is not State.UNKNOWN:
                within_ms = min(part.end_ms, (block + 1) * BLOCK_MS) - max(part.start_ms, block * BLOCK_MS)
                known_ms[block] = known_ms.get(block, 0) + within_ms
            if part.state is State.RUNNING:
                busy.add(block)
    known = [block for block, length_ms in known_ms.items() if length_ms >= BLOCK_KNOWN_MS_MIN]
    return bool(known) and sum(block in busy for block in known) >= BLOCKS_WITH_CYCLES_MIN * len(known)

"""The levels of power at which a machine dwells, and which step between them is the one to running.

Pure functions over a histogram of log10(power); used by `telemetry.calibration`, which tells the rules.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from telemetry.states import HYSTERESIS_DECADES, POWER_W_FLOOR, Reading, means

BINS_PER_DECADE = 50
DECADES_MIN = math.log10(POWER_W_FLOOR)
SEPARATION_DECADES_MIN = 0.5
# Meters one can buy round to 1 or 2 W: a step to less than this may be nothing but rounding.
RUN_W_MIN = 2.5
# Between two levels hardly anything is measured; between two halves of one broad level, as much as in them.
VALLEY_MAX = 0.5
SMOOTH_BINS = 5
DEPTH_MAX = 4
# A step is one if at least half of the time on each side of it is spent without crossing it for a minute.
DWELL_MS = 60_000
DWELL_SHARE_MIN = 0.5
SILENCE_MS = 60_000
# Standby is a steady power that lasts. Work that is steady for as long would be taken for it; so where the instrument
# was never seen to be off, and the lowest level is standby already, it must last longer.
STEADY_DECADES_MAX = 0.2
STEADY_W_MAX = 5.0  # of a small power, what rounding and noise of the meter may spread
STANDBY_MS_MIN = 900_000
SECOND_STANDBY_MS_MIN = 3_600_000
OFF_W_MAX = 3.0

Sample = tuple[int, int, float]
Histogram = dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two classes of a histogram and where they part, in decades; `place` is the first bin of the upper class."""

    place: int
    threshold: float
    low_mean: float
    high_mean: float

    @property
    def separation(self) -> float:
        """By how many decades the means of the two classes differ."""
        return self.high_mean - self.low_mean


def samples_of(readings: Iterable[Reading]) -> list[Sample]:
    """Give (start, end, log10 of power) of means over at least 10 s; what was sent twice counts once."""
    found: list[Sample] = []
    until_ms: int | None = None
    for reading in readings:
        for start_ms, end_ms, power_w in means(reading, from_ms=until_ms):
            found.append((start_ms, end_ms, math.log10(max(power_w, POWER_W_FLOOR))))
        until_ms = reading.end_ms if until_ms is None else max(until_ms, reading.end_ms)
    return found


def histogram_of(samples: Iterable[Sample]) -> Histogram:
    """Count milliseconds by logarithm of power."""
    histogram: Histogram = {}
    for start_ms, end_ms, decades in samples:
        place = int((decades - DECADES_MIN) * BINS_PER_DECADE)
        histogram[place] = histogram.get(place, 0) + end_ms - start_ms
    return histogram


def otsu(histogram: Histogram) -> Split | None:
    """Part a histogram where the variance between the classes is greatest; None if there are no two classes.

    Between two far classes every threshold is equally good; the middle of them leaves most room on both sides.
    """
    places = sorted(histogram)
    total = sum(histogram.values())
    total_sum = sum(_middle(place) * histogram[place] for place in places)
    best: tuple[float, Split] | None = None
    weight, weighted = 0, 0.0
    for place, following in pairwise(places):
        weight += histogram[place]
        weighted += _middle(place) * histogram[place]
        low, high = weighted / weight, (total_sum - weighted) / (total - weight)
        variance = weight * (total - weight) * (high - low) ** 2
        if best is None or variance > best[0]:
            threshold = (_middle(place) + _middle(following)) / 2
            best = variance, Split(place=following, threshold=threshold, low_mean=low, high_mean=high)
    return None if best is None else best[1]


def steps_of(histogram: Histogram, *, depth: int = DEPTH_MAX) -> list[Split]:
    """Give every step between two levels, from low to high: half a decade apart, with hardly anything in between.

    The parts of the best split are split again, for of three levels the best split may be the lower or the upper one.
    """
    split = otsu(histogram)
    if split is None or depth == 0:
        return []
    low = {place: count for place, count in histogram.items() if place < split.place}
    high = {place: count for place, count in histogram.items() if place >= split.place}
    is_step = split.separation >= SEPARATION_DECADES_MIN and 10**split.high_mean >= RUN_W_MIN
    own = [split] if is_step and _has_valley(histogram, split) else []
    return [*steps_of(low, depth=depth - 1), *own, *steps_of(high, depth=depth - 1)]


def chosen_step(samples: Sequence[Sample], *, histogram: Histogram, steps: Sequence[Split]) -> Split | None:
    """Give the step to running, or None where power flickers over every step and dwells nowhere.

    It is the step that Otsu would choose among them, unless the level above it is steady and lasts: then that is
    standby, and running lies above; or unless the level below it is unsteady, as only work is: then running begins
    below.
    """
    lasting = [step for step in steps if _lasts(samples, step)]
    if not lasting:
        return None
    chosen = max(range(len(lasting)), key=lambda index: _variance(histogram, lasting[index]))
    is_off_known = 10 ** lasting[0].low_mean < OFF_W_MAX
    standby_ms_min = STANDBY_MS_MIN if is_off_known else SECOND_STANDBY_MS_MIN
    first = chosen
    while chosen + 1 < len(lasting) and _is_standby(
        samples, histogram, low=lasting[chosen], high=lasting[chosen + 1], standby_ms_min=standby_ms_min
    ):
        chosen += 1
    while chosen == first and chosen and not _is_steady(histogram, low=lasting[chosen - 1], high=lasting[chosen]):
        first = chosen = chosen - 1
    return lasting[chosen]


def _middle(place: int) -> float:
    return DECADES_MIN + (place + 0.5) / BINS_PER_DECADE


def _has_valley(histogram: Histogram, split: Split) -> bool:
    """Say whether a smoothed histogram is much lower somewhere between the two classes than in each of them."""
    first, last = min(histogram), max(histogram)
    smooth = {
        place: sum(histogram.get(near, 0) for near in range(place - SMOOTH_BINS, place + SMOOTH_BINS + 1))
        for place in range(first, last + 1)
    }
    low_place, high_place = (
        round((mean - DECADES_MIN) * BINS_PER_DECADE) for mean in (split.low_mean, split.high_mean)
    )
    valley = min(smooth[place] for place in range(max(low_place, first), min(high_place, last) + 1))
    low_peak = max(count for place, count in smooth.items() if place < split.place)
    high_peak = max(count for place, count in smooth.items() if place >= split.place)
    return valley < VALLEY_MAX * min(low_peak, high_peak)


def _variance(histogram: Histogram, split: Split) -> float:
    """Give the variance between the classes that a threshold makes of the whole, on a scale of its own."""
    low = [(_middle(place), count) for place, count in histogram.items() if place < split.place]
    high = [(_middle(place), count) for place, count in histogram.items() if place >= split.place]
    low_weight, high_weight = sum(count for _, count in low), sum(count for _, count in high)
    low_mean = sum(middle * count for middle, count in low) / low_weight
    high_mean = sum(middle * count for middle, count in high) / high_weight
    return low_weight * high_weight * (high_mean - low_mean) ** 2


def _lasts(samples: Sequence[Sample], step: Split) -> bool:
    lengths_ms: tuple[list[int], list[int]] = [], []
    for level, length_ms in _dwells(samples, [step.threshold]):
        lengths_ms[level].append(length_ms)
    return all(
        sum(length for length in lengths if length >= DWELL_MS) >= DWELL_SHARE_MIN * sum(lengths)
        for lengths in lengths_ms
    )


def _is_steady(histogram: Histogram, *, low: Split, high: Split) -> bool:
    """Say whether the middle four fifths of a level lie within a fifth of a decade, or within a few watts."""
    level = sorted((place, count) for place, count in histogram.items() if low.place <= place < high.place)
    total = sum(count for _, count in level)
    ends: list[int] = []
    for share in (0.1, 0.9):
        seen = 0
        for place, count in level:
            seen += count
            if seen >= share * total:
                ends.append(place)
                break
    is_narrow = ends[1] - ends[0] <= STEADY_DECADES_MAX * BINS_PER_DECADE
    return is_narrow or 10 ** _middle(ends[1]) - 10 ** _middle(ends[0]) <= STEADY_W_MAX


def _is_standby(
    samples: Sequence[Sample], histogram: Histogram, *, low: Split, high: Split, standby_ms_min: int
) -> bool:
    if not _is_steady(histogram, low=low, high=high):
        return False
    lengths_ms = [length for level, length in _dwells(samples, [low.threshold, high.threshold]) if level == 1]
    return sum(length for length in lengths_ms if length >= standby_ms_min) * 2 >= sum(lengths_ms) > 0


def _dwells(samples: Sequence[Sample], thresholds: Sequence[float]) -> list[tuple[int, int]]:
    """Give (level, ms) of every stay between two crossings; level 0 lies below the first threshold."""
    found: list[tuple[int, int]] = []
    level, began_ms, ended_ms = -1, 0, 0
    lowest = highest = 0.0
    for start_ms, end_ms, decades in samples:
        if level < 0 or not lowest <= decades <= highest or start_ms > ended_ms + SILENCE_MS:
            if level >= 0:
                found.append((level, ended_ms - began_ms))
            level, began_ms = bisect(thresholds, decades), start_ms
            lowest = thresholds[level - 1] - HYSTERESIS_DECADES if level else -math.inf
            highest = thresholds[level] + HYSTERESIS_DECADES if level < len(thresholds) else math.inf
        ended_ms = end_ms
    return [*found, (level, ended_ms - began_ms)] if level >= 0 else found

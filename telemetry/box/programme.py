"""Real power traces as something that a simulated box measures: cut to slices and played over and over on any clock.

Contains information from the tracebase data set, which is made available at http://www.tracebase.org under the Open
Database License (ODbL); see `traces/manifest.json`.
"""

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

from telemetry.states import MEAN_MS_MIN, Reading

FOLDER = Path(__file__).parent / "traces"
BIN_S = MEAN_MS_MIN // 1000

Slice = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Mean powers on a grid of 10 s, where the meter gave any. Times are whole seconds since 1970."""

    starts_s: Sequence[int]
    powers_w: Sequence[float]

    def power_w(self, at_s: float) -> float:
        """Give the mean power at a moment; in a gap of the trace, the last before it."""
        index = bisect_right(self.starts_s, at_s) - 1
        return self.powers_w[max(index, 0)]

    def energy_wh(self, start_s: float, end_s: float) -> float:
        """Give the energy between two moments."""
        return (self._watt_seconds(end_s) - self._watt_seconds(start_s)) / 3600

    def _watt_seconds(self, at_s: float) -> float:
        index = max(bisect_right(self.starts_s, at_s) - 1, 0)
        return self._sums[index] + self.powers_w[index] * (at_s - self.starts_s[index])

    @cached_property
    def _sums(self) -> list[float]:
        """The watt-seconds before each step; in a gap of the trace the last power goes on."""
        steps = (
            (after_s - before_s) * power_w
            for (before_s, after_s), power_w in zip(pairwise(self.starts_s), self.powers_w, strict=False)
        )
        return list(accumulate(steps, initial=0.0))

    def readings(self) -> Iterator[Reading]:
        """Give the trace as a box would have sent it: unbroken readings, gaps between them."""
        first = 0
        for index in range(1, len(self.starts_s) + 1):
            if index == len(self.starts_s) or self.starts_s[index] - self.starts_s[index - 1] != BIN_S:
                yield Reading(
                    start_ms=self.starts_s[first] * 1000, step_ms=MEAN_MS_MIN, powers_w=self.powers_w[first:index]
                )
                first = index


@lru_cache(maxsize=8)
def load(name: str, *, folder: Path = FOLDER) -> Trace:
    """Read a trace. Raises FileNotFoundError."""
    sums: dict[int, list[float]] = {}
    with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            at_s, _, power_w = line.partition(",")
            start_s = int(at_s) // BIN_S * BIN_S
            mean = sums.setdefault(start_s, [0.0, 0.0])
            mean[0] += float(power_w)
            mean[1] += 1
    starts_s = sorted(sums)
    return Trace(
        starts_s=starts_s,
        powers_w=[round(sums[start_s][0] / sums[start_s][1], 1) for start_s in starts_s],
    )


@lru_cache(maxsize=8)
def reference_runs(name: str) -> tuple[Slice, ...]:
    """Give the runs that a person marked in a trace. Raises FileNotFoundError."""
    runs = json.loads((FOLDER / f"{name}.runs.json").read_text(encoding="ascii"))["runs"]
    return tuple((start_s, end_s) for start_s, end_s in runs)


def run_slices(trace: str, *, margin_s: int) -> tuple[Slice, ...]:
    """Cut a trace to its reference runs with `margin_s` of what was before and after; neighbours that touch are one."""
    slices: list[Slice] = []
    for start_s, end_s in reference_runs(trace):
        if slices and start_s - margin_s <= slices[-1][1]:
            slices[-1] = (slices[-1][0], end_s + margin_s)
        else:
            slices.append((start_s - margin_s, end_s + margin_s))
    return tuple(slices)


@dataclass(frozen=True)
class Programme:
    """A loop of slices of a real trace that begins at `starts_at`; before it the instrument is off."""

    trace: str
    slices: tuple[Slice, ...]
    starts_at: datetime

    @cached_property
    def _ends_s(self) -> list[int]:
        return list(accumulate(end_s - start_s for start_s, end_s in self.slices))

    @property
    def cycle(self) -> timedelta:
        """How long one round takes."""
        return timedelta(seconds=self._ends_s[-1])

    @property
    def rollover_wh(self) -> None:
        """Its counter never goes round."""

    def mean_w(self, *, start: datetime, start_up_s: float, seconds: float) -> float:  # noqa: ARG002 - needs no uptime
        """Give the mean power over `seconds`."""
        steps = max(round(seconds / BIN_S), 1)
        return sum(self.power_w(start + timedelta(seconds=step * BIN_S)) for step in range(steps)) / steps

    def energy_wh(self, *, at: datetime, up_s: float) -> float:  # noqa: ARG002 - needs no uptime
        """Give what a meter would have counted since the programme began, whether or not a box was there to ask it."""
        if at < self.starts_at:
            return 0.0
        rounds, rest = divmod(at - self.starts_at, self.cycle)
        played_s = rest.total_seconds()
        index = bisect_right(self._ends_s, played_s)
        until_s = self.slices[index][1] - (self._ends_s[index] - played_s)
        counted_wh = self._counted_wh[index] + load(self.trace).energy_wh(self.slices[index][0], until_s)
        return round(rounds * self._counted_wh[-1] + counted_wh, 3)

    @cached_property
    def _counted_wh(self) -> list[float]:
        """What has been counted before each slice, and at the end of the last."""
        return list(accumulate((load(self.trace).energy_wh(*each) for each in self.slices), initial=0.0))

    def power_w(self, at: datetime) -> float:
        """Give the mean power over the 10 s of the trace that are played at this moment."""
        if at < self.starts_at:
            return 0.0
        played_s = ((at - self.starts_at) % self.cycle).total_seconds()
        index = bisect_right(self._ends_s, played_s)
        left_s = self._ends_s[index] - played_s
        return load(self.trace).power_w(self.slices[index][1] - left_s)

    def runs(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Give the reference runs that touch [start, end), on the clock of the programme, in order."""
        found: list[tuple[datetime, datetime]] = []
        first_round = max((start - self.starts_at) // self.cycle, 0)
        round_at = self.starts_at + first_round * self.cycle
        while round_at < end:
            found += [(a, b) for a, b in self._runs_of_round(round_at) if a < end and b > start]
            round_at += self.cycle
        return found

    def _runs_of_round(self, round_at: datetime) -> Iterator[tuple[datetime, datetime]]:
        for (start_s, end_s), played_until_s in zip(self.slices, self._ends_s, strict=True):
            shift_s = played_until_s - end_s
            for run_start_s, run_end_s in reference_runs(self.trace):
                if run_start_s < end_s and run_end_s > start_s:
                    yield (
                        round_at + timedelta(seconds=max(run_start_s, start_s) + shift_s),
                        round_at + timedelta(seconds=min(run_end_s, end_s) + shift_s),
                    )

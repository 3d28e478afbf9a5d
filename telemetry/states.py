"""From power to states: what an instrument was doing, stretch by stretch, and where nobody knows.

Pure functions over milliseconds and watts. Source of the rules: `docs/explanation/telemetry.md`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

MEAN_MS_MIN = 10_000  # shorter steps are averaged: motors and heaters chatter below that
HYSTERESIS_DECADES = 0.15
POWER_W_FLOOR = 0.5  # below it meters read noise, and the logarithm runs away
MS_PER_HOUR = 3_600_000
# So long may power lie between off and standby before where it came from is forgotten; else an idle that happens to lie
# there for weeks would never be a rest, and every change would have to be computed from the beginning of time.
MEMORY_MS = 900_000


class State(StrEnum):
    """What an instrument does. A box that is silent says nothing: that is unknown, not off."""

    OFF = "off"
    STANDBY = "standby"
    RUNNING = "running"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The thresholds and times by which power becomes states and states become sessions."""

    run_threshold_w: float
    standby_threshold_w: float | None = None  # None: whatever does not run is off
    method: str = "hand"
    hysteresis_decades: float = HYSTERESIS_DECADES
    bridge_s: int = 300  # shorter dips belong to the run
    run_s_min: int = 60  # shorter runs are none
    gap_s: int = 900  # a longer silence cuts a session


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A calibration and the moment from which it holds."""

    valid_from_ms: int
    version: int
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Consecutive mean powers of equal length, as one message brought them."""

    start_ms: int
    step_ms: int
    powers_w: Sequence[float]
    energy_wh: float | None = None  # the meter's lifetime counter at the end
    clock_doubtful: bool = False

    @property
    def end_ms(self) -> int:
        """The end of the last sample."""
        return self.start_ms + self.step_ms * len(self.powers_w)


@dataclass(slots=True, kw_only=True)
class Stretch:
    """A time in one state. `certain_from_ms`: from here on its state does not depend on anything before the stretch."""

    start_ms: int
    end_ms: int
    state: State
    version: int = 0
    energy_wh: float = 0.0
    power_w_max: float = 0.0
    inferred: bool = False
    clock_doubtful: bool = False
    certain_from_ms: int | None = None


class _Thresholds:
    """The four powers at which the state changes, for one calibration."""

    def __init__(self, calibration: Calibration) -> None:
        factor = 10.0**calibration.hysteresis_decades
        run = calibration.run_threshold_w
        standby = calibration.standby_threshold_w
        self.run, self.run_above, self.run_below = run, run * factor, run / factor
        self.has_standby = standby is not None
        self.on = standby or 0.0
        self.on_above, self.on_below = self.on * factor, self.on / factor

    def next(self, power_w: float, *, before: State) -> tuple[State, bool]:
        """Give the state after one sample, and whether it would be the same after any other state."""
        if power_w > self.run_above:
            return State.RUNNING, True
        if power_w >= self.run_below:
            if before is State.RUNNING or (before is State.UNKNOWN and power_w > self.run):
                return State.RUNNING, False
            return (State.STANDBY if self.has_standby else State.OFF), False
        return self._not_running(power_w, before=before)

    def _not_running(self, power_w: float, *, before: State) -> tuple[State, bool]:
        if not self.has_standby:
            return State.OFF, True
        if power_w > self.on_above:
            return State.STANDBY, True
        if power_w < self.on_below:
            return State.OFF, True
        # Between off and standby.
        was_on = before in (State.STANDBY, State.RUNNING) or (before is State.UNKNOWN and power_w > self.on)
        return (State.STANDBY if was_on else State.OFF), False


def stretches(readings: Iterable[Reading], *, calibrations: Sequence[Dated]) -> list[Stretch]:
    """Give the states of a channel, gapless from the first to the last reading.

    Readings must be sorted by start; where two overlap, the earlier one counts. Without a calibration the state is
    unknown. A gap is unknown, unless the energy counter has both ends and agrees with what was on either side.
    """
    walk = _Walk(calibrations)
    for reading in readings:
        walk.take(reading)
    return walk.stretches


class _Walk:
    """One pass over readings in time order."""

    def __init__(self, calibrations: Sequence[Dated]) -> None:
        self.stretches: list[Stretch] = []
        self._dated = sorted(calibrations, key=lambda dated: (dated.valid_from_ms, dated.version))
        self._thresholds = [_Thresholds(dated.calibration) for dated in self._dated]
        self._in_force = -1
        self._state = State.UNKNOWN
        self._between_ms = 0  # how long power has lain between off and standby
        self._at_ms: int | None = None
        self._energy_wh: float | None = None

    def take(self, reading: Reading) -> None:
        while self._in_force + 1 < len(self._dated) and (
            self._dated[self._in_force + 1].valid_from_ms <= reading.start_ms
        ):
            self._in_force += 1
        samples = list(means(reading, from_ms=self._at_ms))
        if not samples:
            return
        if self._at_ms is not None and samples[0][0] > self._at_ms:
            self._bridge(reading, until_ms=samples[0][0], power_w_after=samples[0][2])
        if self._in_force < 0:
            self._extend(State.UNKNOWN, reading.start_ms if self._at_ms is None else self._at_ms, reading.end_ms)
            self._state, self._between_ms = State.UNKNOWN, 0
        else:
            self._sample(samples, doubtful=reading.clock_doubtful)
        self._at_ms = reading.end_ms
        self._energy_wh = reading.energy_wh

    def _sample(self, samples: list[tuple[int, int, float]], *, doubtful: bool) -> None:
        """The inner loop of the whole product's telemetry: local names, hardly any calls."""
        thresholds, state = self._thresholds[self._in_force], self._state
        version = self._dated[self._in_force].version
        current = self.stretches[-1] if self.stretches else None
        for start_ms, end_ms, power_w in samples:
            watts = max(power_w, POWER_W_FLOOR)
            state, certain = thresholds.next(watts, before=state)
            if certain or watts >= thresholds.run_below:
                self._between_ms = 0
            else:
                self._between_ms += end_ms - start_ms
                if self._between_ms > MEMORY_MS:
                    state, certain = (State.STANDBY if watts > thresholds.on else State.OFF), True
            if current is None or current.state is not state or current.version != version or current.inferred:
                current = Stretch(start_ms=start_ms, end_ms=end_ms, state=state, version=version)
                self.stretches.append(current)
            current.end_ms = end_ms
            current.energy_wh += power_w * (end_ms - start_ms) / MS_PER_HOUR
            current.power_w_max = max(current.power_w_max, power_w)
            current.clock_doubtful |= doubtful
            if certain and current.certain_from_ms is None:
                current.certain_from_ms = start_ms
        self._state = state

    def _bridge(self, reading: Reading, *, until_ms: int, power_w_after: float) -> None:
        """Go over the time between two readings: jitter, an inferred stretch, or the unknown."""
        gap_from_ms = self._at_ms
        if gap_from_ms is None:
            return
        if until_ms - gap_from_ms <= 2 * reading.step_ms and self.stretches:
            self.stretches[-1].end_ms = until_ms
            return
        mean_w = self._mean_over_gap_w(reading, from_ms=gap_from_ms, until_ms=until_ms)
        if mean_w is not None and self._in_force >= 0 and self._state is not State.UNKNOWN:
            thresholds = self._thresholds[self._in_force]
            during, _ = thresholds.next(max(mean_w, POWER_W_FLOOR), before=self._state)
            after, _ = thresholds.next(max(power_w_after, POWER_W_FLOOR), before=self._state)
            if (during is State.RUNNING) is (after is State.RUNNING) is (self._state is State.RUNNING):
                self._extend(during, gap_from_ms, until_ms, inferred=True)
                self.stretches[-1].energy_wh = mean_w * (until_ms - gap_from_ms) / MS_PER_HOUR
                self._state = during
                return
        self._extend(State.UNKNOWN, gap_from_ms, until_ms)
        if self._in_force < 0 or until_ms - gap_from_ms > self._dated[self._in_force].calibration.gap_s * 1000:
            self._state, self._between_ms = State.UNKNOWN, 0

    def _mean_over_gap_w(self, reading: Reading, *, from_ms: int, until_ms: int) -> float | None:
        """Give the mean power by the energy counter, or None where it lacks an end or was reset."""
        if self._energy_wh is None or reading.energy_wh is None:
            return None
        within_wh = sum(reading.powers_w) * reading.step_ms / MS_PER_HOUR
        used_wh = reading.energy_wh - within_wh - self._energy_wh
        return used_wh * MS_PER_HOUR / (until_ms - from_ms) if used_wh >= 0 else None

    def _extend(self, state: State, start_ms: int, end_ms: int, *, inferred: bool = False) -> None:
        last = self.stretches[-1] if self.stretches else None
        if last is not None and last.state is state is State.UNKNOWN:
            last.end_ms = end_ms
            return
        version = self._dated[self._in_force].version if self._in_force >= 0 else 0
        self.stretches.append(
            Stretch(start_ms=start_ms, end_ms=end_ms, state=state, version=version, inferred=inferred)
        )


def means(reading: Reading, *, from_ms: int | None) -> Iterator[tuple[int, int, float]]:
    """Give (start, end, mean power) of at least 10 s each, without what lies before `from_ms`."""
    step_ms, powers = reading.step_ms, reading.powers_w
    group = max(1, -(-MEAN_MS_MIN // step_ms))
    skip = 0 if from_ms is None or from_ms <= reading.start_ms else -(-(from_ms - reading.start_ms) // step_ms)
    for first in range(skip, len(powers), group):
        part = powers[first : first + group]
        start_ms = reading.start_ms + first * step_ms
        yield start_ms, start_ms + len(part) * step_ms, part[0] if group == 1 else sum(part) / len(part)


def rests(parts: Sequence[Stretch], *, gap_s: int) -> Iterator[tuple[int, int]]:
    """Give (certain from, end) of every stretch of time in which certainly nothing ran.

    "Certainly": whoever starts reading anywhere before it comes to the same states within it. So sessions on its two
    sides can be computed apart.
    """
    certain_ms: int | None = None
    for part in parts:
        if part.state is State.RUNNING:
            if certain_ms is not None and certain_ms < part.start_ms:
                yield certain_ms, part.start_ms
            certain_ms = None
        elif certain_ms is None:
            is_reset = part.state is State.UNKNOWN and part.end_ms - part.start_ms > gap_s * 1000
            certain_ms = part.start_ms if is_reset else part.certain_from_ms
    if certain_ms is not None and parts:
        yield certain_ms, parts[-1].end_ms


def is_gapless(parts: Sequence[Stretch]) -> bool:
    """Say whether each stretch begins where the one before it ends."""
    return all(before.end_ms == after.start_ms for before, after in pairwise(parts))

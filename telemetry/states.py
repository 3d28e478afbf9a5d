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
# A gap is work throughout if the energy is this share of what work takes on either side; counters of meters one can buy
# step by 1 Wh and err by a part.
WORK_SHARE_MIN = 0.8
COUNTER_ERROR = 1.25
COUNTER_STEP_WH = 1.0


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
    """A calibration and the moment from which it holds; None: from here on none does, for the meter moved elsewhere."""

    valid_from_ms: int
    version: int
    calibration: Calibration | None


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
        known = [None if dated.calibration is None else _Thresholds(dated.calibration) for dated in self._dated]
        self._known = known
        self._in_force = -1
        self._state = State.UNKNOWN
        self._was_certain = False  # the newest sample's state, whatever was before it
        self._between_from_ms: int | None = None  # since when power has lain between off and standby
        self._at_ms: int | None = None
        self._last: Reading | None = None

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
        thresholds = self._thresholds
        if thresholds is None:
            self._extend(State.UNKNOWN, reading.start_ms if self._at_ms is None else self._at_ms, reading.end_ms)
            self._state, self._between_from_ms = State.UNKNOWN, None
        else:
            self._sample(samples, thresholds, doubtful=reading.clock_doubtful)
        self._at_ms = reading.end_ms
        self._last = reading

    @property
    def _thresholds(self) -> _Thresholds | None:
        return self._known[self._in_force] if self._in_force >= 0 else None

    @property
    def _calibration(self) -> Calibration | None:
        return self._dated[self._in_force].calibration if self._in_force >= 0 else None

    def _sample(self, samples: list[tuple[int, int, float]], thresholds: _Thresholds, *, doubtful: bool) -> None:
        """The inner loop of the whole product's telemetry: local names, hardly any calls."""
        state, certain = self._state, False
        version = self._dated[self._in_force].version
        current = self.stretches[-1] if self.stretches else None
        for start_ms, end_ms, power_w in samples:
            watts = max(power_w, POWER_W_FLOOR)
            state, certain = thresholds.next(watts, before=state)
            if certain or watts >= thresholds.run_below:
                self._between_from_ms = None
            else:
                if self._between_from_ms is None:
                    self._between_from_ms = start_ms
                if end_ms - self._between_from_ms > MEMORY_MS:
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
        self._state, self._was_certain = state, certain

    def _bridge(self, reading: Reading, *, until_ms: int, power_w_after: float) -> None:
        """Go over the time between two readings: jitter, an inferred stretch, or the unknown."""
        gap_from_ms = self._at_ms
        if gap_from_ms is None:
            return
        if until_ms - gap_from_ms <= 2 * reading.step_ms and self.stretches:
            self.stretches[-1].end_ms = until_ms
            return
        calibration = self._calibration
        is_long = calibration is None or until_ms - gap_from_ms > calibration.gap_s * 1000
        if is_long:
            self._between_from_ms = None
        inferred = self._inferred(reading, gap_ms=until_ms - gap_from_ms, power_w_after=power_w_after)
        if inferred is not None:
            state, used_wh = inferred
            self._extend(state, gap_from_ms, until_ms, inferred=True)
            self.stretches[-1].energy_wh = used_wh
            self._state = state
            return
        # Where the counter has both ends, it was the state before the gap that made it unknown.
        is_certain = self._was_certain or self._last is None or _energy_between_wh(self._last, reading) is None
        self._extend(State.UNKNOWN, gap_from_ms, until_ms, certain=is_certain)
        if is_long:
            self._state = State.UNKNOWN

    def _inferred(self, reading: Reading, *, gap_ms: int, power_w_after: float) -> tuple[State, float] | None:
        """Say what must have been in a gap by the energy counter, and the energy in Wh; None: it might be otherwise.

        Both sides must be in one state, and the energy such that no use fits in, or no pause.
        """
        thresholds, calibration = self._thresholds, self._calibration
        if self._last is None or thresholds is None or calibration is None or self._state is State.UNKNOWN:
            return None
        used_wh = _energy_between_wh(self._last, reading)
        if used_wh is None:
            return None
        after, _ = thresholds.next(max(power_w_after, POWER_W_FLOOR), before=self._state)
        sides = (self._last.powers_w, reading.powers_w)
        hours = gap_ms / MS_PER_HOUR
        if self._state is not after:
            return None
        if after is State.RUNNING:
            work = [[power_w for power_w in powers_w if power_w > thresholds.run_below] for powers_w in sides]
            if not all(work):
                return None
            least_w = min(sum(powers_w) / len(powers_w) for powers_w in work)
            most_w = max(map(max, work))
            fits = WORK_SHARE_MIN * least_w * hours <= used_wh <= COUNTER_ERROR * most_w * hours + COUNTER_STEP_WH
            return (after, used_wh) if fits else None
        idle_w = max(
            max((power_w for power_w in powers_w if power_w < thresholds.run), default=0.0) for powers_w in sides
        )
        shortest_run_wh = thresholds.run * calibration.run_s_min / 3600
        most_wh = COUNTER_ERROR * idle_w * hours + max(shortest_run_wh, COUNTER_STEP_WH)
        least_wh = thresholds.on_below * hours - COUNTER_STEP_WH if after is State.STANDBY else 0.0
        return (after, used_wh) if least_wh <= used_wh <= most_wh else None

    def _extend(
        self, state: State, start_ms: int, end_ms: int, *, inferred: bool = False, certain: bool = True
    ) -> None:
        last = self.stretches[-1] if self.stretches else None
        if last is not None and last.state is state is State.UNKNOWN:
            last.end_ms = end_ms
            return
        version = self._dated[self._in_force].version if self._in_force >= 0 else 0
        self.stretches.append(
            Stretch(
                start_ms=start_ms,
                end_ms=end_ms,
                state=state,
                version=version,
                inferred=inferred,
                certain_from_ms=start_ms if state is State.UNKNOWN and certain else None,
            )
        )


def _energy_between_wh(before: Reading, after: Reading) -> float | None:
    """Give the energy from the end of one reading to the begin of another; None: the counter lacks an end or was reset.

    A counter that went round is no matter here: the box counts on. One that fell was reset, and one that was
    exchanged for a greater one shows in the power that would follow.
    """
    if before.energy_wh is None or after.energy_wh is None:
        return None
    within_wh = sum(after.powers_w) * after.step_ms / MS_PER_HOUR
    used_wh = after.energy_wh - within_wh - before.energy_wh
    return max(used_wh, 0.0) if used_wh >= -COUNTER_STEP_WH and after.energy_wh >= before.energy_wh else None


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

    "Certainly": whoever starts reading `MEMORY_MS` or more before it comes to the same states within it. So sessions on
    its two sides can be computed apart.
    """
    certain_ms: int | None = None
    for part in parts:
        if part.state is State.RUNNING:
            if certain_ms is not None and certain_ms < part.start_ms:
                yield certain_ms, part.start_ms
            certain_ms = None
        elif certain_ms is None:
            is_reset = part.state is State.UNKNOWN and part.end_ms - part.start_ms > gap_s * 1000
            certain_ms = part.certain_from_ms if part.state is not State.UNKNOWN or is_reset else None
    if certain_ms is not None and parts:
        yield certain_ms, parts[-1].end_ms


def settings_of(calibrations: Iterable[Dated]) -> list[Calibration]:
    """Give the calibrations among these that hold at some time."""
    return [dated.calibration for dated in calibrations if dated.calibration is not None]


def is_gapless(parts: Sequence[Stretch]) -> bool:
    """Say whether each stretch begins where the one before it ends."""
    return all(before.end_ms == after.start_ms for before, after in pairwise(parts))

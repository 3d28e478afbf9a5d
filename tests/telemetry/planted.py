"""Power as instruments and other machines draw it, with the runs that were planted; repeatable by seed."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from telemetry.states import Reading

DAY_S = 86_400
HOUR_S = 3_600
MESSAGE_SAMPLES = 60
Span = tuple[int, int]


@dataclass(slots=True)
class Planted:
    """A power curve on a grid of `step_s`, and when it truly ran, in seconds since its start."""

    step_s: int
    powers_w: list[float]
    runs: list[Span] = field(default_factory=list)
    missing: list[Span] = field(default_factory=list)

    def readings(self, *, start_s: int = 0) -> Iterator[Reading]:
        """Give messages of 60 samples; what is missing was never sent."""
        for first in range(0, len(self.powers_w), MESSAGE_SAMPLES):
            at_s, powers = first * self.step_s, self.powers_w[first : first + MESSAGE_SAMPLES]
            until_s = at_s + len(powers) * self.step_s
            if not any(since < until_s and until > at_s for since, until in self.missing):
                yield Reading(start_ms=(start_s + at_s) * 1000, step_ms=self.step_s * 1000, powers_w=powers)

    @property
    def running_s(self) -> int:
        """How long it truly ran."""
        return sum(until - since for since, until in self.runs)


class Bench:
    """Lays power upon power, second by second of a grid."""

    def __init__(self, seed: int, *, days: float = 7, step_s: int = 10, idle_w: float = 0.0) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.planted = Planted(step_s=step_s, powers_w=[idle_w] * round(days * DAY_S / step_s))
        self.days = math.ceil(days)

    def lay(self, since_s: float, until_s: float, power_w: float | Callable[[float], float]) -> Span:
        """Draw this power, or power by seconds since the start of the stretch, from one moment to another."""
        step_s, powers = self.planted.step_s, self.planted.powers_w
        first, last = round(since_s / step_s), min(round(until_s / step_s), len(powers))
        for index in range(first, last):
            powers[index] = power_w if isinstance(power_w, float | int) else power_w((index - first) * step_s)
        return first * step_s, last * step_s

    def run(self, since_s: float, until_s: float, power_w: float | Callable[[float], float]) -> None:
        """Draw power, and know that it was a run."""
        self.planted.runs.append(self.lay(since_s, until_s, power_w))

    def noise(self, *, share: float = 0.0, watts: float = 0.0, quantum_w: float = 0.0, offset_w: float = 0.0) -> None:
        """Let the meter err: by a share, by watts, by rounding, by an offset."""
        for index, power_w in enumerate(self.planted.powers_w):
            seen_w = power_w * (1 + self.random.gauss(0, share)) + self.random.gauss(0, watts) + offset_w
            if quantum_w:
                seen_w = round(seen_w / quantum_w) * quantum_w
            self.planted.powers_w[index] = max(seen_w, 0.0)

    def workdays(self) -> Iterator[int]:
        """Give when each working day begins, Monday to Friday."""
        for day in range(self.days):
            if day % 7 < 5:
                yield day * DAY_S


def two_levels(seed: int, *, idle_w: float, run_w: float, a_day: int = 2, step_s: int = 10, **noise: float) -> Planted:
    """An instrument that stands by day and night, and runs some times on a working day."""
    bench = Bench(seed, idle_w=idle_w, step_s=step_s)
    for day_s in bench.workdays():
        at_s = day_s + 8.5 * HOUR_S
        for _ in range(a_day):
            at_s += bench.random.uniform(0.2, 1.0) * 8 * HOUR_S / a_day / 2
            length_s = bench.random.uniform(0.3, 1.0) * 8 * HOUR_S / a_day / 2
            bench.run(at_s, at_s + length_s, run_w)
            at_s += length_s + 400
    bench.noise(**noise)
    return bench.planted


def three_levels(
    seed: int,
    *,
    off_w: float,
    standby_w: float,
    run_w: float,
    on_h: float,
    run_h: float,
    step_s: int = 10,
    **noise: float,
) -> Planted:
    """An instrument that is switched on in the morning, runs a part of the time, and is switched off."""
    bench = Bench(seed, idle_w=off_w, step_s=step_s)
    for day_s in bench.workdays():
        on_s = day_s + 8 * HOUR_S + bench.random.uniform(0, HOUR_S)
        bench.lay(on_s, on_s + on_h * HOUR_S, standby_w)
        spare_s = (on_h - run_h) * HOUR_S
        at_s = on_s + spare_s * bench.random.uniform(0.2, 0.6)
        for part in (0.6, 0.4):
            bench.run(at_s, at_s + part * run_h * HOUR_S, run_w)
            at_s += part * run_h * HOUR_S + max(600, spare_s * 0.15)
    bench.noise(**noise)
    return bench.planted


def rare(seed: int, *, idle_w: float, run_w: float, run_h: float, step_s: int = 10, **noise: float) -> Planted:
    """An instrument that runs once a week."""
    bench = Bench(seed, idle_w=idle_w, step_s=step_s)
    bench.run(2.4 * DAY_S, 2.4 * DAY_S + run_h * HOUR_S, run_w)
    bench.noise(**noise)
    return bench.planted


def stepping(seed: int, *, idle_w: float, levels_w: tuple[float, ...], off_w: float | None = None) -> Planted:
    """An instrument that climbs and falls through steady levels while it runs."""
    bench = Bench(seed, idle_w=idle_w if off_w is None else off_w)
    for day_s in bench.workdays():
        at_s = day_s + 9.0 * HOUR_S
        if off_w is not None:
            bench.lay(at_s - 1.5 * HOUR_S, at_s + 8 * HOUR_S, idle_w)
        for _ in range(2):
            since_s = at_s
            for level_w in (*levels_w, *reversed(levels_w[:-1])):
                until_s = at_s + bench.random.uniform(600, 1500)
                bench.lay(at_s, until_s, level_w)
                at_s = until_s
            bench.planted.runs.append((round(since_s / 10) * 10, round(at_s / 10) * 10))
            at_s += HOUR_S
    bench.noise(share=0.02, watts=0.3)
    return bench.planted


def heater_and_motor(seed: int, *, idle_w: float = 0.0, motor_w: float = 120.0, heater_w: float = 2000.0) -> Planted:
    """A washing machine, or an autoclave: it heats, then a motor turns to and fro for an hour."""
    bench = Bench(seed, idle_w=idle_w)
    for day in range(7):
        at_s = day * DAY_S + 9 * HOUR_S + bench.random.uniform(0, 6 * HOUR_S)

        def power_w(into_s: float) -> float:
            if 300 <= into_s < 1200:
                return heater_w
            return motor_w * bench.random.uniform(0.2, 1.8) if bench.random.random() < 0.85 else 1.0

        bench.run(at_s, at_s + 6000, power_w)
    bench.noise(watts=0.3)
    return bench.planted


def autosampler(
    seed: int, *, standby_w: float = 30.0, run_w: float = 400.0, nights: tuple[int, ...] = (1, 3)
) -> Planted:
    """A chromatograph: warm-up, then sample after sample with short dips, on some days through the night."""
    bench = Bench(seed, idle_w=standby_w)
    for day_s in bench.workdays():
        at_s = day_s + 9.0 * HOUR_S
        until_s = at_s + (20 if day_s // DAY_S in nights else 6) * HOUR_S
        since_s = at_s
        while at_s < until_s:
            bench.lay(at_s, at_s + 1200, run_w)
            at_s += 1200 + bench.random.uniform(60, 240)
        bench.planted.runs.append((round(since_s / 10) * 10, round((at_s // 10) * 10)))
        # The last dip is no dip.
        last = bench.planted.powers_w
        end = bench.planted.runs[-1][1] // 10
        while last[end - 1] < run_w:
            end -= 1
        bench.planted.runs[-1] = (bench.planted.runs[-1][0], end * 10)
    bench.noise(share=0.05)
    return bench.planted


def thermostat(
    seed: int,
    *,
    on_min: float,
    off_min: float,
    run_w: float,
    idle_w: float = 1.0,
    jitter: float = 0.15,
    busier_by_day: float = 1.0,
    days: float = 7,
    step_s: int = 10,
    **noise: float,
) -> Planted:
    """A fridge, a freezer, a heater: it switches itself, day and night, by day perhaps more often."""
    bench = Bench(seed, days=days, idle_w=idle_w, step_s=step_s)
    at_s = bench.random.uniform(0, off_min * 60)
    while at_s < days * DAY_S:
        is_day = 8 <= at_s // HOUR_S % 24 < 22
        pace = busier_by_day if is_day else 1.0
        length_s = on_min * 60 * (1 + bench.random.gauss(0, jitter))
        bench.lay(at_s, at_s + max(length_s, 10), run_w)
        at_s += max(length_s, 10) + max(off_min * 60 * (1 + bench.random.gauss(0, jitter)) / pace, 10)
    bench.noise(**noise)
    return bench.planted


def defrosting(seed: int) -> Planted:
    """A freezer whose heater defrosts it every eight hours."""
    planted = thermostat(seed, on_min=15, off_min=30, run_w=110, idle_w=2.0)
    for at_s in range(0, 7 * DAY_S, 8 * HOUR_S):
        for index in range(at_s // 10, at_s // 10 + 120):
            planted.powers_w[index] = 350.0
    return planted


def steady(seed: int, power_w: float, *, days: float = 7, **noise: float) -> Planted:
    """One power day and night."""
    bench = Bench(seed, days=days, idle_w=power_w)
    bench.noise(**noise)
    return bench.planted


def flicker(seed: int, *powers_w: float, days: float = 7) -> Planted:
    """Power that jumps among some values from sample to sample."""
    bench = Bench(seed, days=days)
    bench.planted.powers_w[:] = [bench.random.choice(powers_w) for _ in bench.planted.powers_w]
    return bench.planted


def spread(seed: int, low_w: float, high_w: float) -> Planted:
    """Power that wanders over decades without a step."""
    bench = Bench(seed)
    place = 0.5
    for index in range(len(bench.planted.powers_w)):
        place = min(1.0, max(0.0, place + bench.random.gauss(0, 0.02)))
        bench.planted.powers_w[index] = low_w * (high_w / low_w) ** place
    return bench.planted


def spikes(seed: int, *, base_w: float, spike_w: float, a_day: int) -> Planted:
    """Single samples far above a base, at any moment, like a printer's fuser."""
    bench = Bench(seed, idle_w=base_w)
    for _ in range(7 * a_day):
        at_s = bench.random.uniform(0, 7 * DAY_S - 10)
        bench.lay(at_s, at_s + 10, spike_w)
    bench.noise(share=0.05)
    return bench.planted


def nearly_always(seed: int, *, run_w: float, idle_w: float, off_h_a_day: float) -> Planted:
    """A machine that is hardly ever switched off."""
    bench = Bench(seed, idle_w=run_w)
    for day in range(7):
        at_s = day * DAY_S + bench.random.uniform(0, 20 * HOUR_S)
        bench.lay(at_s, at_s + off_h_a_day * HOUR_S, idle_w)
    bench.noise(share=0.03)
    return bench.planted

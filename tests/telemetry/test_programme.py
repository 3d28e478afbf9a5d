"""A loop of real slices on any clock, and its reference runs on the same one."""

from datetime import timedelta
from itertools import pairwise

import pytest

from telemetry.box.programme import Programme, load, reference_runs, run_slices
from tests.telemetry.wire import START

RUNS = reference_runs("projector")


def projector(count: int = 2) -> Programme:
    return Programme(trace="projector", slices=run_slices("projector", margin_s=600)[:count], starts_at=START)


def test_the_slices_hold_every_reference_run_with_its_margin() -> None:
    slices = run_slices("projector", margin_s=600)
    assert all(any(a + 600 <= start and end <= b - 600 for a, b in slices) for start, end in RUNS)
    assert all(before[1] < after[0] for before, after in pairwise(slices))


def test_the_programme_plays_what_the_trace_says() -> None:
    programme = projector()
    first = run_slices("projector", margin_s=600)[0]
    for played_s in (0, 5, 610, 3000):
        at = START + timedelta(seconds=played_s)
        assert programme.power_w(at) == load("projector").power_w(first[0] + played_s)


def test_it_begins_anew_after_the_last_slice() -> None:
    programme = projector()
    at = START + timedelta(seconds=1234)
    assert programme.power_w(at + 3 * programme.cycle) == programme.power_w(at)


def test_before_it_begins_the_instrument_is_off() -> None:
    assert projector().power_w(START - timedelta(seconds=1)) == 0.0


def test_the_reference_runs_lie_where_the_power_is() -> None:
    programme = projector()
    runs = programme.runs(START, START + 2 * programme.cycle)
    assert len(runs) == 4
    assert runs[0] == (START + timedelta(seconds=600), START + timedelta(seconds=600 + RUNS[0][1] - RUNS[0][0]))
    assert runs[2][0] == runs[0][0] + programme.cycle
    for start, end in runs:
        assert programme.power_w(start + (end - start) / 2) > 60
        assert programme.power_w(start - timedelta(seconds=60)) < 60
        assert programme.power_w(end + timedelta(seconds=60)) < 60


def test_runs_are_given_where_they_touch_the_time_asked_for() -> None:
    programme = projector()
    (first, *_rest) = programme.runs(START, START + programme.cycle)
    middle = first[0] + (first[1] - first[0]) / 2
    assert programme.runs(middle, middle + timedelta(seconds=1)) == [first]
    assert programme.runs(START - timedelta(days=9), START) == []
    assert programme.runs(first[0] - timedelta(seconds=2), first[0]) == []


def test_the_counter_counts_what_the_power_says_also_while_nobody_asks() -> None:
    programme = projector()
    counted_wh = 0.0
    for step in range(700):
        at = START + timedelta(seconds=10 * step)
        assert programme.energy_wh(at=at, up_s=0.0) == pytest.approx(counted_wh, abs=1.0)
        counted_wh += programme.mean_w(start=at, start_up_s=0.0, seconds=10) * 10 / 3600
    round_wh = programme.energy_wh(at=START + programme.cycle, up_s=0.0)
    later = START + 7 * programme.cycle + timedelta(seconds=3210)
    first_wh = programme.energy_wh(at=START + timedelta(seconds=3210), up_s=0.0)
    assert programme.energy_wh(at=later, up_s=0.0) == pytest.approx(7 * round_wh + first_wh, abs=0.01)
    assert programme.energy_wh(at=START - timedelta(hours=1), up_s=0.0) == 0.0


def test_a_longer_sample_is_the_mean_of_its_steps() -> None:
    programme = projector()
    at = START + timedelta(seconds=600)
    steps = [programme.power_w(at + timedelta(seconds=10 * step)) for step in range(6)]
    assert programme.mean_w(start=at, start_up_s=0.0, seconds=60) == pytest.approx(sum(steps) / 6)
    assert programme.rollover_wh is None

"""Reducing a curve keeps its ends, its peaks and its pauses, and never gives more than was asked for."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.reports.service.curve import (
    Sample,
    StateSpan,
    is_ordered,
    reduce_samples,
    samples,
    state_at,
    state_spans,
)
from telemetry.states import Reading, State, Stretch

CURVES = st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 5_000, width=32)), max_size=300).map(
    lambda steps: [
        (at_ms, power_w)
        for at_ms, power_w in zip(
            [sum(gap for gap, _ in steps[: place + 1]) for place in range(len(steps))],
            [power_w for _, power_w in steps],
            strict=True,
        )
    ]
)


@given(curve=CURVES, limit=st.integers(4, 60))
def test_a_reduced_curve_keeps_both_ends_and_both_extremes_within_the_limit(curve: list[Sample], limit: int) -> None:
    reduced = reduce_samples(curve, limit=limit)
    assert len(reduced) <= limit
    assert set(reduced) <= set(curve)
    assert is_ordered(reduced)
    assert reduced == reduce_samples(list(curve), limit=limit)
    if len(curve) <= limit:
        assert reduced == curve
    else:
        assert (reduced[0], reduced[-1]) == (curve[0], curve[-1])
        for extreme in (min, max):
            wanted = extreme(power_w for _, power_w in curve)
            assert extreme(power_w for _, power_w in reduced) == wanted


def test_a_spike_of_one_reading_in_a_week_is_not_lost() -> None:
    week = [(10_000 * number, 5.0) for number in range(60_480)]
    week[31_337] = (313_370_000, 900.0)
    week[41_000] = (410_000_000, 0.0)
    reduced = reduce_samples(week, limit=2_000)
    assert {week[31_337], week[41_000]} <= set(reduced)
    assert len(reduced) <= 2_000


def test_where_two_messages_overlap_the_earlier_one_counts_and_nothing_is_told_twice() -> None:
    first = Reading(start_ms=0, step_ms=10, powers_w=[1.0, 2.0, 3.0])
    again = Reading(start_ms=10, step_ms=10, powers_w=[9.0, 9.0, 4.0])
    found = samples([first, again], start_ms=0, end_ms=1_000)
    assert found == [(0, 1.0), (10, 2.0), (20, 3.0), (30, 4.0)]
    assert samples([first], start_ms=5, end_ms=20) == [(10, 2.0)]


PARTS = st.lists(st.tuples(st.integers(1, 10_000), st.sampled_from(State)), min_size=1, max_size=120).map(
    lambda steps: [
        Stretch(start_ms=sum(a for a, _ in steps[:place]), end_ms=sum(a for a, _ in steps[: place + 1]), state=state)
        for place, (_length, state) in enumerate(steps)
    ]
)


@given(parts=PARTS, limit=st.integers(1, 20), cut=st.integers(0, 5_000))
def test_reduced_states_cover_the_same_time_without_gap_or_overlap(parts: list[Stretch], limit: int, cut: int) -> None:
    end_ms = parts[-1].end_ms
    spans = state_spans(parts, start_ms=min(cut, end_ms - 1), end_ms=end_ms, limit=limit)
    assert 0 < len(spans) <= limit
    assert (spans[0].start_ms, spans[-1].end_ms) == (min(cut, end_ms - 1), end_ms)
    for before, after in itertools.pairwise(spans):
        assert before.end_ms == after.start_ms
        assert before.state is not after.state


def test_outside_of_what_is_known_the_state_is_unknown() -> None:
    spans = [StateSpan(10, 20, State.RUNNING), StateSpan(20, 30, State.OFF)]
    assert state_at(spans, [5, 10, 19, 20, 29, 30]) == [
        State.UNKNOWN,
        State.RUNNING,
        State.RUNNING,
        State.OFF,
        State.OFF,
        State.UNKNOWN,
    ]

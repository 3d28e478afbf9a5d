"""Reduces what a box measured to what a document and a picture hold, so that no peak and no pause disappears; pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from telemetry.states import Reading, State, Stretch

Sample = tuple[int, float]
"""One measured mean power: its beginning in ms since 1970, and W. Bare, for a week has 60,000 of them."""


class StateSpan(NamedTuple):
    """A time in one state; ms since 1970, half open."""

    start_ms: int
    end_ms: int
    state: State


def samples(readings: Iterable[Reading], *, start_ms: int, end_ms: int) -> list[Sample]:
    """Give the samples that begin in [start_ms, end_ms), in order; where readings overlap, the earlier one counts."""
    found: list[Sample] = []
    for reading in readings:
        first = found[-1][0] + 1 if found else start_ms
        found += [
            (at_ms, power_w)
            for index, power_w in enumerate(reading.powers_w)
            if first <= (at_ms := reading.start_ms + index * reading.step_ms) < end_ms
        ]
    return found


def reduce_samples(found: Sequence[Sample], *, limit: int) -> list[Sample]:
    """Give at most `limit` of the samples, in order: the first, the last, and of equal shares of time both extremes.

    Up to the limit they stay as they are. The same samples give the same result. Raises ValueError below 4.
    """
    if limit < 4:  # noqa: PLR2004 - first, last, lowest, highest
        raise ValueError("a curve needs at least four points")
    if len(found) <= limit:
        return list(found)
    shares = (limit - 2) // 2
    first, last = found[0], found[-1]
    begin_ms, length_ms = first[0], last[0] - first[0] + 1
    lowest: dict[int, Sample] = {}
    highest: dict[int, Sample] = {}
    for sample in found[1:-1]:
        share = (sample[0] - begin_ms) * shares // length_ms
        if share not in lowest:
            lowest[share] = highest[share] = sample
        elif sample[1] < lowest[share][1]:
            lowest[share] = sample
        elif sample[1] > highest[share][1]:
            highest[share] = sample
    inner = {*lowest.values(), *highest.values()}
    return [first, *sorted(inner), last]


def state_spans(parts: Iterable[Stretch], *, start_ms: int, end_ms: int, limit: int) -> list[StateSpan]:
    """Give the states within [start_ms, end_ms), neighbours of one state as one, and at most `limit` of them.

    Where there are more, the shortest are given to the one before, in rounds that double what counts as short.
    """
    spans = _joined(
        StateSpan(max(part.start_ms, start_ms), min(part.end_ms, end_ms), part.state)
        for part in parts
        if part.end_ms > start_ms and part.start_ms < end_ms
    )
    short_ms = 1_000
    while len(spans) > limit:
        short_ms *= 2
        kept = spans[:1]
        for span in spans[1:]:
            if span.end_ms - span.start_ms < short_ms:
                kept[-1] = kept[-1]._replace(end_ms=span.end_ms)
            else:
                kept.append(span)
        spans = _joined(kept)
    return spans


def state_at(spans: Sequence[StateSpan], moments_ms: Iterable[int]) -> list[State]:
    """Give the state at each of some moments, which come in order; outside of all spans it is unknown."""
    states: list[State] = []
    place = 0
    for moment_ms in moments_ms:
        while place < len(spans) and spans[place].end_ms <= moment_ms:
            place += 1
        known = place < len(spans) and spans[place].start_ms <= moment_ms
        states.append(spans[place].state if known else State.UNKNOWN)
    return states


def _joined(spans: Iterable[StateSpan]) -> list[StateSpan]:
    joined: list[StateSpan] = []
    for span in spans:
        if joined and joined[-1].state is span.state:
            joined[-1] = joined[-1]._replace(end_ms=span.end_ms)
        else:
            joined.append(span)
    return joined


def is_ordered(found: Sequence[Sample]) -> bool:
    """Say whether each sample comes later than the one before it."""
    return all(before[0] < after[0] for before, after in pairwise(found))

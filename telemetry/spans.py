"""Spans of time as pure values, and when a channel was on, off or idle: what hours are summed from."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from telemetry.states import Dated, State, Stretch

ON, OFF, IDLE = "on", "off", "idle"


class Span(NamedTuple):
    """A time in ms since 1970 in which the power was one all through."""

    start_ms: int
    end_ms: int
    power: str


def power_spans(parts: Iterable[Stretch], *, calibrations: Sequence[Dated]) -> list[Span]:
    """Give when it was on, off or idle; between spans nothing is known.

    Running is on, and standby is. What does not run is off where the calibration in force tells off from standby, else
    idle: it may have been on.
    """
    has_standby = {
        dated.version: dated.calibration.standby_threshold_w is not None
        for dated in calibrations
        if dated.calibration is not None
    }
    return merged(
        Span(
            part.start_ms,
            part.end_ms,
            ON if part.state is not State.OFF else OFF if has_standby[part.version] else IDLE,
        )
        for part in parts
        if part.state is not State.UNKNOWN
    )


def merged(spans: Iterable[Span]) -> list[Span]:
    """Give spans in order, those that touch and are alike as one; they must not overlap."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and found[-1].end_ms == span.start_ms and found[-1].power == span.power:
            found[-1] = found[-1]._replace(end_ms=span.end_ms)
        elif span.start_ms < span.end_ms:
            found.append(span)
    return found


def clipped(spans: Iterable[Span], *, start_ms: int, end_ms: int) -> list[Span]:
    """Give what lies within [start, end)."""
    return [
        Span(max(span.start_ms, start_ms), min(span.end_ms, end_ms), span.power)
        for span in spans
        if span.start_ms < end_ms and span.end_ms > start_ms
    ]


def replaced(spans: Sequence[Span], fresh: Iterable[Span], *, start_ms: int, end_ms: int) -> list[Span]:
    """Give the spans with [start, end) exchanged for what is found there now."""
    outside = [*clipped(spans, start_ms=-(2**62), end_ms=start_ms), *clipped(spans, start_ms=end_ms, end_ms=2**62)]
    return merged([*outside, *clipped(fresh, start_ms=start_ms, end_ms=end_ms)])

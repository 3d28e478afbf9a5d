"""Arithmetic of time spans in whole seconds: sorted, disjoint, half open."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """From `start_s` up to, but not including, `end_s`; seconds since 1970."""

    start_s: int
    end_s: int


Spans = tuple[Span, ...]


def union(spans: Iterable[Span]) -> Spans:
    """Give the same time as sorted, disjoint spans; empty ones vanish and touching ones join."""
    joined: list[Span] = []
    for span in sorted(span for span in spans if span.start_s < span.end_s):
        if joined and span.start_s <= joined[-1].end_s:
            joined[-1] = Span(joined[-1].start_s, max(joined[-1].end_s, span.end_s))
        else:
            joined.append(span)
    return tuple(joined)


def clip(spans: Sequence[Span], *, to: Span) -> Spans:
    """Give what of sorted, disjoint spans lies within `to`."""
    first = max(0, bisect_right(spans, to.start_s, key=lambda span: span.start_s) - 1)
    clipped: list[Span] = []
    for span in spans[first:]:
        if span.start_s >= to.end_s:
            break
        start_s, end_s = max(span.start_s, to.start_s), min(span.end_s, to.end_s)
        if start_s < end_s:
            clipped.append(Span(start_s, end_s))
    return tuple(clipped)


def intersect(ones: Sequence[Span], others: Sequence[Span]) -> Spans:
    """Give the time that lies in both."""
    return tuple(part for one in ones for part in clip(others, to=one))


def subtract(spans: Sequence[Span], gone: Sequence[Span]) -> Spans:
    """Give the time of `spans` that does not lie in `gone`."""
    rest: list[Span] = []
    for span in spans:
        start_s = span.start_s
        for hole in clip(gone, to=span):
            if start_s < hole.start_s:
                rest.append(Span(start_s, hole.start_s))
            start_s = hole.end_s
        if start_s < span.end_s:
            rest.append(Span(start_s, span.end_s))
    return tuple(rest)


def seconds(spans: Iterable[Span]) -> int:
    """Give the length of disjoint spans."""
    return sum(span.end_s - span.start_s for span in spans)

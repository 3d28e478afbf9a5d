"""Pieces of time in whole seconds since 1970, laid together, cut out of each other, and measured."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

Piece = tuple[int, int]
Pieces = list[Piece]

_FAR_S = 2**40


def union(pieces: Iterable[Piece]) -> Pieces:
    """Give what lies in any of the pieces, in order, without overlap."""
    found: Pieces = []
    for start, end in sorted(pieces):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def intersect(some: Pieces, others: Pieces) -> Pieces:
    """Give what lies in both; each must be in order and without overlap."""
    found: Pieces = []
    mine = its = 0
    while mine < len(some) and its < len(others):
        start, end = max(some[mine][0], others[its][0]), min(some[mine][1], others[its][1])
        if start < end:
            found.append((start, end))
        if some[mine][1] < others[its][1]:
            mine += 1
        else:
            its += 1
    return found


def subtract(some: Pieces, others: Pieces) -> Pieces:
    """Give what lies in the first and not in the second; each must be in order and without overlap."""
    edges = [-_FAR_S, *(edge for piece in others for edge in piece), _FAR_S]
    return intersect(some, list(zip(edges[::2], edges[1::2], strict=True)))


def joined(wide: Pieces, narrow: Pieces) -> Pieces:
    """Give those of the wide pieces that touch one of the narrow; each must be in order and without overlap."""
    found: Pieces = []
    place = 0
    for start, end in wide:
        while place < len(narrow) and narrow[place][1] <= start:
            place += 1
        if place < len(narrow) and narrow[place][0] < end:
            found.append((start, end))
    return found


class Measure:
    """How long pieces last between any two moments; times that follow each other add up exactly."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = union(pieces)
        self._starts = [start for start, _ in self._pieces]
        self._before = list(accumulate((end - start for start, end in self._pieces), initial=0))

    def between(self, start_s: int, end_s: int) -> int:
        """Give the seconds of the pieces within [start, end)."""
        return self._until(end_s) - self._until(start_s)

    def _until(self, moment_s: int) -> int:
        index = bisect_right(self._starts, moment_s)
        if index == 0:
            return 0
        start, end = self._pieces[index - 1]
        return self._before[index - 1] + min(moment_s, end) - start

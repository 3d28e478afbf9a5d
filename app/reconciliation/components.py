"""Cuts charges and runs into components that share no second with each other, and a component into segments."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Generic, NamedTuple, TypeVar

from app.reconciliation.cases import Charge, Run
from app.reconciliation.spans import Span
from app.reconciliation.sweep import stretches, sweep

Node = TypeVar("Node", Charge, Run)


class Component(NamedTuple):
    """Charges and runs that hang together, each in order of time, and which of them share how many seconds.

    `pairs` are (place of the charge, place of the run, seconds). If `calm`, no two charges and no two runs meet, and
    the pairs say everything.
    """

    charges: tuple[Charge, ...]
    runs: tuple[Run, ...]
    pairs: tuple[tuple[int, int, int], ...]
    calm: bool


def components(*, charges: Iterable[Charge], runs: Iterable[Run]) -> list[Component]:
    """Cut charges and runs into groups that share no second with each other, in order of time."""
    sorted_charges = sorted(charges, key=_place_in_time)
    sorted_runs = sorted(runs, key=_place_in_time)
    swept = sweep(
        charges=stretches([(each.start_s, each.end_s) for each in sorted_charges]),
        runs=stretches([(each.start_s, each.end_s) for each in sorted_runs]),
    )
    # Sorted by start, what belongs to one component stands together.
    charges_of = _grouped(sorted_charges, swept.charge_component.tolist(), swept.components)
    runs_of = _grouped(sorted_runs, swept.run_component.tolist(), swept.components)
    pairs_of: list[list[tuple[int, int, int]]] = [[] for _ in range(swept.components)]
    component_of, first_charge, first_run = swept.charge_component.tolist(), _firsts(charges_of), _firsts(runs_of)
    for charge, run, overlap_s in zip(
        swept.pair_charge.tolist(), swept.pair_run.tolist(), swept.pair_overlap_s.tolist(), strict=True
    ):
        component = component_of[charge]
        pairs_of[component].append((charge - first_charge[component], run - first_run[component], overlap_s))
    return [
        Component(tuple(ones), tuple(others), tuple(pairs), _is_calm(ones) and _is_calm(others))
        for ones, others, pairs in zip(charges_of, runs_of, pairs_of, strict=True)
    ]


def _place_in_time(node: Charge | Run) -> tuple[int, int, str]:
    return node.start_s, node.end_s, str(node.id)


def _grouped(nodes: Sequence[Node], labels: Sequence[int], count: int) -> list[list[Node]]:
    groups: list[list[Node]] = [[] for _ in range(count)]
    for node, label in zip(nodes, labels, strict=True):
        groups[label].append(node)
    return groups


def _firsts(groups: Sequence[Sequence[Node]]) -> list[int]:
    """Give where each group begins among all nodes."""
    return [0, *accumulate(len(group) for group in groups)]


def _is_calm(nodes: Sequence[Node]) -> bool:
    """Say whether no two of these, in order of time, meet; one without length inside another does not count."""
    return all(one.end_s <= other.start_s for one, other in pairwise(nodes))


class _Holders(Generic[Node]):
    """Who holds a moment: of all charges (or runs) then, the one that started last.

    The last tap is the person who stands at the instrument, so of two overlapping charges the later one holds the time.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._waiting: list[Node] = sorted(nodes, key=lambda node: (node.start_s, str(node.id)), reverse=True)
        self._active: list[tuple[int, str, Node]] = []

    def at(self, moment_s: int) -> Node | None:
        """Give the holder at a moment; moments must be asked in order."""
        while self._waiting and self._waiting[-1].start_s <= moment_s:
            node = self._waiting.pop()
            heapq.heappush(self._active, (-node.start_s, str(node.id), node))
        while self._active and self._active[0][2].end_s <= moment_s:
            heapq.heappop(self._active)
        return self._active[0][2] if self._active else None


class Segment(NamedTuple):
    """A stretch in which neither holder changes."""

    span: Span
    charge: Charge | None
    run: Run | None


def segments(part: Component) -> list[Segment]:
    """Give the segments of a component; those of one run stand in order of time."""
    return list(calm_segments(part) if part.calm else any_segments(part))


def any_segments(part: Component) -> Iterator[Segment]:
    """Give the stretches of a component in order of time, so that each second stands in one of them."""
    nodes: list[Charge | Run] = [*part.charges, *part.runs]
    edges = sorted({edge for node in nodes for edge in (node.start_s, node.end_s)})
    charge_holders, run_holders = _Holders(part.charges), _Holders(part.runs)
    for start_s, end_s in pairwise(edges):
        yield Segment(Span(start_s, end_s), charge_holders.at(start_s), run_holders.at(start_s))


def calm_segments(part: Component) -> Iterator[Segment]:
    """Give the same run by run for a calm component, from the pairs that the sweep found; then the charges' rest."""
    charges_of: dict[int, list[Charge]] = defaultdict(list)
    runs_of: dict[int, list[Run]] = defaultdict(list)
    for charge_place, run_place, _ in part.pairs:
        charges_of[run_place].append(part.charges[charge_place])
        runs_of[charge_place].append(part.runs[run_place])
    for place, run in enumerate(part.runs):
        for span, holder in _walk(run, charges_of[place]):
            yield Segment(span, holder, run)
    for place, charge in enumerate(part.charges):
        for span, other in _walk(charge, runs_of[place]):
            if other is None:
                yield Segment(span, charge, None)


def _walk(node: Charge | Run, others: Sequence[Node]) -> Iterator[tuple[Span, Node | None]]:
    """Cut a stretch where others begin and end that lie one behind the other."""
    at_s = node.start_s
    for other in others:
        if at_s < other.start_s:
            yield Span(at_s, other.start_s), None
        at_s = min(other.end_s, node.end_s)
        yield Span(max(other.start_s, node.start_s), at_s), other
    if at_s < node.end_s:
        yield Span(at_s, node.end_s), None

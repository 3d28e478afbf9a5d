"""Decides what the charges and the box runs of one instrument say of each other: pure, without clock or database.

Charges and runs that overlap in time, directly or through others, form a component, and a component is decided whole;
nothing outside it can change its verdicts. Within it every second is held by at most one charge and one run, so that
charge = overlap + charge-only and box = overlap + box-only hold exactly. docs/explanation/reconciliation.md says why.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from app.reconciliation.cases import (
    Case,
    Charge,
    ChargeDecision,
    ControlTotals,
    Outcome,
    Run,
    RunDecision,
    Settings,
    Share,
)
from app.reconciliation.models import VERIFYING, BoxVerdictKind, ChargeVerdict
from app.reconciliation.spans import Span, Spans, clip, intersect, seconds, subtract, union

ALGORITHM_VERSION = 1
# Qualities of a run whose place in time the box itself does not vouch for.
SUSPECT_QUALITIES = frozenset({"clock"})

Node = TypeVar("Node", Charge, Run)


def decide(case: Case, *, settings: Settings) -> Outcome:
    """Give every charge and every run of one instrument its verdict.

    The order of the input does not matter; ids are unique.
    """
    outcomes = [
        _decide_component(case, settings=settings, charges=charges, runs=runs)
        for charges, runs in components(charges=case.charges, runs=case.runs)
    ]
    return Outcome(
        charges=tuple(charge for outcome in outcomes for charge in outcome.charges),
        runs=tuple(run for outcome in outcomes for run in outcome.runs),
    )


def control_totals(outcome: Outcome) -> ControlTotals:
    """Add up an outcome. Raises AssertionError if charges and runs disagree: then the program is wrong."""
    overlap_s = sum(charge.overlap_s for charge in outcome.charges)
    if overlap_s != sum(run.overlap_s for run in outcome.runs):
        raise AssertionError("charges and runs disagree about their overlap")
    charge_only_s = sum(charge.charge_only_s for charge in outcome.charges)
    box_only_s = sum(run.box_only_s for run in outcome.runs)
    return ControlTotals(
        charge_s=overlap_s + charge_only_s,
        box_s=overlap_s + box_only_s,
        overlap_s=overlap_s,
        charge_only_s=charge_only_s,
        box_only_s=box_only_s,
    )


def components(
    *, charges: Iterable[Charge], runs: Iterable[Run]
) -> Iterator[tuple[tuple[Charge, ...], tuple[Run, ...]]]:
    """Cut charges and runs into groups that share no second with each other, in order of time.

    One sweep over all starts: a group ends where the next start is not before the latest end so far.
    """
    nodes: list[Charge | Run] = [*charges, *runs]
    nodes.sort(key=lambda node: (node.start_s, node.end_s, isinstance(node, Run), str(node.id)))
    group_charges: list[Charge] = []
    group_runs: list[Run] = []
    end_s = 0
    for node in nodes:
        if (group_charges or group_runs) and node.start_s >= end_s:
            yield tuple(group_charges), tuple(group_runs)
            group_charges, group_runs, end_s = [], [], node.end_s
        end_s = max(end_s, node.end_s)
        if isinstance(node, Run):
            group_runs.append(node)
        else:
            group_charges.append(node)
    if group_charges or group_runs:
        yield tuple(group_charges), tuple(group_runs)


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


class _Segment(NamedTuple):
    """A stretch in which neither holder changes."""

    span: Span
    charge: Charge | None
    run: Run | None


def _segments(charges: Sequence[Charge], runs: Sequence[Run]) -> Iterator[_Segment]:
    nodes: list[Charge | Run] = [*charges, *runs]
    edges = sorted({edge for node in nodes for edge in (node.start_s, node.end_s)})
    charge_holders, run_holders = _Holders(charges), _Holders(runs)
    for start_s, end_s in pairwise(edges):
        yield _Segment(Span(start_s, end_s), charge_holders.at(start_s), run_holders.at(start_s))


@dataclass(slots=True)
class _Tally:
    """What the sweep over one component adds up, by charge id, run id, or both."""

    shares_s: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    held: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    covered: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    overlap_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    head_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    tail_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    unpaid_s: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    own: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[int, list[Charge]] = field(default_factory=lambda: defaultdict(list))


def _decide_component(case: Case, *, settings: Settings, charges: Sequence[Charge], runs: Sequence[Run]) -> Outcome:
    segments = list(_segments(charges, runs))
    tally = _Tally()
    for segment in segments:
        _add_overlap(tally, segment)
    _find_owners(tally, charges=charges, runs=runs, settings=settings)
    _lay_unpaid(tally, segments)
    provisional = _is_provisional(case, settings=settings, charges=charges, runs=runs)
    return Outcome(
        charges=tuple(
            _decide_charge(charge, case=case, tally=tally, runs=runs, settings=settings, provisional=provisional)
            for charge in charges
        ),
        runs=tuple(_decide_run(run, tally=tally, settings=settings, provisional=provisional) for run in runs),
    )


def _add_overlap(tally: _Tally, segment: _Segment) -> None:
    if segment.charge is None:
        return
    tally.held[segment.charge.id].append(segment.span)
    if segment.run is not None:
        tally.covered[segment.charge.id].append(segment.span)
        tally.shares_s[segment.charge.id, segment.run.id] += seconds([segment.span])
        tally.overlap_s[segment.run.id] += seconds([segment.span])


def _find_owners(tally: _Tally, *, charges: Sequence[Charge], runs: Sequence[Run], settings: Settings) -> None:
    """Tie runs to charges: by half of the shorter of the two, or by more than the few minutes of a late hand-over."""
    charge_by_id = {charge.id: charge for charge in charges}
    run_by_id = {run.id: run for run in runs}
    for (charge_id, run_id), share_s in tally.shares_s.items():
        charge, run = charge_by_id[charge_id], run_by_id[run_id]
        shorter_s = min(run.end_s - run.start_s, charge.end_s - charge.start_s)
        if 2 * share_s >= shorter_s or share_s > settings.head_padding_s:
            tally.own[charge_id].append(run)
            tally.owners[run_id].append(charge)


def _lay_unpaid(tally: _Tally, segments: Sequence[_Segment]) -> None:
    """Lay running without a charge to the owner before it, or if there is none yet, to the first one after it."""
    last_owner: dict[int, Charge] = {}
    for span, charge, run in segments:
        if run is None:
            continue
        if charge is not None:
            if charge in tally.owners[run.id]:
                if run.id not in last_owner:
                    tally.unpaid_s[charge.id] += tally.head_s[run.id]
                last_owner[run.id] = charge
        elif run.id in last_owner:
            tally.tail_s[run.id] += seconds([span])
            tally.unpaid_s[last_owner[run.id].id] += seconds([span])
        else:
            tally.head_s[run.id] += seconds([span])


def _is_provisional(case: Case, *, settings: Settings, charges: Sequence[Charge], runs: Sequence[Run]) -> bool:
    return any(
        charge.open or (charge.end_s + settings.settling_s > case.settled_s and charge.end_s > case.given_up_s)
        for charge in charges
    ) or any(not run.final and run.end_s > case.given_up_s for run in runs)


def _decide_charge(
    charge: Charge, *, case: Case, tally: _Tally, runs: Sequence[Run], settings: Settings, provisional: bool
) -> ChargeDecision:
    whole = Span(charge.start_s, charge.end_s)
    own = tally.own[charge.id]
    held, covered = union(tally.held[charge.id]), union(tally.covered[charge.id])
    unknown = clip(case.unknown, to=whole)
    # Time another card holds is explained by nothing: it was charged twice.
    explained = union([*intersect(_explained_by(own, settings=settings), held), *covered, *unknown])
    overlap_s, unpaid_s = seconds(covered), tally.unpaid_s[charge.id]
    used_s = sum(tally.shares_s[charge.id, run.id] for run in own) + unpaid_s
    sums = _Sums(
        charge_s=charge.end_s - charge.start_s,
        idle_s=seconds(subtract([whole] if whole.start_s < whole.end_s else [], explained)),
        unpaid_s=unpaid_s,
        unknown_s=seconds(unknown),
        tolerance_s=_tolerance_s(charge_s=charge.end_s - charge.start_s, used_s=used_s, settings=settings),
    )
    return ChargeDecision(
        charge_id=charge.id,
        verdict=ChargeVerdict.PROVISIONAL if provisional else _charge_verdict(sums, own, tally, settings=settings),
        tolerance_s=sums.tolerance_s,
        overlap_s=overlap_s,
        charge_only_s=sums.charge_s - overlap_s,
        box_only_s=unpaid_s,
        idle_s=sums.idle_s,
        unknown_s=sums.unknown_s,
        effective_s=seconds(intersect(_powered(own, settings=settings), held)),
        runs=tuple(
            Share(run_id=run.id, version=run.version, quality=run.quality, overlap_s=share_s, own=run in own)
            for run in runs
            if (share_s := tally.shares_s.get((charge.id, run.id), 0))
        ),
    )


class _Sums(NamedTuple):
    charge_s: int
    idle_s: int
    unpaid_s: int
    unknown_s: int
    tolerance_s: int


def _explained_by(own: Iterable[Run], *, settings: Settings) -> Spans:
    """Give the time a person may well spend at the instrument for these runs: preparing, and cleaning up."""
    return union(
        Span(
            min(run.power_on_s, run.start_s - settings.head_padding_s),
            max(run.power_off_s or 0, run.end_s + settings.tail_padding_s),
        )
        for run in own
    )


def _powered(own: Iterable[Run], *, settings: Settings) -> Spans:
    """Give warm-up, test and after-treatment as the box saw them, up to the allowance."""
    return union(
        Span(
            max(run.power_on_s, run.start_s - settings.warm_up_s_max),
            min(max(run.power_off_s or 0, run.end_s), run.end_s + settings.after_treatment_s_max),
        )
        for run in own
    )


def _tolerance_s(*, charge_s: int, used_s: int, settings: Settings) -> int:
    """Give what charge and use may differ by; without the half of the shorter, short charges would always match."""
    wide_s = max(settings.tolerance_s, charge_s * settings.tolerance_percent // 100)
    return min(wide_s, min(charge_s, used_s) // 2)


def _charge_verdict(sums: _Sums, own: Sequence[Run], tally: _Tally, *, settings: Settings) -> ChargeVerdict:
    if sums.charge_s == 0:
        return ChargeVerdict.EXEMPT
    if sums.unknown_s * 100 > settings.unknown_percent_max * sums.charge_s:
        return ChargeVerdict.NO_EVIDENCE
    if not own:
        return ChargeVerdict.PHANTOM
    verdict = ChargeVerdict.MATCHED
    if max(sums.idle_s, sums.unpaid_s) > sums.tolerance_s:
        verdict = ChargeVerdict.OVER_CHARGED if sums.idle_s >= sums.unpaid_s else ChargeVerdict.UNDER_CHARGED
    elif any(len(tally.owners[run.id]) > 1 for run in own):
        verdict = ChargeVerdict.MATCHED_SHARED
    elif len(own) > 1:
        verdict = ChargeVerdict.MATCHED_SPLIT
    # A clock nobody trusts may confirm a charge, for chance does not, but it must accuse no one.
    if verdict not in VERIFYING and any(run.quality in SUSPECT_QUALITIES for run in own):
        return ChargeVerdict.BOX_SUSPECT
    return verdict


def _decide_run(run: Run, *, tally: _Tally, settings: Settings, provisional: bool) -> RunDecision:
    overlap_s = tally.overlap_s[run.id]
    return RunDecision(
        run_id=run.id,
        version=run.version,
        verdict=BoxVerdictKind.PROVISIONAL if provisional else _run_verdict(run, tally=tally, settings=settings),
        overlap_s=overlap_s,
        box_only_s=run.end_s - run.start_s - overlap_s,
        head_s=tally.head_s[run.id],
        tail_s=tally.tail_s[run.id],
        charges=tuple(charge.id for charge in tally.owners[run.id]),
    )


def _run_verdict(run: Run, *, tally: _Tally, settings: Settings) -> BoxVerdictKind:
    head_s, tail_s = tally.head_s[run.id], tally.tail_s[run.id]
    owners = tally.owners[run.id]
    charge_s = sum(charge.end_s - charge.start_s for charge in owners)
    tolerance_s = _tolerance_s(charge_s=charge_s, used_s=run.end_s - run.start_s, settings=settings)
    if owners and max(head_s, tail_s) <= tolerance_s:
        return BoxVerdictKind.COVERED
    if not owners and head_s + tail_s < settings.minimum_use_s:
        return BoxVerdictKind.BELOW_MINIMUM
    if run.quality in SUSPECT_QUALITIES:
        return BoxVerdictKind.BOX_SUSPECT
    if not owners:
        return BoxVerdictKind.UNPAID
    return BoxVerdictKind.UNPAID_HEAD if head_s > tail_s else BoxVerdictKind.UNPAID_TAIL

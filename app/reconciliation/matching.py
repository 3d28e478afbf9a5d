"""Decides what the charges and the box runs of one instrument say of each other: pure, without clock or database.

Charges and runs that overlap in time, directly or through others, form a component, and a component is decided whole;
nothing outside it can change its verdicts. Within it every second is held by at most one charge and one run, so that
charge = overlap + charge-only and box = overlap + box-only hold exactly. docs/explanation/reconciliation.md says why.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.reconciliation.cases import (
    Case,
    Charge,
    ChargeDecision,
    ControlTotals,
    Outcome,
    Rule,
    Run,
    RunDecision,
    Settings,
    Share,
)
from app.reconciliation.components import Component, Segment, components, segments
from app.reconciliation.models import VERIFYING, BoxVerdictKind, ChargeVerdict, RuleKind
from app.reconciliation.spans import Span, Spans, clip, intersect, seconds, subtract, union

ALGORITHM_VERSION = 2
# Qualities of a run whose place in time the box itself does not vouch for.
SUSPECT_QUALITIES = frozenset({"clock"})


def decide(case: Case, *, settings: Settings) -> Outcome:
    """Give every charge and every run of one instrument its verdict.

    The order of the input does not matter; ids are unique.
    """
    rules = _Rules(case.rules)
    outcomes = [
        _decide_component(case, settings=settings, rules=rules, part=part)
        for part in components(charges=case.charges, runs=case.runs)
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


class _Rules:
    """The silence rules of a case, laid together by kind."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = sorted(rules, key=lambda rule: rule.id)
        self.maintenance = self._union(RuleKind.MAINTENANCE)
        self.exempt = self._union(RuleKind.EXEMPT)

    def exempts(self, charge: Charge) -> bool:
        """Say whether a charge that begins then is not compared."""
        return bool(clip(self.exempt, to=Span(charge.start_s, charge.start_s + 1)))

    def is_background(self, run: Run) -> bool:
        """Say whether the instrument may run so by itself: the whole run within one rule's time, and not too long."""
        return any(
            rule.run_s_max is not None
            and run.end_s - run.start_s <= rule.run_s_max
            and clip(rule.spans, to=Span(run.start_s, run.end_s)) == (Span(run.start_s, run.end_s),)
            for rule in self._rules
            if rule.kind is RuleKind.BACKGROUND
        )

    def touching(self, span: Span, *, kind: RuleKind) -> tuple[int, ...]:
        """Name the rules of a kind that hold in a stretch."""
        return tuple(rule.id for rule in self._rules if rule.kind is kind and clip(rule.spans, to=span))

    def _union(self, kind: RuleKind) -> Spans:
        return union(span for rule in self._rules if rule.kind is kind for span in rule.spans)


@dataclass(slots=True)
class _Tally:
    """What the sweep over one component adds up, by charge id, run id, or both."""

    shares_s: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    held: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    covered: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    overlap_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    head_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    tail_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    excused_head_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    excused_tail_s: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    unpaid_s: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    own: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[int, list[Charge]] = field(default_factory=lambda: defaultdict(list))


def _decide_component(case: Case, *, settings: Settings, rules: _Rules, part: Component) -> Outcome:
    cut = segments(part)
    tally = _Tally()
    for segment in cut:
        _add_overlap(tally, segment)
    _find_owners(tally, part=part, settings=settings)
    _lay_unpaid(tally, cut, maintenance=rules.maintenance)
    provisional = _is_provisional(case, settings=settings, part=part)
    look = _Look(case=case, settings=settings, rules=rules, tally=tally, provisional=provisional)
    return Outcome(
        charges=tuple(_decide_charge(charge, look=look, runs=part.runs) for charge in part.charges),
        runs=tuple(_decide_run(run, look=look) for run in part.runs),
    )


class _Look(NamedTuple):
    """What a decision within one component looks at."""

    case: Case
    settings: Settings
    rules: _Rules
    tally: _Tally
    provisional: bool


def _add_overlap(tally: _Tally, segment: Segment) -> None:
    if segment.charge is None:
        return
    tally.held[segment.charge.id].append(segment.span)
    if segment.run is not None:
        tally.covered[segment.charge.id].append(segment.span)
        tally.shares_s[segment.charge.id, segment.run.id] += seconds([segment.span])
        tally.overlap_s[segment.run.id] += seconds([segment.span])


def _find_owners(tally: _Tally, *, part: Component, settings: Settings) -> None:
    """Tie runs to charges: by half of the shorter of the two, or by more than the few minutes of a late hand-over."""
    charge_by_id = {charge.id: charge for charge in part.charges}
    run_by_id = {run.id: run for run in part.runs}
    for (charge_id, run_id), share_s in tally.shares_s.items():
        charge, run = charge_by_id[charge_id], run_by_id[run_id]
        shorter_s = min(run.end_s - run.start_s, charge.end_s - charge.start_s)
        if 2 * share_s >= shorter_s or share_s > settings.head_padding_s:
            tally.own[charge_id].append(run)
            tally.owners[run_id].append(charge)


def _lay_unpaid(tally: _Tally, cut: Sequence[Segment], *, maintenance: Spans) -> None:
    """Lay running without a charge to the owner before it, or if there is none yet, to the first one after it.

    What fell into maintenance is laid to nobody.
    """
    last_owner: dict[int, Charge] = {}
    for span, charge, run in cut:
        if run is None:
            continue
        if charge is not None:
            if charge in tally.owners[run.id]:
                if run.id not in last_owner:
                    tally.unpaid_s[charge.id] += tally.head_s[run.id] - tally.excused_head_s[run.id]
                last_owner[run.id] = charge
            continue
        excused_s = seconds(clip(maintenance, to=span)) if maintenance else 0
        if run.id in last_owner:
            tally.tail_s[run.id] += seconds([span])
            tally.excused_tail_s[run.id] += excused_s
            tally.unpaid_s[last_owner[run.id].id] += seconds([span]) - excused_s
        else:
            tally.head_s[run.id] += seconds([span])
            tally.excused_head_s[run.id] += excused_s


def _is_provisional(case: Case, *, settings: Settings, part: Component) -> bool:
    return any(
        charge.open or (charge.end_s + settings.settling_s > case.settled_s and charge.end_s > case.given_up_s)
        for charge in part.charges
    ) or any(not run.final and run.end_s > case.given_up_s for run in part.runs)


def _decide_charge(charge: Charge, *, look: _Look, runs: Sequence[Run]) -> ChargeDecision:
    case, settings, rules, tally, provisional = look
    whole = Span(charge.start_s, charge.end_s)
    own = tally.own[charge.id]
    held, covered = union(tally.held[charge.id]), union(tally.covered[charge.id])
    unknown = clip(case.unknown, to=whole)
    # Time another card holds is explained by nothing: it was charged twice.
    explained = union([*intersect(_explained_by(own, settings=settings), held), *covered, *unknown])
    overlap_s, unpaid_s = seconds(covered), tally.unpaid_s[charge.id]
    used_s = sum(tally.shares_s[charge.id, run.id] for run in own) + unpaid_s
    exempt = rules.exempts(charge)
    sums = _Sums(
        charge_s=charge.end_s - charge.start_s,
        idle_s=seconds(subtract([whole] if whole.start_s < whole.end_s else [], explained)),
        unpaid_s=unpaid_s,
        unknown_s=seconds(unknown),
        tolerance_s=_tolerance_s(charge_s=charge.end_s - charge.start_s, used_s=used_s, settings=settings),
    )
    verdict = ChargeVerdict.PROVISIONAL
    if exempt and not charge.open:
        verdict = ChargeVerdict.EXEMPT
    elif not provisional:
        verdict = _charge_verdict(sums, own, tally, settings=settings)
    return ChargeDecision(
        charge_id=charge.id,
        verdict=verdict,
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
        rules=rules.touching(Span(charge.start_s, charge.start_s + 1), kind=RuleKind.EXEMPT) if exempt else (),
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


def _decide_run(run: Run, *, look: _Look) -> RunDecision:
    tally, rules = look.tally, look.rules
    overlap_s = tally.overlap_s[run.id]
    verdict = BoxVerdictKind.PROVISIONAL if look.provisional else _run_verdict(run, look=look)
    whole = Span(run.start_s, run.end_s)
    used = {
        BoxVerdictKind.MAINTENANCE: RuleKind.MAINTENANCE,
        BoxVerdictKind.BACKGROUND: RuleKind.BACKGROUND,
    }.get(verdict)
    return RunDecision(
        run_id=run.id,
        version=run.version,
        verdict=verdict,
        overlap_s=overlap_s,
        box_only_s=run.end_s - run.start_s - overlap_s,
        head_s=tally.head_s[run.id],
        tail_s=tally.tail_s[run.id],
        excused_s=tally.excused_head_s[run.id] + tally.excused_tail_s[run.id],
        charges=tuple(charge.id for charge in tally.owners[run.id]),
        rules=() if used is None else rules.touching(whole, kind=used),
    )


def _run_verdict(run: Run, *, look: _Look) -> BoxVerdictKind:
    settings, tally = look.settings, look.tally
    owners = tally.owners[run.id]
    if not owners:
        return _verdict_without_owner(run, look=look)
    head_s, tail_s = tally.head_s[run.id], tally.tail_s[run.id]
    owed_head_s, owed_tail_s = head_s - tally.excused_head_s[run.id], tail_s - tally.excused_tail_s[run.id]
    charge_s = sum(charge.end_s - charge.start_s for charge in owners)
    allowed_s = _tolerance_s(charge_s=charge_s, used_s=run.end_s - run.start_s, settings=settings)
    if max(head_s, tail_s) <= allowed_s:
        return BoxVerdictKind.COVERED
    if max(owed_head_s, owed_tail_s) <= allowed_s:
        return BoxVerdictKind.MAINTENANCE
    if run.quality in SUSPECT_QUALITIES:
        return BoxVerdictKind.BOX_SUSPECT
    return BoxVerdictKind.UNPAID_HEAD if owed_head_s > owed_tail_s else BoxVerdictKind.UNPAID_TAIL


def _verdict_without_owner(run: Run, *, look: _Look) -> BoxVerdictKind:
    tally, minimum_s = look.tally, look.settings.minimum_use_s
    unpaid_s = tally.head_s[run.id]
    if unpaid_s < minimum_s:
        return BoxVerdictKind.BELOW_MINIMUM
    if unpaid_s - tally.excused_head_s[run.id] < minimum_s:
        return BoxVerdictKind.MAINTENANCE
    if look.rules.is_background(run):
        return BoxVerdictKind.BACKGROUND
    return BoxVerdictKind.BOX_SUSPECT if run.quality in SUSPECT_QUALITIES else BoxVerdictKind.UNPAID

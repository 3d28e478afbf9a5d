"""What holds of reconciliation whatever charges, runs and silences it is given."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.cases import Case, Charge, ChargeDecision, Rule, Run, Settings, canonical
from app.reconciliation.components import any_segments, calm_segments, components
from app.reconciliation.matching import control_totals, decide
from app.reconciliation.models import VERIFYING, BoxVerdictKind, ChargeVerdict, RuleKind
from app.reconciliation.spans import Span, clip, intersect, seconds, subtract, union
from app.reconciliation.sweep import Stretches, stretches, sweep

SETTINGS = Settings()
HORIZON_S = 40_000

moments = st.integers(min_value=0, max_value=HORIZON_S // 60).map(lambda minutes: minutes * 60)
lengths = st.integers(min_value=1, max_value=9_000)
spans = st.builds(lambda start_s, length_s: Span(start_s, start_s + length_s), moments, lengths)
qualities = st.sampled_from(["good", "inferred", "gaps", "clock", "cut"])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    charges = [
        Charge(id=f"c{number}", start_s=span.start_s, end_s=span.end_s)
        for number, span in enumerate(draw(st.lists(spans, max_size=6)))
    ]
    # One box sees one run at a time.
    runs = [
        Run(
            id=number,
            version=1,
            power_on_s=span.start_s - draw(st.integers(0, 900)),
            start_s=span.start_s,
            end_s=span.end_s,
            power_off_s=draw(st.none() | st.integers(0, 900).map(span.end_s.__add__)),
            running_s=seconds([span]),
            quality=draw(qualities),
            final=draw(st.booleans()),
        )
        for number, span in enumerate(union(draw(st.lists(spans, max_size=6))))
    ]
    return Case(
        charges=tuple(charges),
        runs=tuple(runs),
        unknown=union(draw(st.lists(spans, max_size=3))),
        settled_s=draw(st.sampled_from([0, HORIZON_S // 2, 10 * HORIZON_S])),
        given_up_s=0,
        rules=tuple(
            Rule(
                id=number,
                kind=kind,
                spans=union([span]),
                run_s_max=draw(lengths) if kind is RuleKind.BACKGROUND else None,
            )
            for number, (kind, span) in enumerate(
                draw(st.lists(st.tuples(st.sampled_from(RuleKind), spans), max_size=3))
            )
        ),
    )


@given(case=cases(), random=st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_change_a_byte(case: Case, random: object) -> None:
    charges, runs, rules = list(case.charges), list(case.runs), list(case.rules)
    for each in (charges, runs, rules):
        random.shuffle(each)  # type: ignore[attr-defined]
    shuffled = replace(case, charges=tuple(charges), runs=tuple(runs), rules=tuple(rules))
    assert canonical(decide(shuffled, settings=SETTINGS)) == canonical(decide(case, settings=SETTINGS))


@given(case=cases())
def test_every_charge_and_run_has_one_verdict_and_its_seconds_add_up(case: Case) -> None:
    outcome = decide(case, settings=SETTINGS)
    length_s = {charge.id: charge.end_s - charge.start_s for charge in case.charges}
    assert {charge.charge_id: charge.overlap_s + charge.charge_only_s for charge in outcome.charges} == length_s
    run_length_s = {run.id: run.end_s - run.start_s for run in case.runs}
    assert {run.run_id: run.overlap_s + run.box_only_s for run in outcome.runs} == run_length_s
    assert all(run.head_s + run.tail_s == run.box_only_s for run in outcome.runs)


@given(case=cases())
def test_control_totals_are_those_of_plain_set_arithmetic(case: Case) -> None:
    totals = control_totals(decide(case, settings=SETTINGS))
    charged = union(Span(charge.start_s, charge.end_s) for charge in case.charges)
    ran = union(Span(run.start_s, run.end_s) for run in case.runs)
    assert totals.overlap_s == seconds(intersect(charged, ran))
    assert totals.box_only_s == seconds(subtract(ran, charged))
    assert totals.box_s == seconds(ran)


@given(case=cases(), length_s=lengths)
def test_a_session_that_meets_no_other_changes_no_other(case: Case, length_s: int) -> None:
    later_s = 10 * HORIZON_S
    stranger = Charge(id="stranger", start_s=later_s, end_s=later_s + length_s)
    before = decide(case, settings=SETTINGS)
    after = decide(replace(case, charges=(stranger, *case.charges)), settings=SETTINGS)
    assert after.charges[:-1] == before.charges
    assert after.runs == before.runs


@given(case=cases())
def test_a_component_decided_alone_comes_to_the_same(case: Case) -> None:
    whole = decide(case, settings=SETTINGS)
    alone: list[ChargeDecision] = []
    for part in components(charges=case.charges, runs=case.runs):
        alone += decide(replace(case, charges=part.charges, runs=part.runs), settings=SETTINGS).charges
    assert tuple(alone) == whole.charges


@given(case=cases())
def test_what_is_verified_ran_was_known_and_differs_by_no_more_than_its_tolerance(case: Case) -> None:
    for charge in decide(case, settings=SETTINGS).charges:
        if charge.verdict in VERIFYING:
            assert charge.overlap_s > 0
            assert max(charge.idle_s, charge.box_only_s) <= charge.tolerance_s
            assert charge.unknown_s * 5 <= charge.overlap_s + charge.charge_only_s
        assert 0 <= charge.effective_s <= charge.overlap_s + charge.charge_only_s
        assert 0 <= charge.idle_s <= charge.charge_only_s


@given(case=cases())
def test_more_silence_never_accuses_a_customer_who_was_not_accused(case: Case) -> None:
    accused = {ChargeVerdict.OVER_CHARGED, ChargeVerdict.PHANTOM}
    silent = decide(replace(case, unknown=(Span(-HORIZON_S, 10 * HORIZON_S),)), settings=SETTINGS)
    assert not accused & {charge.verdict for charge in silent.charges}


span_lists = st.lists(spans, max_size=8).map(union)


@given(ones=span_lists, others=span_lists, frame=spans)
def test_spans_obey_the_arithmetic_of_sets(ones: tuple[Span, ...], others: tuple[Span, ...], frame: Span) -> None:
    assert seconds(intersect(ones, others)) + seconds(subtract(ones, others)) == seconds(ones)
    assert intersect(ones, others) == intersect(others, ones)
    assert clip(ones, to=frame) == intersect(ones, [frame])
    assert union([*subtract(ones, others), *intersect(ones, others)]) == ones


@given(case=cases())
def test_maintenance_and_background_only_ever_take_debts_away(case: Case) -> None:
    """Whoever owed nothing owes nothing after a rule; who used an instrument uses it still."""
    owing = {BoxVerdictKind.UNPAID, BoxVerdictKind.UNPAID_HEAD, BoxVerdictKind.UNPAID_TAIL}
    plain = decide(replace(case, rules=()), settings=SETTINGS)
    ruled = decide(case, settings=SETTINGS)
    owed = {run.run_id for run in plain.runs if run.verdict in owing}
    assert {run.run_id for run in ruled.runs if run.verdict in owing} <= owed
    assert [run.overlap_s for run in ruled.runs] == [run.overlap_s for run in plain.runs]


@given(case=cases())
def test_a_calm_component_is_cut_the_same_from_the_sweeps_pairs_as_second_by_second(case: Case) -> None:
    for part in components(charges=case.charges, runs=case.runs):
        if part.calm:
            slow = {segment for segment in any_segments(part) if segment.charge or segment.run}
            assert set(calm_segments(part)) == slow


lanes = st.lists(st.tuples(st.integers(0, 2), spans), max_size=12)


@given(charges=lanes, runs=lanes)
def test_the_sweep_finds_the_pairs_and_components_that_trying_all_finds(
    charges: list[tuple[int, Span]], runs: list[tuple[int, Span]]
) -> None:
    def arrays(nodes: list[tuple[int, Span]]) -> Stretches:
        made = stretches([span for _, span in nodes])
        return made._replace(lane=stretches([(lane, 0) for lane, _ in nodes]).start_s)

    swept = sweep(charges=arrays(charges), runs=arrays(runs))
    found = zip(swept.pair_charge.tolist(), swept.pair_run.tolist(), swept.pair_overlap_s.tolist(), strict=True)
    assert set(found) == {
        (place, other, min(one.end_s, two.end_s) - max(one.start_s, two.start_s))
        for place, (lane, one) in enumerate(charges)
        for other, (lane_, two) in enumerate(runs)
        if lane == lane_ and min(one.end_s, two.end_s) > max(one.start_s, two.start_s)
    }
    labels = [*swept.charge_component.tolist(), *swept.run_component.tolist()]
    for place, (lane, one) in enumerate(nodes := [*charges, *runs]):
        for other, (lane_, two) in enumerate(nodes):
            if lane == lane_ and min(one.end_s, two.end_s) > max(one.start_s, two.start_s):
                assert labels[place] == labels[other]
    assert len(set(labels)) == swept.components

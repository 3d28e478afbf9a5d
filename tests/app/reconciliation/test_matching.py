"""What reconciliation says of charges and runs, case by case as people meet them."""

import pytest

from app.reconciliation.cases import Case, Charge, Outcome, Run, Settings
from app.reconciliation.matching import control_totals, decide
from app.reconciliation.models import BoxVerdictKind, ChargeVerdict
from app.reconciliation.spans import Span, union

SETTINGS = Settings()
DAY_S = 86_400


def clock(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def charge(name: str, text: str, *, still_open: bool = False) -> Charge:
    start, end = text.split("-")
    return Charge(id=name, start_s=clock(start), end_s=clock(end), open=still_open)


def run(number: int, text: str, *, on: str = "", off: str = "", quality: str = "good", final: bool = True) -> Run:
    start, end = text.split("-")
    return Run(
        id=number,
        version=1,
        power_on_s=clock(on or start),
        start_s=clock(start),
        end_s=clock(end),
        power_off_s=clock(off) if off else None,
        running_s=clock(end) - clock(start),
        quality=quality,
        final=final,
    )


def reconcile(
    *nodes: Charge | Run, unknown: tuple[str, ...] = (), settled: str = "48:00", given_up: str = "0:00"
) -> Outcome:
    gaps = [Span(*(clock(edge) for edge in text.split("-"))) for text in unknown]
    outcome = decide(
        Case(
            charges=tuple(node for node in nodes if isinstance(node, Charge)),
            runs=tuple(node for node in nodes if isinstance(node, Run)),
            unknown=union(gaps),
            settled_s=clock(settled),
            given_up_s=clock(given_up),
        ),
        settings=SETTINGS,
    )
    control_totals(outcome)
    return outcome


def verdicts(outcome: Outcome) -> list[str]:
    return [charge.verdict.value for charge in outcome.charges] + [run.verdict.value for run in outcome.runs]


def test_a_charge_with_one_run_inside_is_matched() -> None:
    outcome = reconcile(charge("a", "9:00-11:00"), run(1, "9:04-10:52"))
    assert verdicts(outcome) == ["matched", "covered"]
    assert (outcome.charges[0].overlap_s, outcome.charges[0].charge_only_s) == (108 * 60, 12 * 60)


def test_several_runs_in_one_charge_are_a_split_match() -> None:
    outcome = reconcile(charge("a", "9:00-11:00"), run(1, "9:05-9:50"), run(2, "10:10-10:55"))
    assert verdicts(outcome) == ["matched_split", "covered", "covered"]


def test_one_run_through_a_hand_over_matches_both_charges() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), charge("b", "10:00-11:00"), run(1, "9:05-10:55"))
    assert verdicts(outcome) == ["matched_shared", "matched_shared", "covered"]


def test_who_forgets_to_tap_out_is_over_charged() -> None:
    outcome = reconcile(charge("a", "9:00-13:00"), run(1, "9:05-10:00"))
    assert verdicts(outcome) == ["over_charged", "covered"]
    assert outcome.charges[0].idle_s == (13 - 10) * 3600 - 600


def test_who_taps_out_and_goes_on_is_under_charged_and_the_tail_unpaid() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), run(1, "9:05-11:00"))
    assert verdicts(outcome) == ["under_charged", "unpaid_tail"]
    assert outcome.charges[0].box_only_s == 3600


def test_who_starts_long_before_the_tap_leaves_an_unpaid_head() -> None:
    assert verdicts(reconcile(charge("a", "10:00-11:00"), run(1, "9:00-10:55"))) == ["under_charged", "unpaid_head"]


def test_a_charge_of_a_healthy_box_that_saw_nothing_is_a_phantom() -> None:
    assert verdicts(reconcile(charge("a", "9:00-10:00"))) == ["phantom"]


def test_a_run_without_a_charge_is_unpaid() -> None:
    assert verdicts(reconcile(run(1, "9:00-10:00"))) == ["unpaid"]


def test_a_self_test_of_four_minutes_is_no_use() -> None:
    assert verdicts(reconcile(run(1, "9:00-9:04"))) == ["below_minimum"]


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [("9:00-10:00", "no_evidence"), ("9:48-10:00", "phantom"), ("9:47-10:00", "no_evidence")],
    ids=["all of it", "just a fifth", "more than a fifth"],
)
def test_a_silent_box_says_nothing(gap: str, verdict: str) -> None:
    assert verdicts(reconcile(charge("a", "9:00-10:00"), unknown=(gap,))) == [verdict]


def test_silence_at_the_edge_of_a_charge_is_never_held_against_the_customer() -> None:
    seen = reconcile(charge("a", "9:00-12:00"), run(1, "9:05-11:20"), unknown=("11:30-12:00",))
    assert verdicts(seen) == ["matched", "covered"]
    assert verdicts(reconcile(charge("a", "9:00-12:00"), run(1, "9:05-11:20"))) == ["over_charged", "covered"]


def test_warm_up_that_the_box_saw_is_no_idle_time() -> None:
    cold = run(1, "9:16-10:00", on="9:01")
    assert reconcile(charge("a", "9:00-10:00"), cold).charges[0].idle_s == 60
    assert reconcile(charge("a", "9:00-10:00"), run(1, "9:16-10:00")).charges[0].idle_s == 11 * 60


def test_effective_time_is_warm_up_test_and_after_treatment_within_the_charge() -> None:
    outcome = reconcile(charge("a", "9:00-10:10"), run(1, "9:20-10:00", on="9:08", off="10:14"))
    assert outcome.charges[0].effective_s == (12 + 40 + 10) * 60


def test_a_short_charge_does_not_match_a_run_twice_its_length() -> None:
    """Tolerance is never above half of the shorter: ten minutes would swallow any short charge."""
    outcome = reconcile(charge("a", "9:00-9:06"), run(1, "9:00-9:15"))
    assert verdicts(outcome) == ["under_charged", "unpaid_tail"]
    assert outcome.charges[0].tolerance_s == 180


def test_tolerance_is_ten_minutes_or_five_percent() -> None:
    assert reconcile(charge("a", "9:00-11:00"), run(1, "9:00-11:00")).charges[0].tolerance_s == 600
    assert reconcile(charge("a", "8:00-18:00"), run(1, "8:00-18:00")).charges[0].tolerance_s == 1800


def test_a_clock_nobody_trusts_may_confirm_but_not_accuse() -> None:
    assert verdicts(reconcile(charge("a", "9:00-10:00"), run(1, "9:00-10:00", quality="clock")))[0] == "matched"
    drifted = run(1, "9:30-10:30", quality="clock")
    assert verdicts(reconcile(charge("a", "9:00-10:00"), drifted)) == ["box_suspect", "box_suspect"]


def test_a_late_end_of_the_user_before_is_not_a_run_of_the_next_one() -> None:
    outcome = reconcile(
        charge("a", "9:00-10:00"), charge("b", "10:00-11:00"), run(1, "9:05-10:04"), run(2, "10:10-10:55")
    )
    assert verdicts(outcome) == ["matched", "matched", "covered", "covered"]


def test_a_charge_is_a_phantom_although_the_next_user_began_a_minute_early() -> None:
    outcome = reconcile(charge("a", "9:00-9:31"), charge("b", "9:31-10:31"), run(1, "9:30-10:30"))
    assert verdicts(outcome) == ["phantom", "matched", "covered"]


def test_of_two_overlapping_cards_the_last_tap_holds_the_time() -> None:
    outcome = reconcile(charge("a", "9:00-13:00"), charge("b", "10:00-11:00"), run(1, "9:02-10:58"))
    assert verdicts(outcome) == ["over_charged", "matched_shared", "covered"]
    assert control_totals(outcome).charge_s == 5 * 3600


def test_a_charge_without_length_is_exempt() -> None:
    assert verdicts(reconcile(charge("a", "9:00-9:00"))) == ["exempt"]


def test_sessions_over_midnight_are_like_all_others() -> None:
    assert verdicts(reconcile(charge("a", "23:00-25:30"), run(1, "23:05-25:25"))) == ["matched", "covered"]


def test_a_charge_waits_until_the_box_has_told_everything() -> None:
    nodes = (charge("a", "9:00-10:00"), run(1, "9:05-9:55"))
    assert verdicts(reconcile(*nodes, settled="10:24")) == ["provisional", "provisional"]
    assert verdicts(reconcile(*nodes, settled="10:25")) == ["matched", "covered"]


def test_a_box_that_never_comes_back_does_not_keep_a_charge_waiting_for_ever() -> None:
    silent = reconcile(charge("a", "9:00-10:00"), unknown=("8:00-40:00",), settled="8:00", given_up="10:00")
    assert verdicts(silent) == ["no_evidence"]


def test_an_open_card_session_keeps_its_component_provisional() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), charge("b", "10:00-10:30", still_open=True), run(1, "9:05-10:30"))
    assert verdicts(outcome) == ["provisional", "provisional", "provisional"]


def test_cards_that_only_touch_do_not_wait_for_each_other() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), run(1, "9:05-9:55"), charge("b", "10:00-10:30", still_open=True))
    assert verdicts(outcome) == ["matched", "provisional", "covered"]


def test_a_run_that_may_still_grow_keeps_its_charge_provisional() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), run(1, "9:05-9:55", final=False))
    assert outcome.charges[0].verdict == ChargeVerdict.PROVISIONAL
    assert outcome.runs[0].verdict == BoxVerdictKind.PROVISIONAL


def test_a_clock_offset_above_the_tolerance_accuses_nobody_but_may_confirm() -> None:
    """The box says of itself that its clock is off: 40 minutes too late."""
    outcome = reconcile(charge("a", "9:00-11:00"), run(1, "9:43-11:35", quality="clock"))
    assert verdicts(outcome) == ["box_suspect", "box_suspect"]


def test_a_clock_step_inside_a_charge_cuts_the_run_and_accuses_nobody() -> None:
    """At 10:00 the clock jumps back by half an hour: the second part of the run is laid over the first one."""
    seen = reconcile(
        charge("a", "9:00-12:00"), run(1, "9:05-10:00", quality="clock"), run(2, "9:30-11:25", quality="clock")
    )
    assert verdicts(seen)[0] in {"matched_split", "box_suspect"}
    assert control_totals(seen).overlap_s == (11 * 60 + 25 - 9 * 60 - 5) * 60


def test_a_charge_over_the_end_of_a_month_is_one_charge() -> None:
    month_end_h = 31 * 24
    outcome = reconcile(
        charge("a", f"{month_end_h - 2}:00-{month_end_h + 2}:00"),
        run(1, f"{month_end_h - 2}:05-{month_end_h + 1}:55"),
        settled=f"{month_end_h + 24}:00",
    )
    assert verdicts(outcome) == ["matched", "covered"]


def test_a_gap_inside_a_charge_is_unknown_and_not_idle() -> None:
    outcome = reconcile(
        charge("a", "9:00-14:00"), run(1, "9:05-11:00", quality="cut"), run(2, "11:50-13:55"), unknown=("11:00-11:50",)
    )
    assert verdicts(outcome) == ["matched_split", "covered", "covered"]
    assert (outcome.charges[0].unknown_s, outcome.charges[0].idle_s) == (50 * 60, 0)


def test_a_card_without_power_and_power_without_a_card_lie_side_by_side() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), run(1, "10:00-11:00"))
    assert verdicts(outcome) == ["phantom", "unpaid"]

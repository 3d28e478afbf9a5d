"""Silence rules: maintenance, runs by itself, normal silence, and charges that are not compared."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Code, Refusal
from app.people.models import Role
from app.reconciliation import ruling
from app.reconciliation.cases import Case, Charge, Outcome, Rule, Run, Settings
from app.reconciliation.matching import control_totals, decide
from app.reconciliation.models import RuleKind, SilenceRule
from app.reconciliation.silence import Week, settled_through, spans_of
from app.reconciliation.spans import Span
from app.reconciliation.times import from_s, to_s
from tests.app import builders
from tests.app.reconciliation.test_matching import charge, clock, run, verdicts
from tests.app.reconciliation.world import World
from tests.telemetry.wire import STANDBY_W, at

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")


def rule(kind: RuleKind, text: str, *, number: int = 7, run_s_max: int | None = None) -> Rule:
    start, end = text.split("-")
    return Rule(id=number, kind=kind, spans=(Span(clock(start), clock(end)),), run_s_max=run_s_max)


def reconcile(*nodes: Charge | Run, rules: tuple[Rule, ...], settled: str = "48:00") -> Outcome:
    outcome = decide(
        Case(
            charges=tuple(node for node in nodes if isinstance(node, Charge)),
            runs=tuple(node for node in nodes if isinstance(node, Run)),
            unknown=(),
            settled_s=clock(settled),
            given_up_s=0,
            rules=rules,
        ),
        settings=Settings(),
    )
    control_totals(outcome)
    return outcome


def test_a_run_in_a_maintenance_window_is_maintenance_and_names_its_rule() -> None:
    outcome = reconcile(run(1, "9:00-10:00"), rules=(rule(RuleKind.MAINTENANCE, "8:30-10:30"),))
    assert verdicts(outcome) == ["maintenance"]
    assert (outcome.runs[0].rules, outcome.runs[0].excused_s) == ((7,), 3600)


def test_a_run_that_only_touches_maintenance_is_still_unpaid() -> None:
    assert verdicts(reconcile(run(1, "9:00-10:00"), rules=(rule(RuleKind.MAINTENANCE, "8:30-9:30"),))) == ["unpaid"]


def test_the_user_before_does_not_pay_for_the_maintenance_after_her() -> None:
    nodes = (charge("a", "9:00-10:00"), run(1, "9:05-11:00"))
    assert verdicts(reconcile(*nodes, rules=())) == ["under_charged", "unpaid_tail"]
    assert verdicts(reconcile(*nodes, rules=(rule(RuleKind.MAINTENANCE, "10:00-12:00"),))) == ["matched", "maintenance"]


@pytest.mark.parametrize(
    ("ran", "verdict"),
    [("2:05-2:20", "background"), ("2:05-2:26", "unpaid"), ("1:55-2:10", "unpaid"), ("2:05-2:09", "below_minimum")],
    ids=["by itself", "too long", "begins before the window", "too short to count"],
)
def test_an_instrument_may_run_by_itself_within_its_hours_and_length(ran: str, verdict: str) -> None:
    pump = rule(RuleKind.BACKGROUND, "2:00-3:00", run_s_max=20 * 60)
    assert verdicts(reconcile(run(1, ran), rules=(pump,))) == [verdict]


def test_a_card_within_background_hours_is_compared_like_all_others() -> None:
    pump = rule(RuleKind.BACKGROUND, "2:00-4:00", run_s_max=4 * 3600)
    assert verdicts(reconcile(charge("a", "2:00-3:00"), run(1, "2:05-2:55"), rules=(pump,))) == ["matched", "covered"]


def test_a_charge_that_begins_in_exempt_time_is_exempt_at_once_and_names_the_rule() -> None:
    outcome = reconcile(charge("a", "9:00-10:00"), rules=(rule(RuleKind.EXEMPT, "8:00-9:01"),), settled="0:00")
    assert (verdicts(outcome), outcome.charges[0].rules) == (["exempt"], (7,))


def test_normal_silence_is_not_waited_for_but_never_beyond_now() -> None:
    night = (rule(RuleKind.QUIET, "22:00-30:00"), rule(RuleKind.QUIET, "30:00-31:00", number=8))
    assert settled_through(clock("22:10"), night, now_s=clock("48:00")) == clock("31:00")
    assert settled_through(clock("22:10"), night, now_s=clock("23:00")) == clock("23:00")
    assert settled_through(clock("21:59"), night, now_s=clock("48:00")) == clock("21:59")
    assert settled_through(clock("40:00"), night, now_s=clock("48:00")) == clock("40:00")


def weekly(week: Week, *, zone: ZoneInfo, since: datetime, days: int) -> list[str]:
    row = SilenceRule(
        kind=RuleKind.QUIET,
        valid_from=since,
        valid_to=None,
        weekdays=week.bits,
        from_minute=week.from_minute,
        until_minute=week.until_minute,
    )
    within = Span(to_s(since), to_s(since + timedelta(days=days)))
    return [
        f"{from_s(start).astimezone(zone):%a %H:%M}-{from_s(end).astimezone(zone):%a %H:%M}"
        for start, end in spans_of(row, within=within, zone=zone)
    ]


def test_a_weekly_window_over_midnight_belongs_to_the_day_it_begins() -> None:
    saturday_night = Week(days=frozenset({5}), from_minute=22 * 60, until_minute=6 * 60)
    since = datetime(2026, 5, 4, tzinfo=SHANGHAI)  # a Monday
    assert weekly(saturday_night, zone=SHANGHAI, since=since, days=7) == ["Sat 22:00-Sun 06:00"]


def test_a_weekly_window_goes_by_the_wall_clock_when_summer_time_begins() -> None:
    every_night = Week(days=frozenset(range(7)), from_minute=22 * 60, until_minute=6 * 60)
    since = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert weekly(every_night, zone=BERLIN, since=since, days=2) == ["Sat 22:00-Sun 06:00", "Sun 22:00-Mon 06:00"]


def test_a_rule_said_later_makes_the_verdict_anew_and_its_end_leaves_the_past(world: World) -> None:
    world.use(20, 60, until=120)
    world.reconcile(minutes=120)
    assert world.box_verdicts() == ["unpaid"]
    clerk = world.person("clerk", Role.CLERK)
    wish = ruling.Wish(
        instrument_id=world.instrument_id,
        kind=RuleKind.MAINTENANCE,
        valid_from=at(0),
        valid_to=None,
        week=None,
        run_s_max=None,
        note="源更换",
    )
    made = world.database.run(lambda session: ruling.make(session, wish, maker=clerk, at=at(130)))
    world.reconcile(minutes=131)
    assert world.box_verdicts() == ["maintenance"]
    world.database.run(lambda session: ruling.end(session, rule_id=made.id, ender=clerk, at=at(140)))
    world.play((40, STANDBY_W))
    world.reconcile(minutes=170)
    assert world.box_verdicts() == ["maintenance"]
    with world.database.reader() as session:
        kept = session.scalars(select(SilenceRule)).one()
        assert (kept.made_by_id, kept.ended_by_id, kept.valid_to) == (clerk.person_id, clerk.person_id, at(140))


def test_a_box_that_is_normally_silent_at_night_keeps_no_charge_waiting(world: World) -> None:
    clerk = world.person("clerk", Role.CLERK)
    finished = world.charge(10, 70)
    world.use(14, 60, until=80)  # then the whole bench is switched off
    world.reconcile(minutes=100)
    assert world.verdict(finished) == "provisional"
    wish = ruling.Wish(
        instrument_id=world.instrument_id,
        kind=RuleKind.QUIET,
        valid_from=at(75),
        valid_to=None,
        week=None,
        run_s_max=None,
        note="下班断电",
    )
    world.database.run(lambda session: ruling.make(session, wish, maker=clerk, at=at(100)))
    world.reconcile(minutes=101)
    assert world.verdict(finished) == "matched"
    silent = world.charge(90, 110)
    world.reconcile(minutes=140)
    assert world.verdict(silent) == "no_evidence"  # silence stays unknown: it accuses nobody


def test_nobody_makes_or_ends_rules_for_another_sub_centers_instrument(world: World) -> None:
    with world.database.transaction() as session:
        elsewhere = builders.sub_center(session).id
    stranger = world.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=elsewhere)
    clerk = world.person("clerk", Role.CLERK)
    wish = ruling.Wish(
        instrument_id=world.instrument_id,
        kind=RuleKind.MAINTENANCE,
        valid_from=datetime(2026, 5, 1, tzinfo=UTC),
        valid_to=None,
        week=None,
        run_s_max=None,
        note="nothing",
    )
    made = world.database.run(lambda session: ruling.make(session, wish, maker=clerk, at=at(0)))
    attempts: tuple[Callable[[Session], SilenceRule], ...] = (
        lambda session: ruling.make(session, wish, maker=stranger, at=at(0)),
        lambda session: ruling.end(session, rule_id=made.id, ender=stranger, at=at(1)),
    )
    for attempt in attempts:
        with pytest.raises(Refusal) as refused, world.database.transaction() as session:
            attempt(session)
        assert refused.value.code is Code.NOT_FOUND

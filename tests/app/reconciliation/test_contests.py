"""Contests of customers, policies of two people, unpaid use, control totals and full re-runs."""

from typing import Any
from uuid import UUID

import pytest
import structlog
from click.testing import CliRunner
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from app import clock
from app.cli import commands
from app.clock import Anchor
from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people.models import Role
from app.people.principals import Principal
from app.reconciliation import cli, contests, due, matching, policies, queue, recording, rerunning, totals, unpaid
from app.reconciliation.deciding import DEFAULT_ZONE
from app.reconciliation.models import ChargeVerdict, ContestStatus, ControlTotal
from app.reconciliation.policies import Do, PolicyInvalidError, parse
from app.reconciliation.spans import Span
from app.sessions.models import CardSession
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import RUN_W, STANDBY_W, at

WEEK_MIN = 7 * 1440


def contest(world: World, charge: UUID, *, minutes: float, who: Principal | None = None) -> int:
    maker = who or world.principal(world.holder_id)
    return world.database.run(
        lambda session: contests.contest(session, session_id=charge, reason="broken", maker=maker, at=at(minutes)).id
    )


def refused(world: World, work: Any) -> Code:
    with pytest.raises(Refusal) as answer, world.database.transaction() as session:
        work(session)
    return Code(answer.value.code)


def test_a_charge_may_be_contested_for_seven_days_and_once(world: World) -> None:
    charge = world.charge(10, 70)
    holder = world.principal(world.holder_id)

    def try_at(minutes: float) -> Any:
        return lambda session: contests.contest(session, session_id=charge, reason="late", maker=holder, at=at(minutes))

    assert refused(world, try_at(70 + WEEK_MIN + 1)) == Code.NOT_CONTESTABLE
    made = contest(world, charge, minutes=70 + WEEK_MIN)
    assert refused(world, try_at(80)) == Code.NOT_CONTESTABLE
    world.database.run(lambda session: contests.take_back(session, contest_id=made, maker=holder, at=at(90)))
    assert contest(world, charge, minutes=95) != made


def test_only_the_card_and_its_account_contest_and_nobody_answers_her_own(world: World) -> None:
    charge = world.charge(10, 70)
    stranger = world.person("stranger", Role.CARDHOLDER)
    wanted = lambda session: contests.contest(  # noqa: E731
        session, session_id=charge, reason="not mine", maker=stranger, at=at(80)
    )
    assert refused(world, wanted) == Code.NOT_FOUND
    made = contest(world, charge, minutes=80)
    holder = world.principal(world.holder_id)
    both = Principal(
        person_id=holder.person_id,
        username="h",
        name="h",
        organisation_id=None,
        grants=world.person("c", Role.CLERK).grants,
    )
    answer = lambda session: contests.answer(  # noqa: E731
        session, contest_id=made, amount_fen=0, text="mine", answerer=both, at=at(81)
    )
    assert refused(world, answer) == Code.FORBIDDEN


def test_an_answer_is_due_by_a_date_and_overdue_ones_are_counted_and_stand_in_the_queue(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    assert world.verdict(charge) == "matched"
    made = contest(world, charge, minutes=130)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        early = contests.list_contests(session, reader=manager, at=at(140))
        late = contests.list_contests(session, reader=manager, at=at(131 + WEEK_MIN))
        waiting = queue.queue(session, reader=manager, wanted=queue.Wanted(contested=True), at=at(140))
    assert (early.overdue, late.overdue) == (0, 1)
    assert [line.charge.id for line in waiting.lines] == [charge]
    world.database.run(
        lambda session: contests.answer(
            session, contest_id=made, amount_fen=0, text="box agrees", answerer=manager, at=at(150)
        )
    )
    with world.database.reader() as session:
        answered = contests.contest_of(session, charge)
        assert answered is not None
        assert (answered.status, answered.answer) == (ContestStatus.UPHELD, "box agrees")
        assert queue.queue(session, reader=manager, wanted=queue.Wanted(), at=at(160)).total == 0
    again = lambda session: contests.answer(  # noqa: E731
        session, contest_id=made, amount_fen=1, text="no, yes", answerer=manager, at=at(160)
    )
    assert refused(world, again) == Code.ALREADY_DECIDED


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contest_days": 91}, "contest_days"),
        ({"contest_days": True}, "contest_days"),
        ({"verdicts": {"matched": {"do": "refund"}}}, "verdicts.matched"),
        ({"verdicts": {"no_evidence": {"do": "refund"}}}, "verdicts.no_evidence.do"),
        ({"verdicts": {"phantom": {"do": "refund", "refund_percent": 101}}}, "verdicts.phantom.refund_percent"),
        ({"verdicts": {"phantom": {"do": "pay"}}}, "verdicts.phantom"),
        ({"refund": 1}, "refund"),
    ],
)
def test_a_policy_that_cannot_be_read_names_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(PolicyInvalidError, match=f"^{field}$"):
        parse(body)


def test_a_policy_needs_two_people_and_a_sub_centers_own_goes_before_the_one_for_all(world: World) -> None:
    clerk, approver = world.person("clerk", Role.CLERK), world.person("approver", Role.APPROVER)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)

    def publish(maker: Principal, body: dict[str, Any], sub_center_id: int | None, minutes: float) -> None:
        with world.database.transaction() as session:
            made = policies.draft(
                session,
                body=body,
                sub_center_id=sub_center_id,
                valid_from=at(minutes),
                note="n",
                maker=maker,
                at=at(minutes),
            )
            same = Principal(
                person_id=maker.person_id, username="m", name="m", organisation_id=None, grants=approver.grants
            )
            with pytest.raises(Refusal):
                policies.decide(session, policy_id=made.id, approve=True, checker=same, at=at(minutes))
            policies.decide(session, policy_id=made.id, approve=True, checker=approver, at=at(minutes))

    charge = world.charge(10, 70)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    publish(clerk, {"contest_days": 3}, None, -100)
    with world.database.reader() as session:
        row = session.get_one(CardSession, charge)
        assert policies.held_for(session, row).terms.contest_days == 3
    publish(manager, {"contest_days": 5, "verdicts": {"phantom": {"do": "nothing"}}}, world.sub_center_id, -50)
    with world.database.reader() as session:
        row = session.get_one(CardSession, charge)
        held = policies.held_for(session, row)
        assert (held.terms.contest_days, held.terms.kinds(Do.NOTHING)) == (5, frozenset({ChargeVerdict.PHANTOM}))
        # Of what a policy leaves alone nobody is asked.
        assert queue.queue(session, reader=clerk, wanted=queue.Wanted(), at=at(200)).total == 0
    publish(manager, {"contest_days": 9}, world.sub_center_id, 60)
    with world.database.reader() as session:
        versions = policies.list_policies(session, reader=manager)
        assert [(each.version, each.valid_to) for each in versions] == [(1, None), (2, None), (1, at(60))]
        assert queue.queue(session, reader=clerk, wanted=queue.Wanted(), at=at(200)).total == 1


def test_a_policy_cannot_be_rewritten_once_it_is_drafted(world: World) -> None:
    clerk = world.person("clerk", Role.CLERK)
    world.database.run(
        lambda session: policies.draft(
            session, body={}, sub_center_id=None, valid_from=at(0), note="n", maker=clerk, at=at(0)
        )
    )
    with pytest.raises(IntegrityError, match="written once"), world.database.transaction() as session:
        session.execute(text("UPDATE app.reconciliation_policy SET body = '{}', note = 'other'"))


def test_unpaid_use_is_shown_with_hours_and_price_and_an_explained_run_leaves_the_list(world: World) -> None:
    world.use(20, 80, until=140)
    world.reconcile(minutes=140)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.transaction() as session:
        instrument = session.get_one(Instrument, world.instrument_id)
        builders.tariff(session, of_instrument=instrument, rules={"per_hour": {"price_fen": 60_00}})
    with world.database.reader() as session:
        (use,) = unpaid.list_uses(session, reader=manager, zone=DEFAULT_ZONE).uses
        assert use.unpaid_s == pytest.approx(3600, abs=60)
        assert use.estimate_fen == pytest.approx(60_00, abs=100)
    world.database.run(
        lambda session: unpaid.explain(
            session, box_verdict_id=use.run.id, note="acceptance test", maker=manager, at=at(150)
        )
    )
    with world.database.reader() as session:
        assert unpaid.list_uses(session, reader=manager, zone=DEFAULT_ZONE).total == 0
        assert unpaid.list_uses(session, reader=manager, zone=DEFAULT_ZONE, answered=True).total == 1


def test_control_totals_of_a_day_are_kept_and_a_charge_over_midnight_is_cut_there(world: World) -> None:
    """The story begins at 16:00 in Shanghai: minute 480 is midnight."""
    world.charge(470, 500)
    world.play((474, STANDBY_W), (20, RUN_W), (60, STANDBY_W))
    world.reconcile(minutes=560)
    with world.database.reader() as session:
        days = session.scalars(select(ControlTotal).order_by(ControlTotal.day)).all()
    sums = [(each.charge_s // 60, each.overlap_s // 60, each.charge_only_s // 60, each.box_only_s) for each in days]
    assert sums == [(10, 6, 4, 0), (20, 14, 6, 0)]
    with pytest.raises(IntegrityError, match="adds_up"), world.database.transaction() as session:
        session.execute(text("UPDATE app.control_total SET overlap_s = overlap_s + 1"))


def test_day_totals_count_two_cards_at_once_twice_but_what_ran_once() -> None:
    day = Span(0, 86_400)
    sums = totals.day_totals([Span(0, 100), Span(50, 150)], [Span(25, 75)], day=day)
    assert (sums.charge_s, sums.box_s, sums.overlap_s, sums.charge_only_s, sums.box_only_s) == (200, 50, 50, 150, 0)


def rerun(world: World, **values: Any) -> rerunning.Report:
    return rerunning.rerun_all(
        world.database,
        since=at(-1440),
        until=at(1440),
        zone=DEFAULT_ZONE,
        now=lambda: at(200),
        **values,
    )


def test_a_full_rerun_changes_nothing_that_is_unchanged_and_says_what_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = [world.charge(10, 70), world.charge(80, 110)]
    world.use(14, 66, until=160)
    world.reconcile(minutes=160)
    assert rerun(world).changed == 0
    monkeypatch.setattr(matching, "ALGORITHM_VERSION", 99)
    dry = rerun(world, dry_run=True)
    assert (dry.changed, [len(world.versions(each)) for each in charges]) == (3, [1, 1])
    done = rerun(world)
    assert done.changes == {
        recording.Change("charge", "matched", "matched"): 1,
        recording.Change("charge", "phantom", "phantom"): 1,
        recording.Change("run", "covered", "covered"): 1,
    }
    assert [row.algorithm_version for row in world.versions(charges[0])] == [2, 99]
    assert rerun(world).changed == 0


def test_incremental_and_full_come_to_the_same_bytes(world: World) -> None:
    charges = [world.charge(10, 70), world.charge(80, 110)]
    world.use(14, 66, until=160)
    world.reconcile(minutes=160)
    evidence = [world.versions(charge)[-1].evidence for charge in charges]
    with world.database.owner() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for table in ("verdict", "box_verdict", "control_total"):
            session.execute(text(f"DELETE FROM app.{table}"))  # noqa: S608 - constants
    report = rerun(world)
    assert (report.charges, report.changed) == (2, 3)
    assert [world.versions(charge)[-1].evidence for charge in charges] == evidence


def test_the_command_works_off_what_is_due_and_reruns_a_range_with_its_report(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing is new in what has waited longest."""
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(160), speed=1.0))
    world.charge(10, 70)
    world.use(14, 66, until=160)
    world.reconcile(minutes=160)
    with world.database.transaction() as session:
        due.add_weeks(
            session,
            name="rule:1",
            instrument_id=world.instrument_id,
            from_at=at(-2 * WEEK_MIN),
            until_at=at(-1),
            at=at(150),
        )
    world.charge(80, 110)
    monkeypatch.setattr(cli, "BATCH", 1)
    before = structlog.get_config()
    monkeypatch.setenv("TESTCARD_DATABASE_URL", database_url)
    monkeypatch.setenv("TESTCARD_SECRET_KEY", "s" * 40)
    monkeypatch.setenv("TESTCARD_KEY_ENCRYPTION_KEY", "00" * 32)
    try:
        _reconcile_by_command()
    finally:
        structlog.configure(**before)


def _reconcile_by_command() -> None:
    first = CliRunner().invoke(commands, ["reconcile"], catch_exceptions=False)
    assert "1 verdicts are new." in first.output
    again = CliRunner().invoke(commands, ["reconcile", "--full", "--from", "2026-05-01", "--until", "2026-05-10"])
    assert "2 charges and 1 runs in 2 pieces: 0 verdicts are new." in again.output
    assert CliRunner().invoke(commands, ["reconcile", "--full"]).exit_code == 2

"""Charges and box messages in, verdicts and usage records out: incremental, repeatable, never edited."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import Database
from app.devices.boxes import calibrating, enrolment
from app.devices.models import BoxPlacement
from app.errors import Refusal
from app.instruments.models import CustomerClass
from app.people.models import Role
from app.reconciliation import matching, service
from app.reconciliation.cases import Case, Outcome, Settings
from app.reconciliation.models import Verdict
from app.sessions.models import CardSession
from telemetry.queries import live_states
from telemetry.states import State
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, at, minute


def test_a_used_and_charged_hour_becomes_a_verified_usage_record(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    assert world.verdict(charge) == "matched"
    record = world.records()[0]
    assert (record.session_id, record.charged_s, record.external) == (charge, 3600, True)
    assert (record.amount_fen, record.paid_principal_fen, record.paid_subsidy_fen) == (50_000, 32_000, 18_000)
    assert 52 * 60 <= record.effective_s <= 3600
    assert world.box_verdicts() == ["covered"]
    assert world.due() == 0


def test_a_verdict_is_provisional_until_the_box_has_told_enough(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=80)
    world.reconcile(minutes=80)
    assert world.verdict(charge) == "provisional"
    assert world.records() == []
    world.play((30, STANDBY_W))
    world.reconcile(minutes=110)
    assert world.verdict(charge) == "matched"
    assert [row.version for row in world.versions(charge)] == [1, 2]


def test_what_is_received_but_not_yet_made_into_sessions_settles_nothing(world: World) -> None:
    """Else a charge would be called a phantom for the second between ingest and derive."""
    charge = world.charge(10, 70)
    spans = [(13, STANDBY_W), (52, RUN_W), (60, STANDBY_W)]
    messages = [watts for minutes, watts in spans for _ in range(minutes)]
    world.server.measured([minute(number + 1, watts) for number, watts in enumerate(messages)])
    world.reconcile(minutes=125)
    assert world.verdict(charge) == "provisional"
    world.server.derive(now=at(125))
    world.reconcile(minutes=127)
    assert world.verdict(charge) == "matched"


def test_the_internal_use_of_a_unit_is_verified_but_not_external(world: World) -> None:
    world.charge(10, 70, customer_class=CustomerClass.OWN_UNIT)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    assert [record.external for record in world.records()] == [False]


def test_a_charge_where_nothing_ran_is_a_phantom_without_a_record(world: World) -> None:
    charge = world.charge(10, 70)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    assert world.verdict(charge) == "phantom"
    assert world.records() == []


def test_unpaid_use_is_found_without_any_charge(world: World) -> None:
    world.use(20, 60, until=120)
    world.reconcile(minutes=120)
    assert world.box_verdicts() == ["unpaid"]


def test_an_instrument_without_a_box_gets_its_verdict_at_once(database: Database) -> None:
    world = World(database, with_box=False)
    charge = world.charge(10, 70)
    world.reconcile(minutes=71)
    assert world.verdict(charge) == "no_evidence"
    assert world.due() == 0


def test_a_box_without_a_calibration_accuses_nobody(database: Database) -> None:
    world = World(database, with_box=False)
    world.server.enrol(calibration=None)
    with database.transaction() as session:
        session.add(BoxPlacement(box="cb-001", channel=0, instrument_id=world.instrument_id, valid_from=at(-1000)))
    charge = world.charge(10, 70)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    assert world.verdict(charge) == "no_evidence"


def test_a_box_that_never_speaks_again_is_waited_for_three_days(world: World) -> None:
    charge = world.charge(10, 70)
    world.play((5, STANDBY_W))
    world.reconcile(minutes=75)
    assert world.verdict(charge) == "provisional"
    world.reconcile(minutes=71 + 3 * 1440)
    assert world.verdict(charge) == "no_evidence"


def test_a_waiting_charge_is_looked_at_when_it_can_be_final_and_then_less_and_less_often(world: World) -> None:
    world.charge(10, 70)
    pauses = []
    now = at(75)
    for _ in range(7):
        with world.database.transaction() as session:
            service.reconcile(session, at=now, limit=10)
            session.flush()
            due_at = session.execute(text("SELECT due_at FROM app.reconciliation_due")).scalar_one()
        pauses.append((due_at - now) / timedelta(minutes=1))
        now = due_at
    assert pauses == [20, 1, 2, 4, 8, 15, 15]


def test_nothing_new_writes_nothing(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    assert world.reconcile(minutes=120) > 0
    assert world.reconcile(minutes=121) == 0
    clerk = world.person("clerk", Role.CLERK)
    world.database.run(lambda session: service.rerun(session, session_id=charge, reader=clerk, at=at(130)))
    assert [row.version for row in world.versions(charge)] == [1]


def test_a_late_charge_over_a_run_called_unpaid_makes_it_covered(world: World) -> None:
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    assert world.box_verdicts() == ["unpaid"]
    charge = world.charge(10, 70)
    world.reconcile(minutes=130)
    assert (world.verdict(charge), world.box_verdicts()) == ("matched", ["covered"])


def test_late_data_after_a_verdict_reopen_it(world: World) -> None:
    """The box was silent, the charge had no evidence, and then its buffer came."""
    charge = world.charge(10, 70)
    world.play((5, STANDBY_W))
    world.reconcile(minutes=71 + 3 * 1440)
    assert world.verdict(charge) == "no_evidence"
    world.use(14, 66, until=120)
    world.reconcile(minutes=72 + 3 * 1440)
    assert world.verdict(charge) == "matched"
    assert len(world.records()) == 1


def test_money_corrected_later_makes_a_new_record_and_keeps_the_old_one(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    before = world.records()[0]
    with world.database.transaction() as session:
        change = {"paid_principal_fen": 10_000, "paid_subsidy_fen": 0, "amount_fen": 10_000}
        session.execute(update(CardSession).where(CardSession.id == charge).values(change))
    world.reconcile(minutes=125)
    after = world.records()
    assert [(row.paid_principal_fen, row.id != before.id) for row in after] == [(10_000, True)]


def test_an_open_session_holds_its_time_until_it_is_charged(world: World) -> None:
    first, second = world.charge(10, 40), world.charge(40, None)
    world.use(12, 68, until=120)
    world.reconcile(minutes=120)
    assert (world.verdict(first), world.verdict(second)) == ("provisional", "none")
    with world.database.transaction() as session:
        end = {"status": "captured", "ended_at": at(70), "amount_fen": 50_000}
        session.execute(update(CardSession).where(CardSession.id == second).values(end))
    world.reconcile(minutes=125)
    assert (world.verdict(first), world.verdict(second)) == ("matched_shared", "matched_shared")


def test_a_box_moved_in_the_middle_of_a_run_counts_for_each_instrument_up_to_the_move(world: World) -> None:
    with world.database.transaction() as session:
        session.scalars(select(BoxPlacement)).one().valid_to = at(40)
        session.flush()
        other_id = builders.instrument(session).id
        session.add(BoxPlacement(box="cb-001", channel=0, instrument_id=other_id, valid_from=at(40)))
    charges = [world.charge(10, 40), world.charge(40, 70, instrument_id=other_id)]
    world.use(12, 66, until=120)
    world.reconcile(minutes=120)
    assert [world.verdict(charge) for charge in charges] == ["matched", "matched"]
    assert world.box_verdicts() == ["covered", "covered"]


def test_a_box_moved_to_another_instrument_accuses_nobody_there_until_it_is_calibrated_there(world: World) -> None:
    with world.database.transaction() as session:
        other_id = builders.instrument(session).id
    charges = [world.charge(10, 70), world.charge(150, 210, instrument_id=other_id)]
    world.use(12, 66, until=120)
    world.database.run(
        lambda session: enrolment.place_box(
            session, box=BOX, channel=0, instrument_id=other_id, actor="admin", at=at(120)
        )
    )
    world.use(154, 206, until=260)
    world.reconcile(minutes=260)
    assert [world.verdict(charge) for charge in charges] == ["matched", "no_evidence"]
    assert world.box_verdicts() == ["covered"]
    with world.database.reader() as session:
        assert live_states(session, boxes=[BOX], now=at(260))[BOX, 0].state is State.UNKNOWN

    def calibrate(session: Session) -> None:
        calibrating.set_by_hand(
            session,
            box=BOX,
            channel=0,
            run_threshold_w=40.0,
            standby_threshold_w=None,
            valid_from=at(120),
            actor="admin",
            at=at(260),
        )

    world.database.run(calibrate)
    world.server.derive(now=at(261))
    world.reconcile(minutes=261)
    assert [world.verdict(charge) for charge in charges] == ["matched", "matched"]


def test_two_workers_at_once_write_one_verdict_and_one_record(world: World) -> None:
    charges = [world.charge(start, start + 30) for start in range(10, 310, 30)]
    world.play((12, STANDBY_W), (295, RUN_W), (60, STANDBY_W))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: world.reconcile(minutes=370), range(8)))
    while world.reconcile(minutes=371):
        pass
    for charge in charges:
        final = [row for row in world.versions(charge) if row.verdict.value == "matched_shared"]
        assert len(final) == 1
    assert len(world.records()) == len(charges)


def test_a_worker_killed_before_its_commit_leaves_nothing_and_the_next_one_does_it_all(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)

    class Killed(BaseException):
        pass

    def die() -> None:
        with world.database.transaction() as session:
            service.reconcile(session, at=at(120), limit=100)
            raise Killed

    with pytest.raises(Killed):
        die()
    assert (world.verdict(charge), world.due()) == ("none", 0)
    world.reconcile(minutes=120)
    assert world.verdict(charge) == "matched"


def test_a_charge_that_cannot_be_decided_keeps_no_other_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = world.charge(10, 70), world.charge(200, 260)
    world.use(14, 66, until=120)
    world.use(204, 256, until=320)
    decide = matching.decide

    def fail_on_the_broken_one(case: Case, *, settings: Settings) -> Outcome:
        if str(broken) in {charge.id for charge in case.charges}:
            raise AssertionError("charges and runs disagree about their overlap")
        return decide(case, settings=settings)

    monkeypatch.setattr(matching, "decide", fail_on_the_broken_one)
    world.reconcile(minutes=320)

    assert (world.verdict(broken), world.verdict(sound)) == ("none", "matched")
    monkeypatch.undo()
    world.reconcile(minutes=321)
    assert world.verdict(broken) == "matched"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE app.verdict SET verdict = 'matched'",
        "UPDATE app.verdict SET evidence = '{}'",
        "DELETE FROM app.verdict",
        "UPDATE app.usage_record SET effective_s = 1",
        "UPDATE app.box_verdict SET box_only_s = 0, overlap_s = 0",
    ],
)
def test_what_was_decided_cannot_be_rewritten(world: World, statement: str) -> None:
    world.charge(10, 70)
    world.charge(75, 85)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    with pytest.raises(IntegrityError, match="written once"), world.database.transaction() as session:
        session.execute(text(statement))


def test_a_verdict_keeps_what_it_takes_to_decide_again(world: World) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    world.reconcile(minutes=120)
    evidence = world.versions(charge)[-1].evidence
    assert evidence["boxes"] == [["cb-001", 0]]
    assert evidence["unknown"] == []
    assert evidence["settings"]["tolerance_s"] == 600
    assert [run["version"] for run in evidence["runs"]] == [1]
    assert evidence["overlap_s"] + evidence["charge_only_s"] == evidence["charge"][1] - evidence["charge"][0]


def test_a_charge_nobody_knows_is_not_found(world: World) -> None:
    clerk = world.person("clerk", Role.CLERK)
    with pytest.raises(Refusal), world.database.transaction() as session:
        service.rerun(session, session_id=uuid4(), reader=clerk, at=at(0))
    with world.database.reader() as session:
        assert session.scalars(select(Verdict)).all() == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order_of_arrival_with_repeats_and_decisions_between_leaves_the_same(world: World, seed: int) -> None:
    """A day's messages shuffled, repeated, in pieces, with the job running in between: the same verdicts."""
    chance = random.Random(seed)  # noqa: S311 - a test must come out the same
    charges = [world.charge(10, 70), world.charge(80, 110)]
    watts = [STANDBY_W] * 13 + [RUN_W] * 52 + [STANDBY_W] * 55 + [RUN_W] * 15 + [STANDBY_W] * 40
    messages = [minute(number + 1, power) for number, power in enumerate(watts)]
    messages += chance.sample(messages, 20)
    chance.shuffle(messages)
    for start in range(0, len(messages), 50):
        world.server.measured(messages[start : start + 50])
        world.server.derive(now=at(len(watts)))
        world.reconcile(minutes=len(watts))
    world.reconcile(minutes=len(watts) + 20)
    found = [world.versions(charge)[-1] for charge in charges]
    said = [(row.verdict.value, row.overlap_s, row.charge_only_s, row.evidence["idle_s"]) for row in found]
    assert said == [("matched", 3120, 480, 0), ("phantom", 0, 1800, 1800)]
    assert world.box_verdicts() == ["covered", "unpaid"]


def test_what_was_overlooked_is_found_within_a_minute_however_old(world: World) -> None:
    """Only charges of the last days are looked for at every second: the table grows by a million a year."""
    charge, long_ago = world.charge(10, 70), world.charge(-60 * 1440, 60 - 60 * 1440)
    world.use(14, 66, until=160)
    world.reconcile(minutes=160)
    assert (world.verdict(charge), world.verdict(long_ago)) == ("matched", "no_evidence")
    with world.database.transaction() as session:
        row = session.get_one(CardSession, charge)
        row.amount_fen, row.paid_principal_fen = 48_000, 30_000
    world.reconcile(minutes=160.5)
    assert [record.amount_fen for record in world.records()] == [50_000]
    world.reconcile(minutes=161)
    assert [record.amount_fen for record in world.records()] == [48_000]

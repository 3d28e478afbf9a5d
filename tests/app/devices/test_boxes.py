"""Boxes come in with a password shown once, move with a history, get new passwords, and go."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.devices import service
from app.devices.boxes import enrolment
from app.errors import Code, Refusal
from app.people import service as people
from telemetry import boxes
from telemetry.messages import shard_of
from telemetry.models import Box
from telemetry.passwords import is_password
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, CALIBRATION, at

REQUEST = UUID("7b9f2f0e-0000-4000-8000-000000000001")


def test_the_server_makes_code_shard_and_password_and_keeps_only_what_checks_it(database: Database) -> None:
    def work(session: Session) -> tuple[Box, str]:
        made = enrolment.enrol_box(session, request_id=REQUEST, channels=2, actor="admin", at=clock.now())
        return made.box, made.password

    box, password = database.run(work)
    assert box.code == enrolment.code_of(REQUEST)
    assert box.shard == shard_of(box.code)
    assert password not in str(box.verifier)
    assert is_password(password, verifier=box.verifier or "")
    with database.reader() as session:
        assert boxes.verifiers(session) == {box.code: box.verifier}
        (entry,) = people.audit_trail(session, subject=f"box:{box.code}")
        assert (entry.action, entry.actor) == ("box.enrol", "admin")
        assert password not in str(entry.detail)


def test_a_request_whose_answer_was_lost_makes_no_second_box(database: Database) -> None:
    def work(session: Session) -> str:
        return enrolment.enrol_box(session, request_id=REQUEST, channels=1, actor="admin", at=clock.now()).box.code

    code = database.run(work)
    with pytest.raises(Refusal) as refused:
        database.run(work)
    assert (refused.value.code, refused.value.details) == (Code.REQUEST_ID_USED, {"box": code})


def test_a_new_password_puts_the_old_one_out_at_once(database: Database) -> None:
    code, old = _enrolled(database)
    new = database.run(
        lambda session: enrolment.rotate_password(session, code=code, actor="admin", at=clock.now()).password
    )
    with database.reader() as session:
        verifier = boxes.verifiers(session)[code]
    assert is_password(new, verifier=verifier)
    assert not is_password(old, verifier=verifier)


def test_a_revoked_box_stands_nowhere_gets_no_password_and_is_not_placed_again(database: Database) -> None:
    code, _ = _enrolled(database)
    now = clock.now()

    def place(session: Session) -> None:
        instrument_id = builders.instrument(session).id
        enrolment.place_box(session, box=code, channel=0, instrument_id=instrument_id, actor="admin", at=now)

    database.run(place)
    for _ in range(2):  # the second time changes nothing
        database.run(lambda session: enrolment.revoke_box(session, code=code, actor="admin", at=now))
    with database.reader() as session:
        assert boxes.verifiers(session) == {}
        (placement,) = service.placements(session, limit=10)
        assert placement.valid_to is not None
        assert len(people.audit_trail(session, subject=f"box:{code}")) == 3
    for again in (place, lambda session: enrolment.rotate_password(session, code=code, actor="admin", at=now)):
        with pytest.raises(Refusal) as refused:
            database.run(again)
        assert refused.value.code is Code.BOX_REVOKED


def test_a_box_that_moves_meters_its_old_instrument_until_that_moment(database: Database) -> None:
    code, _ = _enrolled(database)
    now = clock.now()

    def work(session: Session) -> list[tuple[int, bool]]:
        first, second = (builders.instrument(session).id for _ in range(2))
        for instrument_id, moment in ((first, now), (first, now), (second, now + timedelta(hours=1))):
            enrolment.place_box(session, box=code, channel=0, instrument_id=instrument_id, actor="a", at=moment)
        return [(each.instrument_id - first, each.valid_to is None) for each in service.placements(session, limit=10)]

    assert database.run(work) == [(1, True), (0, False)]
    with pytest.raises(Refusal) as refused:
        database.run(
            lambda session: enrolment.take_away(session, box=code, channel=0, actor="a", at=now + timedelta(hours=1))
        )
    assert refused.value.code is Code.ALREADY_DECIDED


def test_a_channel_that_the_box_has_not_cannot_be_placed(database: Database) -> None:
    code, _ = _enrolled(database)

    def work(session: Session) -> None:
        instrument_id = builders.instrument(session).id
        enrolment.place_box(session, box=code, channel=1, instrument_id=instrument_id, actor="a", at=clock.now())

    with pytest.raises(Refusal) as refused:
        database.run(work)
    assert refused.value.code is Code.NOT_FOUND


def test_a_box_moved_in_mid_session_leaves_what_it_saw_before_to_the_old_instrument(database: Database) -> None:
    world = World(database)
    first = world.charge(10, 40)

    def move(session: Session) -> int:
        second_id = builders.instrument(session).id
        enrolment.place_box(session, box=BOX, channel=0, instrument_id=second_id, actor="admin", at=at(40))
        return second_id

    second_id = database.run(move)
    second = world.charge(40, 70, instrument_id=second_id)
    world.use(10, 70, until=130)
    world.reconcile(minutes=200)
    assert (world.verdict(first), world.verdict(second)) == ("matched", "no_evidence")

    def calibrate(session: Session) -> None:
        boxes.set_calibration(session, code=BOX, channel=0, calibration=CALIBRATION, at=at(40), recompute_by="admin")

    database.run(calibrate)
    world.server.derive(now=at(201))
    world.reconcile(minutes=201)
    assert (world.verdict(first), world.verdict(second)) == ("matched", "matched")
    assert [world.versions(charge)[-1].overlap_s for charge in (first, second)] == [30 * 60, 30 * 60]


def _enrolled(database: Database) -> tuple[str, str]:
    def work(session: Session) -> tuple[str, str]:
        made = enrolment.enrol_box(session, request_id=uuid4(), channels=1, actor="admin", at=clock.now())
        return made.box.code, made.password

    return database.run(work)

"""The worklist names what a person must calibrate; attempts change nothing until adopted; lists count right."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text

from app.db import Database
from app.devices.boxes import calibrating, dead_letters, details, enrolment, listing, watching
from app.devices.boxes.dead_letters import Wanted
from app.devices.boxes.listing import Order, Show
from app.devices.models import CalibrationAttempt
from app.errors import Code, Refusal
from app.people.models import Role
from telemetry import boxes
from telemetry.errors import DeadReason
from telemetry.models import CalibrationVersion, DeadLetter
from telemetry.states import Calibration
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, Server, at, minute

DAY = 24 * 60
ZONE = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def world(database: Database) -> World:
    """A box without a calibration that saw a use on each of two days."""
    world = World(database)
    with database.transaction() as session:
        session.execute(text("DELETE FROM telemetry.calibration"))
        session.execute(text("UPDATE app.box_placement SET valid_from = :at"), {"at": at(0)})
    message = minute(1, 5.0)
    powers = {False: [5.0] * 60, True: [120.0] * 60}
    world.server.measured(
        {
            **message,
            "seq": number + 1,
            "t0": message["t0"] + number * 3_600_000,
            "up0": number * 3600.0,
            "dt": 60_000,
            "p": powers[number % 24 in (3, 4, 9)],
        }
        for number in range(48)
    )
    world.server.derive(now=at(2 * DAY))
    return world


def tasks(world: World, username: str = "auditor") -> list[tuple[str, str]]:
    reader = world.person(username, Role.AUDITOR)
    with world.database.reader() as session:
        return [(task.work.value, task.placement.box) for task in calibrating.worklist(session, reader=reader)]


def start(world: World, *, days: int = 7) -> CalibrationAttempt:
    return world.database.run(
        lambda session: calibrating.start(session, box=BOX, channel=0, days=days, actor="admin", at=at(2 * DAY))
    )


def test_an_attempt_finds_thresholds_and_changes_nothing_until_it_is_adopted(world: World) -> None:
    assert tasks(world, "a1") == [("missing", BOX)]
    attempt = start(world)
    assert attempt.reason is None
    assert 5 < (attempt.run_threshold_w or 0) < 120
    assert tasks(world, "a2") == [("missing", BOX)]
    assert world.server.sessions() == []

    def adopt() -> CalibrationAttempt:
        return world.database.run(
            lambda session: calibrating.adopt(
                session, attempt_id=attempt.id, valid_from=at(0), actor="admin", at=at(2 * DAY)
            )
        )

    assert adopt().version == 1
    assert tasks(world, "a3") == []
    world.server.derive(now=at(2 * DAY))
    assert len(world.server.sessions()) == 4
    with pytest.raises(Refusal) as refused:
        adopt()
    assert refused.value.code is Code.ALREADY_DECIDED


def test_a_refused_attempt_is_kept_with_its_figures_and_stands_on_the_worklist(world: World) -> None:
    with world.database.transaction() as session:
        session.execute(text("UPDATE telemetry.message SET powers_w = array_fill(5::real, ARRAY[60])"))
    attempt = start(world)
    assert attempt.reason == "not_separable"
    assert attempt.known_s == 2 * 86_400
    assert tasks(world) == [("refused", BOX)]
    with pytest.raises(Refusal) as refused:
        world.database.run(
            lambda session: calibrating.adopt(
                session, attempt_id=attempt.id, valid_from=at(0), actor="admin", at=at(2 * DAY)
            )
        )
    assert refused.value.code is Code.ALREADY_DECIDED


def test_a_box_that_moved_is_to_be_calibrated_anew_and_only_by_readings_from_there(world: World) -> None:
    _by_hand(world, run_w=40.0, made=DAY - 10)
    assert tasks(world, "a1") == []

    def move() -> None:
        world.database.run(
            lambda session: enrolment.place_box(
                session,
                box=BOX,
                channel=0,
                instrument_id=builders.instrument(session).id,
                actor="admin",
                at=at(DAY),
            )
        )

    move()
    assert tasks(world, "a2") == [("moved", BOX)]
    attempt = start(world)
    assert attempt.since == at(DAY)
    _by_hand(world, run_w=30.0)
    assert tasks(world, "a3") == []


def test_a_preview_sets_what_holds_beside_what_is_proposed(world: World) -> None:
    _by_hand(world, run_w=40.0)
    with world.database.reader() as session:
        found = calibrating.preview(
            session, box=BOX, channel=0, run_threshold_w=200.0, standby_threshold_w=2.0, at=at(2 * DAY)
        )
    assert (found.present.running_s, found.present.uses) == (6 * 3600, 4)
    assert (found.proposed.running_s, found.proposed.uses, found.proposed.standby_s) == (0, 0, 48 * 3600)


@pytest.mark.parametrize(("run_w", "standby_w"), [(0.0, None), (-1.0, None), (float("nan"), None), (5.0, 5.0)])
def test_thresholds_that_part_nothing_are_refused(world: World, run_w: float, standby_w: float | None) -> None:
    with pytest.raises(Refusal) as refused:
        _by_hand(world, run_w=run_w, standby_w=standby_w)
    assert refused.value.code is Code.THRESHOLDS_WRONG


def test_a_calibration_does_not_hold_from_a_moment_to_come(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        _by_hand(world, run_w=40.0, valid_from=2 * DAY + 1)
    assert refused.value.code is Code.TIMES_REVERSED


def test_a_threshold_that_has_drifted_stands_first_on_the_worklist(world: World) -> None:
    _by_hand(world, run_w=5.5)  # idle at 5 W lies within the hysteresis
    world.database.run(lambda session: watching.watch(session, at=at(2 * DAY), limit=10))
    assert tasks(world) == [("drifted", BOX)]
    _by_hand(world, run_w=30.0)
    world.database.run(lambda session: watching.watch(session, at=at(2 * DAY + 11), limit=10))
    assert tasks(world, "a2") == []


def test_the_list_shows_each_reader_her_boxes_with_clock_holes_and_dead_letters(world: World) -> None:
    world.server.measured([{**minute(1, 5.0), "seq": 60, "up0": 48 * 3600.0, "t0": minute(48 * 60 + 1, 1)["t0"]}])
    world.server.says("m", b"17", received_at=at(2 * DAY))
    world.database.run(lambda session: boxes.enrol(session, code="cb-drawer", channels=2, at=at(0)))
    world.database.run(lambda session: watching.watch(session, at=at(2 * DAY + 1), limit=10))
    center = world.person("auditor", Role.AUDITOR)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)

    def shown(reader: object, **wanted: object) -> list[str]:
        with world.database.reader() as session:
            found = listing.list_boxes(session, reader=reader, at=at(2 * DAY + 1), **wanted)  # type: ignore[arg-type]
            return [line.box.code for line in found.lines]

    assert shown(center) == [BOX, "cb-drawer"]
    assert shown(manager) == [BOX]
    assert shown(center, show=Show.UNPLACED) == ["cb-drawer"]
    assert shown(center, search="DRAWER") == ["cb-drawer"]
    assert shown(center, show=Show.REVOKED) == []
    for order in Order:
        assert set(shown(center, order=order)) == {BOX, "cb-drawer"}
    assert shown(center, order=Order.HOLES)[0] == BOX
    with world.database.reader() as session:
        line = listing.list_boxes(session, reader=center, at=at(2 * DAY + 1)).lines[0]
        assert (line.missing, line.dead_letters) == (12, 1)
        assert line.quality == pytest.approx(1.0, abs=0.001)
    world.database.run(
        lambda session: enrolment.place_box(
            session,
            box=BOX,
            channel=0,
            instrument_id=builders.instrument(session).id,
            actor="admin",
            at=at(2 * DAY + 1),
        )
    )
    assert shown(manager) == []  # it stands at another's instrument now
    with world.database.reader() as session, pytest.raises(Refusal):
        details.details(session, code=BOX, reader=manager, zone=ZONE, at=at(2 * DAY + 1))


def test_one_box_tells_its_holes_and_its_clock_day_by_day(world: World) -> None:
    world.server.measured([{**minute(1, 5.0), "seq": 60, "up0": 48 * 3600.0, "t0": minute(48 * 60 + 1, 1)["t0"]}])
    reader = world.person("auditor", Role.AUDITOR)
    with world.database.reader() as session:
        found = details.details(session, code=BOX, reader=reader, zone=ZONE, at=at(2 * DAY + 5))
    assert [(hole.boot, hole.first, hole.last, hole.messages) for hole in found.holes] == [(1, 49, 59, 11)]
    assert [(day.live_messages, day.offset_s) for day in found.clock_days] == [(7, 1.0), (24, 1.0), (18, 1.0)]
    assert [placement.valid_from for placement in found.placements] == [at(0)]


def test_dead_letters_are_noted_as_seen_once_and_never_deleted(database: Database) -> None:
    server = Server(database)
    for number in range(3):
        server.says("m", b"17", received_at=at(number))
    server.says("m", b"{}", received_at=at(4), box="cb-other")
    with database.reader() as session:
        newest = session.scalars(select(DeadLetter.id).order_by(DeadLetter.id.desc())).first() or 0
        assert dead_letters.unseen_by_reason(session) == {"not_an_object": 3, "field_missing": 1}

    def note(until_id: int, text_: str) -> int:
        wanted = Wanted(reason=DeadReason.NOT_AN_OBJECT)
        return database.run(
            lambda session: dead_letters.note_seen(
                session, wanted=wanted, until_id=until_id, note=text_, actor="clerk", at=at(10)
            )
        )

    assert note(newest - 2, "first two") == 2
    server.says("m", b"18", received_at=at(11))  # came after the page was made
    assert note(newest, "third") == 1
    with pytest.raises(Refusal) as refused:
        note(newest, "again")
    assert refused.value.code is Code.NOT_FOUND
    with database.reader() as session:
        assert dead_letters.unseen_by_reason(session) == {"field_missing": 1, "not_an_object": 1}
        seen = dead_letters.dead_letters(session, wanted=Wanted(seen=True), limit=10)
        assert [letter.note for letter in seen.letters] == ["third", "first two", "first two"]
        found = dead_letters.dead_letters(session, wanted=Wanted(box="cb-other"), limit=10)
        assert [(letter.box, letter.reason) for letter in found.letters] == [("cb-other", "field_missing")]


def test_a_payload_is_written_so_that_it_can_be_read() -> None:
    assert dead_letters.readable(b'{"a":1}\n\xff\x00') == '{"a":1}\\x0a\\xff\\x00'


def _by_hand(
    world: World, *, run_w: float, standby_w: float | None = None, valid_from: float = 0, made: float = 2 * DAY
) -> None:
    world.database.run(
        lambda session: calibrating.set_by_hand(
            session,
            box=BOX,
            channel=0,
            run_threshold_w=run_w,
            standby_threshold_w=standby_w,
            valid_from=at(valid_from),
            actor="admin",
            at=at(made),
        )
    )
    with world.database.reader() as session:
        assert session.scalar(select(CalibrationVersion.method).where(CalibrationVersion.run_threshold_w == run_w))
    assert timedelta(days=7) >= watching.SIGNATURE_EVERY


def test_how_long_a_pause_may_be_within_a_run_is_set_compared_and_kept(world: World) -> None:
    def by_hand(bridge_s: int) -> CalibrationAttempt:
        return world.database.run(
            lambda session: calibrating.set_by_hand(
                session,
                box=BOX,
                channel=0,
                run_threshold_w=40.0,
                standby_threshold_w=None,
                bridge_s=bridge_s,
                valid_from=at(0),
                actor="admin",
                at=at(2 * DAY),
            )
        )

    by_hand(0)
    with world.database.reader() as session:
        seen = calibrating.preview(
            session, box=BOX, channel=0, run_threshold_w=40.0, standby_threshold_w=None, bridge_s=3600, at=at(2 * DAY)
        )
    assert (seen.present.calibration, seen.proposed.calibration) == (
        Calibration(run_threshold_w=40.0, bridge_s=0),
        Calibration(run_threshold_w=40.0, bridge_s=3600),
    )
    for impossible in (-1, 3601):
        with pytest.raises(Refusal):
            by_hand(impossible)

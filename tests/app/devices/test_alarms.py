"""Alarms open and close once for each trouble, however often one looks; each kind by the figures that mean it."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.db import Database
from app.devices.boxes import alarms, enrolment, watching
from app.devices.models import Alarm, AlarmKind, ChannelCheck
from app.devices.wording import _WORDS
from app.errors import Code, Refusal
from app.labels import LABELS
from app.people.models import Role
from telemetry.errors import DeadReason
from telemetry.models import Box, Presence
from telemetry.signature import Drift, drift, signature, stuck_at_w
from telemetry.states import Calibration, Reading
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, at, minute

HOUR_MS = 3_600_000
CALIBRATION = Calibration(run_threshold_w=40.0, standby_threshold_w=1.5)


@pytest.fixture
def world(database: Database) -> World:
    """A box at an instrument that has measured for two hours and said so in heartbeats."""
    world = World(database)
    world.use(10, 70, until=130)
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 130, "buf": 0}, received_at=at(130))
    return world


def watch(world: World, minutes: float) -> list[tuple[str, str]]:
    """Look at all, and give what is open then."""
    world.database.run(lambda session: watching.watch(session, at=at(minutes), limit=10))
    with world.database.reader() as session:
        rows = session.scalars(select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id))
        return [(row.kind.value, row.subject) for row in rows]


def all_alarms(world: World) -> list[Alarm]:
    with world.database.reader() as session:
        return list(session.scalars(select(Alarm).order_by(Alarm.id)))


def test_a_box_that_falls_silent_opens_one_alarm_and_closes_it_when_it_speaks_again(world: World) -> None:
    assert watch(world, 131) == []
    assert watch(world, 144.9) == []
    for minutes in (146, 147, 200):  # looking again changes nothing
        assert watch(world, minutes) == [("silent", BOX)]
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 130, "buf": 0}, received_at=at(210))
    assert ("silent", BOX) not in watch(world, 211)
    (silent,) = [each for each in all_alarms(world) if each.kind is AlarmKind.SILENT]
    assert (silent.opened_at, silent.closed_at) == (at(146), at(211))
    watch(world, 300)
    assert [each.kind for each in all_alarms(world)].count(AlarmKind.SILENT) == 2  # it came back: a new alarm


def test_a_box_that_lives_while_its_meter_says_nothing_is_another_alarm_than_silence(world: World) -> None:
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 130, "buf": 0}, received_at=at(160))
    assert watch(world, 161) == [("no_readings", f"{BOX}/0")]
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 130, "buf": 50}, received_at=at(171))
    assert watch(world, 172) == []  # it sends its backlog, the oldest first


def test_a_box_that_was_placed_and_never_heard_is_silent_after_an_hour(database: Database) -> None:
    world = World(database)
    with database.transaction() as session:
        session.execute(text("UPDATE app.box_placement SET valid_from = :at"), {"at": at(0)})
    assert watch(world, 59) == []
    assert watch(world, 61) == [("silent", BOX)]
    assert all_alarms(world)[0].detail == {"heard_at": None}


def test_the_alarms_of_a_box_that_is_taken_away_close(world: World) -> None:
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 130, "buf": 0}, received_at=at(160))
    assert watch(world, 161) == [("no_readings", f"{BOX}/0")]
    world.database.run(lambda session: enrolment.take_away(session, box=BOX, channel=0, actor="admin", at=at(162)))
    assert watch(world, 300) == []


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"t0_off_ms": -60_000}, {"offset_s": 61}),
        ({"t0_off_ms": 45_000}, {"offset_s": -44}),
        ({"sync": 0}, {"unset": True}),
        ({"t0_off_ms": -20_000}, None),
    ],
    ids=["behind", "ahead", "never set", "within the limit"],
)
def test_a_clock_that_is_off_by_more_than_half_a_minute_is_an_alarm(
    database: Database, changes: dict[str, Any], detail: dict[str, Any] | None
) -> None:
    world = World(database)
    off_ms = changes.pop("t0_off_ms", 0)
    messages = [minute(number, 5.0, **changes) for number in range(1, 11)]
    world.server.measured([{**message, "t0": message["t0"] + off_ms} for message in messages])
    world.server.derive(now=at(10))
    found = watch(world, 11)
    assert found == ([] if detail is None else [("clock", f"{BOX}/0")])
    assert [each.detail for each in all_alarms(world)] == ([] if detail is None else [detail])


def test_a_backlog_that_grows_is_an_alarm_and_one_that_shrinks_is_none(world: World) -> None:
    def look(minutes: float, held: int) -> list[tuple[str, str]]:
        with world.database.transaction() as session:
            session.execute(
                update(Presence).values(buffered_messages=held, heard_at=at(minutes)).where(Presence.box == BOX)
            )
        return [each for each in watch(world, minutes) if each[0] == "backlog"]

    assert look(131, 0) == []
    assert look(142, 430) == []  # it comes back after three days without a network
    assert look(153, 100) == []
    assert look(164, 300) == []
    assert look(175, 500) == [("backlog", BOX)]
    assert look(186, 150) == [("backlog", BOX)]  # not with every breath
    assert look(197, 99) == []


def test_the_lease_of_shards_with_boxes_that_ran_out_is_an_alarm(world: World) -> None:
    with world.database.transaction() as session:
        shard = session.get_one(Box, BOX).shard
        session.execute(
            text(
                "INSERT INTO telemetry.shard_lease (number, sets, worker, until) VALUES"
                " (:used, 64, 'w1', clock_timestamp() - interval '2 min'),"
                " (:other, 64, 'w1', clock_timestamp() - interval '2 min')"
            ),
            {"used": shard, "other": (shard + 1) % 64},
        )
    assert ("ingest_lost", "ingest") in watch(world, 131)
    (lost,) = all_alarms(world)
    assert lost.detail == {"shards": [shard]}
    with world.database.transaction() as session:
        session.execute(text("UPDATE telemetry.shard_lease SET until = clock_timestamp() + interval '10 s'"))
    assert watch(world, 131.5) == []


def test_what_was_found_is_kept_for_the_list(world: World) -> None:
    watch(world, 131)
    with world.database.reader() as session:
        check = session.get_one(ChannelCheck, (BOX, 0))
        assert (check.window_s, check.known_s) == (7 * 86_400, 130 * 60)
        assert check.offset_s == pytest.approx(1.0)
        assert check.separation_decades == pytest.approx(1.3, abs=0.01)


def test_only_the_first_person_who_may_see_an_alarm_acknowledges_it(world: World) -> None:
    watch(world, 146)
    alarm_id = all_alarms(world)[0].id
    with world.database.transaction() as session:
        other_id = builders.sub_center(session).id
    stranger = world.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=other_id)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)

    def acknowledge(reader: Any) -> Alarm:
        return world.database.run(
            lambda session: alarms.acknowledge(session, alarm_id=alarm_id, note="", reader=reader, at=at(147))
        )

    with pytest.raises(Refusal) as refused:
        acknowledge(stranger)
    assert refused.value.code is Code.NOT_FOUND
    assert acknowledge(manager).acknowledged_by == "manager"
    with pytest.raises(Refusal) as refused:
        acknowledge(manager)
    assert refused.value.code is Code.ALREADY_DECIDED
    assert watch(world, 148) == [("silent", BOX)]  # it stays open until the box speaks
    with world.database.reader() as session:
        assert alarms.open_alarms(session, reader=stranger) == []
        assert len(alarms.open_alarms(session, reader=manager)) == 1
        assert alarms.count_open(session, reader=manager) == {AlarmKind.SILENT: 1}


def test_every_alarm_drift_and_dead_letter_has_its_words() -> None:
    assert set(_WORDS) == set(AlarmKind)
    assert set(LABELS["alarm"]) == {kind.value for kind in AlarmKind}
    assert set(LABELS["drift"]) == {how.value for how in Drift}
    assert set(LABELS["dead_reason"]) >= {reason.value for reason in DeadReason}


def readings(*parts: tuple[float, Sequence[float]], energy_wh: Sequence[float] | None = None) -> list[Reading]:
    """Consecutive readings of (hours, powers repeated over them)."""
    found: list[Reading] = []
    start_ms = 0
    for number, (hours, powers) in enumerate(parts):
        step_ms = round(hours * HOUR_MS / len(powers))
        energy = None if energy_wh is None else energy_wh[number]
        found.append(Reading(start_ms=start_ms, step_ms=step_ms, powers_w=powers, energy_wh=energy))
        start_ms += step_ms * len(powers)
    return found


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (((20, [5.0]), (6, [100.0])), None),
        (((20, [30.0]), (6, [60.0])), Drift.CLOSE),
        (((20, [5.0]), (6, [50.0])), Drift.EDGE),
        (((20, [30.0]), (6, [300.0])), Drift.EDGE),
        (((1, [5.0]), (40, [100.0])), Drift.ALWAYS_ABOVE),
        (((40, [5.0]),), None),
        (((2, [30.0]), (2, [60.0])), None),
    ],
    ids=["separates", "close", "running near", "idle near", "always above", "nobody used it", "too little known"],
)
def test_a_threshold_that_no_longer_separates_is_found(
    parts: tuple[tuple[float, list[float]], ...], expected: Drift | None
) -> None:
    assert drift(signature(readings(*parts), run_threshold_w=40.0), calibration=CALIBRATION) is expected


@pytest.mark.parametrize(
    ("found", "expected_w"),
    [
        (readings((6, [230.0, 230.0])), 230.0),
        (readings((6, [230.0, 230.1])), None),
        (readings((3, [230.0]), (3, [230.0]), energy_wh=[690.0, 1035.0]), 230.0),  # 345 Wh in three hours: half of it
        (readings((3, [230.0]), (3, [230.0]), energy_wh=[690.0, 1380.0]), None),  # the counter confirms it
        (readings((3, [0.0]), (3, [0.0])), None),  # switched off
        (readings((3, [0.0]), (3, [0.0]), energy_wh=[100.0, 200.0]), 0.0),
        (readings((6, [2.0])), None),  # coarse meters round
        (readings((1, [230.0])), None),
    ],
    ids=["hangs", "moves", "denied", "confirmed", "off", "counts beside 0", "small", "too little known"],
)
def test_a_meter_that_hangs_is_found(found: list[Reading], expected_w: float | None) -> None:
    assert stuck_at_w(found, window_ms=6 * HOUR_MS) == expected_w


def test_a_stuck_meter_is_an_alarm(database: Database) -> None:
    world = World(database)
    world.server.measured([minute(number, 250.0) for number in range(1, 361)])
    world.server.derive(now=at(360))
    assert ("stuck", f"{BOX}/0") in watch(world, 361)
    assert timedelta(hours=6) == watching.STUCK_WINDOW


def test_a_channel_that_cannot_be_looked_at_keeps_no_other_from_its_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.database.run(
        lambda session: (
            enrolment.enrol_box(
                session, request_id=UUID(int=7), channels=1, instrument_id=world.instrument_id, actor="admin", at=at(0)
            ).box.code
        )
    )
    trouble = watching._clock_trouble

    def broken(session: Session, looked: watching.Looked) -> list[alarms.Trouble]:
        if looked.placement.box == BOX:
            raise ArithmeticError("a row that nobody has thought of")
        return trouble(session, looked)

    monkeypatch.setattr(watching, "_clock_trouble", broken)
    for moment in (at(131), at(132)):
        world.database.run(partial(watching.watch, at=moment, limit=1))
    with world.database.reader() as session:
        assert session.get(ChannelCheck, (other, 0)) is not None
    assert sorted(watch(world, 160)) == sorted([("silent", BOX), ("silent", other)])

"""The server tells boxes the time and how to measure, until they say that they do; and believes only what they say."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import clock
from app.db import Database
from telemetry import configurations
from telemetry.box.agent import BoxAgent
from telemetry.commands import Command, Configuration, Configure, SetTime, Threshold
from telemetry.configurations import Due, Standing, Wanted
from telemetry.errors import TelemetryRefused
from telemetry.ingest import Arrival
from telemetry.messages import shard_of
from telemetry.models import BoxReport, Message
from telemetry.reports import Said, said_by
from telemetry.times import to_ms
from telemetry.wishes import PATIENCE_S, Wishes
from tests.telemetry.network import PASSWORD, Running, thread, wait_until, working
from tests.telemetry.test_box_agent import Lamp, consumer
from tests.telemetry.test_wishes import Watch
from tests.telemetry.wire import BOX, START, Server, at, payload, topic

WANTED = Configuration(sample_s=20, batch=3, thresholds={0: Threshold(run_w=60.0, rest_w=20.0)})
FACTORY = Configuration().hash()


def due(*, needs_time: bool = False, configuration: Configuration | None = None, version: int | None = None) -> Due:
    return Due(shard=7, box=BOX, needs_time=needs_time, configuration=configuration, version=version)


def birth(**changes: Any) -> dict[str, Any]:
    content = {"boot": 3, "conn": 1, "channels": 1, "fw": "x", "cfg": FACTORY, "up": 60.0, "t": to_ms(at(1)), "sync": 1}
    return {**content, "epoch": "a file", "new": 0, "lost": 0, "cmd": {}, "indicative": [], **changes}


def beat(**changes: Any) -> dict[str, Any]:
    content = {"boot": 3, "conn": 1, "seq": 0, "buf": 0, "up": 120.0, "t": to_ms(at(2)), "sync": 1, "lost": 0}
    return {**content, "doubts": {}, **changes}


def said(database: Database) -> Said:
    with database.reader() as session:
        return said_by(session, [BOX])[BOX]


def needing(database: Database) -> list[Due]:
    with database.reader() as session:
        return configurations.due(session, shards=range(64))


def wanted(database: Database) -> Wanted | None:
    with database.reader() as session:
        return configurations.wanted(session, code=BOX)


def configure(database: Database, configuration: Configuration, *, box: str = BOX) -> int:
    with database.transaction() as session:
        return configurations.configure(session, code=box, configuration=configuration, by="ada", at=at(0)).version


def test_who_needs_it_is_told_at_once_then_less_and_less_often_and_anew_for_a_new_version() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)

    def told(*needs: Due) -> list[Command]:
        return [command for _, command in wishes.remind(needs)]

    (first,) = told(due(needs_time=True))
    assert isinstance(first, SetTime)
    assert first.time_ms == to_ms(START)
    assert told(due(needs_time=True)) == []
    watch.shows_s += PATIENCE_S
    both = told(due(needs_time=True, configuration=WANTED, version=1))
    assert [type(command) for command in both] == [SetTime, Configure]
    watch.shows_s += PATIENCE_S
    (again,) = told(due(needs_time=True, configuration=WANTED, version=1))  # the time has its turn after twice as long
    assert isinstance(again, Configure)
    (other,) = told(due(configuration=Configuration(batch=6), version=2))
    assert isinstance(other, Configure)
    assert other.configuration.batch == 6
    assert told() == []  # it obeyed
    assert len(told(due(configuration=WANTED, version=3))) == 1


def test_whatever_the_order_the_newest_word_of_a_box_counts(server: Server) -> None:
    server.enrol()
    words = [
        ("birth", birth(up=1.0, lost=9, epoch="an old file", indicative=[4]), False),
        ("birth", birth(conn=2, up=30.0, sync=0, t=5, lost=2, new=1, indicative=[0], cmd={"id": 77}), True),
        ("birth", birth(conn=2, up=30.0, sync=0, t=5, lost=2, new=1, indicative=[0], cmd={"id": 77}), False),
        ("hb", beat(lost=1, doubts={"0": ["invalid"]}), False),
        ("hb", beat(conn=2, up=90.0, lost=3, doubts={"0": ["stuck", "invalid"], "1": ["counts_at_zero"]}), False),
        ("hb", {"boot": 1, "conn": 1, "seq": 0, "buf": 0}, False),  # of an old firmware
    ]
    arrivals = [
        Arrival(topic=topic(kind), payload=payload(content), received_at=at(index), retained=retained)
        for index, (kind, content, retained) in enumerate(words)
    ]
    for seed in range(8):
        shuffled = random.Random(seed).sample(arrivals, len(arrivals))  # noqa: S311 - nothing secret
        cut = seed % len(arrivals)
        with server.database.transaction() as session:
            session.query(BoxReport).delete()
        server.receive(*shuffled[:cut])
        server.receive(*shuffled[cut:], shuffled[0])
        assert said(server.database) == Said(
            synced=True,
            lost=3,
            doubts={0: ("stuck", "invalid"), 1: ("counts_at_zero",)},
            indicative=(0,),
            epoch="a file",
            is_new_epoch=True,
            command_id=77,
            born_at=at(2),
        ), seed
    assert server.dead_reasons() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"doubts": ["stuck"]},
        {"doubts": {"x": []}},
        {"doubts": {"9" * 5000: []}},
        {"doubts": {"0": "stuck"}},
        {"doubts": {"0": [1]}},
        {"doubts": {"0": ["?"] * 11}},
        {"lost": -1},
        {"sync": 2},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_no_box_can_say_of_itself_is_a_dead_letter(server: Server, changes: dict[str, Any]) -> None:
    server.enrol()
    server.says("hb", beat(**changes))
    (reason,) = server.dead_reasons()
    assert reason in ("field_wrong", "out_of_range")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([("birth", birth(sync=0, t=5))], 1),  # 1970
        ([("birth", birth(sync=0))], 0),  # told before: its own is still not set, and it is right
        ([("birth", birth(sync=0)), ("hb", beat(sync=0, t=to_ms(at(0))))], 1),  # gone wrong since
        ([("birth", birth(sync=0, t=5)), ("hb", beat())], 0),  # set since
        ([("birth", birth(t=5))], 0),  # it says that it is set: a person's matter
        ([("birth", birth(sync=0, t=5)), ("state", {"on": 0, "boot": 3, "conn": 1})], 0),  # gone: it cannot hear
        ([("birth", {"boot": 3, "conn": 1, "channels": 1, "fw": "x", "cfg": "y"})], 0),  # does not say
    ],
)
def test_only_a_box_whose_clock_is_not_set_and_wrong_is_told_the_time(
    server: Server, words: list[tuple[str, dict[str, Any]]], told: int
) -> None:
    server.enrol()
    for kind, content in words:
        server.says(kind, content, received_at=at(2 if kind == "hb" else 1))
    assert [each.needs_time for each in needing(server.database)] == [True] * told


def test_a_configuration_is_wanted_until_the_birth_says_that_it_holds(server: Server) -> None:
    server.enrol()
    assert wanted(server.database) is None
    server.says("birth", birth())
    assert needing(server.database) == []
    assert [configure(server.database, each) for each in (Configuration(batch=6), WANTED, WANTED)] == [1, 2, 2]
    (needed,) = needing(server.database)
    assert (needed.box, needed.shard, needed.configuration, needed.version) == (BOX, shard_of(BOX), WANTED, 2)

    def standing(word: Callable[[], None]) -> tuple[Standing, str]:
        word()
        found = wanted(server.database)
        assert found is not None
        assert found.configuration == WANTED
        return found.standing, found.refused

    def tell() -> None:
        with server.database.transaction() as session:
            configurations.note_told(session, box=BOX, version=2, command_id=7, at=at(3))

    def answer(minute: int, **changes: Any) -> Callable[[], None]:
        return lambda: server.says("birth", birth(up=60.0 * minute, **changes), received_at=at(minute))

    assert standing(lambda: None) == (Standing.WAITING, "")
    assert standing(answer(2, cmd={"id": None, "refused": "field_wrong"})) == (Standing.WAITING, "")  # another command
    assert standing(tell) == (Standing.TOLD, "")
    assert standing(answer(4, cmd={"id": None, "refused": "out_of_range"})) == (Standing.REFUSED, "out_of_range")
    assert standing(answer(5, cmd={"id": 7}, cfg=WANTED.hash())) == (Standing.IN_FORCE, "")
    assert needing(server.database) == []


def test_a_box_is_wanted_to_measure_only_what_it_has(server: Server) -> None:
    server.enrol()
    for impossible, box in (
        (Configuration(channels=(1,)), BOX),
        (Configuration(thresholds={1: Threshold(run_w=2, rest_w=1)}), BOX),
        (Configuration(), "cb-404"),
    ):
        with pytest.raises(TelemetryRefused):
            configure(server.database, impossible, box=box)


def test_a_real_box_without_a_clock_gets_time_and_configuration_and_obeys(
    embedded_broker: Running, server: Server, tmp_path: Path
) -> None:
    server.enrol()
    configure(server.database, WANTED)
    clock.set_anchor(clock.Anchor(real=datetime.now(UTC), simulated=START, speed=60.0))
    unset = timedelta(days=20_000)
    box = BoxAgent(
        code=BOX,
        password=PASSWORD,
        host="127.0.0.1",
        port=embedded_broker.port,
        sources=[Lamp()],
        now=lambda: clock.now() - unset,
        is_synced=lambda: False,
        buffer_path=tmp_path / "buffer.db",
        speed=60.0,
        reconnect_s_max=0.5,
    )
    with working(consumer(embedded_broker, server.database)), thread(box.run):
        wait_until(lambda: (found := wanted(server.database)) is not None and found.standing is Standing.IN_FORCE)
        wait_until(lambda: needing(server.database) == [])
        wait_until(lambda: any(message.step_ms == 20_000 for message in stored(server.database)))
    assert said(server.database).synced is False
    (newest,) = [message for message in stored(server.database) if message.step_ms == 20_000][-1:]
    assert newest.device_at is not None
    assert abs(newest.device_at - newest.started_at) < timedelta(minutes=5)
    assert server.dead_reasons() == []


def stored(database: Database) -> list[Message]:
    with database.transaction() as session:
        return list(session.scalars(select(Message).order_by(Message.boot, Message.seq)))

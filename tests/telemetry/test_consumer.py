"""From a real broker into the database, through kills of either: nothing lost, nothing doubled."""

import json
import multiprocessing
import multiprocessing.synchronize
import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db import Database
from telemetry import boxes, quick
from telemetry.commands import Rebirth, Resend, parse_command
from telemetry.consumer import Consumer
from telemetry.messages import UPLINK_KINDS
from telemetry.models import DeadLetter, HighWater, Message
from tests.owner import as_owner
from tests.telemetry.network import MOSQUITTO, PASSWORD, Hand, Running, wait_until, working
from tests.telemetry.wire import BOX, Server, at, minute, payload, topic

COUNT = 300


def consumer(running: Running, transaction: Any, *, client_id: str = "ingest") -> Consumer:
    return Consumer(
        transaction=transaction,
        now=lambda: at(1),
        host="127.0.0.1",
        port=running.port,
        username="ingest",
        password=PASSWORD,
        client_id=client_id,
    )


def stored(database: Database) -> int:
    with database.reader() as session:
        return session.scalar(select(func.count()).select_from(Message)) or 0


def box_on(running: Running) -> Hand:
    """A box that listens to our acknowledgements."""
    hand = Hand(running.port)
    assert hand.connect()
    assert hand.listen(topic("ack"))
    return hand


def acknowledged(hand: Hand) -> int:
    """The last number that was acknowledged so far."""
    last = 0
    while not hand.received.empty():
        last = max(last, json.loads(hand.received.get()[1])["seq"])
    return last


def wait_for_acknowledgement(hand: Hand, seq: int) -> None:
    last = 0
    while last < seq:
        last = json.loads(hand.received.get(timeout=30)[1])["seq"]


def test_what_boxes_send_is_stored_and_acknowledged(any_broker: Running, server: Server) -> None:
    server.enrol()
    with working(consumer(any_broker, server.database.transaction)):
        hand = box_on(any_broker)
        for seq in range(1, COUNT + 1):
            hand.send("m", minute(seq, 5.0))
        hand.send("m", b"poison")
        wait_for_acknowledgement(hand, COUNT)
        wait_until(lambda: server.dead_reasons() == ["not_json"])
        hand.close()
    assert stored(server.database) == COUNT


@pytest.mark.parametrize(
    "trouble",
    [
        sqlalchemy.exc.OperationalError("commit", None, OSError("the server went away")),
        psycopg.errors.DiskFull("could not extend file: No space left on device"),
        sqlalchemy.exc.TimeoutError("no connection became free"),
    ],
    ids=["away", "disk full", "busy"],
)
def test_while_the_database_is_down_nothing_is_acknowledged_and_nothing_lost(
    any_broker: Running, server: Server, trouble: Exception
) -> None:
    server.enrol()
    is_away = threading.Event()

    @contextmanager
    def transaction() -> Iterator[Session]:
        if is_away.is_set():
            raise trouble
        with server.database.transaction() as session:
            yield session

    with working(consumer(any_broker, transaction)):
        hand = box_on(any_broker)
        hand.send("m", minute(1, 5.0))
        wait_for_acknowledgement(hand, 1)
        is_away.set()
        for seq in range(2, 20):
            hand.send("m", minute(seq, 5.0))
        with pytest.raises(queue.Empty):
            hand.received.get(timeout=1)
        is_away.clear()
        wait_for_acknowledgement(hand, 19)
        hand.close()
    assert stored(server.database) == 19


def test_poison_of_every_kind_becomes_a_dead_letter_and_is_not_delivered_again(
    any_broker: Running, server: Server
) -> None:
    server.enrol()
    with server.database.transaction() as session:
        boxes.enrol(session, code="cb-002", at=at(0))
        boxes.revoke(session, code="cb-002", at=at(0))
    poison = {
        "not_an_object": b"230.5",
        "not_json": b"NaN",
        "too_large": b" " * 1_000_000,
        "field_wrong": payload({**minute(1, 5.0), "seq": "1"}),
        "out_of_range": payload(minute(1, [-5.0])),
        "version_unknown": payload(minute(1, 5.0, v=2)),
        "channel_unknown": payload(minute(1, 5.0, c=3)),
    }
    with working(consumer(any_broker, server.database.transaction)):
        hand = box_on(any_broker)
        for raw in poison.values():
            hand.send("m", raw)
        for code in ("cb-404", "cb-002"):
            stranger = Hand(any_broker.port, name=code)
            assert stranger.connect()
            stranger.send("m", minute(1, 5.0), box=code)
            stranger.close()
        hand.send("m", minute(1, 5.0))
        wait_for_acknowledgement(hand, 1)
        expected = sorted([*poison, "box_unknown", "box_revoked"])
        wait_until(lambda: sorted(server.dead_reasons()) == expected)
    # A second consumer continues the session: were one of them not acknowledged, it would come again.
    with working(consumer(any_broker, server.database.transaction)):
        hand.send("m", minute(2, 5.0))
        wait_for_acknowledgement(hand, 2)
        hand.close()
    assert sorted(server.dead_reasons()) == expected
    with server.database.reader() as session:
        assert session.scalar(select(func.max(DeadLetter.size_bytes))) == 1_000_000
        too_large = select(func.length(DeadLetter.head)).where(DeadLetter.reason == "too_large")
        assert session.scalar(too_large) == 200


def test_a_message_that_our_own_program_fails_on_is_buried_alone(
    embedded_broker: Running, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.enrol()

    def read(kind: str, *, payload: bytes) -> Any:
        if b'"seq": 3,' in payload:
            raise ZeroDivisionError
        return quick.read(kind, payload=payload)

    monkeypatch.setattr("telemetry.ingest.read", read)
    with working(consumer(embedded_broker, server.database.transaction)):
        hand = box_on(embedded_broker)
        for seq in range(1, 6):
            hand.send("m", minute(seq, 5.0))
        wait_until(lambda: stored(server.database) == 4)
        wait_until(lambda: server.dead_reasons() == ["program_failed"])
        wait_for_acknowledgement(hand, 2)
        hand.close()


def test_what_a_box_has_and_does_not_send_is_asked_for(
    embedded_broker: Running, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.enrol()
    monkeypatch.setattr("telemetry.wishes.PATIENCE_S", 0.0)
    monkeypatch.setattr("telemetry.consumer.ACK_INTERVAL_S", 0.0)
    with working(consumer(embedded_broker, server.database.transaction)):
        hand = Hand(embedded_broker.port)
        assert hand.connect()
        assert hand.listen(topic("cmd"))
        commands = []
        for seq in (1, 2, 5, 6, 7):
            hand.send("m", minute(seq, 5.0))
            wait_until(lambda seq=seq: acknowledged_marks(server) == seq)  # type: ignore[misc]
        hand.send("hb", {"boot": 1, "conn": 1, "seq": 8, "buf": 3})
        wait_until(lambda: acknowledged_marks(server) == 8)
        while not hand.received.empty():
            commands.append(parse_command(hand.received.get()[1]))
        hand.close()
    assert any(isinstance(each, Resend) and (each.boot, each.first, each.last) == (1, 3, 4) for each in commands)
    assert any(isinstance(each, Rebirth) for each in commands)


def acknowledged_marks(server: Server) -> int:
    with server.database.reader() as session:
        return session.scalar(select(HighWater.known_seq)) or 0


def test_a_broker_that_lost_the_session_and_says_nothing_is_asked_again(
    embedded_broker: Running, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.enrol()
    monkeypatch.setattr("telemetry.consumer.SILENCE_S", 0.5)
    made = consumer(embedded_broker, server.database.transaction)
    with working(made):
        assert made._own is not None
        made._own._client.unsubscribe([f"cb/v1/+/+/{kind}" for kind in UPLINK_KINDS])
        hand = box_on(embedded_broker)

        def is_heard() -> bool:
            hand.send("m", minute(1, 5.0))
            return stored(server.database) == 1

        wait_until(is_heard)
        hand.close()


def test_a_message_that_only_the_database_refuses_is_buried_alone(embedded_broker: Running, server: Server) -> None:
    server.enrol()
    with server.database.transaction() as session:
        as_owner(session)
        session.execute(text("ALTER TABLE telemetry.message ADD CHECK (seq <> 13)"))
    with working(consumer(embedded_broker, server.database.transaction)):
        hand = box_on(embedded_broker)
        for seq in range(1, 21):
            hand.send("m", minute(seq, 5.0))
        wait_until(lambda: stored(server.database) == 19)
        wait_until(lambda: server.dead_reasons() == ["storage_refused"])
        wait_for_acknowledgement(hand, 12)
        hand.close()


def test_the_consumer_comes_back_to_a_broker_that_was_killed(embedded_broker: Running, server: Server) -> None:
    server.enrol()
    with working(consumer(embedded_broker, server.database.transaction)):
        hand = box_on(embedded_broker)
        hand.send("m", minute(1, 5.0))
        wait_for_acknowledgement(hand, 1)
        hand.close()
        embedded_broker.kill()
        embedded_broker.start()
        again = box_on(embedded_broker)

        def is_heard() -> bool:
            again.send("m", minute(2, 5.0))
            return acknowledged(again) == 2

        wait_until(is_heard)
        again.close()
    assert stored(server.database) == 2


def _consume_and_die(port: int, url: str, moment: str, lives: "multiprocessing.synchronize.Event") -> None:
    """A consumer that kills itself, the hard way, at its third commit: just before it, or just after."""
    database = Database(url)
    commits = 0

    @contextmanager
    def transaction() -> Iterator[Session]:
        nonlocal commits
        commits += 1
        with database.transaction() as session:
            yield session
            if moment == "before the commit" and commits == 3:
                session.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        if moment == "after the commit" and commits == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    lives.set()
    running = Running("embedded", folder=None, port=port)  # type: ignore[arg-type] # it only names the address
    consumer(running, transaction).run(threading.Event())


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_consumer_killed_around_its_commit_loses_and_doubles_nothing(
    embedded_broker: Running, server: Server, database_url: str, moment: str
) -> None:
    server.enrol()
    context = multiprocessing.get_context("spawn")
    lives = context.Event()
    process = context.Process(target=_consume_and_die, args=(embedded_broker.port, database_url, moment, lives))
    process.start()
    assert lives.wait(60)
    hand = box_on(embedded_broker)
    safe, seq = 0, 0
    while process.is_alive():
        seq += 1
        hand.send("m", minute(seq, 5.0))
        safe = max(safe, acknowledged(hand))
        process.join(0.05)
    assert process.exitcode == -signal.SIGKILL
    assert stored(server.database) >= safe
    with working(consumer(embedded_broker, server.database.transaction)):
        wait_until(lambda: hand.listen(topic("ack")))
        # The box sends again what was not acknowledged to it, and only that.
        for again in range(safe + 1, seq + 1):
            hand.send("m", {**minute(again, 5.0), "h": 1})
        wait_for_acknowledgement(hand, seq)
    hand.close()
    assert stored(server.database) == seq
    assert server.dead_reasons() == []
    with server.database.reader() as session:
        assert session.scalars(select(Message.seq).where(Message.box == BOX).order_by(Message.seq)).all() == list(
            range(1, seq + 1)
        )


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed, and amqtt delivers nothing twice")
def test_what_was_not_committed_a_good_broker_delivers_again(server: Server, database_url: str, tmp_path: Path) -> None:
    server.enrol()
    running = Running("mosquitto", tmp_path)
    running.start()
    context = multiprocessing.get_context("spawn")
    lives = context.Event()
    process = context.Process(target=_consume_and_die, args=(running.port, database_url, "before the commit", lives))
    process.start()
    assert lives.wait(60)
    hand = box_on(running)
    seq = 0
    while process.is_alive():
        seq += 1
        hand.send("m", minute(seq, 5.0))
        process.join(0.05)
    hand.close()
    was_stored = stored(server.database)
    assert was_stored < seq
    with working(consumer(running, server.database.transaction)):
        # What came before the consumer's first subscription is the box's to send again; this box sends nothing again.
        wait_until(lambda: _numbers(server) == list(range(_numbers(server)[0], seq + 1)))
    running.kill()


def _numbers(server: Server) -> list[int]:
    with server.database.reader() as session:
        return list(session.scalars(select(Message.seq).order_by(Message.seq))) or [0]

"""Any number of ingest workers share the shards; whatever dies, hangs, comes or goes, nothing is lost."""

import contextlib
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db import Database
from telemetry.consumer import Consumer
from telemetry.errors import Refusal, TelemetryRefused
from telemetry.leases import Holding, Leases, holders
from telemetry.messages import SHARDS, shard_of
from telemetry.models import Message
from telemetry.shards import shards_of
from telemetry.worker import Worker
from tests.telemetry.network import MOSQUITTO, PASSWORD, Hand, Running, free_port, wait_until
from tests.telemetry.wire import BOX, Server, at, minute, topic

SETS = 8
LEASE_S = 1.5
BOXES = tuple(f"cb-{number:03d}" for number in range(1, 13))


def leases(database: Database, worker: str, *, sets: int = SETS, lease_s: float = 60.0) -> Leases:
    return Leases(transaction=database.transaction, worker=worker, sets=sets, lease_s=lease_s)


def settle(*workers: Leases) -> list[frozenset[int]]:
    """Let workers renew in turns until nobody has too much or too little."""
    held: list[frozenset[int]] = []
    for _ in range(3):
        held = []
        for each in workers:
            holding = each.renew()
            each.give_back(holding.surplus)
            held.append(holding.numbers - holding.surplus)
    return held


def test_every_shard_is_in_exactly_one_set() -> None:
    for sets in (1, 8, 64):
        together = [shard for number in range(sets) for shard in shards_of(number, sets=sets)]
        assert together == list(range(SHARDS))


def test_the_only_worker_takes_everything(database: Database) -> None:
    assert leases(database, "a").renew() == Holding(numbers=frozenset(range(SETS)), surplus=frozenset())


def test_workers_share_evenly_when_one_joins_and_when_one_leaves(database: Database) -> None:
    a, b, c = (leases(database, name) for name in "abc")
    settle(a)
    for workers in ((a, b), (a, b, c)):
        held = settle(*workers)
        assert frozenset().union(*held) == frozenset(range(SETS))
        assert sum(len(each) for each in held) == SETS
        assert max(len(each) for each in held) - min(len(each) for each in held) <= 1
    b.leave()
    assert [len(each) for each in settle(a, c)] == [4, 4]
    with database.reader() as session:
        assert set(holders(session).values()) == {"a", "c"}


def test_more_workers_than_sets_stand_by(database: Database) -> None:
    workers = [leases(database, name, sets=2) for name in "abc"]
    assert [len(each) for each in settle(*workers)] == [1, 1, 0]
    workers[0].leave()
    assert [len(each) for each in settle(*workers[1:])] == [1, 1]


def test_a_worker_that_died_loses_its_shards_when_its_lease_ends_and_not_before(database: Database) -> None:
    dead, alive = leases(database, "dead"), leases(database, "alive")
    dead.renew()
    assert alive.renew().numbers == frozenset()
    with database.transaction() as session:
        session.execute(text("UPDATE telemetry.shard_lease SET until = clock_timestamp() - interval '1 ms'"))
        session.execute(
            text("UPDATE telemetry.ingest_worker SET until = clock_timestamp() - interval '1 ms' WHERE name = 'dead'")
        )
    assert alive.renew().numbers == frozenset(range(SETS))
    assert dead.renew().numbers == frozenset()


def test_workers_that_part_the_shards_differently_do_not_work_side_by_side(database: Database) -> None:
    old, new = leases(database, "old"), leases(database, "new", sets=2)
    old.renew()
    with pytest.raises(TelemetryRefused) as refused:
        new.renew()
    assert refused.value.code is Refusal.SETS_DIFFER
    old.leave()
    assert new.renew().numbers == frozenset(range(2))


def make_worker(port: int, transaction: Any, name: str, *, lease_s: float = LEASE_S) -> Worker:
    consumer = Consumer(
        transaction=transaction,
        now=lambda: at(1),
        host="127.0.0.1",
        port=port,
        username="ingest",
        password=PASSWORD,
        shards=(),
    )
    return Worker(consumer=consumer, transaction=transaction, name=name, username="ingest", sets=SETS, lease_s=lease_s)


@contextlib.contextmanager
def at_work(worker: Worker) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work_and_die(port: int, url: str, began: "multiprocessing.synchronize.Event") -> None:
    """A worker that kills itself, the hard way, at its third batch: stored, and not committed."""
    database = Database(url)
    batches = 0

    @contextlib.contextmanager
    def transaction() -> Iterator[Session]:
        nonlocal batches
        with database.transaction() as session:
            yield session
            if session.scalar(text("SELECT to_regclass('pg_temp.incoming') IS NOT NULL")):
                batches += 1
                if batches >= 3:
                    os.kill(os.getpid(), signal.SIGKILL)
        began.set()

    make_worker(port, transaction, "a-dies").run(threading.Event())


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Running]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed, and amqtt keeps no session for long")
    running = Running("mosquitto", tmp_path)
    running.start()
    yield running
    running.kill()


def numbers(database: Database) -> set[tuple[str, int]]:
    with database.reader() as session:
        return {(box, seq) for box, seq in session.execute(select(Message.box, Message.seq))}


def test_shards_of_a_killed_worker_go_to_another_without_loss(
    mosquitto: Running, server: Server, database_url: str
) -> None:
    for code in BOXES:
        server.enrol(code)
    assert len({shard_of(code) // (SHARDS // SETS) for code in BOXES}) >= SETS - 3
    context = multiprocessing.get_context("spawn")
    began = context.Event()
    process = context.Process(target=_work_and_die, args=(mosquitto.port, database_url, began))
    process.start()
    assert began.wait(60)
    database = server.database
    wait_until(lambda: _held(database) == {"a-dies"})
    hand = Hand(mosquitto.port)
    assert hand.connect()
    other = make_worker(mosquitto.port, database.transaction, "b-lives")
    sent: set[tuple[str, int]] = set()
    with at_work(other):
        # Both have their share before the boxes begin; these boxes send everything once, and never again.
        wait_until(lambda: len(other.numbers) == SETS // 2 and None not in _holders(database))
        seq = 0
        while process.is_alive():
            seq += 1
            for code in BOXES:
                hand.send("m", minute(seq, 5.0), box=code)
                sent.add((code, seq))
            process.join(0.1)
        assert process.exitcode == -signal.SIGKILL
        wait_until(lambda: len(other.numbers) == SETS)
        for code in BOXES:
            hand.send("m", minute(seq + 1, 5.0), box=code)
            sent.add((code, seq + 1))
        # What came in the moment before a session was first there is the box's to send again: none of it is here.
        wait_until(lambda: numbers(database) >= sent)
    hand.close()
    assert numbers(database) == sent
    assert server.dead_reasons() == []
    assert _held(database) == set()


def _holders(database: Database) -> list[str | None]:
    with database.reader() as session:
        return list(holders(session).values())


def _held(database: Database) -> set[str]:
    return {worker for worker in _holders(database) if worker is not None}


def test_a_worker_that_cannot_renew_hangs_up_and_comes_back(mosquitto: Running, server: Server) -> None:
    server.enrol()
    is_away = threading.Event()

    @contextlib.contextmanager
    def transaction() -> Iterator[Session]:
        if is_away.is_set():
            raise sqlalchemy.exc.OperationalError("renew", None, OSError("the server went away"))
        with server.database.transaction() as session:
            yield session

    worker = make_worker(mosquitto.port, transaction, "a")
    with at_work(worker):
        wait_until(lambda: len(worker.numbers) == SETS)
        hand = Hand(mosquitto.port)
        assert hand.connect()
        assert hand.listen(topic("ack"))
        is_away.set()
        wait_until(lambda: not worker._sessions)
        hand.send("m", minute(1, 5.0))  # it waits at the broker, in the session that nobody has open
        is_away.clear()
        assert hand.received.get(timeout=20)[0] == topic("ack")
        hand.close()
    assert numbers(server.database) == {(BOX, 1)}


def test_a_failure_of_whatever_kind_does_not_leave_a_worker_without_a_keeper_of_its_leases(server: Server) -> None:
    failures = iter([RuntimeError("no thread could be started"), OSError("too many open files")])

    @contextlib.contextmanager
    def transaction() -> Iterator[Session]:
        for failure in failures:
            raise failure
        with server.database.transaction() as session:
            yield session

    worker = make_worker(free_port(), transaction, "a")
    with at_work(worker):
        wait_until(lambda: len(worker._sessions) == SETS)
    assert _held(server.database) == set()

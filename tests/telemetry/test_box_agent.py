"""The agent of a real box against a real broker and ingest: it forgets only what the server has stored."""

import json
import multiprocessing
import queue
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from app import clock
from app.db import Database
from telemetry.box.agent import RESEND_S_MAX, BoxAgent
from telemetry.box.buffer import Buffer
from telemetry.commands import Configuration
from telemetry.consumer import Consumer
from telemetry.models import HighWater, Message, Presence
from tests.telemetry.network import PASSWORD, Running, thread, wait_until, working
from tests.telemetry.wire import BOX, START, Server, topic

SPEED = 600.0
SAMPLE, LIT = timedelta(seconds=10), timedelta(minutes=10)


@dataclass
class Lamp:
    """Runs ten minutes and rests ten; sometimes its meter does not answer."""

    silent_minutes: tuple[int, ...] = ()
    rollover_wh: float | None = None

    def mean_w(self, *, start: datetime, start_up_s: float, seconds: float) -> float | None:  # noqa: ARG002
        if start.minute in self.silent_minutes:
            return None
        return 100.0 if start.minute % 20 < 10 else 5.0

    def energy_wh(self, *, at: datetime, up_s: float) -> float | None:  # noqa: ARG002
        return (at - START) / timedelta(hours=1) * 50


def anchor() -> clock.Anchor:
    return clock.Anchor(real=clock.now(), simulated=START, speed=SPEED)


def agent(running: Running, folder: Path, *, source: Lamp | None = None, batch: int = 6) -> BoxAgent:
    return BoxAgent(
        code=BOX,
        password=PASSWORD,
        host="127.0.0.1",
        port=running.port,
        sources=[source or Lamp()],
        now=clock.now,
        buffer_path=folder / "buffer.db",
        configuration=Configuration(batch=batch),
        speed=SPEED,
        reconnect_s_max=1,
    )


def consumer(running: Running, database: Database) -> Consumer:
    return Consumer(
        transaction=database.transaction,
        now=clock.now,
        host="127.0.0.1",
        port=running.port,
        username="ingest",
        password=PASSWORD,
    )


def messages(database: Database) -> list[Message]:
    with database.transaction() as session:
        return list(session.scalars(select(Message).order_by(Message.boot, Message.seq)))


def complete(database: Database, *, boot: int) -> int:
    """Up to which number everything of the first, second, ... boot is stored."""
    with database.reader() as session:
        rows = session.scalars(
            select(HighWater.complete_seq).where(HighWater.box == BOX).order_by(HighWater.boot)
        ).all()
        return rows[boot - 1] if len(rows) >= boot else 0


def presence(database: Database) -> Presence | None:
    with database.transaction() as session:
        return session.get(Presence, BOX)


def test_a_box_is_born_measures_and_says_goodbye(any_broker: Running, server: Server, tmp_path: Path) -> None:
    server.enrol()
    clock.set_anchor(anchor())
    with working(consumer(any_broker, server.database)):
        with thread(agent(any_broker, tmp_path).run):
            wait_until(lambda: complete(server.database, boot=1) >= 45)
        wait_until(lambda: (seen := presence(server.database)) is not None and not seen.online)
        wait_until(lambda: complete(server.database, boot=1) == len(messages(server.database)))
    found = messages(server.database)
    assert [message.seq for message in found] == list(range(1, len(found) + 1))
    assert all(after.started_at == before.ended_at for before, after in pairwise(found))
    server.derive()
    final = [row for row in server.sessions() if row.final]
    assert final
    # The lamp goes out ten minutes after each third of an hour, and a sample takes ten seconds.
    assert all(abs((row.ended_at - START) % (2 * LIT) - LIT) <= SAMPLE for row in final)


def test_what_a_box_measured_while_the_broker_was_dead_comes_late_and_whole(
    embedded_broker: Running, server: Server, tmp_path: Path
) -> None:
    server.enrol()
    clock.set_anchor(anchor())
    with working(consumer(embedded_broker, server.database)), thread(agent(embedded_broker, tmp_path).run):
        wait_until(lambda: complete(server.database, boot=1) >= 5)
        embedded_broker.kill()
        died_at = clock.now()
        wait_until(lambda: clock.now() > died_at + timedelta(minutes=30))
        embedded_broker.start()
        back_at = clock.now()
        wait_until(lambda: any(message.started_at > back_at for message in messages(server.database)))
        live = next(message.seq for message in messages(server.database) if message.started_at > back_at)
        wait_until(lambda: complete(server.database, boot=1) >= max(live, 40))
    # What was sent last may still be on its way.
    found = [each for each in messages(server.database) if each.seq <= complete(server.database, boot=1)]
    assert any(message.buffered for message in found)
    assert all(after.started_at == before.ended_at for before, after in pairwise(found))


def _run_box(port: int, folder: Path, at: str) -> None:
    clock.set_anchor(clock.Anchor.parse(at))
    agent(Running("embedded", folder, port), folder).run(threading.Event())


def test_a_box_killed_at_any_moment_begins_a_new_boot_and_loses_no_message_that_it_wrote(
    embedded_broker: Running, server: Server, tmp_path: Path
) -> None:
    server.enrol()
    shared = anchor()
    clock.set_anchor(shared)
    context = multiprocessing.get_context("spawn")
    with working(consumer(embedded_broker, server.database)):
        for boot in (1, 2):
            process = context.Process(target=_run_box, args=(embedded_broker.port, tmp_path, str(shared)))
            process.start()
            wait_until(lambda boot=boot: complete(server.database, boot=boot) >= 3)  # type: ignore[misc]
            process.kill()
            process.join()
        wait_until(lambda: (seen := presence(server.database)) is not None and not seen.online)
        with thread(agent(embedded_broker, tmp_path).run):
            wait_until(lambda: complete(server.database, boot=3) >= 3)
            with Buffer(tmp_path / "buffer.db") as buffer:
                wait_until(lambda: len(buffer.pending()) <= 1)
    boots = sorted({message.boot for message in messages(server.database)})
    assert boots == [boots[0], boots[0] + 1, boots[0] + 2]
    for boot in boots:
        numbers = [message.seq for message in messages(server.database) if message.boot == boot]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 3
    assert server.dead_reasons() == []


def test_where_the_meter_is_silent_there_is_a_gap_and_no_zero(
    embedded_broker: Running, server: Server, tmp_path: Path
) -> None:
    server.enrol()
    clock.set_anchor(anchor())
    with (
        working(consumer(embedded_broker, server.database)),
        thread(agent(embedded_broker, tmp_path, source=Lamp(silent_minutes=(5, 6))).run),
    ):
        wait_until(lambda: complete(server.database, boot=1) >= 12)
    found = messages(server.database)
    gaps = [after.started_at - before.ended_at for before, after in pairwise(found)]
    assert set(gaps) == {timedelta(0), timedelta(minutes=2)}
    assert all(power_w in (5.0, 100.0) for message in found for power_w in message.powers_w)


def test_a_message_that_is_never_acknowledged_keeps_no_later_one_from_being_sent(tmp_path: Path) -> None:
    box = agent(Running("embedded", tmp_path, port=1), tmp_path)
    sent: list[int] = []
    acks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    box._link = SimpleNamespace(  # type: ignore[assignment]
        acks=acks,
        connection=1,
        is_connected=True,
        take_new_connection=lambda: False,
        publish=lambda kind, content, **_: sent.append(content["seq"]) if kind == "m" else None,
    )
    with Buffer(tmp_path / "held.db") as buffer:
        box._boot = buffer.begin_boot()
        for seq in range(1, 251):
            buffer.put("m", json.dumps({"seq": seq}), boot=1, seq=seq)

        def rounds(count: int) -> list[int]:
            sent.clear()
            for _ in range(count):
                box._send(buffer)
                box._progress_s -= RESEND_S_MAX + 1
            return sorted(sent)

        assert set(rounds(2)) == set(range(1, 101))  # once more: a broker may have lost it
        assert set(rounds(2)) == set(range(101, 251))
        assert set(rounds(5)) == set(range(1, 251))  # and from the beginning again
        acks.put((1, 7))
        assert rounds(1)[0] == 8  # what is acknowledged again goes on in order


def test_what_got_lost_is_sent_again_while_newer_messages_are_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = agent(Running("embedded", tmp_path, port=1), tmp_path)
    sent: list[tuple[int, int]] = []
    acks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    box._link = SimpleNamespace(  # type: ignore[assignment]
        acks=acks,
        connection=1,
        is_connected=True,
        take_new_connection=lambda: False,
        publish=lambda kind, content, **_: sent.append((content["boot"], content["seq"])) if kind == "m" else None,
    )
    with Buffer(tmp_path / "held.db") as buffer:
        box._boot = buffer.begin_boot()
        for seq in range(1, 6):
            buffer.put("m", json.dumps({"seq": seq}), boot=1, seq=seq)
        for second in range(1, 12):  # every second a message of the second boot, acknowledged at once
            monkeypatch.setattr("telemetry.box.agent.time", SimpleNamespace(monotonic=lambda at=second: float(at)))
            buffer.put("m", json.dumps({"seq": second}), boot=2, seq=second)
            box._send(buffer)
            acks.put((2, second))
    assert sent.count((1, 1)) > 1


def test_anothers_acknowledgement_makes_a_box_forget_nothing(tmp_path: Path) -> None:
    link = agent(Running("embedded", tmp_path, port=1), tmp_path)._link
    for where in (topic("ack", box="cb-002"), topic("cmd")):
        link._on_message(link._client, None, SimpleNamespace(topic=where, payload=b'{"boot":1,"seq":9}'))  # type: ignore[arg-type]
    assert link.acks.empty()
    link._on_message(link._client, None, SimpleNamespace(topic=topic("ack"), payload=b'{"boot":1,"seq":9}'))  # type: ignore[arg-type]
    assert link.acks.get() == (1, 9)

"""Any order and repetition of a day's messages, with kills in between, leaves the same stored state."""

import itertools
import random
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.ingest import Arrival, store
from tests.telemetry.wire import STANDBY_W, START, Server, arrival, at, minute, payload, topic

_numbers = itertools.count()
TABLES = {
    "message": "boot, seq",
    "high_water": "boot",
    "clock_offset": "boot",
    "newest_birth": "boot",
    "presence": "boot",
}


class WorkerKilledError(Exception):
    """The worker dies before its commit."""


def a_day(box: str) -> list[Arrival]:
    """Two boots with a power cut between: what was lost, what came late, wills, heartbeats, an event, poison."""
    measured = [minute(seq, STANDBY_W) for seq in range(1, 61) if seq not in (7, 8, 30)]
    measured += [minute(seq, STANDBY_W, boot=2, t0=None, sync=0) for seq in range(1, 41) if seq != 20]
    measured += [minute(seq, STANDBY_W, boot=2, h=1) for seq in range(41, 50)]
    arrivals = [arrival(message, box=box, delay_s=1 + message["seq"] % 3) for message in measured]
    for minutes, kind, content in _words():
        arrivals.append(Arrival(topic=topic(kind, box=box), payload=payload(content), received_at=at(minutes)))
    arrivals.append(
        Arrival(
            topic=topic("state", box=box), payload=b'{"on":1,"boot":2,"conn":2}', received_at=at(300), retained=True
        )
    )
    arrivals += [
        Arrival(topic=topic("m", box=box), payload=raw, received_at=at(3)) for raw in (b"NaN", b"7.5", b"x" * 20_000)
    ]
    return arrivals


def _words() -> list[tuple[float, str, dict[str, Any]]]:
    birth = {"channels": 1, "fw": "1", "cfg": "a"}
    event = {"v": 1, "boot": 2, "seq": 50, "c": 0, "t": None, "up": 3000.0, "sync": 0, "h": 0}
    return [
        (0, "birth", {**birth, "boot": 1, "conn": 1, "up": 1.0, "pending": [[1, 1, 0]]}),
        (0.1, "state", {"on": 1, "boot": 1, "conn": 1}),
        (10, "hb", {"boot": 1, "conn": 1, "seq": 10, "buf": 4}),
        (20, "hb", {"boot": 1, "conn": 1, "seq": 20, "buf": 9}),
        (60, "state", {"on": 0, "boot": 1, "conn": 1}),
        (61, "birth", {**birth, "boot": 2, "conn": 1, "up": 3.0, "pending": [[1, 9, 62], [2, 1, 0]]}),
        (62, "state", {"on": 1, "boot": 2, "conn": 1}),
        (63, "state", {"on": 0, "boot": 2, "conn": 1}),
        (64, "state", {"on": 1, "boot": 2, "conn": 2}),
        (65, "birth", {**birth, "boot": 2, "conn": 2, "up": 90.0, "pending": [[2, 1, 2]]}),
        (66, "birth", {**birth, "boot": 2, "conn": 2, "up": 99.0, "cfg": "b", "pending": [[2, 2, 3]]}),
        (67, "hb", {"boot": 2, "conn": 2, "seq": 51, "buf": 2}),
        (110, "ev", event),
    ]


def stored_state(server: Server, box: str) -> dict[str, Any]:
    """Everything that ingest keeps of a box; repeated dirty marks and dead letters are one."""
    with server.database.reader() as session:
        state: dict[str, Any] = {
            table: [
                str(tuple(value for name, value in row._mapping.items() if name != "box"))
                for row in session.execute(
                    text(f"SELECT * FROM telemetry.{table} WHERE box = :box ORDER BY {order}"),  # noqa: S608 - ours
                    {"box": box},
                )
            ]
            for table, order in TABLES.items()
        }
        state["dirty"] = session.scalar(
            text(
                "SELECT range_agg(tstzrange(from_at, until_at))::text FROM telemetry.dirty_range"
                " WHERE box = :box AND from_at < '9000-01-01'"
            ),
            {"box": box},
        )
        state["dead"] = list(
            session.scalars(
                text("SELECT DISTINCT reason FROM telemetry.dead_letter WHERE box = :box ORDER BY reason"), {"box": box}
            )
        )
    return state


def _die(session: Session, chance: random.Random) -> None:
    if chance.random() < 0.3:
        session.flush()
        raise WorkerKilledError


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)
@given(data=st.data())
def test_any_order_repetition_and_kills_leave_the_same_stored_state(server: Server, data: st.DataObject) -> None:
    number = next(_numbers)
    straight, shuffled = f"a-{number}", f"b-{number}"
    for code in (straight, shuffled):
        server.enrol(code, calibration=None)
    server.receive(*a_day(straight))
    chance = random.Random(data.draw(st.integers(0, 2**32), label="seed"))  # noqa: S311 - repeatable on purpose
    mixed = a_day(shuffled)
    mixed += chance.sample(mixed, data.draw(st.integers(0, 60), label="repeated"))
    chance.shuffle(mixed)
    while mixed:
        size = chance.randint(1, 60)
        try:
            with server.database.transaction() as session:
                store(session, mixed[:size])
                _die(session, chance)
        except WorkerKilledError:
            continue
        # Killed after the commit and before the acknowledgement: all of it comes again.
        mixed = mixed[0 if chance.random() < 0.2 else size :]
    assert stored_state(server, shuffled) == stored_state(server, straight)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)
@given(data=st.data())
def test_a_day_in_small_batches_is_the_same_as_a_day_at_once(server: Server, data: st.DataObject) -> None:
    number = next(_numbers)
    at_once, in_batches = f"c-{number}", f"d-{number}"
    for code in (at_once, in_batches):
        server.enrol(code, calibration=None)
    server.receive(*a_day(at_once))
    chance = random.Random(data.draw(st.integers(0, 2**32), label="seed"))  # noqa: S311 - repeatable on purpose
    waiting = sorted(a_day(in_batches), key=lambda each: (each.received_at, chance.random()))
    late = chance.sample(waiting, data.draw(st.integers(0, 5), label="late"))
    waiting = [each for each in waiting if each not in late] + late
    while waiting:
        size = chance.randint(1, 6)
        server.receive(*waiting[:size])
        waiting = waiting[size:]
    # Where nothing was measured a small batch marks nothing to be computed anew.
    expected, found = ({**stored_state(server, code), "dirty": None} for code in (at_once, in_batches))
    assert found == expected


def test_the_day_itself_is_judged_right(server: Server) -> None:
    server.enrol("a", calibration=None)
    server.receive(*a_day("a"))
    state = stored_state(server, "a")
    # Boot 1 knows of 62 and lost 7, 8 and, no longer listed by the newest birth, 30, 61 and 62. Boot 2 waits for 20.
    assert [row.split("(")[1][:14] for row in state["high_water"]] == ["1, 62, 62, 5)", "2, 19, 51, 0)"]
    assert state["dead"] == ["not_an_object", "not_json", "too_large"]
    with server.database.reader() as session:
        online, born, heard_at, buffered, cfg = session.execute(
            text("SELECT online, born, heard_at, buffered_messages, configuration_hash FROM telemetry.presence")
        ).one()
    assert (online, born, buffered, cfg) == (True, True, 2, "b")
    assert heard_at == START + timedelta(minutes=67)

"""Any permutation, duplication and kill of a day's messages leaves the same bytes: sessions, their finality, spans."""

import contextlib
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from telemetry.derive import derive
from telemetry.ingest import Arrival, store
from tests.telemetry.wire import RUN_W, STANDBY_W, Server, arrival, at, day

_numbers = itertools.count()


class Killed(Exception):  # noqa: N818 - what the test itself does to a process
    """The process died before its commit."""


def _counted(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the meter's counter to messages, so that silences within standby can be inferred."""
    energy_wh = 5_000.0
    for message in messages:
        energy_wh += sum(message["p"]) * message["dt"] / 3_600_000
        message["e"] = round(energy_wh, 3)
    return messages


Sent = tuple[dict[str, Any], float]  # a message and how many seconds after its end by uptime it came


def a_day() -> list[Sent]:
    """Three boots: a clock that was set, one that never was, one whose messages came from the buffer.

    In the first a silence in standby and one in a run that the counter bridges, a dip, and a long silence over which
    the counter was reset. The second lies in time by its uptime; the third came an hour late.
    """
    first = _counted(
        day(*((40, 0.0), (60, STANDBY_W), (25, RUN_W), (4, STANDBY_W), (20, RUN_W), (45, STANDBY_W), (50, RUN_W)))
    )
    for message in first[222:]:
        message["e"] -= 4_000.0
    second = day(*((30, STANDBY_W), (1, RUN_W), (40, STANDBY_W), (35, RUN_W), (20, 38.0), (30, 0.0)), boot=2)
    third = day(*((30, STANDBY_W), (45, RUN_W), (20, STANDBY_W), (25, 0.0)), boot=3)
    sent = [(message, 1.0) for message in first[:60] + first[85:110] + first[118:205] + first[222:]]
    sent += [
        ({**message, "t0": 3_000, "sync": 0}, SECOND_BOOT_MIN * 60 + 1.0 + number % 7)
        for number, message in enumerate(second)
    ]
    sent += [
        ({**message, "t0": message["t0"] + THIRD_BOOT_MIN * 60_000, "h": 1}, THIRD_BOOT_MIN * 60 + 3_600.0)
        for message in third
    ]
    return sent


SECOND_BOOT_MIN, THIRD_BOOT_MIN = 250, 420
DAY = a_day()
INDEXES = st.integers(0, len(DAY) - 1)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)
@given(
    order=st.permutations(range(len(DAY))),
    again=st.lists(st.tuples(INDEXES, INDEXES), max_size=60),
    batches=st.lists(st.integers(1, 160), min_size=1, max_size=12),
    killed=st.sets(st.integers(0, 12)),
    derived=st.sets(st.integers(0, 12)),
)
def test_any_permutation_and_duplication_of_a_day_with_kills_gives_the_same_bytes(
    server: Server,
    *,
    order: list[int],
    again: list[tuple[int, int]],
    batches: list[int],
    killed: set[int],
    derived: set[int],
) -> None:
    number = next(_numbers)
    straight, shuffled = f"a-{number}", f"b-{number}"
    for code in (straight, shuffled):
        server.enrol(code)
    server.receive(*(of(straight, each) for each in DAY))
    server.derive()
    queue = [DAY[index] for index in order]
    for place, index in again:
        queue.insert(place, DAY[index])
    sizes = itertools.cycle(batches)
    for step in itertools.count():
        batch = [of(shuffled, each) for each in queue[: next(sizes)]]
        if not batch:
            break
        with contextlib.suppress(Killed), server.database.transaction() as session:
            store(session, batch)
            if step in killed:
                derive(session, now=at(0))
                killed.discard(step)
                raise Killed
            queue = queue[len(batch) :]
        if step in derived:
            with contextlib.suppress(Killed), server.database.transaction() as session:
                derive(session, now=at(0))
                if step % 2:
                    raise Killed
    server.derive()
    as_bytes = server.evidence(box=shuffled).replace(shuffled.encode(), straight.encode())
    assert as_bytes == server.evidence(box=straight)
    assert len(server.sessions(box=straight)) == 6


@pytest.mark.parametrize(
    "order", [(5, 4, 3, 2, 1, 0), (0, 1, 2, 4, 5, 3), (0, 2, 4, 5, 3, 1), (3, 0, 5, 1, 4, 2)], ids=str
)
def test_hours_that_come_late_one_after_another_leave_what_was_computed_around_them(
    server: Server, order: tuple[int, ...]
) -> None:
    size = -(-len(DAY) // len(order))
    for code in ("straight", "in-blocks"):
        server.enrol(code)
    server.receive(*(of("straight", each) for each in DAY))
    server.derive()
    for block in order:
        server.receive(*(of("in-blocks", each) for each in DAY[block * size : (block + 1) * size]))
        server.derive()
    assert server.evidence(box="in-blocks").replace(b"in-blocks", b"straight") == server.evidence(box="straight")


def of(box: str, sent: Sent) -> Arrival:
    return arrival(sent[0], box=box, delay_s=sent[1])

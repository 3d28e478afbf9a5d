"""Boxes whose clocks cannot be trusted are laid in time by their uptime."""

from datetime import timedelta
from typing import Any

import pytest

from telemetry.queries import clock_offset_s
from telemetry.times import to_ms
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, Server, arrival, at, day, minute

HOUR_OF_RUNNING = day((30, STANDBY_W), (60, RUN_W), (30, STANDBY_W))


def shifted(minutes: float) -> list[dict[str, Any]]:
    return [{**message, "t0": message["t0"] + round(minutes * 60_000)} for message in HOUR_OF_RUNNING]


def runs(server: Server) -> list[tuple[float, float, str]]:
    return [
        (
            (session.first_run_at - at(0)) / timedelta(minutes=1),
            (session.last_run_at - at(0)) / timedelta(minutes=1),
            session.quality,
        )
        for session in server.sessions()
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [{**message, "sync": 0} for message in HOUR_OF_RUNNING],
        [{**message, "sync": 0, "t0": 3000} for message in HOUR_OF_RUNNING],
        [{**message, "t0": 0} for message in HOUR_OF_RUNNING],
        shifted(45),
        shifted(60 * 24 * 365),
        shifted(-45),
    ],
    ids=["never synced", "1970 and says so", "1970 and denies it", "ahead", "a year ahead", "behind"],
)
def test_a_wrong_clock_does_not_move_the_session(server: Server, messages: list[dict[str, Any]]) -> None:
    server.enrol()
    for start in range(0, len(messages), 10):
        server.measured(messages[start : start + 10], delay_s=0.0 if start == 50 else 3.0)
        server.derive()
    assert runs(server) == [(30, 90, "clock")]


def test_within_two_minutes_the_clock_of_the_box_counts(server: Server) -> None:
    server.enrol()
    server.measured(shifted(1.5))
    server.derive()
    assert runs(server) == [(31.5, 91.5, "good")]
    with server.database.reader() as session:
        assert clock_offset_s(session, box=BOX) == pytest.approx(1 - 90)


def test_a_message_that_waited_at_the_broker_does_not_prove_a_late_clock(server: Server) -> None:
    server.enrol()
    server.measured(HOUR_OF_RUNNING[:50], delay_s=1000)
    server.derive()
    server.measured(HOUR_OF_RUNNING[50:], delay_s=1)
    server.derive()
    assert runs(server) == [(30, 90, "good")]


def test_a_backlog_says_nothing_about_the_clock(server: Server) -> None:
    server.enrol()
    server.measured([{**message, "h": 1} for message in HOUR_OF_RUNNING], delay_s=86_400)
    server.derive()
    assert runs(server) == [(30, 90, "good")]


def test_after_a_reboot_the_clock_is_judged_anew(server: Server) -> None:
    server.enrol()
    server.measured([{**message, "t0": to_ms(at(-99_999))} for message in HOUR_OF_RUNNING], delay_s=0)
    again = [{**message, "boot": 2, "t0": message["t0"] + 120 * 60_000} for message in HOUR_OF_RUNNING]
    server.measured(again, delay_s=7200)
    server.derive()
    assert [quality for _, _, quality in runs(server)] == ["clock", "good"]


@pytest.mark.parametrize("step_minutes", [60, -60], ids=["forwards", "backwards"])
def test_a_clock_that_is_set_within_a_boot_moves_nothing(server: Server, step_minutes: int) -> None:
    server.enrol()
    messages = [
        {**message, "t0": message["t0"] + (step_minutes * 60_000 if message["seq"] > 60 else 0)}
        for message in HOUR_OF_RUNNING
    ]
    server.measured(messages, delay_s=0.0)
    server.derive()
    assert runs(server) == [(30, 90, "clock")]


def test_a_slow_quartz_is_no_set_clock(server: Server) -> None:
    server.enrol()
    weeks_s = 1_800_000  # three; in the second half the uptime is two and a half minutes behind
    arrivals = []
    for message in HOUR_OF_RUNNING:
        behind_s = 150 if message["seq"] > 60 else 0
        drifted = {**message, "up0": message["up0"] + weeks_s - behind_s}
        arrivals.append(arrival(drifted, delay_s=1 - weeks_s + behind_s))
    server.receive(*arrivals)
    server.derive()
    assert runs(server) == [(30, 90, "good")]


def test_a_fast_quartz_of_a_box_without_a_clock_does_not_change_old_sessions_with_every_message(server: Server) -> None:
    server.enrol()
    idle = [minute(seq, STANDBY_W) for seq in range(121, 181)]
    for message in [*HOUR_OF_RUNNING, *idle]:
        # 50 parts in a million: with every message it seems to have been switched on a little earlier.
        fast_s = message["up0"] * 50e-6
        server.receive(arrival({**message, "sync": 0, "up0": message["up0"] + fast_s}, delay_s=2 - fast_s))
        if message["seq"] >= 120:
            server.derive()
    (session,) = server.sessions()
    assert (session.version, session.final, session.quality) == (1, True, "clock")
    assert abs(session.first_run_at - at(30)) < timedelta(seconds=5)

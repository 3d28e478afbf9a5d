"""Sessions follow from the stored messages alone: any order, any repetition, any moment of computing."""

import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

import telemetry.derive
from app.db import Database
from telemetry import boxes
from telemetry.derive import derive
from telemetry.errors import Refusal, TelemetryRefused
from telemetry.models import CollectorSession, Message
from telemetry.queries import changed_since, live_states, troubles, watermark
from telemetry.states import Calibration, Dated, Reading, State, Stretch, stretches
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, Server, at, day, minute

A_DAY = day(
    *((90, 0.0), (20, STANDBY_W), (45, RUN_W), (4, STANDBY_W), (30, RUN_W), (40, STANDBY_W)),
    *((25, RUN_W), (60, STANDBY_W), (1, RUN_W), (60, 0.0), (120, RUN_W), (30, 0.0)),
)


def lossless(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The day with two silences: one within a run, one that cuts a run."""
    return messages[:130] + messages[138:400] + messages[430:]


def changes(server: Server, *, after: int = 0) -> list[CollectorSession]:
    with server.database.transaction() as session:
        return changed_since(session, after=after)


def test_a_day_becomes_its_sessions(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY)
    server.derive()
    found = [(row.started_at, row.ended_at, row.power_on_at, row.power_off_at) for row in server.sessions()]
    assert found == [
        (at(110), at(189), at(95), None),
        (at(229), at(254), at(214), None),
        (at(314), at(315), at(299), at(315)),
        (at(375), at(495), at(375), at(495)),
    ]


def test_what_is_computed_in_parts_is_what_is_computed_at_once(server: Server) -> None:
    server.enrol("at-once")
    server.enrol("in-parts")
    server.measured(lossless(A_DAY), box="at-once")
    server.derive()
    messages = lossless(A_DAY)
    for start in range(0, len(messages), 17):
        server.measured(messages[start : start + 17], box="in-parts")
        server.derive()
    assert server.evidence(box="in-parts").replace(b"in-parts", b"at-once") == server.evidence(box="at-once")


def test_a_session_is_final_when_the_box_has_told_all_that_could_change_it(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY[:265])
    server.derive()
    assert [row.final for row in server.sessions()] == [True, False]
    server.measured(A_DAY[265:271])
    server.derive()
    assert [row.final for row in server.sessions()] == [True, True]


def test_a_hole_in_the_sequence_keeps_what_follows_provisional(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY[:300] + A_DAY[301:])
    server.derive()
    assert [row.final for row in server.sessions()] == [True, True, False, False]
    with server.database.transaction() as session:
        assert watermark(session, box=BOX) == at(300)
    server.measured([A_DAY[300]])
    server.derive()
    # The last one ended less than 16 minutes before the newest message.
    assert [row.final for row in server.sessions()] == [True, True, True, True]


def test_what_the_box_lost_for_ever_is_not_waited_for(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY[:300] + A_DAY[301:400])
    server.derive()
    birth = {"boot": 2, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[2, 1, 0]]}
    server.says("birth", birth)
    server.measured([{**A_DAY[400], "boot": 2, "seq": 1}])
    server.derive()
    assert [row.final for row in server.sessions()] == [True, True, True, False]


def test_late_data_supersede_a_final_session_and_say_so_in_the_feed(server: Server) -> None:
    server.enrol()
    late = A_DAY[160:189]
    server.measured(A_DAY[:160])
    server.measured([{**message, "boot": 2, "seq": number} for number, message in enumerate(A_DAY[189:400], 1)])
    server.derive()
    before = server.sessions()[0]
    assert (before.final, before.ended_at, before.quality) == (True, at(160), "cut")
    seen = changes(server)[-1].change
    server.measured([{**message, "boot": 3, "seq": number, "h": 1} for number, message in enumerate(late, 1)])
    server.derive(now=at(500))
    after = server.sessions()[0]
    assert (after.ended_at, after.version, after.supersedes_id) == (at(189), before.version + 1, before.id)
    news = {row.id: row for row in changes(server, after=seen)}
    assert news[before.id].superseded_at == at(500)
    assert news[before.id].ended_at == at(160), "a final session is never edited"
    assert news[after.id].superseded_at is None


def test_nothing_new_is_no_news(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY)
    server.derive()
    seen = changes(server)[-1].change
    server.measured(A_DAY)
    server.derive()
    assert changes(server, after=seen) == []


def test_a_backlog_never_rewinds_the_live_state(server: Server) -> None:
    server.enrol()
    server.measured([{**message, "boot": 2} for message in A_DAY[400:420]])
    server.derive()
    server.measured([{**message, "h": 1} for message in A_DAY[:100]], delay_s=30_000)
    server.derive()
    with server.database.transaction() as session:
        state = live_states(session, boxes=[BOX], now=at(421))[BOX, 0]
    assert (state.state, state.last_live_at) == (State.RUNNING, at(420))


STRICT = Calibration(run_threshold_w=500.0)


def test_recalibration_never_rewrites_final_sessions_silently(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY)
    server.derive()
    before = server.evidence()
    with pytest.raises(TelemetryRefused) as refused, server.database.transaction() as session:
        boxes.set_calibration(session, code=BOX, channel=0, calibration=STRICT, at=at(300))
    assert refused.value.code is Refusal.ALREADY_JUDGED
    with server.database.transaction() as session:
        boxes.set_calibration(session, code=BOX, channel=0, calibration=STRICT, at=at(len(A_DAY)))
    server.derive()
    assert server.evidence() == before


def test_a_named_person_has_sessions_computed_anew_from_a_moment_on_as_new_versions(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY)
    server.derive()
    milder = Calibration(run_threshold_w=3.0)
    with server.database.transaction() as session:
        row = boxes.set_calibration(session, code=BOX, channel=0, calibration=milder, at=at(300), recompute_by="li.wei")
        assert (row.version, row.recomputed_by) == (2, "li.wei")
    server.derive()
    assert [row.started_at for row in server.sessions()] == [at(110), at(229), at(300), at(375)]
    superseded = [row for row in changes(server) if row.superseded_at is not None]
    assert [(row.started_at, row.calibration_version) for row in superseded] == [(at(314), 1), (at(375), 1)]
    after = server.sessions()[2]
    assert (after.supersedes_id, after.version, after.calibration_version) == (
        superseded[0].id,
        superseded[0].version + 1,
        2,
    )


def test_without_a_calibration_there_is_no_session_until_there_is_one(server: Server) -> None:
    server.enrol(calibration=None)
    server.measured(A_DAY)
    server.derive()
    assert server.sessions() == []
    with server.database.transaction() as session:
        boxes.set_calibration(session, code=BOX, channel=0, calibration=Calibration(run_threshold_w=40.0), at=at(-1))
    server.derive()
    assert len(server.sessions()) == 4


def test_channels_of_a_strip_are_apart(server: Server) -> None:
    server.enrol(channels=2)
    both = [
        {**message, "c": channel, "seq": 2 * message["seq"] - 1 + channel, "p": message["p"] if channel else [0.0] * 6}
        for message in A_DAY
        for channel in (0, 1)
    ]
    server.measured(both)
    server.derive()
    assert (len(server.sessions(channel=0)), len(server.sessions(channel=1))) == (0, 4)


def test_derive_undone_at_any_moment_does_the_same_again(server: Server) -> None:
    server.enrol()
    server.measured(A_DAY)
    with contextlib.suppress(ZeroDivisionError), server.database.transaction() as session:
        assert derive(session, now=at(0)) == 1
        raise ZeroDivisionError
    assert server.sessions() == []
    server.derive()
    assert len(server.sessions()) == 4


def test_a_box_that_cannot_be_computed_stops_no_other_and_is_tried_again_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("cb-bad", "cb-good"):
        server.enrol(code)
        server.measured(A_DAY, box=code)

    def fail_for_the_bad(found: list[Reading], *, calibrations: list[Dated]) -> list[Stretch]:
        if is_broken and found and found[0].powers_w[0] == 1.25:
            raise ZeroDivisionError("no such power")
        return stretches(found, calibrations=calibrations)

    monkeypatch.setattr(telemetry.derive, "stretches", fail_for_the_bad)
    is_broken = True
    server.measured([minute(len(A_DAY) + 1, 1.25)], box="cb-bad")
    with server.database.transaction() as session:
        session.execute(update(Message).where(Message.box == "cb-bad", Message.seq == 1).values(powers_w=[1.25] * 6))
    for now_min, attempts, retry_s in ((0, 1, 10), (1, 2, 20)):
        server.derive(now=at(now_min))
        with server.database.reader() as session:
            (trouble,) = troubles(session)
        assert (trouble.box, trouble.attempts, trouble.error) == (
            "cb-bad",
            attempts,
            "ZeroDivisionError: no such power",
        )
        assert (trouble.since, trouble.retry_at) == (at(0), at(now_min) + timedelta(seconds=retry_s))
    assert (len(server.sessions(box="cb-good")), len(server.sessions(box="cb-bad"))) == (4, 0)
    is_broken = False
    server.derive(now=at(1.1))
    assert server.sessions(box="cb-bad") == [], "it is not tried before its time"
    server.derive(now=at(2))
    assert len(server.sessions(box="cb-bad")) == 4
    with server.database.reader() as session:
        assert troubles(session) == []


def test_a_reader_of_the_feed_misses_nothing_while_many_derive_at_once(server: Server, database: Database) -> None:
    codes = [f"cb-{number:03}" for number in range(8)]
    for code in codes:
        server.enrol(code)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            database.run(lambda session: derive(session, now=at(0), limit=2))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    seen: dict[int, int] = {}
    after = 0
    for start in range(0, 260, 26):
        for code in codes:
            server.measured(A_DAY[start : start + 26], box=code)
        for row in changes(server, after=after):
            seen[row.id], after = row.change, row.change
    stop.set()
    for worker in workers:
        worker.join()
    server.derive()
    for row in changes(server, after=after):
        seen[row.id] = row.change
    assert seen == {row.id: row.change for row in changes(server)}
    assert [len(server.sessions(box=code)) for code in codes] == [2] * 8

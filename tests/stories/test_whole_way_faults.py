"""The whole way, with what goes wrong on it: lost answers, wrong clocks, a hostile network, a list that is over."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from app import clock
from app.devices.models import EventOutcome, TerminalEvent
from app.sessions.models import SessionStatus
from card_terminal import protocol
from card_terminal.flow import State
from card_terminal.protocol import PATH_PREFIX, EndCause, Ended, Event, EventKind, ReaderState
from tests.app import taps
from tests.stories.desk import Desk
from tests.stories.server import Server

HOUR_MS = 3_600_000
A_DAY_AND_MORE = timedelta(hours=25)


@pytest.fixture
def other_door(app_: Flask) -> Iterator[Server]:
    """The same service at another address, for whoever stands between it and the terminal."""
    door = Server(app_)
    door.up()
    yield door
    door.down()


def bring(door: Server, *messages: str) -> dict[str, object]:
    """Bring events as anybody can who has heard them."""
    answer: dict[str, object] = requests.post(
        f"{door.url}{PATH_PREFIX}events", json={"messages": list(messages)}, timeout=20
    ).json()
    return answer


def test_answers_that_are_lost_charge_a_session_once_and_hold_nothing_when_none_comes(desk: Desk) -> None:
    terminal, loses = desk.open(), desk.server.loses
    chip, card = desk.card()

    loses["session/authorize"] = 3
    desk.tap(chip, State.REVERSING)
    desk.wait_for_all(SessionStatus.VOID)
    desk.assert_charged(card)

    loses.update({"card/begin": 1, "card/step": 1, "session/authorize": 2})
    desk.start(chip)
    loses["events"] = 2
    desk.pass_by(timedelta(minutes=10))
    desk.end(chip)

    desk.wait_for_all(SessionStatus.VOID, SessionStatus.CAPTURED)
    assert not +loses, "all of them were asked for again"
    assert terminal.journal.session() is None
    desk.assert_charged(card, 5_00)


def test_a_wall_clock_three_hours_wrong_moves_no_session_and_changes_no_price(desk: Desk) -> None:
    desk.clock.wall_by_ms = -3 * HOUR_MS
    desk.open()
    chip, card = desk.card()

    desk.start(chip)
    desk.clock.wall_by_ms += 6 * HOUR_MS
    desk.pass_by(timedelta(minutes=10))
    desk.end(chip)
    desk.wait_for_all(SessionStatus.CAPTURED)
    desk.get_offline_list()
    desk.clock.wall_by_ms -= 6 * HOUR_MS
    desk.server.down()
    desk.use(chip, minutes=20)
    desk.server.up()

    desk.wait_for_all(SessionStatus.CAPTURED, SessionStatus.CAPTURED)
    for row, minutes in zip(desk.sessions(), (10, 20), strict=True):
        assert row.started_at is not None
        assert row.ended_at is not None
        assert timedelta(minutes=minutes) <= row.ended_at - row.started_at < timedelta(minutes=minutes + 1)
        assert timedelta(0) < clock.now() - row.ended_at < timedelta(minutes=30)
    with desk.site.database.reader() as session:
        steps = session.query(TerminalEvent).filter_by(kind=EventKind.CLOCK_STEP).count()
    assert steps == 2, "forth and back"
    desk.assert_charged(card, 5_00, 10_00)


def test_events_forged_reordered_or_replayed_charge_nothing_and_do_not_hinder_the_true_ones(
    desk: Desk, other_door: Server
) -> None:
    terminal = desk.open()
    chip, card = desk.card()
    desk.start(chip)
    desk.wait_for_all(SessionStatus.ACTIVE)
    session_id, seq = desk.sessions()[0].id, terminal.journal.last_seq() + 1
    desk.server.down()
    desk.pass_by(timedelta(minutes=10))
    desk.end(chip)
    meter, ended = terminal.journal.unsent(limit=50)

    forged = Event(
        seq=seq,
        prev=protocol.chain_hash(meter),
        boot=1,
        mono_ms=1,
        wall_ms=1,
        body=Ended(session_id=session_id, elapsed_ms=1, cause=EndCause.TAPPED),
    )
    thief, device_id = Ed25519PrivateKey.generate(), terminal.identity.device_id
    by_thief = protocol.sign_event(forged, key=thief, device_id=device_id)
    (head, _payload, signature), (_head, other_payload, _signature) = meter.split("."), by_thief.split(".")
    for message in (by_thief, f"{head}.{other_payload}.{signature}"):
        assert bring(other_door, message)["code"] == "SIG_INVALID"
    assert bring(other_door, ended, meter)["code"] == "SEQ_GAP"
    assert desk.sessions()[0].status is SessionStatus.ACTIVE
    assert desk.money(card).principal_fen == 5_000_00

    desk.server.up()
    desk.wait_for_all(SessionStatus.CAPTURED)
    desk.assert_charged(card, 5_00)
    # The terminal itself says everything again, as after a restore, and then somebody who has listened.
    terminal.journal.rewind(0)
    everything = terminal.journal.unsent(limit=50)
    desk.wait_for_all(SessionStatus.CAPTURED)
    for messages in (everything, everything[::-1]):
        results = bring(other_door, *messages)["results"]
        assert [result["status"] for result in results] == ["duplicate"] * len(everything)  # type: ignore[attr-defined]

    with desk.site.database.reader() as session:
        kept = session.query(TerminalEvent).all()
    assert {event.outcome for event in kept} == {EventOutcome.ACCEPTED}
    assert len(kept) == len(everything)
    desk.assert_charged(card, 5_00)


def test_an_offline_list_ends_by_the_servers_time_and_by_the_clock_that_nobody_can_set(desk: Desk) -> None:
    desk.open()
    chip, card = desk.card()
    desk.use(chip, minutes=1)
    desk.wait_for_all(SessionStatus.CAPTURED)
    desk.get_offline_list()

    # By the clock that nobody can set: who sets back the wall and even the server's time has gained nothing.
    desk.clock.pass_by(A_DAY_AND_MORE // timedelta(milliseconds=1))
    desk.clock.wall_by_ms -= 2 * A_DAY_AND_MORE // timedelta(milliseconds=1)
    server_is_ahead, deadline_is_ahead = hear_the_time(desk)
    assert abs(server_is_ahead) < timedelta(hours=1)
    assert deadline_is_ahead < timedelta(0)
    desk.server.down()
    desk.tap(chip, State.REFUSED, code="OFFLINE_LIST_EXPIRED")
    desk.server.up()
    # It is the list that is over: with the next one the same card may start.
    desk.pass_by(timedelta(hours=5))
    desk.get_newer_list()
    desk.server.down()
    desk.use(chip, minutes=10)
    desk.server.up()
    desk.wait_for_all(SessionStatus.CAPTURED, SessionStatus.CAPTURED)

    # By the server's time, which has gone on while the terminal's clock stood still.
    taps.advance(A_DAY_AND_MORE)
    server_is_ahead, deadline_is_ahead = hear_the_time(desk)
    assert abs(server_is_ahead) < timedelta(hours=1)
    assert deadline_is_ahead > timedelta(hours=18)
    desk.server.down()
    desk.tap(chip, State.REFUSED, code="OFFLINE_LIST_EXPIRED")
    desk.server.up()

    desk.wait_for_all(SessionStatus.CAPTURED, SessionStatus.CAPTURED)
    desk.assert_charged(card, 50, 5_00)


def hear_the_time(desk: Desk) -> tuple[timedelta, timedelta]:
    """Have the terminal hear the server's time; give how far it thinks it ahead of ours, and the list's end of now."""
    assert desk.terminal.delivery.say_hello(reader=ReaderState.OK)
    clocks = desk.terminal.offline.clocks()
    assert clocks.server_ms is not None
    assert clocks.deadline_mono_ms is not None
    return (
        timedelta(milliseconds=clocks.server_ms - taps.now_ms()),
        timedelta(milliseconds=clocks.deadline_mono_ms - clocks.mono_ms),
    )

"""Answers lost, messages doubled, kills at every step: the server's books come out as if nothing had happened."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from card_terminal.flow import State
from card_terminal.protocol import (
    EVENTS_PER_REQUEST_MAX,
    CardRefused,
    Ended,
    EventKind,
    SessionState,
    Started,
    TypedCard,
)
from card_terminal.readers import Reading
from tests.card_terminal.honest_server import HonestServer, TurnedClock
from tests.card_terminal.world import Killed, Station, Wire

MINUTE_MS = 60_000


def small_world(folder: Path) -> tuple[Station, HonestServer, Wire]:
    clock = TurnedClock()
    server = HonestServer(clock=clock, balances_fen={"1001": 100_00, "1002": 100_00}, pins={"1002": "4711"})
    wire = Wire(server=server)
    return Station(folder, server=server, wire=wire, clock=clock), server, wire


def settle(station: Station) -> None:
    """Let whatever is open come to its end, as an hour without people would."""
    for _ in range(3):
        station.keep_in_touch()
        station.wait(15_000)


def no_money_is_left_hanging(server: HonestServer) -> None:
    is_open = [each for each in server.sessions.values() if each.state in {SessionState.HELD, SessionState.ACTIVE}]
    assert not is_open
    started = [event.body.session_id for event in server.events if isinstance(event.body, Started)]
    ended = [event.body.session_id for event in server.events if isinstance(event.body, Ended)]
    charged = [session_id for session_id, each in server.sessions.items() if each.charged_fen is not None]
    assert sorted(started) == sorted(ended) == sorted(charged)


def test_after_an_answer_that_was_lost_the_same_bytes_are_sent_and_the_money_is_held_once(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    wire.faults = ["lost", "garbage"]
    station.wait(4_000)
    assert station.shows(State.ACTIVE)
    asked = [body["message"] for name, body in wire.sent if name == "session/authorize"]
    assert len(asked) == 3
    assert len(set(asked)) == 1
    assert len(server.sessions) == 1


@pytest.mark.parametrize("faults", [["lost", "busy", "busy"], ["busy", "lost", "busy"]])
def test_a_passing_refusal_after_a_lost_answer_proves_nothing_so_the_hold_is_given_back(
    station: Station, server: HonestServer, wire: Wire, faults: list[str]
) -> None:
    station.tap("1001")
    wire.faults = faults
    station.wait(4_000)
    assert station.shows(State.REVERSING)
    settle(station)
    assert [each.state for each in server.sessions.values()] == [SessionState.REVERSED]


def test_a_server_that_is_only_busy_refuses_and_leaves_nothing_to_reverse(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    wire.faults = ["busy"] * 3
    station.wait(4_000)
    assert station.view()["refusal"]["code"] == "RETRY"
    assert station.shows(State.REFUSED)
    settle(station)
    assert not server.sessions


@pytest.mark.parametrize("fault", ["lost", "down", "error", "garbage"])
def test_without_any_answer_the_hold_is_given_back_and_nothing_is_charged(
    station: Station, server: HonestServer, wire: Wire, fault: str
) -> None:
    station.tap("1001")
    wire.faults = [fault] * 3
    station.wait(4_000)
    assert station.shows(State.REVERSING)
    settle(station)
    assert station.shows(State.IDLE)
    assert [each.state for each in server.sessions.values()] == [SessionState.REVERSED]
    assert server.available_fen("1001") == 100_00
    no_money_is_left_hanging(server)


def test_a_reversal_that_overtakes_its_question_leaves_a_tombstone(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    wire.faults = ["late"] * 3
    station.wait(4_000)
    station.keep_in_touch()
    assert [each.state for each in server.sessions.values()] == [SessionState.REVERSED]
    name, body = wire.late[0]
    assert name == "session/authorize"
    assert server.handle(name, body)[1].get("code") == "SESSION_REVERSED"
    assert server.available_fen("1001") == 100_00


def test_events_are_taken_once_however_often_their_answer_is_lost(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    station.wait(20 * MINUTE_MS)
    wire.faults = ["lost", "garbage", "error"]
    station.tap("1001")
    station.wait(4_000)
    for _ in range(3):
        station.keep_in_touch()
    assert [event.seq for event in server.events] == list(range(1, len(server.events) + 1))
    assert server.balances_fen["1001"] == 100_00 - 20 * 50
    assert station.journal.unsent_count() == 0


def test_who_taps_after_a_long_silence_does_not_wait_for_all_that_is_owed(
    station: Station, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5 * EVENTS_PER_REQUEST_MAX):
        station.journal.record(CardRefused(code="RETRY"))
    seconds = itertools.count(step=3)
    monkeypatch.setattr("card_terminal.delivery.time.monotonic", lambda: next(seconds))

    station.tap("1001")

    assert station.shows(State.CONFIRM)
    assert [name for name, _ in wire.sent].count("events") < 5
    station.keep_in_touch()
    assert station.journal.unsent_count() == 0


def test_who_taps_while_another_thread_delivers_waits_a_moment_only(station: Station, wire: Wire) -> None:
    station.journal.record(CardRefused(code="RETRY"))
    is_sending, may_go_on = threading.Event(), threading.Event()

    def slow(_place: str) -> None:
        is_sending.set()
        may_go_on.wait(5)

    wire.before = slow
    messenger = threading.Thread(target=station.delivery.deliver)
    messenger.start()
    is_sending.wait(5)
    assert not station.delivery.deliver(within_s=0.01)
    may_go_on.set()
    messenger.join()
    assert station.delivery.deliver(within_s=0.01)


def test_a_server_put_back_to_an_earlier_day_gets_the_events_again(station: Station, server: HonestServer) -> None:
    station.tap("1001")
    station.wait(11 * MINUTE_MS)
    station.keep_in_touch()
    assert len(server.messages) == 3
    del server.messages[1:], server.events[1:], server.results[1:]
    station.keep_in_touch()
    station.keep_in_touch()
    assert [event.seq for event in server.events] == [1, 2, 3]


def test_a_disk_put_back_to_an_earlier_day_hides_no_new_event(
    station: Station, server: HonestServer, tmp_path: Path
) -> None:
    station.tap("1001")
    station.wait(11 * MINUTE_MS)
    station.keep_in_touch()
    assert station.store is not None
    station.store.close()
    for path in (tmp_path / "terminal").glob("journal.sqlite*"):
        path.unlink()
    station.restart()
    station.tap("9999")
    station.keep_in_touch()
    station.keep_in_touch()
    assert [event.kind for event in server.parked] == [EventKind.CARD_REFUSED]
    assert station.journal.unsent_count() == 0


def test_a_process_killed_and_started_again_counts_on_exactly(station: Station, server: HonestServer) -> None:
    station.tap("1001")
    station.wait(10 * MINUTE_MS)
    station.clock.turn(5 * MINUTE_MS)
    station.restart()
    assert station.shows(State.ACTIVE)
    station.wait(5 * MINUTE_MS)
    station.tap("1001")
    station.wait(4_000)
    assert server.balances_fen["1001"] == 100_00 - 20 * 50
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert not ended.lower_bound


def test_a_terminal_that_starts_again_never_looks_free_while_somebody_uses_it(station: Station, wire: Wire) -> None:
    station.tap("1001")
    station.wait(10 * MINUTE_MS)
    station.start()
    assert station.shows(State.ACTIVE)
    station.terminal.recover()
    station.tap("1001")
    station.wait(20_000)
    station.tap("1002", pin="4711")
    wire.before = _kill_at("after session/authorize was done")
    with pytest.raises(Killed):
        station.wait(4_000)
    station.start()
    assert station.shows(State.AUTHORIZING)


def test_a_terminal_that_was_off_for_too_long_reports_no_more_than_was_held(
    station: Station, server: HonestServer
) -> None:
    station.tap("1001", minutes=30)
    station.wait(3_000)
    station.clock.turn(90 * MINUTE_MS)
    station.restart()
    station.wait(1_000)
    assert station.shows(State.RECEIPT)
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert ended.elapsed_ms == 30 * MINUTE_MS
    assert server.balances_fen["1001"] == 100_00 - 30 * 50


def test_after_a_power_cut_the_lower_bound_is_charged_and_flagged(station: Station, server: HonestServer) -> None:
    station.tap("1001")
    station.wait(3_000)
    station.wait(10 * MINUTE_MS)
    station.clock.boot_key, station.clock.mono = "boot 2", 5_000
    station.clock.wall += 30 * MINUTE_MS
    station.restart()
    assert station.shows(State.ACTIVE)
    station.wait(5 * MINUTE_MS)
    station.tap("1001")
    station.wait(4_000)
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert ended.lower_bound
    # The last pulse before the cut was at most ten seconds old.
    assert 15 * MINUTE_MS - 10_000 <= ended.elapsed_ms <= 15 * MINUTE_MS
    assert server.events[-1].boot == 2


def test_a_question_left_open_by_a_kill_is_asked_again_with_the_same_bytes_if_young(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    wire.before = _kill_at("after session/authorize was done")
    with pytest.raises(Killed):
        station.wait(4_000)
    wire.before = lambda _place: None
    station.clock.turn(10_000)
    station.restart()
    assert station.shows(State.ACTIVE)
    assert len(server.sessions) == 1
    asked = {body["message"] for name, body in wire.sent if name == "session/authorize"}
    assert len(asked) == 1


@pytest.mark.parametrize(("card", "pause_ms"), [("1001", 31_000), ("1002", 1_000)])
def test_a_question_left_open_that_is_old_or_held_a_pin_is_reversed(
    station: Station, server: HonestServer, wire: Wire, card: str, pause_ms: int
) -> None:
    station.tap(card, pin="4711")
    wire.before = _kill_at("after session/authorize was done")
    with pytest.raises(Killed):
        station.wait(4_000)
    wire.before = lambda _place: None
    station.clock.turn(pause_ms)
    station.restart()
    assert station.shows(State.REVERSING)
    settle(station)
    assert [each.state for each in server.sessions.values()] == [SessionState.REVERSED]
    assert server.available_fen(card) == 100_00


def test_a_question_from_before_a_power_cut_is_reversed_however_young_it_looks(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    station.tap("1001")
    wire.before = _kill_at("after session/authorize was done")
    with pytest.raises(Killed):
        station.wait(4_000)
    wire.before = lambda _place: None
    station.clock.boot_key = "boot 2"
    station.clock.turn(1_000)
    station.restart()
    assert station.shows(State.REVERSING)
    settle(station)
    no_money_is_left_hanging(server)


def _kill_at(place: str) -> "Killer":
    return Killer(places={place})


class Killer:
    """Kills at the n-th step, or at a named place, once."""

    def __init__(self, *, step: int | None = None, places: frozenset[str] | set[str] = frozenset()) -> None:
        self.steps = itertools.count()
        self.step, self.places = step, places
        self.has_killed = False

    def __call__(self, place: str) -> None:
        number = next(self.steps)
        if not self.has_killed and (number == self.step or place in self.places):
            self.has_killed = True
            raise Killed(place)


def live_through(station: Station, *, card: str, pin: str | None = None) -> None:
    """A person starts, works for 7 minutes and ends, and comes back to the terminal until both have worked."""
    home_time_ms = station.clock.mono + 7 * MINUTE_MS + 30_000
    _until(station, lambda: _tap_to_start(station, card=card, pin=pin))
    _until(station, lambda: station.wait(home_time_ms - station.clock.mono, step_ms=MINUTE_MS))
    _until(station, lambda: _tap_to_end(station, card=card))
    _until(station, lambda: settle(station))


def _until(station: Station, step: Callable[[], None]) -> None:
    for _ in range(2):
        try:
            step()
        except Killed:
            station.restart()
        else:
            return
    raise AssertionError("killed more than once")


def _tap_to_start(station: Station, *, card: str, pin: str | None) -> None:
    for _ in range(4):
        if station.terminal.screen.session is not None:
            return
        station.tap(card, pin=pin)
        station.wait(12_000)
    raise AssertionError("cannot start")


def _tap_to_end(station: Station, *, card: str) -> None:
    for _ in range(4):
        if station.terminal.screen.session is None:
            return
        station.tap(card)
        station.wait(6_000)
    raise AssertionError("cannot end")


def count_steps(folder: Path, *, card: str, pin: str | None) -> int:
    station, _server, wire = small_world(folder)
    counter = Killer()
    wire.before = counter
    live_through(station, card=card, pin=pin)
    return next(counter.steps)


@pytest.mark.parametrize(("card", "pin"), [("1001", None), ("1002", "4711")])
def test_a_kill_at_any_step_neither_loses_nor_doubles_a_charge(tmp_path: Path, card: str, pin: str | None) -> None:
    steps = count_steps(tmp_path / "undisturbed", card=card, pin=pin)
    assert steps > 50
    for step in range(steps):
        station, server, wire = small_world(tmp_path / f"{card}-{step}")
        wire.before = Killer(step=step)
        live_through(station, card=card, pin=pin)
        charged = [each.charged_fen for each in server.sessions.values() if each.state is SessionState.ENDED]
        # She meant to work for 7 minutes; the kill made her wait for less than one at the start or at the end.
        assert len(charged) == 1, f"killed at step {step}"
        assert charged[0] in {7 * 50, 8 * 50}, f"killed at step {step}"
        no_money_is_left_hanging(server)


WORLD_STEPS = st.lists(
    st.sampled_from(
        ["tap 1001", "tap 1002", "tap 9999", "wait", "work", "touch", "back", "confirm", "restart", "reboot"]
    )
    | st.sampled_from(["lost", "down", "error", "garbage", "kill"]),
    max_size=40,
)


def _do(station: Station, wire: Wire, step: str, *, dies_after: int) -> None:
    word, _, card = step.partition(" ")
    if word == "tap":
        station.tap(card, pin="4711")
    elif word == "wait":
        station.wait(6_000)
    elif word == "work":
        station.wait(7 * MINUTE_MS, step_ms=10_000)
    elif word == "touch":
        station.keep_in_touch()
    elif word == "back":
        station.terminal.back()
    elif word == "confirm":
        station.terminal.confirm()
    elif word == "kill":
        wire.before = Killer(step=dies_after)
    elif word == "restart":
        station.restart()
    elif word == "reboot":
        station.clock.boot_key, station.clock.mono = f"{station.clock.boot_key}+", 1_000
        station.restart()
    else:
        wire.faults.append(word)


@given(steps=WORLD_STEPS, dies_after=st.integers(0, 30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_in_whatever_order_no_charge_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], dies_after: int
) -> None:
    station, server, wire = small_world(tmp_path_factory.mktemp("world"))
    for step in steps:
        try:
            _do(station, wire, step, dies_after=dies_after)
        except Killed:
            wire.before = lambda _place: None
            station.restart()
    wire.faults.clear()
    wire.before = lambda _place: None
    station.wait(20_000)
    settle(station)
    if station.terminal.screen.session is not None:
        _tap_to_end(station, card=station.terminal.screen.session.card)
    settle(station)
    assert station.journal.unsent_count() == 0
    no_money_is_left_hanging(server)
    starts = [event.body for event in server.events if event.kind is EventKind.STARTED]
    ends = [event.body for event in server.events if event.kind is EventKind.ENDED]
    assert len(starts) == len(ends)


def test_a_card_whose_uid_changes_is_recognised_by_the_server(station: Station) -> None:
    station.tap("1001")
    station.wait(MINUTE_MS)
    shown = Reading(card=TypedCard(number="1001"), identity="another random uid")
    station.terminal.tap(shown)
    assert station.shows(State.ENDING)

"""What a person lives at the terminal: tap to start, tap to end, and every way in which it is refused."""

from pathlib import Path

import pytest

from card_terminal.flow import State
from card_terminal.protocol import EndCause, Ended, EventKind, SessionState
from tests.card_terminal.honest_server import FEN_PER_MINUTE, HonestServer, TurnedClock
from tests.card_terminal.world import Station, Wire


def start(station: Station, card: str = "1001", *, minutes: int | None = None, pin: str | None = None) -> None:
    station.tap(card, minutes=minutes, pin=pin)
    station.wait(3_000)
    assert station.shows(State.ACTIVE)


def end(station: Station, card: str = "1001") -> None:
    station.tap(card)
    assert station.shows(State.ENDING)
    station.wait(4_000)
    assert station.shows(State.RECEIPT)


def kinds(server: HonestServer) -> list[EventKind]:
    return [event.kind for event in server.events]


def test_tap_to_start_and_tap_to_end_needs_no_touch(station: Station, server: HonestServer) -> None:
    start(station)
    assert server.available_fen("1001") == 100_00 - 60 * 50
    station.wait(30 * 60_000)
    view = station.view()
    assert (view["session"]["elapsed_s"], view["session"]["cost_fen"]) == (30 * 60, 30 * 50)
    end(station)
    assert server.balances_fen["1001"] == 100_00 - 30 * 50
    receipt = station.view()["receipt"]
    assert (receipt["amount_fen"], receipt["balance_fen"], receipt["status"]) == (30 * 50, 100_00 - 30 * 50, "accepted")
    station.wait(13_000)
    assert station.shows(State.IDLE)
    assert kinds(server)[0] is EventKind.STARTED
    assert kinds(server)[-1] is EventKind.ENDED
    assert kinds(server).count(EventKind.METER) == 6


def test_the_price_and_the_hold_stand_on_the_screen_before_the_start(station: Station, server: HonestServer) -> None:
    station.tap("1001", minutes=20)
    view = station.view()
    assert view["state"] == "confirm"
    assert view["countdown_s"] == 3
    assert view["candidate"]["minutes"] == 20
    assert view["candidate"]["price"] == {"zh": "30元/小时", "en": "30 yuan per hour"}
    assert not server.sessions
    station.terminal.back()
    station.wait(5_000)
    assert station.shows(State.IDLE)
    assert not server.sessions


def test_a_card_that_lies_on_the_reader_starts_once_and_ends_nothing(station: Station, server: HonestServer) -> None:
    start(station)
    for _ in range(60):
        station.tap("1001")
        station.wait(500, step_ms=500)
    assert station.shows(State.ACTIVE)
    station.wait(6_000)
    end(station)
    assert len(server.sessions) == 1


def test_an_impatient_person_who_taps_every_second_still_ends_her_session(station: Station) -> None:
    start(station)
    for _ in range(4):
        station.tap("1001")
        station.wait(1_000)
        assert station.shows(State.ACTIVE)
    station.wait(1_000)
    station.tap("1001")
    assert station.shows(State.ENDING)


def test_the_person_pays_until_she_taps_not_until_the_countdown_is_over(station: Station, server: HonestServer) -> None:
    start(station)
    station.wait(10 * 60_000)
    elapsed_ms = (
        station.terminal.screen.session.elapsed_ms(station.clock.mono) if station.terminal.screen.session else 0
    )
    end(station)
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert ended.elapsed_ms == elapsed_ms
    assert ended.cause is EndCause.TAPPED


def test_keep_running_takes_an_end_back(station: Station, server: HonestServer) -> None:
    start(station)
    station.wait(60_000)
    station.tap("1001")
    station.terminal.back()
    station.wait(10_000)
    assert station.shows(State.ACTIVE)
    assert EventKind.ENDED not in kinds(server)
    end(station)


def test_another_card_never_logs_the_first_one_out(station: Station, server: HonestServer) -> None:
    start(station)
    station.wait(60_000)
    station.tap("1002")
    assert station.shows(State.OTHER)
    station.wait(21_000)
    assert station.shows(State.ACTIVE)
    station.tap("1002")
    station.terminal.call_staff()
    assert station.shows(State.CALLING)
    station.wait(21_000)
    assert station.shows(State.ACTIVE)
    station.tap("1002")
    station.wait(1_000)
    end(station)
    assert len(server.sessions) == 1


def test_another_card_takes_over_only_by_two_presses_and_the_first_pays_up_to_then(
    station: Station, server: HonestServer
) -> None:
    start(station)
    station.wait(10 * 60_000)
    station.tap("1002")
    station.terminal.take_over()
    assert station.shows(State.TAKING_OVER)
    station.wait(21_000)
    assert station.shows(State.ACTIVE)
    station.tap("1002")
    station.terminal.take_over()
    station.terminal.confirm()
    assert station.shows(State.PIN)
    station.terminal.enter_pin("4711")
    station.wait(4_000)
    assert station.shows(State.ACTIVE)
    station.keep_in_touch()
    assert station.view()["session"]["card"] == "1002"
    first, second = server.sessions.values()
    assert (first.card, first.charged_fen) == ("1001", 11 * FEN_PER_MINUTE)
    assert (second.card, second.state) == ("1002", SessionState.ACTIVE)
    ended = next(event.body for event in server.events if isinstance(event.body, Ended))
    assert ended.cause is EndCause.TAKEN_OVER


def test_nobody_takes_over_who_could_not_start_herself_or_while_the_server_is_away(
    station: Station, server: HonestServer
) -> None:
    start(station)
    station.wait(60_000)
    server.balances_fen["1002"] = 0
    station.tap("1002")
    station.terminal.take_over()
    assert station.shows(State.OTHER)
    server.balances_fen["1002"] = 100_00
    station.wait(21_000)
    station.tap("1002")
    station.terminal.take_over()
    station.wire.is_down = True
    station.terminal.confirm()
    assert station.shows(State.RECEIPT)
    station.wire.is_down = False
    station.wait(13_000)
    station.keep_in_touch()
    assert [session.charged_fen is not None for session in server.sessions.values()] == [True]


def test_a_pin_is_asked_for_and_a_wrong_one_may_be_corrected(station: Station, server: HonestServer) -> None:
    station.tap("1002")
    assert station.shows(State.PIN)
    station.terminal.enter_pin("0000")
    station.wait(4_000)
    assert station.view()["refusal"]["code"] == "PIN_WRONG"
    assert station.shows(State.PIN)
    station.terminal.enter_pin("4711")
    station.wait(4_000)
    assert station.shows(State.ACTIVE)
    assert len(server.sessions) == 1


def test_a_pin_stands_in_no_file_of_the_terminal(station: Station, tmp_path: Path) -> None:
    station.tap("1002", pin="4711")
    station.wait(4_000)
    station.wire.is_down = True
    station.restart()
    assert station.store is not None
    station.store.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "terminal").iterdir())
    assert b"4711" not in kept
    assert "4711" not in repr(station.terminal.screen.candidate)


@pytest.mark.parametrize(("card", "code"), [("9999", "CARD_UNKNOWN"), ("1001", "INSUFFICIENT_FUNDS")])
def test_a_refusal_says_why_and_passes(station: Station, server: HonestServer, card: str, code: str) -> None:
    server.balances_fen["1001"] = 49
    station.tap(card)
    station.wait(3_500)
    assert station.shows(State.REFUSED)
    refusal = station.view()["refusal"]
    assert refusal["code"] == code
    assert refusal["message"]["zh"]
    assert refusal["advice"]["en"]
    station.wait(9_000)
    assert station.shows(State.IDLE)
    station.keep_in_touch()
    assert kinds(server) == [EventKind.CARD_REFUSED]


def test_the_hold_grows_while_the_session_runs_and_the_session_ends_at_what_the_card_can_pay(
    station: Station, server: HonestServer
) -> None:
    server.balances_fen["1001"] = 70 * 50
    start(station, minutes=30)
    station.wait(25 * 60_000)
    assert station.view()["session"]["minutes_total"] == 60
    station.wait(30 * 60_000)
    assert station.view()["session"]["minutes_total"] == 70
    assert not station.view()["session"]["nearly_spent"]
    station.wait(5 * 60_000)
    assert station.view()["session"]["nearly_spent"]
    station.wait(15 * 60_000)
    assert station.view()["state"] == "idle"
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert (ended.elapsed_ms, ended.cause) == (70 * 60_000, EndCause.LIMIT)
    assert server.balances_fen["1001"] == 0


def test_the_server_may_offer_fewer_minutes_than_are_usual(station: Station, server: HonestServer) -> None:
    server.balances_fen["1001"], server.minutes_max = 12 * 50, 12
    start(station)
    assert station.view()["session"]["minutes_total"] == 12


def test_a_session_that_staff_have_closed_ends_at_the_terminal_too(station: Station, server: HonestServer) -> None:
    start(station)
    station.keep_in_touch()
    session = next(iter(server.sessions.values()))
    session.state, session.charged_fen = SessionState.ENDED, None
    station.keep_in_touch()
    assert station.shows(State.RECEIPT)
    ended = server.results and station.journal.unsent_count() == 0
    assert ended


def test_an_end_works_without_the_server_and_is_charged_later(station: Station) -> None:
    start(station)
    station.wait(60_000)
    station.wire.is_down = True
    station.wait(8 * 60_000)
    station.tap("1001")
    station.wait(4_000)
    view = station.view()
    assert (view["state"], view["receipt"]["status"], view["online"]) == ("receipt", None, False)
    assert view["queue"] > 0
    station.wire.is_down = False
    station.keep_in_touch()
    assert station.view()["receipt"]["amount_fen"] == 9 * 50
    assert station.view()["queue"] == 0


def test_without_the_server_nobody_starts_and_nothing_is_charged(station: Station, server: HonestServer) -> None:
    station.wire.is_down = True
    station.tap("1001")
    view = station.view()
    assert (view["state"], view["refusal"]["code"]) == ("refused", "OFFLINE_NO_LIST")
    station.wire.is_down = False
    station.wait(10_000)
    start(station)
    assert len(server.sessions) == 1


def test_a_jump_of_the_wall_clock_is_reported_and_changes_no_duration(
    station: Station, server: HonestServer, clock: TurnedClock
) -> None:
    start(station)
    clock.wall += 3 * 3_600_000
    server.skew_ms = -3 * 3_600_000
    station.wait(10 * 60_000)
    end(station)
    assert server.balances_fen["1001"] == 100_00 - 10 * 50
    assert EventKind.CLOCK_STEP in kinds(server)


def test_a_clock_three_hours_wrong_costs_one_more_try(station: Station, server: HonestServer) -> None:
    server.skew_ms = 3 * 3_600_000
    start(station)
    assert len(server.sessions) == 1


def test_the_configuration_is_taken_when_idle_and_only_if_signed_and_newer(station: Station, wire: Wire) -> None:
    start(station)
    station.keep_in_touch()
    station.wait(10_000)
    assert station.view()["instrument"]["en"] == "Instrument"
    end(station)
    station.wait(20_000)
    assert station.view()["instrument"]["en"] == "Electron microscope"
    station.restart()
    assert station.view()["instrument"]["zh"] == "扫描电镜"
    sent = len(wire.sent)
    station.keep_in_touch()
    assert "config" not in [name for name, _body in wire.sent[sent:]]

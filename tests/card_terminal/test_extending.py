"""A hold grows while the session runs; when it cannot, the screen says why, and it ends at the hold to the minute."""

from card_terminal.flow import State
from card_terminal.protocol import EndCause, Ended, RefusalCode
from tests.card_terminal.honest_server import FEN_PER_MINUTE, HonestServer
from tests.card_terminal.world import Station, Wire


def start(station: Station, *, minutes: int = 60) -> None:
    station.tap("1001", minutes=minutes)
    station.wait(3_000)
    assert station.shows(State.ACTIVE)


def said(station: Station) -> str | None:
    refusal = station.view()["refusal"]
    return None if refusal is None else str(refusal["code"])


def test_at_80_percent_of_what_the_card_can_pay_the_screen_warns_and_says_why_it_cannot_be_more(
    station: Station, server: HonestServer
) -> None:
    server.balances_fen["1001"] = 60 * FEN_PER_MINUTE
    start(station)
    station.wait(47 * 60_000)
    assert not station.view()["session"]["nearly_spent"]
    station.wait(60_000)
    assert station.view()["session"]["nearly_spent"]
    assert said(station) == RefusalCode.INSUFFICIENT_FUNDS
    # Another person asks, is told that it is in use, and goes: the reason stands there again.
    station.tap("1002")
    assert station.shows(State.OTHER)
    station.terminal.back()
    assert (station.shows(State.ACTIVE), said(station)) == (True, RefusalCode.INSUFFICIENT_FUNDS)


def test_money_that_comes_while_it_runs_makes_the_hold_grow_and_the_warning_go(
    station: Station, server: HonestServer
) -> None:
    server.balances_fen["1001"] = 60 * FEN_PER_MINUTE
    start(station)
    station.wait(50 * 60_000)
    assert said(station) == RefusalCode.INSUFFICIENT_FUNDS
    server.balances_fen["1001"] += 60 * FEN_PER_MINUTE
    station.wait(61_000)
    assert (said(station), station.view()["session"]["nearly_spent"]) == (None, False)
    assert station.view()["session"]["minutes_total"] == 120


def test_without_an_answer_the_session_ends_at_its_hold_and_nothing_beyond_is_charged(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    start(station)
    wire.is_down = True
    station.wait(55 * 60_000)
    view = station.view()
    assert said(station) == RefusalCode.EXTEND_UNANSWERED
    assert view["refusal"]["message"]["zh"] == "服务器无应答，暂不能延长"
    station.wait(6 * 60_000)
    assert station.view()["receipt"] is None or station.view()["receipt"]["by_limit"]
    wire.is_down = False
    station.keep_in_touch()
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert (ended.elapsed_ms, ended.cause) == (60 * 60_000, EndCause.LIMIT)
    assert server.balances_fen["1001"] == 100_00 - 60 * FEN_PER_MINUTE


def test_an_extension_whose_answer_is_lost_is_asked_again_and_costs_nothing(
    station: Station, server: HonestServer, wire: Wire
) -> None:
    start(station)
    station.wait(49 * 60_000)
    wire.faults = ["lost"] * 2
    station.wait(2 * 60_000)
    assert said(station) in {None, RefusalCode.EXTEND_UNANSWERED}
    station.wait(60_000)
    assert station.view()["session"]["minutes_total"] == 120
    assert server.available_fen("1001") == 100_00 - 120 * FEN_PER_MINUTE

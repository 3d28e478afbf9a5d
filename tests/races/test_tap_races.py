"""Many terminals at the same moment: money is exact, and one message has one effect."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

import ledger
from app import clock
from app.books import BookRole
from app.db import Database
from app.devices.models import TerminalAnswer
from app.sessions import ending
from app.sessions.models import SessionStatus
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import CardInHand, Site, Tap
from tests.races.conftest import THREADS, at_once

SEVEN = {"per_hour": {"price_fen": 7_00, "increment_min": 60, "minimum_min": 60}}
CHARGES = 40
CANCELLED = protocol.ReversalReason.CANCELLED


@pytest.mark.parametrize("cards", [1, THREADS], ids=["one card", "eight cards of one account"])
def test_forty_charges_of_seven_from_one_hundred_are_fourteen_and_two_are_left(site: Site, cards: int) -> None:
    terminals = [site.terminal(rules=SEVEN) for _ in range(THREADS)]
    first = site.card(principal_fen=100_00)
    hands = [first] + [site.card(account_id=first.account_id) for _ in range(cards - 1)]
    # One plastic card cannot be in two hands: its reading is a moment of its own, everything after it runs free.
    locks = [threading.Lock() for _ in hands]

    def work(number: int) -> list[str]:
        which = number % len(hands)
        return [_charge(terminals[number], hands[which], locks[which]) for _ in range(CHARGES // THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = Counter(outcome for part in pool.map(work, range(THREADS)) for outcome in part)

    assert outcomes == {"captured": 14, "INSUFFICIENT_FUNDS": 26}
    balances = site.balances(first)
    assert (balances.principal_fen, balances.held_fen, balances.available_fen) == (2_00, 0, 2_00)
    assert site.book_fen(BookRole.UNIT_PAYABLE, site.unit_id) == 98_00
    with site.database.transaction() as session:
        assert ledger.audit(session) == []


def test_the_same_authorize_eight_times_at_once_holds_once(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=100_00)
    token = terminal.begin(card.show()).get_json()["token"]
    message = terminal.query(protocol.SessionAuthorize(token=token, session_id=uuid4(), minutes=60))

    answers = at_once(*[lambda: terminal.post("session/authorize", {"message": message})] * THREADS)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.get_data() for answer in answers}) == 1
    assert site.balances(card).held_fen == 30_00
    with database.reader() as session:
        assert session.query(TerminalAnswer).count() == 2


def test_one_reading_of_a_card_serves_one_of_eight_terminals(site: Site) -> None:
    terminals, card = [site.terminal() for _ in range(THREADS)], site.card()
    shown = card.show()

    answers = at_once(*[lambda tap=tap: tap.begin(shown) for tap in terminals])

    codes = Counter(answer.get_json().get("code", "ok") for answer in answers)
    assert codes == {"ok": 1, "CARD_AUTH_FAILED": THREADS - 1}


def test_one_token_starts_one_session(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    token = terminal.begin(card.show()).get_json()["token"]

    answers = at_once(*[lambda: terminal.authorize(token)] * THREADS)

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: THREADS - 1}
    assert site.balances(card).held_fen == 30_00


def test_wrong_pins_at_once_are_all_counted(site: Site) -> None:
    terminals, card = [site.terminal() for _ in range(THREADS)], site.card(secure=False)
    tokens = [tap.begin(card.show()).get_json()["token"] for tap in terminals]

    answers = at_once(
        *[
            lambda tap=tap, token=token: tap.authorize(token, pin="0000")
            for tap, token in zip(terminals, tokens, strict=True)
        ]
    )

    codes = Counter(answer.get_json()["code"] for answer in answers)
    assert codes == {"PIN_WRONG": 4, "PIN_LOCKED": 4}


def test_the_same_end_eight_times_at_once_charges_once(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    _start(terminal, card, session_id)
    ended = terminal.event(protocol.Ended(session_id=session_id, elapsed_ms=60_000, cause=protocol.EndCause.TAPPED))

    results = at_once(*[lambda: terminal.deliver(ended)[0]] * THREADS)

    assert Counter(result["status"] for result in results) == {"accepted": 1, "duplicate": THREADS - 1}
    assert {result["amount_fen"] for result in results} == {50}
    assert site.balances(card).available_fen == 99_50


@pytest.mark.parametrize("_round", range(6))
def test_an_authorize_and_its_reversal_at_once_leave_nothing_held(site: Site, _round: int) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    token = terminal.begin(card.show()).get_json()["token"]
    reversal = terminal.event(protocol.Reversal(session_id=session_id, reason=CANCELLED))

    authorized, reversed_ = at_once(
        lambda: terminal.authorize(token, session_id=session_id).get_json(), lambda: terminal.deliver(reversal)[0]
    )

    assert reversed_["status"] == "accepted"
    assert authorized["ok"] or authorized["code"] == "SESSION_REVERSED"
    assert (site.balances(card).held_fen, site.balances(card).available_fen) == (0, 100_00)


@pytest.mark.parametrize("_round", range(4))
def test_an_end_and_the_job_for_forgotten_sessions_charge_once(site: Site, _round: int) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    _start(terminal, card, session_id)
    clock_at = taps.advance(timedelta(hours=1, seconds=1))
    assert _end_forgotten(site) == 1
    clock_at = taps.advance(ending.FORGOTTEN_AFTER)
    ended = terminal.event(protocol.Ended(session_id=session_id, elapsed_ms=600_000, cause=protocol.EndCause.TAPPED))
    assert clock_at <= clock.now()

    result, _ = at_once(lambda: terminal.deliver(ended)[0], lambda: _end_forgotten(site))

    row = site.session(session_id)
    assert isinstance(result, dict)
    if result["status"] == "accepted":
        assert (row.status, row.amount_fen) == (SessionStatus.CAPTURED, 5_00)
    else:
        assert (result["reason"], row.status, row.amount_fen) == ("ENDED_TWICE", SessionStatus.AUTO_ENDED, 30_00)
    assert site.balances(card).principal_fen == 100_00 - (row.amount_fen or 0)
    assert site.balances(card).held_fen == 0


def _end_forgotten(site: Site) -> int:
    return site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))


def _start(terminal: Tap, card: CardInHand, session_id: object) -> None:
    assert terminal.hold(card, session_id=session_id).status_code == 200  # type: ignore[arg-type]
    terminal.report(protocol.Started(session_id=session_id))  # type: ignore[arg-type]


def _charge(terminal: Tap, card: CardInHand, in_hand: threading.Lock) -> str:
    """One whole session; while the card's other session runs, come back."""
    while True:
        session_id = uuid4()
        with in_hand:
            begun = terminal.begin(card.show()).get_json()
        answer = begun if not begun["ok"] else terminal.authorize(begun["token"], session_id=session_id).get_json()
        if not answer["ok"]:
            if answer["code"] == "CARD_IN_USE_ELSEWHERE":
                continue
            return str(answer["code"])
        terminal.report(protocol.Started(session_id=session_id))
        ended = terminal.end(session_id, minutes=1)
        return "captured" if ended["amount_fen"] == 7_00 else f"charged {ended}"

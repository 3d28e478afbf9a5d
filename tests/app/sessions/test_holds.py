"""What is held at swipe-in, from which purse, and when nothing is."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from app.cards.models import AccountStatus, Card, CardAccount, CardStatus
from app.db import Database
from app.instruments.models import Tariff
from app.sessions.models import Flag, SessionStatus
from card_terminal import protocol
from tests.app.taps import PIN, Site, Tap, advance

SEVEN_AN_HOUR = {"per_hour": {"price_fen": 7_00, "increment_min": 60, "minimum_min": 60}}


def test_a_hold_takes_the_subsidy_purse_first(site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=100_00, subsidy_fen=20_00)

    terminal.hold(card, minutes=60)

    balances = site.balances(card)
    assert (balances.held_subsidy_fen, balances.held_principal_fen) == (20_00, 10_00)


def test_a_capture_spends_the_subsidy_first_and_gives_the_rest_back_to_its_purse(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00, subsidy_fen=20_00), uuid4()
    terminal.hold(card, minutes=160, session_id=session_id)
    _start(terminal, session_id)

    ended = terminal.end(session_id, minutes=2)

    assert ended["amount_fen"] == 1_00
    row, balances = site.session(session_id), site.balances(card)
    assert (row.paid_subsidy_fen, row.paid_principal_fen) == (1_00, 0)
    assert (balances.subsidy_fen, balances.principal_fen, balances.held_fen) == (19_00, 100_00, 0)


def test_minutes_are_shortened_to_what_the_purses_pay_and_the_answer_says_so(site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=10_00)

    answer = protocol.read_answer(protocol.AuthorizeAnswer, terminal.hold(card, minutes=60).get_json())

    assert (answer.minutes, answer.held_fen, answer.available_fen) == (20, 10_00, 0)


def test_money_for_less_than_the_smallest_unit_is_refused_and_the_refusal_is_kept(site: Site) -> None:
    terminal, card, session_id = site.terminal(rules=SEVEN_AN_HOUR), site.card(principal_fen=6_99), uuid4()

    answer = terminal.hold(card, session_id=session_id)

    assert (answer.status_code, answer.get_json()["code"]) == (409, "INSUFFICIENT_FUNDS")
    row = site.session(session_id)
    assert (row.status, row.refusal, row.held_fen) == (SessionStatus.REFUSED, "INSUFFICIENT_FUNDS", 0)
    assert site.balances(card).available_fen == 6_99


def test_a_refused_session_holds_nothing_later_either(site: Site) -> None:
    terminal, card, session_id = site.terminal(rules=SEVEN_AN_HOUR), site.card(principal_fen=0), uuid4()
    terminal.hold(card, session_id=session_id)

    again = terminal.hold(card, session_id=session_id)

    assert again.get_json()["code"] == "IDEMPOTENCY_CONFLICT"
    assert terminal.report(protocol.Started(session_id=session_id))[0]["status"] == "parked"


def test_an_instrument_is_used_by_one_card_at_a_time(site: Site) -> None:
    terminal, first, second = site.terminal(), site.card(), site.card()
    terminal.hold(first)

    begun = terminal.begin(second.show()).get_json()
    refused = terminal.authorize(begun["token"], pin=PIN).get_json()

    assert begun["actions"] == ["other", "take_over"]
    assert begun.get("session_id") is None
    assert refused["code"] == "INSTRUMENT_BUSY"
    assert terminal.begin(site.card(principal_fen=0).show()).get_json()["actions"] == ["other"]


def test_who_takes_over_starts_when_the_first_is_charged_up_to_then(site: Site) -> None:
    terminal, first, second, session_id = site.terminal(), site.card(), site.card(), uuid4()
    terminal.hold(first, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    advance(timedelta(minutes=30))
    begun = terminal.begin(second.show()).get_json()
    assert (begun["hold_minutes"], begun["hold_fen"]) == (60, 30_00)
    ended = protocol.Ended(session_id=session_id, elapsed_ms=30 * 60_000, cause=protocol.EndCause.TAKEN_OVER)

    assert terminal.report(ended)[0]["amount_fen"] == 15_00
    assert terminal.authorize(begun["token"], pin=PIN).status_code == 200

    assert site.session(session_id).flags == [Flag.TAKEN_OVER]
    assert site.balances(first).available_fen == 85_00


def test_a_card_is_used_at_one_instrument_at_a_time(site: Site) -> None:
    here, there, card = site.terminal(), site.terminal(), site.card()
    here.hold(card)

    assert there.begin(card.show()).get_json()["code"] == "CARD_IN_USE_ELSEWHERE"


def test_the_card_whose_session_runs_may_end_it_even_when_it_was_reported_lost(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    site.change(Card, card.id, status=CardStatus.LOST)

    begun = terminal.begin(card.show()).get_json()

    assert (begun["actions"], begun["session_id"]) == (["end"], str(session_id))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": CardStatus.LOST}, "CARD_LOST"),
        ({"status": CardStatus.BLOCKED}, "CARD_BLOCKED"),
        ({"status": CardStatus.REPLACED}, "CARD_BLOCKED"),
        ({"pin_failures": 5}, "PIN_LOCKED"),
    ],
)
def test_a_card_that_may_not_be_used_is_told_why(site: Site, change: dict[str, object], code: str) -> None:
    terminal, card = site.terminal(), site.card()
    site.change(Card, card.id, **change)

    assert terminal.begin(card.show()).get_json()["code"] == code


def test_a_frozen_account_holds_nothing(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    begun = terminal.begin(card.show()).get_json()
    site.change(CardAccount, card.account_id, status=AccountStatus.FROZEN)

    assert terminal.authorize(begun["token"]).get_json()["code"] == "CARD_BLOCKED"
    assert site.balances(card).held_fen == 0


def test_a_large_hold_on_a_chip_needs_the_pin(site: Site) -> None:
    terminal = site.terminal(rules={"per_hour": {"price_fen": 2_000_00}})
    card = site.card(principal_fen=5_000_00)
    begun = terminal.begin(card.show()).get_json()

    without = terminal.authorize(begun["token"]).get_json()
    with_pin = terminal.authorize(begun["token"], pin=PIN)

    assert begun["pin_required"] is True
    assert without["code"] == "PIN_WRONG"
    assert with_pin.get_json()["held_fen"] == 2_000_00


def test_a_free_instrument_needs_no_money(site: Site) -> None:
    terminal, card, session_id = (
        site.terminal(rules={"per_hour": {"price_fen": 0}}),
        site.card(principal_fen=0),
        uuid4(),
    )

    assert terminal.hold(card, session_id=session_id).get_json()["held_fen"] == 0
    _start(terminal, session_id)
    ended = terminal.end(session_id, minutes=1)

    assert (ended["status"], ended["amount_fen"]) == ("accepted", 0)
    assert site.session(session_id).status is SessionStatus.CAPTURED


def test_an_extension_holds_the_difference_and_asking_twice_holds_it_once(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)
    extend = protocol.SessionExtend(session_id=session_id, minutes_total=120)

    first = protocol.read_answer(protocol.ExtendAnswer, terminal.ask(extend).get_json())
    second = protocol.read_answer(protocol.ExtendAnswer, terminal.ask(extend).get_json())

    assert (first.held_fen, first.minutes_total, first.available_fen) == (60_00, 120, 40_00)
    assert (second.held_fen, second.minutes_total, second.available_fen) == (60_00, 120, 40_00)
    assert site.balances(card).held_fen == 60_00


def test_an_extension_grants_what_the_card_can_pay_and_then_nothing(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=40_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)

    granted = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=120)).get_json()
    refused = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=121)).get_json()

    assert (granted["minutes_total"], granted["held_fen"], granted["available_fen"]) == (80, 40_00, 0)
    assert refused["code"] == "INSUFFICIENT_FUNDS"


def test_without_its_pin_a_chip_never_holds_more_than_may_be_held_without_it(site: Site) -> None:
    terminal, session_id = site.terminal(rules={"per_hour": {"price_fen": 600_00}}), uuid4()
    card = site.card(principal_fen=5_000_00)
    token = terminal.begin(card.show()).get_json()["token"]
    terminal.authorize(token, session_id=session_id, minutes=60)

    granted = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=120)).get_json()
    refused = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=120)).get_json()

    assert (granted["minutes_total"], granted["held_fen"]) == (100, 1_000_00)
    assert refused["code"] == "PIN_NEEDED"
    assert site.balances(card).held_fen == 1_000_00


def test_with_its_pin_a_session_is_extended_as_far_as_the_money_goes(site: Site) -> None:
    terminal, session_id = site.terminal(rules={"per_hour": {"price_fen": 600_00}}), uuid4()
    terminal.hold(site.card(principal_fen=5_000_00), minutes=60, session_id=session_id)

    granted = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=120)).get_json()

    assert (granted["minutes_total"], granted["held_fen"]) == (120, 1_200_00)


def test_an_extension_of_another_terminals_session_is_refused(site: Site) -> None:
    here, there, card, session_id = site.terminal(), site.terminal(), site.card(), uuid4()
    here.hold(card, session_id=session_id)

    refused = there.ask(protocol.SessionExtend(session_id=session_id, minutes_total=120)).get_json()

    assert refused["code"] == "SESSION_UNKNOWN"


def test_a_price_that_changes_while_a_session_runs_does_not_reach_it(site: Site, database: Database) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    _start(terminal, session_id)
    with database.transaction() as session:
        session.execute(update(Tariff).values(rules={"per_hour": {"price_fen": 3_000_00}}))

    assert terminal.end(session_id, minutes=1)["amount_fen"] == 50


def _start(terminal: Tap, session_id: UUID) -> None:
    assert terminal.report(protocol.Started(session_id=session_id))[0]["status"] == "accepted"

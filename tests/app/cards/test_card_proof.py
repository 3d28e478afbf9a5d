"""What proves a card at a terminal, and what is told to whom."""

from datetime import timedelta

from app import clock
from app.cards import numbers, proof
from app.cards.models import Card
from app.db import Database
from card_terminal import protocol
from card_terminal.crypto.sun import PiccData, encrypt_picc_data, sun_mac
from tests.app import taps
from tests.app.taps import PIN, Site


def test_a_chip_that_was_read_once_proves_itself_once(site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=100_00, subsidy_fen=5_00)
    shown = card.show()

    begun = protocol.read_answer(protocol.CardBeginAnswer, terminal.begin(shown).get_json())
    replayed = terminal.begin(shown).get_json()

    assert begun.actions == (protocol.Action.START,)
    assert (begun.available_fen, begun.minutes_max, begun.pin_required) == (105_00, 210, False)
    assert begun.price.zh == "1 小时 30.00 元"
    assert replayed["code"] == "CARD_AUTH_FAILED"


def test_only_the_end_of_the_number_and_the_first_character_of_the_name_are_shown(site: Site) -> None:
    terminal, card = site.terminal(), site.card()

    answer = terminal.begin(card.show())

    assert answer.get_json()["card"] == f"**** {card.number[-4:]}"
    assert answer.get_json()["name_masked"] == "p**"
    assert card.number not in answer.get_data(as_text=True)


def test_a_chip_with_another_key_does_not_prove_itself(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    assert card.chip is not None
    picc = PiccData(uid=bytes.fromhex(card.chip.uid), counter=1)
    encrypted = encrypt_picc_data(picc, k_meta=bytes.fromhex(card.chip.k_meta), filling=bytes(5))
    forged = sun_mac(picc, k_file=bytes(16))
    shown = protocol.SunCard(uri=f"https://card.example/t?e={encrypted.hex()}&c={forged.hex()}")

    assert terminal.begin(shown).get_json()["code"] == "CARD_AUTH_FAILED"
    assert terminal.begin(card.show()).get_json()["ok"], "a forgery must not use up the counter"


def test_a_card_of_somewhere_else_is_unknown(site: Site) -> None:
    terminal = site.terminal()
    strangers: list[protocol.CardShown] = [
        protocol.SunCard(uri="https://card.example/t"),
        protocol.SunCard(uri=f"https://card.example/t?e={'00' * 16}&c={'00' * 8}"),
        protocol.TypedCard(number="9156000000000000"),
        protocol.TypedCard(number=numbers.new_card_number()),
    ]

    assert {terminal.begin(shown).get_json()["code"] for shown in strangers} == {"CARD_UNKNOWN"}


def test_a_typed_number_proves_nothing_and_learns_nothing_before_the_pin(site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=77_00, secure=False)

    begun = terminal.begin(card.show()).get_json()

    assert begun["pin_required"] is True
    assert begun["available_fen"] == 0
    assert begun.get("minutes_max") is None


def test_the_number_printed_on_a_chip_card_holds_nothing_without_the_pin(site: Site) -> None:
    terminal, card = site.terminal(), site.card(secure=True)
    token = terminal.begin(protocol.TypedCard(number=card.number)).get_json()["token"]

    without, with_pin = terminal.authorize(token), terminal.authorize(token, pin=PIN)

    assert (without.get_json()["code"], with_pin.status_code) == ("PIN_WRONG", 200)


def test_a_wrong_pin_keeps_the_token_and_five_of_them_lock_the_card(site: Site) -> None:
    terminal, card = site.terminal(), site.card(secure=False)
    token = terminal.begin(card.show()).get_json()["token"]

    codes = [terminal.authorize(token, pin="1234").get_json()["code"] for _ in range(5)]

    assert codes == ["PIN_WRONG"] * 4 + ["PIN_LOCKED"]
    assert terminal.begin(card.show()).get_json()["code"] == "PIN_LOCKED"


def test_the_right_pin_gives_the_tries_back(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card(secure=False)
    token = terminal.begin(card.show()).get_json()["token"]
    terminal.authorize(token, pin="1234")

    assert terminal.authorize(token, pin=PIN).get_json()["ok"]
    with database.reader() as session:
        assert session.get_one(Card, card.id).pin_failures == 0


def test_a_pin_that_was_not_given_uses_up_no_try(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card(secure=False)
    token = terminal.begin(card.show()).get_json()["token"]

    assert terminal.authorize(token).get_json()["code"] == "PIN_WRONG"
    with database.reader() as session:
        assert session.get_one(Card, card.id).pin_failures == 0


def test_a_token_is_good_once_for_sixty_seconds_at_its_terminal(site: Site) -> None:
    here, there, card = site.terminal(), site.terminal(), site.card()
    token = here.begin(card.show()).get_json()["token"]
    assert there.authorize(token).get_json()["code"] == "CARD_AUTH_EXPIRED"
    assert here.authorize(token).get_json()["ok"]
    assert here.authorize(token).get_json()["code"] == "CARD_AUTH_EXPIRED"

    late_terminal, late_card = site.terminal(), site.card()
    late = late_terminal.begin(late_card.show()).get_json()["token"]
    taps.advance(timedelta(seconds=61))
    assert late_terminal.authorize(late).get_json()["code"] == "CARD_AUTH_EXPIRED"


def test_a_card_ends_with_its_last_day_at_the_site(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    site.change(Card, card.id, expires_on=clock.now().astimezone(site.settings.site_timezone).date())
    assert terminal.begin(card.show()).get_json()["ok"]

    taps.advance(timedelta(days=1))

    assert terminal.begin(card.show()).get_json()["code"] == "CARD_EXPIRED"


def test_tokens_are_forgotten_after_their_time(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card()
    for _ in range(2):
        terminal.begin(card.show())

    at = taps.advance(timedelta(seconds=61))

    assert database.run(lambda session: proof.forget_tokens(session, before=at, limit=10)) == 2

"""How often a terminal, a card and an address may try: more than people need, less than programs could do."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from app import clock, create_app, web
from app.devices import limits
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import PIN, Site


@pytest.fixture(autouse=True)
def strict(app_: Flask, site: Site) -> None:
    few = replace(
        site.settings,
        taps_per_terminal_max=4,
        taps_per_card_max=2,
        wrong_pins_per_terminal_max=2,
        wrong_codes_max=2,
    )
    web.equip(app_, database=site.database, settings=few)


def test_a_terminal_shows_so_many_cards_in_a_minute_and_each_card_so_many_times(site: Site) -> None:
    terminal, card, other = site.terminal(), site.card(), site.card()
    assert [terminal.begin(card.show()).status_code for _ in range(3)] == [200, 200, 429]
    assert terminal.begin(other.show()).status_code == 200
    refused = terminal.begin(other.show()).get_json()
    assert (refused["code"], refused["retry"]) == ("RETRY", True)
    assert refused["message"]["zh"]
    assert refused["message"]["en"]
    assert terminal.ask(protocol.Config(have_version=0)).status_code == 200
    assert site.terminal().begin(other.show()).status_code == 200

    taps.advance(timedelta(seconds=61))

    assert terminal.begin(card.show()).status_code == 200


def test_unknown_cards_count_too(site: Site) -> None:
    terminal = site.terminal()
    stranger = protocol.TypedCard(number="0000000000000000")
    codes = [terminal.begin(stranger).get_json()["code"] for _ in range(5)]
    assert codes == ["CARD_UNKNOWN"] * 4 + ["RETRY"]


def test_wrong_pins_of_several_cards_close_the_keypad_of_a_terminal_for_ten_minutes(site: Site) -> None:
    terminal, cards = site.terminal(), [site.card() for _ in range(3)]
    for card in cards[:2]:
        token = terminal.begin(card.show()).get_json()["token"]
        assert terminal.authorize(token, pin="000000").get_json()["code"] == "PIN_WRONG"
    token = terminal.begin(cards[2].show()).get_json()["token"]
    assert terminal.authorize(token, pin=PIN).get_json()["code"] == "RETRY"
    assert terminal.authorize(token).status_code == 200

    taps.advance(timedelta(minutes=11))

    token = terminal.begin(cards[0].show()).get_json()["token"]
    assert terminal.authorize(token, pin=PIN).get_json()["code"] == "INSTRUMENT_BUSY"


@pytest.mark.parametrize(
    "doors",
    [["enroll"] * 3, ["station/enroll"] * 3, ["station/enroll", "enroll", "station/enroll"]],
    ids=["terminal", "station", "either"],
)
@pytest.mark.usefixtures("site")
def test_who_tries_codes_is_slowed_down_at_every_door(app_: Flask, doors: list[str]) -> None:
    codes = [_wrong_code(app_, door) for door in doors]
    assert codes == ["ENROLMENT_CODE_INVALID", "ENROLMENT_CODE_INVALID", "RETRY"]


def test_behind_a_proxy_a_stranger_slows_down_himself_alone(site: Site) -> None:
    flask = create_app(replace(site.settings, wrong_codes_max=2, proxies=1))
    try:
        codes = [_wrong_code(flask, seen=f"198.51.100.{number}, 203.0.113.7") for number in range(3)]
        assert codes == ["ENROLMENT_CODE_INVALID", "ENROLMENT_CODE_INVALID", "RETRY"]
        assert _wrong_code(flask, seen="203.0.113.7, 203.0.113.8") == "ENROLMENT_CODE_INVALID"
    finally:
        with flask.app_context():
            web.database().close()


def _wrong_code(flask: Flask, door: str = "enroll", *, seen: str = "") -> str:
    """Give what a stranger hears at a door; `seen` are the addresses that he claims, and last what his proxy adds."""
    message = protocol.sign_enrolment(code="A" * 16, st=0, app_version="0.1.0", key=Ed25519PrivateKey.generate())
    headers = {"X-Forwarded-For": seen} if seen else {}
    answer = flask.test_client().post(f"/terminal/v1/{door}", json={"message": message}, headers=headers)
    return str(answer.get_json()["code"])


def test_counts_of_windows_that_are_over_are_dropped(site: Site) -> None:
    def work(*, after: timedelta) -> int:
        taps.advance(after)
        return site.database.run(lambda session: limits.forget(session, at=clock.now(), limit=10))

    site.terminal().begin(site.card().show())
    assert work(after=timedelta(minutes=30)) == 0
    assert work(after=timedelta(minutes=31)) == 2

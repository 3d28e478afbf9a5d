"""A chip proves itself through a terminal: once, there, now, and nobody else in its place."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import clock, web
from app.cards import exchanges, patience
from app.cards.models import Card, CardExchange, CardStatus, CardToken, Chip, KeyReason, KeyUse
from app.db import Database
from app.devices.models import TerminalAnswer
from card_terminal import protocol
from card_terminal.readers.apdu import transmit_all
from card_terminal.readers.ntag424 import EmulatedChip
from tests.app import taps
from tests.app.cards.bench import Bench, blank_chip, new_bench
from tests.app.taps import Site, Tap


@pytest.fixture
def bench(database: Database, client: FlaskClient, site: Site) -> Bench:
    bench = new_bench(database, client)
    bench.settings = site.settings
    return bench


def show(terminal: Tap, chip: EmulatedChip) -> dict[str, Any]:
    """Show the chip, and give the first answer of the server."""
    answer: dict[str, Any] = terminal.begin(protocol.Ev2Card(uid=chip.uid.hex().upper())).get_json()
    return answer


def step(chip: EmulatedChip, asked: dict[str, Any], *, gone: bool = False) -> protocol.CardStep:
    """Give the message with the chip's answers to what was asked."""
    answers, _ = transmit_all(chip, [bytes.fromhex(each) for each in asked["apdus"]])
    return protocol.CardStep(
        exchange_id=UUID(asked["exchange_id"]),
        step=asked["step"],
        answers=tuple(each.hex().upper() for each in answers),
        gone=gone,
    )


def prove(terminal: Tap, chip: EmulatedChip) -> dict[str, Any]:
    """Relay until the server has said its last."""
    said = show(terminal, chip)
    while said["ok"] and "begun" not in said:
        said = terminal.ask(step(chip, said)).get_json()
    chip.leave_field()
    return said


def count(site: Site, query: Any) -> int:
    with site.database.reader() as session:
        return session.scalar(query) or 0


def online_uses(site: Site, chip: EmulatedChip) -> int:
    used = (KeyUse.uid == chip.uid) & (KeyUse.reason == KeyReason.ONLINE_PROOF)
    return count(site, select(func.count()).select_from(KeyUse).where(used))


def test_the_card_itself_gets_a_token_that_holds_money_and_no_answer_holds_a_key(bench: Bench, site: Site) -> None:
    chip, terminal = blank_chip(), site.terminal()
    card = bench.issue(chip)
    site.database.run(lambda session: taps.put_money(session, card.account_id, principal_fen=100_00))

    said = prove(terminal, chip)

    begun = said["begun"]
    assert begun["card"] == f"**** {card.face_number[-4:]}"
    assert (begun["available_fen"], begun["pin_required"], begun["actions"]) == (100_00, False, ["start"])
    assert terminal.authorize(begun["token"]).status_code == 200
    assert online_uses(site, chip) == 1
    assert count(site, select(func.count()).select_from(CardExchange)) == 0
    with site.database.reader() as session:
        assert session.get_one(Chip, chip.uid).attempts_unproved == 0
        answers = repr(session.execute(select(TerminalAnswer.answer)).all())
    assert not any(key.hex() in answers.lower() for key in chip.keys)


def test_a_copy_of_the_uid_is_refused_and_counted_until_nobody_listens(bench: Bench, site: Site) -> None:
    chip, terminal = blank_chip(), site.terminal()
    bench.issue(chip)
    copy = EmulatedChip(uid=chip.uid)

    assert prove(terminal, copy)["code"] == "CARD_AUTH_FAILED"

    assert online_uses(site, chip) == 1, "also what came to nothing is written down"
    assert count(site, select(Chip.attempts_unproved).where(Chip.uid == chip.uid)) == 1
    assert count(site, select(func.count()).select_from(CardToken)) == 0
    site.change(Chip, chip.uid, attempts_unproved=40)
    assert prove(terminal, chip)["code"] == "CARD_BLOCKED"
    site.change(Chip, chip.uid, attempts_unproved=39)
    assert prove(terminal, chip)["ok"]
    assert count(site, select(Chip.attempts_unproved).where(Chip.uid == chip.uid)) == 0


def test_a_stranger_with_a_copied_uid_keeps_nobody_out_for_good(bench: Bench, site: Site) -> None:
    chip, terminal = blank_chip(), site.terminal()
    bench.issue(chip)
    for _ in range(patience.ATTEMPTS_UNPROVED_MAX):
        site.database.run(lambda session: patience.spend(session, uid=chip.uid, at=clock.now()))
    assert show(terminal, chip)["code"] == "CARD_BLOCKED"
    taps.advance(timedelta(minutes=11))
    assert show(terminal, chip)["ok"], "one try, for whoever comes"
    assert show(terminal, chip)["code"] == "CARD_BLOCKED"
    taps.advance(timedelta(minutes=11))

    assert prove(terminal, chip)["begun"]["token"]

    assert show(terminal, chip)["ok"], "and all is as before"
    site.change(Chip, chip.uid, attempts_total=patience.ATTEMPTS_TOTAL_MAX)
    taps.advance(timedelta(minutes=11))
    assert show(terminal, chip)["code"] == "CARD_BLOCKED"


def test_an_exchange_is_for_one_terminal_one_step_one_time(bench: Bench, site: Site) -> None:
    chip, terminal, stranger = blank_chip(), site.terminal(), site.terminal()
    bench.issue(chip)
    asked = show(terminal, chip)
    first = step(chip, asked)

    assert stranger.ask(first).get_json()["code"] == "CARD_AUTH_EXPIRED"
    message = terminal.query(first)
    answers = [terminal.post("card/step", {"message": message}).get_json() for _ in range(2)]
    assert answers[0] == answers[1], "the same message gets the same answer"
    assert terminal.ask(first).get_json()["code"] == "CARD_AUTH_EXPIRED", "another message for a step that is over"
    last = step(chip, answers[0])
    assert terminal.ask(last).get_json()["begun"]
    assert terminal.ask(last).get_json()["code"] == "CARD_AUTH_EXPIRED"


def test_an_exchange_ends_by_time_by_the_next_tap_and_when_the_card_has_gone(bench: Bench, site: Site) -> None:
    chip, terminal = blank_chip(), site.terminal()
    bench.issue(chip)
    earlier, later = show(terminal, chip), show(terminal, chip)

    assert terminal.ask(step(chip, earlier)).get_json()["code"] == "CARD_AUTH_EXPIRED"
    assert terminal.ask(step(chip, later, gone=True)).get_json()["code"] == "CARD_GONE"
    asked = step(chip, show(terminal, chip))
    taps.advance(timedelta(seconds=31))
    assert terminal.ask(asked).get_json()["code"] == "CARD_AUTH_EXPIRED"

    gone = site.database.run(lambda session: exchanges.forget(session, before=clock.now(), limit=10))
    assert gone == 1


def test_who_is_no_card_of_this_kind_is_told_so(bench: Bench, site: Site) -> None:
    chip, terminal, plain = blank_chip(), site.terminal(), site.card()
    card = bench.issue(chip)
    assert plain.chip is not None

    assert show(terminal, blank_chip(99))["code"] == "CARD_UNKNOWN"
    assert terminal.begin(protocol.Ev2Card(uid=plain.chip.uid)).get_json()["code"] == "CARD_UNSUPPORTED"
    assert terminal.begin(protocol.UidCard(uid="04A1B2C3")).get_json()["code"] == "CARD_UNSUPPORTED"
    site.change(Card, card.id, status=CardStatus.LOST)
    before = online_uses(site, chip)
    assert prove(terminal, chip)["code"] == "CARD_LOST"
    assert online_uses(site, chip) == before + 1, "what was opened for a lost card is written down, too"
    site.change(Card, card.id, status=CardStatus.PREPARING)
    assert show(terminal, chip)["code"] == "CARD_BLOCKED"


def test_a_chip_that_was_told_to_wait_may_bring_the_same_answer_again(bench: Bench, site: Site, app_: Flask) -> None:
    chip, terminal = blank_chip(), site.terminal()
    bench.issue(chip)
    assert prove(terminal, chip)["ok"]
    said = terminal.ask(step(chip, show(terminal, chip))).get_json()
    message = terminal.query(step(chip, said))

    web.equip(app_, database=site.database, settings=replace(site.settings, taps_per_card_max=1))
    assert terminal.post("card/step", {"message": message}).get_json()["code"] == "RETRY"
    web.equip(app_, database=site.database, settings=site.settings)

    assert terminal.post("card/step", {"message": message}).get_json()["begun"]

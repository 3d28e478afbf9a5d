"""The counter's pages of cards in a real browser, with and without a script, on a desk and on a phone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from app import clock, web
from app.cards import service as cards
from app.cards.models import CardStatus
from app.db import Database
from app.people.models import Role
from app.settings import Settings
from card_terminal.readers.ntag424 import Tear
from tests.app import builders
from tests.app.cards.bench import blank_chip, new_bench
from tests.pages.conftest import Visitor

PIN = "271828"


@pytest.mark.usefixtures("world")
def test_a_clerk_orders_a_card_a_station_makes_it_and_it_is_replaced(
    enter: Callable[..., Visitor], database: Database, app_: Flask, tmp_path: Path
) -> None:
    with database.transaction() as session:
        clerk = builders.person(session, role=Role.CLERK)
    bench, chip = new_bench(database, app_.test_client()), blank_chip()
    desk = enter(script=True)
    desk.log_in(clerk.username)
    ordered = bench.order_card()
    bench.cancel(ordered.id)
    page = desk.visit(f"/cards/{ordered.id}?lang=en")
    desk.press("Make it there")
    chip.tear(20, Tear.AFTER)
    bench.put_down(chip)
    page.get_by_text("Taken away too early").wait_for()
    bench.put_down(chip)
    page.get_by_text("In order").first.wait_for()
    desk.check()
    page.get_by_text("Block…").click()
    page.fill("#reason-block", "seen with a stranger")
    desk.press("Block")
    assert page.get_by_text("seen with a stranger").count() >= 1
    page.get_by_text("Replace…").click()
    page.fill("#replace-reason", "blocked for good")
    page.fill("#replace-pin", PIN)
    page.fill("#replace-pin-again", PIN)
    desk.press("Replace it")
    assert bench.card(ordered.id).status is CardStatus.REPLACED
    desk.visit("/cards/all?lang=zh")
    page.locator("input[name=card]").first.check()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PDF").click()
    waiting.value.save_as(tmp_path / "cards.pdf")
    assert (tmp_path / "cards.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("world")
def test_the_pages_of_cards_fit_a_phone(enter: Callable[..., Visitor], database: Database, app_: Flask) -> None:
    with database.transaction() as session:
        clerk, admin = builders.person(session, role=Role.CLERK), builders.person(session, role=Role.ADMIN)
    bench = new_bench(database, app_.test_client())
    card = bench.issue(blank_chip())
    bench.renew(card.id)
    phone = enter(phone=True)
    phone.log_in(clerk.username)
    for path in ("/cards/all", f"/cards/{card.id}", "/cards/new"):
        phone.visit(path)
    other = enter(phone=True)
    other.log_in(admin.username)
    for path in ("/cards/stations?lang=en", "/cards/keys"):
        other.visit(path)


@pytest.mark.usefixtures("world")
def test_a_clerk_binds_a_campus_card_on_a_phone_where_the_site_takes_such(
    enter: Callable[..., Visitor], database: Database, app_: Flask, settings: Settings
) -> None:
    web.equip(app_, database=database, settings=replace(settings, uid_card_fen_per_day_max=50_00))
    with database.transaction() as session:
        clerk, holder = builders.person(session, role=Role.CLERK), builders.person(session)
        account = cards.open_account(session, person_id=holder.id, actor="test", at=clock.now()).number
    phone = enter(phone=True)
    phone.log_in(clerk.username)
    page = phone.visit(f"/cards/new?account={account}&lang=en")
    page.select_option("#card_class", "uid")
    page.fill("#uid", "04:a1:b2:c3")
    page.fill("#pin", PIN)
    page.fill("#pin-again", PIN)
    phone.press("Issue the card")
    assert "04A1B2C3 · PIN always, at most" in page.inner_text("dl.facts")

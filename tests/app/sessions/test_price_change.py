"""A price that is announced to change while a session runs, over HTTP, as terminal and customer see it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update

from app import clock
from app.db import Database
from app.instruments import service as instruments
from app.instruments.models import Tariff
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import Site, Tap

HOUR_60 = {"per_hour": {"price_fen": 60_00}}


def announce(database: Database, terminal: Tap, *, at: datetime, splits: bool) -> None:
    """Let 30 yuan an hour hold until a moment, and 60 from then on."""
    by_admin: dict[str, Any] = {"actor": "admin", "at": clock.now()}
    with database.transaction() as session:
        present = session.scalars(select(Tariff).where(Tariff.instrument_id == terminal.instrument_id)).one()
        present.split_at_change = splits
        instruments.end_tariff(session, tariff_id=present.id, valid_to=at, **by_admin)
        instruments.set_tariff(
            session, instrument_id=terminal.instrument_id, valid_from=at, rules=HOUR_60, source="Next year", **by_admin
        )


def whole_minute() -> datetime:
    """Move the clock to the beginning of a minute, so that all of a test's first minute is in it."""
    return taps.advance(timedelta(minutes=1) - timedelta(microseconds=clock.now().timestamp() * 1e6 % 60e6))


def test_a_session_over_a_change_pays_each_price_for_its_time(site: Site, database: Database) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    now = whole_minute()
    announce(database, terminal, at=now + timedelta(minutes=30), splits=True)

    answer = protocol.read_answer(
        protocol.AuthorizeAnswer, terminal.hold(card, minutes=60, session_id=session_id).get_json()
    )

    # 25 and 35 minutes, for the session may begin five minutes later.
    assert (answer.held_fen, answer.minutes) == (47_50, 60)
    costs = {step.minute: step.cost_fen for step in answer.tariff.schedule}
    assert (costs[30], costs[31], costs[60]) == (15_00, 16_00, 45_00)
    assert answer.tariff.text.en == "1 hour 45.00 yuan"

    # What was agreed is in the snapshot: nothing of this reaches the session.
    with database.transaction() as session:
        session.execute(update(Tariff).values(rules={"per_hour": {"price_fen": 3_000_00}}, split_at_change=False))
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=45))

    assert terminal.end(session_id, minutes=45)["amount_fen"] == 30_00
    row = site.session(session_id)
    assert [(line["quantity"], line["amount_fen"]) for line in row.price_lines] == [(30, 15_00), (15, 15_00)]
    assert [change["source"] for change in row.tariff_snapshot["changes"]] == ["Next year"]
    assert site.balances(card).available_fen == 70_00


def test_minutes_are_shortened_to_what_the_purses_pay_at_both_prices(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=20_00)
    announce(database, terminal, at=whole_minute() + timedelta(minutes=30), splits=True)

    answer = protocol.read_answer(protocol.AuthorizeAnswer, terminal.hold(card, minutes=60).get_json())

    assert (answer.minutes, answer.held_fen) == (32, 19_50)


def test_an_extension_over_the_change_holds_the_new_price(site: Site, database: Database) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    announce(database, terminal, at=whole_minute() + timedelta(minutes=30), splits=True)
    terminal.hold(card, minutes=20, session_id=session_id)

    extended = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=60)).get_json()

    assert (extended["held_fen"], extended["available_fen"]) == (47_50, 52_50)


def test_without_the_flag_the_price_of_the_swipe_in_holds_to_the_end(site: Site, database: Database) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    announce(database, terminal, at=whole_minute() + timedelta(minutes=30), splits=False)

    held = terminal.hold(card, minutes=60, session_id=session_id).get_json()
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=45))

    assert held["held_fen"] == 30_00
    assert terminal.end(session_id, minutes=45)["amount_fen"] == 22_50

"""Which announced tariffs a session keeps at swipe-in."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.db import Database
from app.instruments import service
from app.instruments.models import CustomerClass
from tests.app import builders

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOURS = [NOON + timedelta(hours=hour) for hour in range(8)]
BY_ADMIN: dict[str, Any] = {"actor": "admin", "at": NOON}


@pytest.fixture
def instrument_id(database: Database) -> int:
    with database.transaction() as session:
        return builders.instrument(session).id


class Announcing:
    """An instrument whose tariffs are told apart by their price in yuan an hour."""

    def __init__(self, database: Database, instrument_id: int) -> None:
        self.database = database
        self.instrument_id = instrument_id

    def announce(self, price: int, start: datetime, end: datetime | None, *, splits: bool = True, **more: Any) -> None:
        with self.database.transaction() as session:
            service.set_tariff(
                session,
                instrument_id=self.instrument_id,
                rules=hour(price),
                valid_from=start,
                valid_to=end,
                split_at_change=splits,
                **more,
                **BY_ADMIN,
            )

    def changes(self, at: datetime = NOON) -> list[tuple[str, Any]]:
        with self.database.reader() as session:
            found = service.tariff_at(
                session, instrument_id=self.instrument_id, customer_class=CustomerClass.COMPANY, at=at
            )
        assert found is not None
        return [(change["from"], change["rules"]) for change in found["changes"]]


def hour(price: int) -> dict[str, Any]:
    return {"per_hour": {"price_fen": price * 100}}


def kept(*changes: tuple[datetime, int]) -> list[tuple[str, Any]]:
    return [(moment.isoformat(), hour(price)) for moment, price in changes]


@pytest.fixture
def prices(database: Database, instrument_id: int) -> Announcing:
    return Announcing(database, instrument_id)


def test_a_tariff_that_does_not_split_keeps_nothing_of_what_follows(prices: Announcing) -> None:
    prices.announce(30, NOON, HOURS[1], splits=False)
    prices.announce(40, HOURS[1], None)
    assert prices.changes() == []


def test_changes_are_followed_as_long_as_each_tariff_says_so(prices: Announcing) -> None:
    prices.announce(30, NOON, HOURS[1])
    prices.announce(40, HOURS[1], HOURS[2])
    prices.announce(50, HOURS[2], HOURS[3], splits=False)
    prices.announce(60, HOURS[3], None)
    assert prices.changes() == kept((HOURS[1], 40), (HOURS[2], 50))


def test_what_is_past_is_no_change(prices: Announcing) -> None:
    prices.announce(30, NOON, HOURS[1])
    prices.announce(40, HOURS[1], None)
    assert prices.changes(at=HOURS[1]) == []


def test_where_no_tariff_follows_the_last_one_goes_on(prices: Announcing) -> None:
    prices.announce(30, NOON, HOURS[1])
    assert prices.changes() == []
    prices.announce(40, HOURS[2], None)
    assert prices.changes() == kept((HOURS[2], 40))


def test_a_price_for_the_customers_class_comes_and_goes_before_the_one_for_everyone(prices: Announcing) -> None:
    prices.announce(30, NOON, None)
    prices.announce(40, HOURS[1], HOURS[2], customer_class=CustomerClass.COMPANY)
    prices.announce(99, HOURS[3], None, customer_class=CustomerClass.ACADEMIC)
    assert prices.changes() == kept((HOURS[1], 40), (HOURS[2], 30))


def test_a_session_keeps_no_more_changes_than_it_can_live_through(prices: Announcing) -> None:
    prices.announce(30, NOON, NOON + timedelta(days=33))
    prices.announce(40, NOON + timedelta(days=33), None)
    assert prices.changes() == []
    for minute in range(0, 30, 2):
        moment = NOON + timedelta(days=3, minutes=minute)
        prices.announce(50, moment, moment + timedelta(minutes=1), customer_class=CustomerClass.COMPANY)
    assert len(prices.changes()) == 20


def test_a_quote_knows_the_change(prices: Announcing, database: Database) -> None:
    prices.announce(30, NOON, HOURS[1])
    prices.announce(60, HOURS[1], None)
    with database.reader() as session:
        found = service.quote(
            session,
            instrument_id=prices.instrument_id,
            starts_at=NOON,
            minutes=120,
            customer_class=CustomerClass.COMPANY,
            site_timezone=ZoneInfo("Asia/Shanghai"),
        )
    # The hold also reckons with a beginning five minutes later.
    assert (found.charge.amount_fen, found.hold_fen) == (90_00, 92_50)

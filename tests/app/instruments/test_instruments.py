"""Instruments and their homes, tariffs by class and date, and who is which kind of customer."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

import ledger
from app.books import Book, BookRole
from app.db import Database
from app.errors import Code, Refusal
from app.instruments import service
from app.instruments.models import CustomerClass, Tariff
from app.people.models import OrganisationKind
from tests.app import builders

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR_30 = {"per_hour": {"price_fen": 30_00}}
HOUR_40 = {"per_hour": {"price_fen": 40_00}}
BY_ADMIN: dict[str, Any] = {"actor": "admin", "at": MARCH}


@pytest.fixture
def instrument_id(database: Database) -> int:
    with database.transaction() as session:
        return builders.instrument(session).id


def announce(database: Database, instrument_id: int, **values: Any) -> int:
    given = {"valid_from": MARCH, "rules": HOUR_30, **values, **BY_ADMIN}
    return database.run(lambda session: service.set_tariff(session, instrument_id=instrument_id, **given).id)


def refusal_of(database: Database, instrument_id: int, **values: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        announce(database, instrument_id, **values)
    return refused.value


def rules_at(database: Database, instrument_id: int, *, customer: CustomerClass, at: datetime) -> Any:
    with database.reader() as session:
        found = service.tariff_at(session, instrument_id=instrument_id, customer_class=customer, at=at)
    return None if found is None else found["rules"]


def test_a_unit_is_recorded_with_the_account_of_what_it_is_owed(database: Database) -> None:
    with database.transaction() as session:
        owner = builders.organisation(session)
        unit = service.create_unit(
            session, code="U-CQU", name_zh="重庆大学", name_en="CQU", organisation_id=owner.id, **BY_ADMIN
        )
    with database.reader() as session:
        book = Book(BookRole.UNIT_PAYABLE, unit.id)
        assert [account.id for account in ledger.lookup_accounts(session, [book.id])] == [book.id]


@pytest.mark.parametrize("lonely", ["organisation_id", "sub_center_id"])
def test_a_unit_without_its_home_is_refused(database: Database, lonely: str) -> None:
    with database.transaction() as session:
        homes: dict[str, Any] = {
            "organisation_id": builders.organisation(session).id,
            "sub_center_id": builders.sub_center(session).id,
        }
    values = {**BY_ADMIN, **homes, lonely: 999}
    with pytest.raises(Refusal) as refused, database.transaction() as session:
        service.create_unit(session, code="U", name_zh="x", name_en="x", **values)
    assert refused.value.code is Code.NOT_FOUND
    assert refused.value.details == {lonely: 999}


def test_a_code_is_given_once(database: Database) -> None:
    with database.transaction() as session:
        group_id = builders.instrument(session, code="I-1").group_id
    with pytest.raises(Refusal) as refused, database.transaction() as session:
        service.create_instrument(
            session, code="I-1", name_zh="x", name_en="x", group_id=group_id, instrument_class="x", **BY_ADMIN
        )
    assert refused.value.code is Code.CODE_TAKEN


def test_the_tariff_of_the_class_goes_before_the_one_for_everyone(database: Database, instrument_id: int) -> None:
    announce(database, instrument_id)
    announce(database, instrument_id, customer_class=CustomerClass.COMPANY, rules=HOUR_40)
    assert rules_at(database, instrument_id, customer=CustomerClass.COMPANY, at=MARCH) == HOUR_40
    assert rules_at(database, instrument_id, customer=CustomerClass.ACADEMIC, at=MARCH) == HOUR_30


def test_a_tariff_holds_from_its_first_moment_to_before_its_last(database: Database, instrument_id: int) -> None:
    announce(database, instrument_id, valid_from=MARCH, valid_to=APRIL)
    announce(database, instrument_id, valid_from=APRIL, rules=HOUR_40)
    tick = timedelta(microseconds=1)
    found = [
        rules_at(database, instrument_id, customer=CustomerClass.COMPANY, at=at)
        for at in (MARCH - tick, MARCH, APRIL - tick, APRIL, MAY)
    ]
    assert found == [None, HOUR_30, HOUR_30, HOUR_40, HOUR_40]


def test_a_snapshot_says_all_that_a_later_price_needs(database: Database, instrument_id: int) -> None:
    tariff_id = announce(database, instrument_id, source="Price list of 2026", valid_to=APRIL, split_at_change=True)
    with database.reader() as session:
        found = service.tariff_at(session, instrument_id=instrument_id, customer_class=CustomerClass.COMPANY, at=MARCH)
    assert found == {
        "tariff_id": tariff_id,
        "instrument_id": instrument_id,
        "customer_class": "company",
        "valid_from": "2026-03-01T00:00:00+00:00",
        "valid_to": "2026-04-01T00:00:00+00:00",
        "split_at_change": True,
        "source": "Price list of 2026",
        "rules": HOUR_30,
        "changes": [],
    }


@pytest.mark.parametrize(
    ("valid_from", "valid_to"),
    [(MARCH, None), (MARCH, APRIL), (MARCH - timedelta(days=1), MARCH + timedelta(days=1)), (MAY, None)],
)
def test_an_overlapping_tariff_of_the_same_class_is_refused(
    database: Database, instrument_id: int, valid_from: datetime, valid_to: datetime | None
) -> None:
    first = announce(database, instrument_id)
    refused = refusal_of(database, instrument_id, valid_from=valid_from, valid_to=valid_to)
    assert (refused.code, refused.details["tariff_id"]) == (Code.TARIFF_OVERLAP, first)


@pytest.mark.parametrize(
    ("values", "path"),
    [({"rules": {"per_huor": {}}}, "per_huor"), ({"valid_to": MARCH}, "valid_to"), ({"rules": {}}, "")],
)
def test_a_tariff_that_cannot_be_read_is_refused(
    database: Database, instrument_id: int, values: dict[str, Any], path: str
) -> None:
    refused = refusal_of(database, instrument_id, **values)
    assert (refused.code, refused.details["path"]) == (Code.TARIFF_INVALID, path)


def test_an_unknown_instrument_has_no_tariff(database: Database) -> None:
    assert refusal_of(database, 999).code is Code.NOT_FOUND


def test_of_two_overlapping_tariffs_announced_at_once_one_is_refused(database: Database, instrument_id: int) -> None:
    start = threading.Barrier(8)
    refused: list[Any] = []

    def set_one() -> None:
        start.wait()
        try:
            announce(database, instrument_id)
        except Refusal as refusal:
            refused.append(refusal.code)

    threads = [threading.Thread(target=set_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [Code.TARIFF_OVERLAP] * 7
    with database.reader() as session:
        assert session.query(Tariff).count() == 1


def test_an_ended_tariff_makes_room_for_the_next(database: Database, instrument_id: int) -> None:
    tariff_id = announce(database, instrument_id)
    database.run(lambda session: service.end_tariff(session, tariff_id=tariff_id, valid_to=APRIL, **BY_ADMIN))
    announce(database, instrument_id, valid_from=APRIL, rules=HOUR_40)
    assert rules_at(database, instrument_id, customer=CustomerClass.COMPANY, at=MAY) == HOUR_40


@pytest.mark.parametrize("valid_to", [MARCH - timedelta(seconds=1), MARCH, MAY + timedelta(seconds=1)])
def test_the_end_of_a_tariff_lies_ahead_and_within_its_time(
    database: Database, instrument_id: int, valid_to: datetime
) -> None:
    tariff_id = announce(database, instrument_id, valid_to=MAY)
    with pytest.raises(Refusal) as refused, database.transaction() as session:
        service.end_tariff(session, tariff_id=tariff_id, valid_to=valid_to, **BY_ADMIN)
    assert refused.value.code is Code.TARIFF_INVALID


@pytest.mark.parametrize(
    ("kind", "region", "expected"),
    [
        (OrganisationKind.COMPANY, "重庆", CustomerClass.COMPANY),
        (OrganisationKind.ACADEMIC, "重庆", CustomerClass.ACADEMIC),
        (OrganisationKind.GOVERNMENT, "重庆", CustomerClass.COMPANY),
        (OrganisationKind.ACADEMIC, "四川", CustomerClass.OUTSIDE_REGION),
    ],
)
def test_an_organisation_is_a_customer_of_its_kind(
    database: Database, instrument_id: int, kind: OrganisationKind, region: str, expected: CustomerClass
) -> None:
    with database.transaction() as session:
        customer = builders.organisation(session, kind=kind, region=region)
        found = service.customer_class_of(session, organisation_id=customer.id, instrument_id=instrument_id)
    assert found is expected


def test_the_own_unit_is_known_and_a_person_alone_counts_as_a_company(database: Database, instrument_id: int) -> None:
    with database.reader() as session:
        owner_id = service.get_instrument(session, instrument_id=instrument_id).group.unit.organisation_id
        classes = [
            service.customer_class_of(session, organisation_id=organisation_id, instrument_id=instrument_id)
            for organisation_id in (owner_id, None)
        ]
    assert classes == [CustomerClass.OWN_UNIT, CustomerClass.COMPANY]


def test_the_collaborative_list_is_dated(database: Database, instrument_id: int) -> None:
    with database.transaction() as session:
        service.list_as_collaborative(
            session, instrument_id=instrument_id, valid_from=MARCH, valid_to=APRIL, **BY_ADMIN
        )
    with database.reader() as session:
        listed = [instrument_id in service.collaborative_ids(session, at=at) for at in (MARCH, APRIL)]
    assert listed == [True, False]


def test_an_instrument_is_on_the_list_once_at_a_time(database: Database, instrument_id: int) -> None:
    def put(valid_from: datetime, valid_to: datetime | None) -> None:
        with database.transaction() as session:
            service.list_as_collaborative(
                session, instrument_id=instrument_id, valid_from=valid_from, valid_to=valid_to, **BY_ADMIN
            )

    put(MARCH, APRIL)
    for valid_from, valid_to, code in ((MARCH, None, Code.ALREADY_DECIDED), (MAY, APRIL, Code.TIMES_REVERSED)):
        with pytest.raises(Refusal) as refused:
            put(valid_from, valid_to)
        assert refused.value.code is code
    put(APRIL, None)


def test_the_database_itself_refuses_a_tariff_that_ends_before_it_begins(database: Database) -> None:
    with database.reader() as session:
        names = session.scalars(text("SELECT conname FROM pg_constraint WHERE conrelid = 'app.tariff'::regclass"))
        assert "ck_tariff_order" in list(names)

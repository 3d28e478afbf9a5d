"""The catalog that everybody reads, quotes, and who may change what."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.db import Database
from app.instruments import service
from app.instruments.models import CustomerClass
from app.people import service as people
from app.people.models import Role
from tests.app import builders

WEEKEND = {"per_hour": {"price_fen": 60_00}, "windows": [{"days": ["sat", "sun"], "percent": 75}]}
TARIFF = {"valid_from": "2026-03-01T00:00:00+08:00", "rules": {"per_hour": {"price_fen": 30_00}}}


@pytest.fixture
def instrument_id(database: Database) -> int:
    """A liquid chromatograph in Chongqing University's sub-center, on the collaborative list."""
    with database.transaction() as session:
        unit = builders.unit(session, in_sub_center=builders.sub_center(session))
        instrument = builders.instrument(
            session,
            in_group=builders.group(session, of_unit=unit),
            code="HPLC-1",
            name_zh="液相色谱仪",
            place="A 区 3 栋",
        )
        builders.tariff(session, of_instrument=instrument, rules=WEEKEND)
        service.list_as_collaborative(
            session, instrument_id=instrument.id, valid_from=builders.LONG_AGO, actor="x", at=builders.LONG_AGO
        )
        return instrument.id


def headers_of(client: FlaskClient, database: Database, role: Role) -> dict[str, str]:
    with database.transaction() as session:
        name = builders.person(session, role=role).username
    return builders.bearer(client, name)


def test_everybody_reads_prices_and_eligibility(client: FlaskClient, instrument_id: int) -> None:
    entry = client.get(f"/api/v1/instruments/{instrument_id}").get_json()
    assert entry["code"] == "HPLC-1"
    assert entry["earns_subsidy"] is True
    assert entry["prices"] == [
        {"customer_class": None, "text": {"zh": "60.00 元/小时；周六、周日 75%", "en": "60.00 yuan/h; sat, sun 75%"}}
    ]
    assert entry["sub_center"]["name_zh"].startswith("分中心")
    assert "value_fen" not in entry


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("search=色谱", 1),
        ("search=hplc", 1),
        ("search=%25", 0),
        ("instrument_class=chromatography", 1),
        ("instrument_class=microscopy", 0),
        ("place=3 栋", 1),
        ("place=4 栋", 0),
        ("unit_id=999", 0),
        ("page=2", 1),
    ],
)
def test_the_catalog_is_searched(client: FlaskClient, instrument_id: int, query: str, found: int) -> None:
    body = client.get(f"/api/v1/instruments?{query}").get_json()
    assert body["total"] == found
    assert [entry["id"] for entry in body["instruments"]] == [instrument_id] * (found if query != "page=2" else 0)


@pytest.mark.parametrize("query", ["page=0", "page_size=201", "page=x", "order=price", "unit_id=9007199254740992"])
def test_a_question_beyond_the_limits_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/api/v1/instruments?{query}").status_code == 422


@pytest.mark.parametrize("unknown", ["999", "9" * 30])
def test_an_unknown_instrument_is_not_found(client: FlaskClient, unknown: str) -> None:
    for address in (f"/api/v1/instruments/{unknown}", f"/api/v1/instruments/{unknown}/tariffs"):
        assert client.get(address).get_json()["code"] == "NOT_FOUND"


def test_a_quote_shows_every_line_and_the_hold(client: FlaskClient, instrument_id: int) -> None:
    body = {"starts_at": "2026-03-06T23:00:00+08:00", "minutes": 120, "customer_class": "company"}
    quoted = client.post(f"/api/v1/instruments/{instrument_id}/quotes", json=body).get_json()
    assert [line["amount_fen"] for line in quoted["lines"]] == [60_00, 45_00]
    assert (quoted["amount_fen"], quoted["hold_fen"]) == (105_00, 105_00)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"options": ["entrusted"]}, "OPTION_UNKNOWN"),
        ({"starts_at": "2019-01-01T00:00:00Z"}, "NOT_FOUND"),
        ({"starts_at": "2026-03-06T23:00:00"}, "VALIDATION_FAILED"),
        ({"starts_at": "9999-12-31T23:59:59-08:00"}, "VALIDATION_FAILED"),
        ({"minutes": 0}, "VALIDATION_FAILED"),
        ({"minutes": "60"}, "VALIDATION_FAILED"),
        ({"urgent": "yes"}, "VALIDATION_FAILED"),
    ],
)
def test_a_quote_that_cannot_be_given_says_why(
    client: FlaskClient, instrument_id: int, change: dict[str, Any], code: str
) -> None:
    body = {"starts_at": "2026-03-06T23:00:00+08:00", "minutes": 120, "customer_class": "company", **change}
    assert client.post(f"/api/v1/instruments/{instrument_id}/quotes", json=body).get_json()["code"] == code


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.CLERK, 201),
        (Role.ADMIN, 201),
        (Role.AUDITOR, 403),
        (Role.FINANCE, 403),
        (Role.APPROVER, 403),
        (Role.CARDHOLDER, 403),
    ],
)
def test_prices_are_the_clerks_and_the_administrators(
    client: FlaskClient, database: Database, instrument_id: int, role: Role, status: int
) -> None:
    body = {**TARIFF, "customer_class": "company"}
    answer = client.post(
        f"/api/v1/instruments/{instrument_id}/tariffs", json=body, headers=headers_of(client, database, role)
    )
    assert answer.status_code == status


def test_a_stranger_changes_no_price(client: FlaskClient, instrument_id: int) -> None:
    assert client.post(f"/api/v1/instruments/{instrument_id}/tariffs", json=TARIFF).status_code == 401


def test_a_tariff_is_announced_read_and_ended(client: FlaskClient, database: Database, instrument_id: int) -> None:
    clerk = headers_of(client, database, Role.CLERK)
    address = f"/api/v1/instruments/{instrument_id}/tariffs"
    created = client.post(address, json={**TARIFF, "customer_class": "company"}, headers=clerk).get_json()
    assert created["text"] == {"zh": "30.00 元/小时", "en": "30.00 yuan/h"}
    newest = client.get(address).get_json()["tariffs"][0]
    assert newest["id"] == created["id"]
    ended = client.post(
        f"/api/v1/tariffs/{created['id']}/end", json={"valid_to": "2100-01-01T00:00:00Z"}, headers=clerk
    )
    assert ended.get_json()["valid_to"] == "2100-01-01T00:00:00+00:00"
    again = client.post(address, json={**TARIFF, "customer_class": "company"}, headers=clerk)
    assert again.get_json()["code"] == "TARIFF_OVERLAP"


def test_a_wrong_rule_is_named_with_its_place(client: FlaskClient, database: Database, instrument_id: int) -> None:
    body = {**TARIFF, "rules": {"per_hour": {"price_fen": 30.5}}}
    answer = client.post(
        f"/api/v1/instruments/{instrument_id}/tariffs", json=body, headers=headers_of(client, database, Role.CLERK)
    )
    assert answer.status_code == 422
    assert answer.get_json()["details"]["path"] == "per_hour.price_fen"


def test_the_administrator_records_a_sub_center_down_to_its_instrument(client: FlaskClient, database: Database) -> None:
    admin = headers_of(client, database, Role.ADMIN)

    def create(address: str, **body: Any) -> int:
        answer = client.post(f"/api/v1/{address}", json={"name_zh": "名称", "name_en": "Name", **body}, headers=admin)
        assert answer.status_code == 201, answer.get_json()
        return int(answer.get_json()["id"])

    organisation = create("organisations", kind="academic")
    sub_center = create("sub-centers", code="CQU")
    unit = create("units", code="U1", organisation_id=organisation, sub_center_id=sub_center)
    group = create("groups", unit_id=unit)
    instrument = create("instruments", code="I1", group_id=group, instrument_class="microscopy")
    entry = client.get(f"/api/v1/instruments/{instrument}").get_json()
    assert (entry["group"]["id"], entry["unit"]["id"], entry["sub_center"]["id"]) == (group, unit, sub_center)
    assert (entry["prices"], entry["earns_subsidy"]) == ([], False)


def test_the_clerk_lists_an_instrument_as_collaborative(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        instrument_id = builders.instrument(session).id
    answer = client.post(
        f"/api/v1/instruments/{instrument_id}/collaborative-listings",
        json={"valid_from": "2020-01-01T00:00:00Z"},
        headers=headers_of(client, database, Role.CLERK),
    )
    assert answer.status_code == 201
    assert client.get(f"/api/v1/instruments/{instrument_id}").get_json()["earns_subsidy"] is True


def test_a_price_for_each_class_is_shown_the_one_for_everyone_last(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        instrument = builders.instrument(session)
        builders.tariff(session, of_instrument=instrument)
        builders.tariff(session, of_instrument=instrument, customer_class=CustomerClass.COMPANY)
    prices = client.get(f"/api/v1/instruments/{instrument.id}").get_json()["prices"]
    assert [price["customer_class"] for price in prices] == ["company", None]


def test_what_counts_as_effective_is_changed_by_an_administrator_and_written_down(
    client: FlaskClient, database: Database, instrument_id: int
) -> None:
    address = f"/api/v1/instruments/{instrument_id}/allowances"
    body = {"warm_up_min": 40, "after_treatment_min": 0}
    assert client.post(address, json=body, headers=headers_of(client, database, Role.CLERK)).status_code == 403
    admin = headers_of(client, database, Role.ADMIN)
    for _ in range(2):  # the second time changes nothing
        assert client.post(address, json=body, headers=admin).get_json() == body
    assert client.post(address, json={**body, "warm_up_min": 1441}, headers=admin).status_code == 422
    assert client.post("/api/v1/instruments/9999/allowances", json=body, headers=admin).status_code == 404
    with database.reader() as session:
        (entry,) = (
            each
            for each in people.audit_trail(session, subject=f"instrument:{instrument_id}")
            if each.action == "set_allowances"
        )
    assert entry.detail == {"before": {"warm_up_min": 15, "after_treatment_min": 15}, "after": body}

"""The counter's doors for accounts and cards, and the holder's."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.db import Database
from app.people.models import Person, Role
from tests.app import builders
from tests.app.taps import PIN, Site

NEW_CARD = {"card_class": "typed", "pin": "271828", "expires_on": "2099-12-31"}


def test_a_clerk_opens_an_account_and_issues_a_card_whose_number_is_told_once(
    client: FlaskClient, database: Database
) -> None:
    clerk, holder = _people(database, Role.CLERK), _people(database, Role.CARDHOLDER)
    headers = builders.bearer(client, clerk.username)

    account = client.post("/api/v1/accounts", json={"person_id": holder.id}, headers=headers)
    issued = client.post(
        f"/api/v1/accounts/{account.get_json()['id']}/cards", json={**NEW_CARD, "holder_id": holder.id}, headers=headers
    )
    mine = client.get("/api/v1/accounts", headers=builders.bearer(client, holder.username))

    assert (account.status_code, issued.status_code) == (201, 201)
    number = issued.get_json()["face_number"]
    assert len(number) == 16
    assert "pin" not in issued.get_json()
    assert number not in mine.get_data(as_text=True)
    (seen,) = mine.get_json()["accounts"]
    assert seen["cards"][0]["number_masked"] == f"**** {number[-4:]}"
    assert seen["balances"] == {"principal_fen": 0, "subsidy_fen": 0, "held_fen": 0, "available_fen": 0, "debt_fen": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"pin": "1111"},
        {"pin": "12"},
        {"card_class": "sun"},
        {"uid": "04112233445566"},
        {"card_class": "sun", "uid": "0411223344556"},
        {"project_id": 99},
        {"unknown": 1},
        {"expires_on": "tomorrow"},
    ],
)
def test_a_card_with_a_wrong_field_is_not_issued(
    client: FlaskClient, database: Database, site: Site, wrong: dict[str, Any]
) -> None:
    headers = builders.bearer(client, _people(database, Role.CLERK).username)
    card = site.card()
    body = {**NEW_CARD, "holder_id": _people(database, Role.CARDHOLDER).id, **wrong}

    answer = client.post(f"/api/v1/accounts/{card.account_id}/cards", json=body, headers=headers)

    assert (answer.status_code, answer.get_json()["code"]) == (422, "VALIDATION_FAILED")


def test_the_balances_show_what_is_held(client: FlaskClient, database: Database, site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=100_00, subsidy_fen=20_00)
    terminal.hold(card)
    headers = builders.bearer(client, _people(database, Role.AUDITOR).username)

    answer = client.get(f"/api/v1/accounts/{card.account_id}", headers=headers).get_json()

    assert answer["balances"] == {
        "principal_fen": 100_00,
        "subsidy_fen": 20_00,
        "held_fen": 30_00,
        "available_fen": 90_00,
        "debt_fen": 0,
    }


def test_a_stranger_sees_neither_account_nor_card(client: FlaskClient, database: Database, site: Site) -> None:
    card = site.card()
    headers = builders.bearer(client, _people(database, Role.CARDHOLDER).username)

    assert client.get("/api/v1/accounts", headers=headers).get_json() == {"accounts": []}
    assert client.get(f"/api/v1/accounts/{card.account_id}", headers=headers).status_code == 404
    assert client.post(f"/api/v1/cards/{card.id}/report-lost", headers=headers).status_code == 404
    assert client.post("/api/v1/accounts", json={"person_id": 1}, headers=headers).status_code == 403
    assert client.get("/api/v1/accounts").status_code == 401


def test_a_card_reported_lost_by_its_holder_starts_nothing_more(
    client: FlaskClient, database: Database, site: Site
) -> None:
    terminal, card = site.terminal(), site.card()
    with database.reader() as session:
        holder = session.query(Person).order_by(Person.id.desc()).first()
        assert holder is not None
        username = holder.username

    answer = client.post(f"/api/v1/cards/{card.id}/report-lost", headers=builders.bearer(client, username))

    assert answer.get_json()["status"] == "lost"
    assert terminal.begin(card.show()).get_json()["code"] == "CARD_LOST"


def test_a_new_pin_unlocks_the_card(client: FlaskClient, database: Database, site: Site) -> None:
    terminal, card = site.terminal(), site.card(secure=False)
    token = terminal.begin(card.show()).get_json()["token"]
    for _ in range(5):
        terminal.authorize(token, pin="0000")
    headers = builders.bearer(client, _people(database, Role.CLERK).username)

    client.post(f"/api/v1/cards/{card.id}/pin", json={"pin": "161803"}, headers=headers)

    token = terminal.begin(card.show()).get_json()["token"]
    assert terminal.authorize(token, pin=PIN).get_json()["code"] == "PIN_WRONG"
    assert terminal.authorize(token, pin="161803").get_json()["ok"]


def _people(database: Database, role: Role) -> Person:
    with database.transaction() as session:
        return builders.person(session, role=role)

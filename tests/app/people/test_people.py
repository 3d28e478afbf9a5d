"""People, their roles and scopes, and the trail of what they changed."""

import threading
from typing import Any

import pytest
import sqlalchemy.exc
from flask.testing import FlaskClient
from sqlalchemy import func, select, text

from app import clock
from app.db import Database
from app.errors import Code, Refusal
from app.people import passwords, service
from app.people.models import AuditEntry, Role, RoleGrant
from app.people.principals import Grant, Principal
from tests.app import builders
from tests.owner import owner_does

NEW = {"username": "li.ming", "name": "李明", "password": "five green bottles"}


@pytest.fixture
def admin(client: FlaskClient, database: Database) -> dict[str, str]:
    with database.transaction() as session:
        builders.person(session, username="admin", role=Role.ADMIN)
    return builders.bearer(client, "admin")


def principal(*grants: Grant) -> Principal:
    return Principal(person_id=1, username="x", name="x", organisation_id=None, grants=grants)


def test_a_managers_sight_is_her_sub_centers() -> None:
    manager = principal(
        Grant(role=Role.SUB_CENTER_MANAGER, sub_center_id=3), Grant(role=Role.GROUP_OPERATOR, group_id=9)
    )
    assert manager.sub_center_ids == {3}
    assert manager.group_ids == {9}
    assert not manager.sees_everything
    assert manager.has(Role.SUB_CENTER_MANAGER, Role.ADMIN)
    assert not manager.has(Role.ADMIN)


@pytest.mark.parametrize("role", [Role.CLERK, Role.APPROVER, Role.FINANCE, Role.AUDITOR, Role.ADMIN])
def test_the_service_center_sees_everything(role: Role) -> None:
    assert principal(Grant(role=role)).sees_everything


def test_a_cardholder_sees_no_sub_center() -> None:
    holder = principal(Grant(role=Role.CARDHOLDER))
    assert not holder.sees_everything
    assert not holder.sub_center_ids
    assert not principal().has(Role.CARDHOLDER)


def test_the_administrator_records_a_person_who_then_logs_in(client: FlaskClient, admin: dict[str, str]) -> None:
    body = {**NEW, "grants": [{"role": "cardholder"}]}
    created = client.post("/api/v1/people", json=body, headers=admin)
    assert created.status_code == 201
    assert created.get_json()["grants"] == [{"role": "cardholder", "sub_center_id": None, "group_id": None}]
    answer = client.post("/api/v1/log-in", json={"username": "li.ming", "password": NEW["password"]})
    assert answer.status_code == 200
    found = client.get("/api/v1/people?search=李", headers=admin).get_json()["people"]
    assert [person["username"] for person in found] == ["li.ming"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": "admin"}, "USERNAME_TAKEN"),
        ({"password": "password1234"}, "PASSWORD_TOO_WEAK"),
        ({"organisation_id": 999}, "NOT_FOUND"),
        ({"grants": [{"role": "sub_center_manager"}]}, "SCOPE_WRONG"),
        ({"grants": [{"role": "cardholder", "group_id": 1}]}, "SCOPE_WRONG"),
        ({"grants": [{"role": "sub_center_manager", "sub_center_id": 999}]}, "NOT_FOUND"),
        ({"grants": [{"role": "king"}]}, "VALIDATION_FAILED"),
        ({"username": "a b"}, "VALIDATION_FAILED"),
        ({"organisation_id": True}, "VALIDATION_FAILED"),
        ({"organisation_id": 1.0}, "VALIDATION_FAILED"),
        ({"organisation_id": 2**53}, "VALIDATION_FAILED"),
        ({"title": "Dr"}, "VALIDATION_FAILED"),
    ],
)
def test_a_person_that_cannot_be_recorded_leaves_nothing(
    client: FlaskClient, database: Database, admin: dict[str, str], change: dict[str, Any], code: str
) -> None:
    answer = client.post("/api/v1/people", json={**NEW, **change}, headers=admin)
    assert answer.get_json()["code"] == code
    with database.reader() as session:
        assert session.scalar(text("SELECT count(*) FROM app.person")) == 1
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 0


@pytest.mark.parametrize(
    "role", [role for role in Role if role not in {Role.ADMIN, *(Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER)}]
)
def test_nobody_but_the_administrator_records_people(client: FlaskClient, database: Database, role: Role) -> None:
    with database.transaction() as session:
        builders.person(session, username="other", role=role)
    answer = client.post("/api/v1/people", json=NEW, headers=builders.bearer(client, "other"))
    assert (answer.status_code, answer.get_json()["code"]) == (403, "FORBIDDEN")


def test_what_the_administrator_did_stands_in_the_trail(client: FlaskClient, admin: dict[str, str]) -> None:
    created = client.post("/api/v1/people", json=NEW, headers=admin).get_json()
    person_id = created["person_id"]
    client.post(f"/api/v1/people/{person_id}/grants", json={"role": "auditor"}, headers=admin)
    client.post(f"/api/v1/people/{person_id}/deactivate", headers=admin)
    entries = client.get(f"/api/v1/audit-trail?subject=person:{person_id}", headers=admin).get_json()["entries"]
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        ("admin", "deactivate_person"),
        ("admin", "grant_role"),
        ("admin", "create_person"),
    ]
    older = client.get(f"/api/v1/audit-trail?before_id={entries[0]['id']}&page_size=1", headers=admin).get_json()
    assert [entry["action"] for entry in older["entries"]] == ["grant_role"]


def test_the_trail_cannot_be_changed(client: FlaskClient, admin: dict[str, str], database: Database) -> None:
    client.post("/api/v1/people", json=NEW, headers=admin)
    for change in (
        "UPDATE app.audit_entry SET actor = 'nobody'",
        "DELETE FROM app.audit_entry",
        "TRUNCATE app.audit_entry",
    ):
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="permission denied"), database.transaction() as session:
            session.execute(text(change))
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="append-only"), database.transaction() as session:
            owner_does(session, change)


def test_an_organisation_is_recorded_and_found(client: FlaskClient, admin: dict[str, str]) -> None:
    body = {"name_zh": "重庆某某公司", "name_en": "Some Company", "kind": "company"}
    created = client.post("/api/v1/organisations", json=body, headers=admin)
    assert created.status_code == 201
    assert created.get_json()["region"] == "重庆"
    found = client.get("/api/v1/organisations?search=some", headers=admin).get_json()["organisations"]
    assert [organisation["id"] for organisation in found] == [created.get_json()["id"]]


def test_wildcards_in_a_search_are_letters(client: FlaskClient, admin: dict[str, str]) -> None:
    assert client.get("/api/v1/people?search=%25", headers=admin).get_json()["people"] == []
    assert client.get("/api/v1/people?search=a_min", headers=admin).get_json()["people"] == []


def test_the_same_role_granted_by_two_at_once_is_one_grant(database: Database) -> None:
    with database.transaction() as session:
        person_id = builders.person(session).id
    start = threading.Barrier(2)

    def grant() -> None:
        start.wait()
        database.run(
            lambda session: service.grant_role(
                session, person_id=person_id, role=Role.CLERK, actor="admin", at=clock.now()
            )
        )

    threads = [threading.Thread(target=grant) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(RoleGrant)) == 1
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 1


def test_a_name_taken_by_two_at_once_is_refused_to_one(database: Database) -> None:
    start = threading.Barrier(2)
    refused: list[Any] = []

    def create() -> None:
        start.wait()
        try:
            database.run(
                lambda session: service.create_person(
                    session, username="li.ming", name="x", password=NEW["password"], actor="admin", at=clock.now()
                )
            )
        except Refusal as refusal:
            refused.append(refusal.code)

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [Code.USERNAME_TAKEN]


@pytest.mark.parametrize(
    "weak", ["short", "password1234", "PassWord1234", "aaaaaaaaaaaaaa", "ababababababab", "my li.ming pass", "x" * 129]
)
def test_weak_passwords_are_refused(weak: str) -> None:
    assert passwords.is_weak(weak, username="li.ming")


@pytest.mark.parametrize("strong", ["five green bottles", "五只绿色的瓶子挂在墙上哦", "Tr0ub4dor&3-x"])
def test_long_and_uncommon_passwords_are_taken_in_any_alphabet(strong: str) -> None:
    assert not passwords.is_weak(strong, username="li.ming")


def test_the_list_of_common_passwords_holds_none_that_length_refuses_anyway() -> None:
    assert passwords._common()
    assert all(len(common) >= passwords.LENGTH_MIN for common in passwords._common())

"""Logging in and out: what opens, what locks, and what is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text

from app import clock
from app.clock import Anchor
from app.db import Database
from app.errors import Code
from app.people import service
from app.people.models import AuditEntry, LogIn, Role
from tests.app import builders

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LIFETIME = timedelta(hours=12)


def attempt(
    database: Database, *, password: str, username: str = "li.ming", at: datetime = NOON
) -> service.LogInDecision:
    return database.run(
        lambda session: service.log_in(session, username=username, password=password, at=at, lifetime=LIFETIME)
    )


@pytest.fixture(autouse=True)
def _li_ming(database: Database) -> None:
    with database.transaction() as session:
        builders.person(session, username="li.ming")


def test_the_right_password_opens_a_log_in_for_its_lifetime(database: Database) -> None:
    decision = attempt(database, password=builders.PASSWORD)
    assert decision.refusal is None
    assert decision.token is not None
    with database.reader() as session:
        for at, known in ((NOON, True), (NOON + LIFETIME, False)):
            found = service.principal_of_token(session, token=decision.token, at=at)
            assert (found is not None) is known


def test_the_database_keeps_no_token_that_would_open_anything(database: Database) -> None:
    token = attempt(database, password=builders.PASSWORD).token or ""
    with database.reader() as session:
        kept = session.scalars(select(LogIn.token_hash)).one()
    assert token.encode() not in kept
    assert len(kept) == 32


@pytest.mark.parametrize(
    ("username", "password"), [("li.ming", "wrong"), ("nobody", builders.PASSWORD), ("LI.MING", "")]
)
def test_a_wrong_name_and_a_wrong_password_sound_the_same(database: Database, username: str, password: str) -> None:
    assert attempt(database, username=username, password=password).refusal is Code.LOG_IN_FAILED


def test_five_failures_lock_for_a_quarter_of_an_hour(database: Database) -> None:
    for _ in range(5):
        assert attempt(database, password="wrong").refusal is Code.LOG_IN_FAILED
    assert attempt(database, password=builders.PASSWORD).refusal is Code.LOG_IN_LOCKED
    assert attempt(database, password=builders.PASSWORD, at=NOON + timedelta(minutes=14)).refusal is Code.LOG_IN_LOCKED
    assert attempt(database, password=builders.PASSWORD, at=NOON + timedelta(minutes=15)).refusal is None


def test_a_lock_stands_in_the_audit_trail(database: Database) -> None:
    for _ in range(5):
        attempt(database, password="wrong")
    with database.reader() as session:
        assert session.scalars(select(AuditEntry.action)).all() == ["log_in_locked"]


def test_a_success_forgets_the_failures_before_it(database: Database) -> None:
    for password in ["wrong"] * 4 + [builders.PASSWORD] + ["wrong"] * 4:
        attempt(database, password=password)
    assert attempt(database, password=builders.PASSWORD).refusal is None


def test_another_persons_failures_lock_nobody_else(database: Database) -> None:
    with database.transaction() as session:
        builders.person(session, username="wu.fang")
    for _ in range(6):
        attempt(database, username="wu.fang", password="wrong")
    assert attempt(database, password=builders.PASSWORD).refusal is None


def test_a_deactivated_person_is_out_at_once(database: Database) -> None:
    token = attempt(database, password=builders.PASSWORD).token or ""
    with database.transaction() as session:
        person_id = session.scalar(text("SELECT id FROM app.person")) or 0
        service.deactivate(session, person_id=person_id, actor="admin", at=NOON)
    assert attempt(database, password=builders.PASSWORD).refusal is Code.LOG_IN_FAILED
    with database.reader() as session:
        assert service.principal_of_token(session, token=token, at=NOON) is None


def test_logging_out_ends_that_log_in_alone(client: FlaskClient) -> None:
    first, second = (builders.bearer(client, "li.ming") for _ in range(2))
    assert client.post("/api/v1/log-out", headers=first).status_code == 204
    assert client.get("/api/v1/me", headers=first).status_code == 401
    assert client.get("/api/v1/me", headers=second).status_code == 200


def test_failures_over_http_are_counted_although_they_are_refused(client: FlaskClient) -> None:
    codes = [
        client.post("/api/v1/log-in", json={"username": "li.ming", "password": "wrong"}).get_json()["code"]
        for _ in range(6)
    ]
    assert codes == ["LOG_IN_FAILED"] * 5 + ["LOG_IN_LOCKED"]


def test_a_simulated_clock_ends_log_ins_too(client: FlaskClient) -> None:
    now = datetime.now(UTC)
    anchor = Anchor(real=now, simulated=now, speed=1.0)
    clock.set_anchor(anchor)
    headers = builders.bearer(client, "li.ming")
    clock.set_anchor(replace(anchor, simulated=now + timedelta(hours=13)))
    assert client.get("/api/v1/me", headers=headers).status_code == 401


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic bGkubWluZzp4", "Bearer \xe9", "bearer  x y"])
def test_a_header_that_is_no_log_in_opens_nothing(client: FlaskClient, header: str) -> None:
    assert client.get("/api/v1/me", headers={"Authorization": header}).status_code == 401


def test_a_new_password_ends_all_other_log_ins(client: FlaskClient) -> None:
    mine, other = (builders.bearer(client, "li.ming") for _ in range(2))
    body = {"current": builders.PASSWORD, "new": "five green bottles"}
    assert client.post("/api/v1/me/password", json=body, headers=mine).status_code == 204
    assert client.get("/api/v1/me", headers=mine).status_code == 200
    assert client.get("/api/v1/me", headers=other).status_code == 401
    answer = client.post("/api/v1/log-in", json={"username": "li.ming", "password": "five green bottles"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "code"),
    [("wrong", "five green bottles", "LOG_IN_FAILED"), (builders.PASSWORD, "password1234", "PASSWORD_TOO_WEAK")],
)
def test_a_password_is_not_exchanged_lightly(client: FlaskClient, current: str, new: str, code: str) -> None:
    headers = builders.bearer(client, "li.ming")
    answer = client.post("/api/v1/me/password", json={"current": current, "new": new}, headers=headers)
    assert answer.get_json()["code"] == code


@pytest.mark.usefixtures("costly_passwords")
def test_a_weaker_hash_is_made_anew_at_the_next_log_in(database: Database) -> None:
    attempt(database, password=builders.PASSWORD)
    with database.reader() as session:
        kept = str(session.scalar(text("SELECT password_hash FROM app.person")))
    assert "m=19456,t=2,p=1" in kept
    assert attempt(database, password=builders.PASSWORD).refusal is None


def test_a_person_is_told_her_roles(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        center = builders.sub_center(session)
        builders.person(session, username="manager", role=Role.SUB_CENTER_MANAGER, sub_center_id=center.id)
    body = client.get("/api/v1/me", headers=builders.bearer(client, "manager")).get_json()
    assert body["grants"] == [{"role": "sub_center_manager", "sub_center_id": center.id, "group_id": None}]

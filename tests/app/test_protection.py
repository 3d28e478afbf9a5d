"""What every request must pass and every answer must carry."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf

from app import create_app, security
from app.db import Database
from app.people.models import Role
from app.protection import content_security_policy
from tests.app import builders
from tests.app.conftest import NO_DATABASE_URL, settings_for

ADDRESSES = ["/api/v1/me", "/nowhere", "/health", "/api/v1/openapi.json"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_carries_the_security_headers(lone_client: FlaskClient, address: str) -> None:
    headers = lone_client.get(address).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-Id"])


def test_forms_may_lead_on_to_the_payment_page_and_nowhere_else(tmp_path: Path) -> None:
    settings = settings_for(database_url=NO_DATABASE_URL, var_dir=tmp_path)
    assert "form-action 'self' http://127.0.0.1:9" in content_security_policy(settings)
    stripe = replace(settings, psp_base_url="https://api.stripe.com")
    assert "form-action 'self' https://checkout.stripe.com" in content_security_policy(stripe)


def test_over_https_the_cookie_is_bound_to_the_host_and_browsers_stay_there(tmp_path: Path) -> None:
    settings = settings_for(database_url=NO_DATABASE_URL, var_dir=tmp_path)
    secure = create_app(replace(settings, secure_cookies=True))
    answer = secure.test_client().get("/nowhere?lang=en", base_url="https://localhost")
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-testcard=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))


@pytest.fixture
def form_client(lone_app: Flask) -> FlaskClient:
    """A client of an application with a page that has a form."""

    def send() -> str:
        return "done"

    lone_app.add_url_rule("/test/form", "form", generate_csrf, methods=["GET"])
    lone_app.add_url_rule("/test/form", "sent", send, methods=["POST"])
    return lone_app.test_client()


def test_a_form_without_its_token_is_refused(form_client: FlaskClient) -> None:
    answer = form_client.post("/test/form?lang=en", data={"amount": "1"})
    assert answer.status_code == 400
    assert "This form is no longer valid." in answer.get_data(as_text=True)


def test_a_form_with_its_token_is_taken(form_client: FlaskClient) -> None:
    token = form_client.get("/test/form").get_data(as_text=True)
    assert form_client.post("/test/form", data={"csrf_token": token}).get_data(as_text=True) == "done"


def test_a_token_of_another_browser_is_refused(lone_app: Flask, form_client: FlaskClient) -> None:
    token = lone_app.test_client().get("/test/form").get_data(as_text=True)
    assert form_client.post("/test/form", data={"csrf_token": token}).status_code == 400


def test_programs_need_no_form_token(lone_client: FlaskClient) -> None:
    answer = lone_client.post("/api/v1/log-in", json={"username": "x", "password": "y"})
    assert answer.get_json()["code"] == "TRY_AGAIN"


@pytest.fixture
def page_client(own_app: Flask, database: Database) -> FlaskClient:
    """A client of an application with a page for administrators and a way to log in by cookie."""
    with database.transaction() as writing:
        builders.person(writing, username="admin", role=Role.ADMIN)
        builders.person(writing, username="holder", role=Role.CARDHOLDER)

    def log_in(username: str) -> str:
        token = builders.bearer(own_app.test_client(), username)["Authorization"].removeprefix("Bearer ")
        session["planted"] = "by a stranger"
        security.remember(token)
        return ",".join(sorted(session))

    own_app.add_url_rule("/test/log-in/<username>", "log_in_by_cookie", log_in)
    own_app.add_url_rule("/test/admin", "admin", security.require(Role.ADMIN)(lambda: security.principal().username))
    return own_app.test_client()


def test_a_page_for_administrators_asks_strangers_to_log_in_and_come_back(page_client: FlaskClient) -> None:
    answer = page_client.get("/test/admin?a=1")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/log-in?next=%2Ftest%2Fadmin%3Fa%3D1")


def test_a_page_for_administrators_opens_to_them_alone(page_client: FlaskClient) -> None:
    page_client.get("/test/log-in/admin")
    assert page_client.get("/test/admin").get_data(as_text=True) == "admin"
    page_client.get("/test/log-in/holder")
    assert page_client.get("/test/admin").status_code == 403


def test_a_log_in_drops_what_was_in_the_cookie_before(page_client: FlaskClient) -> None:
    assert page_client.get("/test/log-in/admin").get_data(as_text=True) == "log_in"


def test_the_cookie_opens_no_door_for_programs(page_client: FlaskClient) -> None:
    page_client.get("/test/log-in/admin")
    assert page_client.get("/api/v1/me").status_code == 401


def test_a_bearer_token_opens_no_page(page_client: FlaskClient, own_app: Flask) -> None:
    headers = builders.bearer(own_app.test_client(), "admin")
    assert page_client.get("/test/admin", headers=headers).status_code == 302


@pytest.mark.parametrize(
    "body",
    [
        b'{"username": "a\\u0000b", "password": "x"}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"username": NaN, "password": "x"}',
        b'{"username": ' + b"9" * 5000 + b', "password": "x"}',
        b"[" * 5000,
        b"[" * 40 + b"]" * 40,
        b"\xff\xfe",
        b"{",
    ],
)
def test_json_that_cannot_be_stored_is_refused(lone_client: FlaskClient, body: bytes) -> None:
    answer = lone_client.post("/api/v1/log-in", data=body, content_type="application/json")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "VALIDATION_FAILED")


@pytest.mark.parametrize("address", ["/api/v1/instruments?search=%00", "/nowhere?a=%00", "/api/v1/instruments%00"])
def test_nul_in_an_address_is_refused(lone_client: FlaskClient, address: str) -> None:
    assert lone_client.get(address).status_code == 422


def test_nul_in_a_form_is_refused(lone_client: FlaskClient) -> None:
    assert lone_client.post("/log-in", data={"username": "a\x00b"}).status_code == 422


def test_more_than_a_mebibyte_is_refused(lone_client: FlaskClient) -> None:
    answer = lone_client.post("/api/v1/log-in", data=b" " * (1024 * 1024 + 1), content_type="application/json")
    assert (answer.status_code, answer.get_json()["code"]) == (413, "PAYLOAD_TOO_LARGE")

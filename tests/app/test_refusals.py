"""Refusals and faults are answered in one shape, in both languages, and never with the database's own words."""

import json

import pytest
import sqlalchemy.exc
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from structlog.testing import capture_logs

from app import web
from app.db import Database
from app.errors import TEXTS, Code, Refusal
from card_terminal.protocol import ProtocolError, RefusalCode


@pytest.fixture
def client_that_fails(lone_app: Flask) -> FlaskClient:
    """A client of an application that has views for everything that can go wrong."""

    def refuse() -> str:
        raise Refusal(Code.AMOUNT_TOO_SMALL, minimum_fen=10_00)

    def mistake() -> str:
        raise KeyError("secret inner state")

    def refuse_terminal() -> str:
        raise ProtocolError(RefusalCode.CLOCK_SKEW, "91 s")

    for name, view in (("refuse", refuse), ("mistake", mistake), ("terminal", refuse_terminal)):
        lone_app.add_url_rule(f"/api/v1/test/{name}", f"api_{name}", view)
        lone_app.add_url_rule(f"/test/{name}", f"page_{name}", view)
    return lone_app.test_client()


def test_every_code_has_a_sentence_and_an_advice_in_both_languages() -> None:
    assert set(TEXTS) == set(Code)
    for said in TEXTS.values():
        assert all((said.en, said.zh, said.advice_en, said.advice_zh))
        assert said.en.isascii()
        assert not said.zh.isascii()


def test_a_program_gets_a_refusal_as_problem_json(client_that_fails: FlaskClient) -> None:
    answer = client_that_fails.get("/api/v1/test/refuse")
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    body = answer.get_json()
    assert body["code"] == "AMOUNT_TOO_SMALL"
    assert body["message"] == {"zh": "金额低于下限。", "en": "The amount is below the minimum."}
    assert body["advice"]["en"] == "Choose a larger amount."
    assert body["retry"] is False
    assert body["details"] == {"minimum_fen": 10_00}


@pytest.mark.parametrize(("lang", "sentence"), [("zh", "金额低于下限。"), ("en", "The amount is below the minimum.")])
def test_a_person_gets_a_page_with_the_sentence(client_that_fails: FlaskClient, lang: str, sentence: str) -> None:
    answer = client_that_fails.get(f"/test/refuse?lang={lang}")
    assert answer.status_code == 422
    assert answer.content_type.startswith("text/html")
    assert sentence in answer.get_data(as_text=True)


def test_the_language_once_chosen_is_kept(client_that_fails: FlaskClient) -> None:
    client_that_fails.get("/test/refuse?lang=en")
    assert "below the minimum" in client_that_fails.get("/test/refuse").get_data(as_text=True)
    assert "金额低于下限" in client_that_fails.get("/test/refuse?lang=zh").get_data(as_text=True)
    assert "金额低于下限" in client_that_fails.get("/test/refuse?lang=xx").get_data(as_text=True)


@pytest.mark.parametrize("address", ["/api/v1/test/mistake", "/test/mistake"])
def test_a_mistake_of_ours_shows_a_reference_that_stands_in_the_log(
    client_that_fails: FlaskClient, address: str
) -> None:
    with capture_logs() as logged:
        answer = client_that_fails.get(address)
    assert answer.status_code == 500
    said = answer.get_data(as_text=True)
    assert "secret inner state" not in said
    assert answer.headers["X-Request-Id"] in said
    assert any(entry["event"] == "unexpected_error" and "exc_info" in entry for entry in logged)


def test_a_slow_database_is_a_reason_to_try_again(own_app: Flask) -> None:
    def slow() -> str:
        with web.database().reader() as session:
            session.execute(text("SET LOCAL statement_timeout = 20"))
            session.execute(text("SELECT pg_sleep(5)"))
        return "done"

    own_app.add_url_rule("/api/v1/test/slow", "slow", slow)
    answer = own_app.test_client().get("/api/v1/test/slow")
    assert (answer.status_code, answer.get_json()["code"], answer.get_json()["retry"]) == (503, "TRY_AGAIN", True)
    assert answer.headers["Retry-After"] == "2"
    assert "pg_sleep" not in answer.get_data(as_text=True)


def test_a_database_that_is_away_is_a_reason_to_try_again(lone_client: FlaskClient) -> None:
    answer = lone_client.post("/api/v1/log-in", json={"username": "li.ming", "password": "x"})
    assert (answer.status_code, answer.get_json()["code"]) == (503, "TRY_AGAIN")
    assert "127.0.0.1" not in json.dumps(answer.get_json())


def test_what_a_person_typed_is_not_in_an_error_of_the_database(database: Database) -> None:
    with pytest.raises(sqlalchemy.exc.DBAPIError) as failed, database.reader() as session:
        session.execute(text("SELECT nothing FROM nowhere WHERE pin = :pin"), {"pin": "typed-by-a-person"})
    assert "typed-by-a-person" not in str(failed.value)


def test_a_terminal_is_refused_in_its_own_protocol(client_that_fails: FlaskClient) -> None:
    answer = client_that_fails.get("/api/v1/test/terminal")
    assert answer.status_code == 409
    assert (answer.get_json()["ok"], answer.get_json()["number"]) == (False, 102)


@pytest.mark.parametrize(
    ("method", "address", "status", "code"),
    [
        ("GET", "/api/v1/nowhere", 404, "NOT_FOUND"),
        ("GET", "/terminal/v1/nowhere", 404, "NOT_FOUND"),
        ("DELETE", "/api/v1/log-in", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/me", 401, "NOT_LOGGED_IN"),
    ],
)
def test_errors_of_http_have_the_same_shape(
    lone_client: FlaskClient, method: str, address: str, status: int, code: str
) -> None:
    answer = lone_client.open(address, method=method)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"


def test_a_refused_method_names_those_allowed(lone_client: FlaskClient) -> None:
    assert "POST" in lone_client.delete("/api/v1/log-in").headers["Allow"]


def test_a_missing_log_in_says_which_one_is_taken(lone_client: FlaskClient) -> None:
    assert lone_client.get("/api/v1/me").headers["WWW-Authenticate"] == "Bearer"


def test_wrong_fields_are_named(lone_client: FlaskClient) -> None:
    answer = lone_client.post("/api/v1/log-in", json={"username": 7, "pasword": "x"})
    assert answer.status_code == 422
    assert set(answer.get_json()["details"]["fields"]) == {"username", "password", "pasword"}


def test_an_unknown_page_is_a_page(lone_client: FlaskClient) -> None:
    answer = lone_client.get("/nowhere?lang=en")
    assert answer.status_code == 404
    assert "There is nothing at this address." in answer.get_data(as_text=True)

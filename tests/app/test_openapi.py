"""The OpenAPI document is valid and complete, and no input makes the people's and instruments' doors fail."""

import re
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from app.db import Database
from app.people.models import Role
from tests.app import builders

TAGS = {"people", "instruments"}


def test_the_document_is_openapi_3_1_and_every_door_has_a_summary(lone_app: Flask) -> None:
    document = lone_app.test_client().get("/api/v1/openapi.json").get_json()
    assert document["openapi"] == "3.1.0"
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all("summary" in operation for operation in operations if isinstance(operation, dict))


def test_every_json_door_stands_in_the_document(lone_app: Flask) -> None:
    documented = set(lone_app.test_client().get("/api/v1/openapi.json").get_json()["paths"])
    routed = {re.sub(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>", r"{\1}", rule.rule) for rule in lone_app.url_map.iter_rules()}
    assert {rule for rule in routed if rule.startswith("/api/")} - documented == {"/api/v1/openapi.json"}


@pytest.fixture
def site(app_: Flask, database: Database) -> tuple[Flask, dict[str, str]]:
    """An application with one instrument, and an administrator's log-in."""
    with database.transaction() as session:
        builders.tariff(session, of_instrument=builders.instrument(session))
        builders.person(session, username="admin", role=Role.ADMIN)
    return app_, builders.bearer(app_.test_client(), "admin")


@pytest.mark.timeout(300)
def test_no_input_makes_a_door_fail(site: tuple[Flask, dict[str, str]]) -> None:
    flask, headers = site
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", flask)
    tried = 0
    for result in schema.include(tag=list(TAGS)).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path == "/api/v1/log-out":
            continue  # would end the log-in of all that follow
        tried += 1
        _try(operation, headers)
    assert tried >= 15


def _try(operation: Any, headers: dict[str, str]) -> None:
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def call(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=(not_a_server_error,))

    call()

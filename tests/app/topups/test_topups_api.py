"""Top-ups over HTTP, as clerks, approvers, finance and cardholders meet them."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from flask.testing import FlaskClient

from app.db import Database
from app.people.models import Role, RoleGrant
from app.settings import Settings
from tests.app import builders
from tests.app.topups import messages
from tests.app.topups.conftest import Center
from tests.app.topups.hosted import hosted_site
from tests.app.topups.money import principal_fen

Caller = Callable[..., Any]


@pytest.fixture
def call(client: FlaskClient) -> Caller:
    """Call the API as a person, by user name; give status and body."""
    headers: dict[str, dict[str, str]] = {}

    def call(who: str, verb: str, path: str, **body: Any) -> tuple[int, Any]:
        if who not in headers:
            headers[who] = builders.bearer(client, who)
        content: dict[str, Any] = {"json": body} if verb == "POST" else {"query_string": body}
        answer = client.open(f"/api/v1/top-ups{path}", method=verb, headers=headers[who], **content)
        return answer.status_code, answer.get_json()

    return call


def cash(center: Center, **values: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "account_id": center.account_id,
        "amount_fen": 100_00,
        "method": "cash",
        **values,
    }


def test_a_clerk_enters_and_an_approver_approves(call: Caller, center: Center, database: Database) -> None:
    status, top_up = call("clerk", "POST", "/counter", **cash(center))
    assert (status, top_up["status"], top_up["amount_fen"]) == (201, "awaiting_approval", 100_00)
    assert re.fullmatch(r"T\d{6}-[A-Z2-7]{8}", top_up["number"])
    assert call("clerk", "POST", f"/{top_up['id']}/approve")[0] == 403
    status, top_up = call("approver", "POST", f"/{top_up['id']}/approve")
    assert (status, top_up["status"]) == (200, "credited")
    assert principal_fen(database, center.account_id) == 100_00
    status, refusal = call("approver2", "POST", f"/{top_up['id']}/reject", reason="no")
    assert (status, refusal["code"]) == (409, "ALREADY_DECIDED")


def test_one_person_with_both_roles_cannot_do_both_steps(call: Caller, center: Center, database: Database) -> None:
    with database.transaction() as session:
        both = builders.person(session, username="both", role=Role.CLERK)
        session.add(RoleGrant(person_id=both.id, role=Role.APPROVER))
    _, top_up = call("both", "POST", "/counter", **cash(center))
    status, refusal = call("both", "POST", f"/{top_up['id']}/approve")
    assert (status, refusal["code"]) == (409, "SAME_PERSON")


def test_wrong_bodies_are_refused_with_their_fields(call: Caller, center: Center) -> None:
    for wrong in (
        {"amount_fen": 100.0},
        {"amount_fen": True},
        {"amount_fen": "10000"},
        {"amount_fen": 2**60},
        {"method": "online"},
        {"method": "bank_transfer"},
        {"bank_reference": "x" * 65},
        {"id": "7"},
        {"unknown": 1},
    ):
        assert call("clerk", "POST", "/counter", **cash(center, **wrong))[0] == 422, wrong
    assert call("clerk", "POST", "/counter", **cash(center, account_id=2**53 - 1))[0] == 404


def test_everyone_sees_what_is_hers(call: Caller, center: Center) -> None:
    _, top_up = call("clerk", "POST", "/counter", **cash(center))
    path = f"/{top_up['id']}"
    assert [call(who, "GET", path)[0] for who in ("clerk", "approver", "li.na", "stranger")] == [200, 200, 200, 404]
    assert [call(who, "GET", "/")[1]["total"] for who in ("clerk", "li.na", "stranger")] == [1, 1, 0]
    assert call("clerk", "GET", "/", status="credited")[1]["top_ups"] == []
    assert call("clerk", "GET", "/", page_size=201)[0] == 422
    assert call("li.na", "POST", "/counter", **cash(center))[0] == 403
    assert call("li.na", "GET", "/problems")[0] == 403


def test_without_an_answer_of_the_payment_service_the_customer_may_try_again(call: Caller, center: Center) -> None:
    wish = {"id": str(uuid4()), "account_id": center.account_id, "amount_fen": 100_00}
    for _ in range(2):
        status, refusal = call("li.na", "POST", "/online", **wish)
        assert (status, refusal["code"], refusal["retry"]) == (502, "PAYMENT_SERVICE_UNAVAILABLE", True)
    assert call("li.na", "GET", "/")[1]["total"] == 1


@pytest.mark.usefixtures("center")
def test_finance_sees_the_payment_that_fits_nothing(call: Caller, client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        builders.person(session, username="finance", role=Role.FINANCE)
    stray = messages.event(
        "payment_intent.succeeded",
        {"id": "pi_stray", "amount_received": 77_00, "currency": "cny", "metadata": {"topup_no": "T000000-NOSUCH00"}},
    )
    body, headers = messages.signed(stray)
    assert client.post("/webhooks/psp", data=body, headers=headers).status_code == 200
    status, page = call("finance", "GET", "/problems")
    found = page["payments"][0]
    assert (status, page["total"], found["problem"], found["amount_fen"], found["outcome"]) == (
        200,
        1,
        "unknown_top_up",
        77_00,
        "unidentified",
    )


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[str]:
    with hosted_site(settings, folder=tmp_path) as url:
        yield url


def test_a_cardholder_tops_up_online_and_sees_her_balance(site: str, center: Center, database: Database) -> None:
    """The plain story: log in, ask, pay on the hosted page, and the signed message credits the card."""
    http = requests.Session()
    log_in = {"username": "li.na", "password": builders.PASSWORD}
    token = http.post(f"{site}/api/v1/log-in", json=log_in, timeout=20).json()["token"]
    http.headers["Authorization"] = f"Bearer {token}"
    wish = {"id": str(uuid4()), "account_id": center.account_id, "amount_fen": 123_45}
    top_up = http.post(f"{site}/api/v1/top-ups/online", json=wish, timeout=20).json()
    assert top_up["status"] == "awaiting_payment"

    page = requests.get(top_up["checkout_url"], timeout=20).text
    assert "支付 ¥123.45 / Pay" in page
    paid = requests.post(top_up["checkout_url"], data={"action": "pay"}, allow_redirects=False, timeout=20)
    assert paid.headers["Location"].startswith(f"{site}/top-ups/{wish['id']}/return?checkout=cs_test_")

    deadline = time.monotonic() + 20
    while (seen := http.get(f"{site}/api/v1/top-ups/{wish['id']}", timeout=20).json())["status"] != "credited":
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    assert principal_fen(database, center.account_id) == 123_45
    assert http.post(f"{site}/api/v1/top-ups/{wish['id']}/look", timeout=20).json()["mismatches"] == []
    assert principal_fen(database, center.account_id) == 123_45

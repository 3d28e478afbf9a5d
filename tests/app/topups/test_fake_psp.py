"""The payment service of demonstrations and tests: what the others lean on must itself stand."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app import clock
from app.topups import signatures
from app.topups.fake_psp import Config, FakePsp, payments
from app.topups.fake_psp.deliveries import Receiver

FORM = {
    "mode": "payment",
    "client_reference_id": "T1",
    "success_url": "http://127.0.0.1:9/return?checkout={CHECKOUT_SESSION_ID}",
    "cancel_url": "http://127.0.0.1:9/return?cancelled=1",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "cny",
    "line_items[0][price_data][unit_amount]": "10000",
    "line_items[0][price_data][product_data][name]": "充值 Top-up",
    "metadata[topup_no]": "T1",
    "payment_intent_data[metadata][topup_no]": "T1",
}
HEADERS = {"Authorization": "Bearer sk_test_x", "Content-Type": "application/x-www-form-urlencoded"}
SESSIONS = "/v1/checkout/sessions"


class Ear:
    """Hears deliveries and answers them with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.heard: list[tuple[str, bytes]] = []
        ear = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ear.heard.append((self.headers["Stripe-Signature"], body))
                self.send_response(ear.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks/psp"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def run(tmp_path: Path, ear: Ear) -> Iterator[Callable[[], FakePsp]]:
    """Start the payment service; again and again over the same file."""
    running: list[FakePsp] = []

    def run() -> FakePsp:
        receiver = Receiver(url=ear.url, secret="whsec_test")
        psp = FakePsp(Config(file=tmp_path / "psp.sqlite3", api_key="sk_test_x", receiver=receiver))
        psp.start()
        running.append(psp)
        return psp

    yield run
    for psp in running:
        if psp.is_running():
            psp.stop()


@pytest.fixture
def psp(run: Callable[[], FakePsp]) -> FakePsp:
    return run()


def post(psp: FakePsp, path: str, form: dict[str, str], **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(psp.url + path, data=form or "", headers={**HEADERS, **named}, timeout=5)


def get(psp: FakePsp, path: str, **query: str) -> Any:
    answer = requests.get(psp.url + path, params=query, headers=HEADERS, timeout=5)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pay(page: dict[str, Any], action: str = "pay") -> requests.Response:
    return requests.post(page["url"], data={"action": action}, allow_redirects=False, timeout=5)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


def test_a_paid_page_is_complete_with_a_payment_of_the_amount(psp: FakePsp) -> None:
    page = post(psp, SESSIONS, FORM).json()
    assert (page["status"], page["payment_status"], page["payment_intent"]) == ("open", "unpaid", None)
    assert pay(page).headers["Location"] == f"http://127.0.0.1:9/return?checkout={page['id']}"
    page = get(psp, f"{SESSIONS}/{page['id']}", **{"expand[0]": "payment_intent"})
    assert (page["status"], page["payment_status"]) == ("complete", "paid")
    assert page["payment_intent"]["amount_received"] == 100_00
    assert page["payment_intent"]["metadata"] == {"topup_no": "T1"}
    assert get(psp, f"/v1/payment_intents/{page['payment_intent']['id']}")["status"] == "succeeded"
    assert get(psp, "/v1/balance")["available"] == [{"amount": 100_00, "currency": "cny"}]


def test_the_page_speaks_both_languages_and_names_the_amount(psp: FakePsp) -> None:
    page = post(psp, SESSIONS, FORM).json()
    text = requests.get(page["url"], timeout=5).text
    assert "支付 ¥100.00 / Pay" in text
    assert "取消并返回 / Cancel" in text


def test_paying_twice_is_paying_once_and_going_back_leaves_the_page_open(psp: FakePsp) -> None:
    page = post(psp, SESSIONS, FORM).json()
    assert pay(page, "cancel").headers["Location"] == FORM["cancel_url"]
    assert get(psp, f"{SESSIONS}/{page['id']}")["status"] == "open"
    assert {pay(page).status_code for _ in range(3)} == {303}
    assert get(psp, "/v1/balance")["available"][0]["amount"] == 100_00


def test_the_same_key_gives_the_same_page_and_refuses_another_request(psp: FakePsp) -> None:
    first = post(psp, SESSIONS, FORM, Idempotency_Key="topup:T1:1")
    again = post(psp, SESSIONS, FORM, Idempotency_Key="topup:T1:1")
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = post(psp, SESSIONS, {**FORM, "client_reference_id": "T2"}, Idempotency_Key="topup:T1:1")
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ui_mode": "hosted"}, "parameter_unknown"),
        ({"payment_method_types[0]": "card"}, "parameter_unknown"),
        ({"line_items[0][price_data][unit_amount]": "100.50"}, "parameter_invalid"),
        ({"line_items[0][price_data][unit_amount]": "0"}, "amount_too_small"),
        ({"line_items[0][price_data][unit_amount]": "100000000"}, "amount_too_large"),
        ({"mode": "pay"}, "parameter_invalid"),
        ({"success_url": "nowhere"}, "parameter_invalid"),
    ],
)
def test_it_is_as_strict_as_the_real_one(psp: FakePsp, changes: dict[str, str], code: str) -> None:
    answer = post(psp, SESSIONS, {**FORM, **changes})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("offset_s", [60, 25 * 3600])
def test_a_page_lives_between_half_an_hour_and_a_day(psp: FakePsp, offset_s: int) -> None:
    expires_at = str(int(clock.real_now().timestamp()) + offset_s)
    assert post(psp, SESSIONS, {**FORM, "expires_at": expires_at}).status_code == 400


def test_a_call_needs_the_key_and_a_post_its_content_type(psp: FakePsp) -> None:
    assert requests.get(f"{psp.url}/v1/balance", timeout=5).status_code == 401
    assert post(psp, SESSIONS, FORM, Authorization="Bearer sk_test_y").status_code == 401
    page = post(psp, SESSIONS, FORM).json()
    path = f"{SESSIONS}/{page['id']}/expire"
    bare = requests.post(psp.url + path, headers={"Authorization": "Bearer sk_test_x"}, timeout=5)
    assert (bare.status_code, post(psp, path, {}).json()["status"]) == (400, "expired")


def test_an_expired_page_cannot_be_paid_and_a_paid_one_not_expired(psp: FakePsp) -> None:
    expired, paid = post(psp, SESSIONS, FORM).json(), post(psp, SESSIONS, FORM).json()
    assert post(psp, f"{SESSIONS}/{expired['id']}/expire", {}).json()["status"] == "expired"
    pay(expired)
    pay(paid)
    assert post(psp, f"{SESSIONS}/{paid['id']}/expire", {}).status_code == 400
    assert get(psp, f"{SESSIONS}/{expired['id']}")["payment_status"] == "unpaid"
    assert get(psp, "/v1/balance")["available"][0]["amount"] == 100_00


def test_messages_are_signed_and_come_again_until_they_are_taken(psp: FakePsp, ear: Ear) -> None:
    ear.status = 500
    pay(post(psp, SESSIONS, FORM).json())
    until(lambda: len(ear.heard) >= 4)
    ear.status = 200
    until(lambda: _undelivered(psp) == 0)
    assert len({body for _, body in ear.heard}) == 2
    assert all(
        signatures.is_valid(header, body, secrets=("whsec_test",), now=clock.real_now()) for header, body in ear.heard
    )


def test_a_restart_delivers_what_was_not_taken(run: Callable[[], FakePsp], ear: Ear) -> None:
    ear.status = 503
    first = run()
    page = post(first, SESSIONS, FORM, Idempotency_Key="k").json()
    pay(page)
    until(lambda: len(ear.heard) >= 2)
    first.stop()
    ear.status = 200
    second = run()
    until(lambda: _undelivered(second) == 0)
    assert get(second, f"{SESSIONS}/{page['id']}")["status"] == "complete"
    assert post(second, SESSIONS, FORM, Idempotency_Key="k").json()["id"] == page["id"]


def test_a_page_closes_by_itself_when_its_time_is_over(psp: FakePsp) -> None:
    page = post(psp, SESSIONS, FORM).json()
    with psp.store.work() as work:
        found = work.find(page["id"])
        assert found is not None
        work.keep({**found, "expires_at": int(clock.real_now().timestamp()) - 1})
    until(lambda: get(psp, f"{SESSIONS}/{page['id']}")["status"] == "expired")
    assert [event["type"] for event in get(psp, "/v1/events")["data"]] == ["checkout.session.expired"]


def test_events_are_listed_by_type_time_and_page(psp: FakePsp) -> None:
    for _ in range(3):
        pay(post(psp, SESSIONS, FORM).json())
    assert len(get(psp, "/v1/events")["data"]) == 6
    wanted = {"types[0]": "payment_intent.succeeded"}
    assert {event["type"] for event in get(psp, "/v1/events", **wanted)["data"]} == {"payment_intent.succeeded"}
    page = get(psp, "/v1/events", limit="4")
    rest = get(psp, "/v1/events", limit="4", starting_after=page["data"][-1]["id"])
    assert (page["has_more"], len(page["data"]), rest["has_more"], len(rest["data"])) == (True, 4, False, 2)
    later = str(int(clock.real_now().timestamp()) + 60)
    assert get(psp, "/v1/events", **{"created[gte]": later})["data"] == []


def test_what_is_only_for_the_page_is_not_told(psp: FakePsp) -> None:
    page = post(psp, SESSIONS, FORM).json()
    assert not [name for name in page if name.startswith("_")]
    assert payments.public({"_a": 1, "b": 2}) == {"b": 2}


def _undelivered(psp: FakePsp) -> int:
    with psp.store.work() as work:
        return work.undelivered()

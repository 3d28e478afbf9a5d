"""The door of the payment service: only signed bytes come in, and what came in is answered for."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app import books, clock
from app.db import Database
from app.settings import Settings
from app.topups import postings, service, signatures
from app.topups.models import EventStatus, PspEvent, TopUp, TopUpMethod
from app.topups.service import Wish
from app.topups.webhooks import BODY_BYTES_MAX
from tests.app.topups import messages
from tests.app.topups.conftest import Center
from tests.app.topups.money import principal_fen

DOOR = "/webhooks/psp"


@pytest.fixture
def top_up(database: Database, center: Center, settings: Settings) -> TopUp:
    wish = Wish(id=uuid4(), account_id=center.account_id, amount_fen=100_00, method=TopUpMethod.ONLINE)
    return database.run(
        lambda session: service.begin_online_top_up(
            session,
            wish=wish,
            maker=center.customer,
            settings=settings,
            at=clock.now(),
            real_at=clock.real_now(),
        )
    )


def test_a_signed_message_is_booked_once_however_often_it_comes(
    client: FlaskClient, database: Database, top_up: TopUp
) -> None:
    body, headers = messages.signed(messages.succeeded(top_up))
    for _ in range(3):
        answer = client.post(DOOR, data=body, headers=headers)
        assert (answer.status_code, answer.get_json()["status"]) == (200, "done")
    assert principal_fen(database, top_up.account_id) == 100_00


def test_a_strangers_message_is_ignored_and_taken(client: FlaskClient) -> None:
    body, headers = messages.signed(messages.event("invoice.paid", {"id": "in_1"}))
    answer = client.post(DOOR, data=body, headers=headers)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ignored")


def test_what_is_not_signed_is_refused_and_leaves_no_trace(
    client: FlaskClient, database: Database, top_up: TopUp
) -> None:
    body, _ = messages.signed(messages.succeeded(top_up))
    chinese = "中文".encode().decode("latin-1")
    for header in (None, "", "t=1,v1=0", f"t=now,v1={chinese}", chinese, f"t={'1' * 300},v1={'0' * 64}"):
        headers = {"Stripe-Signature": header} if header is not None else {}
        answer = client.post(DOOR, data=body, headers=headers, content_type="application/json")
        assert (answer.status_code, answer.get_json()["code"]) == (400, "WEBHOOK_SIGNATURE_INVALID")
    with database.reader() as session:
        assert session.query(PspEvent).count() == 0
    assert principal_fen(database, top_up.account_id) == 0


def test_an_old_or_a_future_signature_is_refused(client: FlaskClient, top_up: TopUp) -> None:
    body, _ = messages.signed(messages.succeeded(top_up))
    for offset_s in (-310, 310):
        at = clock.real_now() + timedelta(seconds=offset_s)
        header = signatures.sign(body, secret=messages.SECRET, at=at)
        assert client.post(DOOR, data=body, headers={"Stripe-Signature": header}).status_code == 400


def test_the_signature_is_checked_against_real_time_on_a_site_with_a_simulated_clock(
    client: FlaskClient, top_up: TopUp
) -> None:
    real = clock.real_now()
    clock.set_anchor(clock.Anchor(real=real, simulated=real + timedelta(days=40), speed=30))
    body, headers = messages.signed(messages.succeeded(top_up))
    assert client.post(DOOR, data=body, headers=headers).status_code == 200


def test_a_changed_body_is_refused(client: FlaskClient, top_up: TopUp) -> None:
    body, headers = messages.signed(messages.succeeded(top_up))
    changed = body.replace(b'"amount_received": 10000', b'"amount_received": 99999')
    assert changed != body
    assert client.post(DOOR, data=changed, headers=headers).status_code == 400


def test_a_huge_body_is_refused(client: FlaskClient) -> None:
    for size in (BODY_BYTES_MAX + 1, 3 * 1024 * 1024):
        body = b'"' + b"x" * (size - 2) + b'"'
        header = signatures.sign(body, secret=messages.SECRET, at=clock.real_now())
        assert client.post(DOOR, data=body, headers={"Stripe-Signature": header}).status_code == 413


def test_signed_nonsense_is_refused_and_no_fault(client: FlaskClient) -> None:
    for body in (b"", b"no json", b"[]", b'{"id": 1}', b"[" * 5000, b"\xff\xfe", b'{"a": NaN}'):
        header = signatures.sign(body, secret=messages.SECRET, at=clock.real_now())
        for content_type in ("application/json", "text/plain"):
            answer = client.post(DOOR, data=body, headers={"Stripe-Signature": header}, content_type=content_type)
            assert answer.status_code == 422, body


def test_what_cannot_be_booked_is_kept_and_asked_for_again(
    client: FlaskClient, database: Database, top_up: TopUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise books.PostingError("the ledger says no")

    payload = messages.succeeded(top_up)
    body, headers = messages.signed(payload)
    with monkeypatch.context() as broken:
        broken.setattr(postings, "credit_account", fail)
        answer = client.post(DOOR, data=body, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "TRY_AGAIN")
    with database.reader() as session:
        assert session.get_one(PspEvent, payload["id"]).status is EventStatus.FAILED
    assert client.post(DOOR, data=body, headers=headers).status_code == 200
    assert principal_fen(database, top_up.account_id) == 100_00


def test_the_door_tells_nothing_of_what_it_knows(client: FlaskClient, top_up: TopUp) -> None:
    body, headers = messages.signed(messages.succeeded(top_up))
    said = json.dumps(client.post(DOOR, data=body, headers=headers).get_json())
    assert top_up.number not in said

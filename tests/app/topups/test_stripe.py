"""What goes over the wire to Stripe, and what of its answers is believed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.books import BookRole
from app.db import Database
from app.errors import Code
from app.settings import Settings
from app.topups import online
from app.topups.gateway import CheckoutOrder, FactKind, GatewayUnknownError
from app.topups.models import PspPayment, TopUpMethod
from app.topups.service import Wish
from app.topups.stripe import MalformedEventError, Stripe, checkout_form, checkout_of, event_of
from tests.app.topups.conftest import Center, refusal_of
from tests.app.topups.money import balance_fen, principal_fen
from tests.app.topups.strict_api import CHECKOUT, StrictApi, violations

ORDER = CheckoutOrder(
    number="T261122-K7Q2M4XA",
    attempt=1,
    account_id=7,
    amount_fen=100_00,
    expires_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC),
    return_url="https://card.example.org/top-ups/1/return",
)
PAGE = "https://checkout.stripe.com/c/pay/cs_test_a1"


@pytest.fixture(params=[PAGE, None], ids=["with a page", "without a page"])
def api(request: pytest.FixtureRequest) -> Iterator[StrictApi]:
    api = StrictApi(page_url=request.param)
    yield api
    api.close()


def test_the_form_has_exactly_the_fields_we_mean_to_send() -> None:
    assert checkout_form(ORDER) == {
        "mode": "payment",
        "client_reference_id": "T261122-K7Q2M4XA",
        "success_url": "https://card.example.org/top-ups/1/return?checkout={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://card.example.org/top-ups/1/return?cancelled=1",
        "expires_at": "1795345200",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "cny",
        "line_items[0][price_data][unit_amount]": "10000",
        "line_items[0][price_data][product_data][name]": "分析测试卡充值 Analysis-test card top-up",
        "metadata[topup_no]": "T261122-K7Q2M4XA",
        "metadata[account_id]": "7",
        "payment_intent_data[description]": "分析测试卡充值 T261122-K7Q2M4XA",
        "payment_intent_data[metadata][topup_no]": "T261122-K7Q2M4XA",
        "payment_method_options[wechat_pay][client]": "web",
    }


@given(amount_fen=st.integers(10_00, 999_999_99), account_id=st.integers(1, 2**53), attempt=st.integers(1, 99))
def test_every_order_makes_a_form_that_the_specification_takes(amount_fen: int, account_id: int, attempt: int) -> None:
    order = replace(ORDER, amount_fen=amount_fen, account_id=account_id, attempt=attempt)
    assert violations(list(checkout_form(order).items()), CHECKOUT) == []
    assert checkout_form(order) == checkout_form(replace(order, attempt=attempt + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ui_mode", "hosted"),
        ("payment_method_types[0]", "card"),
        ("line_items[0][price_data][unit_amount]", "100.50"),
        ("mode", "pay"),
        ("payment_method_options[wechat_pay][client]", "desktop"),
    ],
)
def test_the_strict_specification_notices_what_must_not_be_sent(name: str, value: str) -> None:
    assert violations([(name, value)], CHECKOUT) == [name]


def test_a_server_without_memory_hears_only_right_requests_and_nothing_is_booked(
    api: StrictApi, database: Database, center: Center, settings: Settings
) -> None:
    settings = replace(settings, psp_base_url=api.url)
    gateway = Stripe(settings)
    wish = Wish(id=uuid4(), account_id=center.account_id, amount_fen=100_00, method=TopUpMethod.ONLINE)
    refusal = refusal_of(
        lambda: online.begin(database, gateway=gateway, settings=settings, wish=wish, customer=center.customer)
    )
    assert refusal is (Code.PAYMENT_SERVICE_UNAVAILABLE if "without" in api.page else None)
    seen = online.look(database, gateway=gateway, top_up_id=wish.id)
    assert seen.mismatches == ("top_up_number", "amount_fen", "currency")
    online.cancel(database, gateway=gateway, top_up_id=wish.id)
    assert online.poll_events(database, settings) == 0
    assert api.refused == []
    assert [(method, path.rpartition("/")[2]) for method, path, *_ in api.calls] == [
        ("POST", "sessions"),
        ("GET", "cs_test_a1"),
        ("POST", "expire"),
        ("GET", "events"),
    ]
    assert principal_fen(database, center.account_id) == 0
    assert balance_fen(database, BookRole.UNIDENTIFIED) == 0
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(PspPayment)) == 0


def test_the_version_is_pinned_and_every_post_has_a_key_and_a_type(api: StrictApi, settings: Settings) -> None:
    gateway = Stripe(replace(settings, psp_base_url=api.url, psp_api_version="2026-09-30"))
    gateway.create_checkout(ORDER)
    gateway.expire_checkout("cs_test_a1")
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in api.calls]
    assert keys == ["topup:T261122-K7Q2M4XA:1", "expire:cs_test_a1"]
    assert {headers["Stripe-Version"] for _, _, headers, _ in api.calls} == {"2026-09-30"}
    assert {headers["Content-Type"] for _, _, headers, _ in api.calls} == {"application/x-www-form-urlencoded"}


@pytest.mark.parametrize(("key", "live"), [("sk_live_x", True), ("rk_live_x", True), ("sk_test_x", False), ("", False)])
def test_the_key_tells_whether_money_is_real(settings: Settings, key: str, live: bool) -> None:  # noqa: FBT001 - a row
    assert Stripe(replace(settings, psp_api_key=key)).livemode is live


@pytest.mark.parametrize(
    ("status", "payment_status", "kind"),
    [
        ("complete", "paid", FactKind.PAID),
        ("complete", "unpaid", FactKind.NOT_PAID_YET),
        ("expired", "unpaid", FactKind.CHECKOUT_EXPIRED),
        ("open", "unpaid", None),
        ("complete", "no_payment_required", None),
        (None, None, None),
    ],
)
def test_a_looked_up_page_says_what_happened(status: str | None, payment_status: str | None, kind: FactKind) -> None:
    page = {
        "id": "cs_1",
        "status": status,
        "payment_status": payment_status,
        "metadata": {"topup_no": "T1"},
        "amount_total": 100_00,
        "payment_intent": {"id": "pi_1", "amount_received": 60_00},
        "currency": "cny",
    }
    fact = checkout_of(page).fact
    assert (fact.kind if fact else None) is kind
    if fact is not None:
        assert (fact.payment_intent, fact.amount_fen) == ("pi_1", 60_00), "what was received counts, not the price"


def test_an_answer_that_is_no_page_decides_nothing() -> None:
    with pytest.raises(GatewayUnknownError):
        checkout_of({"object": "list"})


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "evt_1",
        {},
        {"id": "evt_1", "type": "x"},
        {"id": "evt_1", "type": "x", "created": "today"},
        {"id": "evt_1", "type": "x", "created": True},
        {"id": "evt_1", "type": "x", "created": 10**20},
        {"id": 7, "type": "x", "created": 1},
        {"id": "evt_1", "type": "x", "created": 1, "data": {"object": {"name": "a\0b"}}},
        {"id": "evt_1", "type": "x", "created": 1, "data": {"object": {"\ud800": 1}}},
        {"id": "evt_1", "type": "x", "created": 1, "data": {"object": {"rate": float("nan")}}},
    ],
)
def test_what_has_not_the_shape_of_an_event_is_refused(payload: Any) -> None:
    with pytest.raises(MalformedEventError):
        event_of(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
PARTS = ("id", "type", "created", "data", "object", "metadata", "topup_no", "payment_intent", "amount_received")


@given(
    name=st.sampled_from(["checkout.session.completed", "checkout.session.expired", "payment_intent.succeeded"]),
    thing=st.dictionaries(st.sampled_from(PARTS), JSON) | JSON,
    top=st.dictionaries(st.sampled_from(PARTS), JSON),
)
def test_no_message_is_a_fault(name: str, thing: Any, top: dict[str, Any]) -> None:
    payload = {"id": "evt_1", "type": name, "created": 1, "data": {"object": thing}, **top}
    try:
        event = event_of(payload)
    except MalformedEventError:
        return
    assert json.loads(json.dumps(event.payload)) == payload

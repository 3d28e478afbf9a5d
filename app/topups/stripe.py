"""The Stripe HTTP API, as far as top-ups use it: form-encoded requests in, our own words out."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
import structlog

from app.settings import Settings
from app.topups.gateway import (
    Checkout,
    CheckoutOrder,
    Event,
    Fact,
    FactKind,
    GatewayRefusedError,
    GatewayUnknownError,
)

CURRENCY = "cny"
EVENTS_PER_PAGE = 100
PAGES_MAX = 10_000
ANSWER_BYTES_MAX = 8 * 1024 * 1024
REASON_LENGTH_MAX = 200
INTEGER_MAX = 2**53 - 1
FORM = "application/x-www-form-urlencoded"
EXPAND_PAYMENT = {"expand[0]": "payment_intent"}
# These answers are not about our request as such: in use by a twin at this moment, or too many at once.
PASSING_STATUSES = frozenset({409, 425, 429})
EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
)

log = structlog.get_logger(__name__)


class MalformedEventError(ValueError):
    """The message does not have the shape of an event."""


class Stripe:
    """The gateway over HTTP: Stripe, its stripe-mock or the fake payment service, by the address in the settings.

    No answer, a 5xx and an answer that cannot be read are all *unknown*: Stripe replays what it did under the same key,
    so asking again is safe and believing anything is not.
    """

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.psp_base_url.rstrip("/")
        self._timeout_s = settings.psp_timeout_s
        self._headers = {
            "Authorization": f"Bearer {settings.psp_api_key}",
            "Stripe-Version": settings.psp_api_version,
            # Also on an empty POST: stripe-mock refuses one without it.
            "Content-Type": FORM,
        }
        self.livemode = settings.psp_api_key.startswith(("sk_live_", "rk_live_"))

    def create_checkout(self, order: CheckoutOrder) -> Checkout:
        """Make the payment page of an order, or give the one made before under the same key."""
        answer = self._post("/v1/checkout/sessions", form=checkout_form(order), idempotency_key=order.idempotency_key)
        return checkout_of(answer)

    def retrieve_checkout(self, checkout_id: str) -> Checkout:
        """Look at a payment page as it stands."""
        return checkout_of(self._get(f"/v1/checkout/sessions/{quote(checkout_id, safe='')}", query=EXPAND_PAYMENT))

    def expire_checkout(self, checkout_id: str) -> Checkout:
        """Close a payment page; refused if it is paid or closed already."""
        path = f"/v1/checkout/sessions/{quote(checkout_id, safe='')}/expire"
        return checkout_of(self._post(path, form={}, idempotency_key=f"expire:{checkout_id}"))

    def events_since(self, moment: datetime) -> Iterator[Event]:
        """Give the events about top-ups created at or after a moment, newest first."""
        query = {
            "created[gte]": str(int(moment.timestamp())),
            "limit": str(EVENTS_PER_PAGE),
            **{f"types[{number}]": name for number, name in enumerate(EVENT_TYPES)},
        }
        for _ in range(PAGES_MAX):
            page = self._get("/v1/events", query=query)
            rows = page.get("data")
            if not isinstance(rows, list):
                raise GatewayUnknownError("the list of events has no data")
            yield from self._readable(rows)
            if page.get("has_more") is not True or not rows:
                return
            query["starting_after"] = str(rows[-1].get("id") if isinstance(rows[-1], dict) else None)
        raise GatewayUnknownError("the list of events has no end")

    def _readable(self, rows: list[Any]) -> Iterator[Event]:
        for row in rows:
            try:
                yield event_of(row)
            except MalformedEventError as error:
                log.warning("event_unreadable", reason=str(error))

    def _post(self, path: str, *, form: Mapping[str, str], idempotency_key: str) -> dict[str, Any]:
        return self._call("POST", path, headers={"Idempotency-Key": idempotency_key}, data=form or "")

    def _get(self, path: str, *, query: Mapping[str, str]) -> dict[str, Any]:
        return self._call("GET", path, params=query)

    def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> dict[str, Any]:
        try:
            answer = requests.request(
                method,
                f"{self._base_url}{path}",
                headers={**self._headers, **(headers or {})},
                timeout=self._timeout_s,
                # A redirect could carry the key to another host.
                allow_redirects=False,
                **content,
            )
            body = answer.json() if len(answer.content) <= ANSWER_BYTES_MAX else None
        except requests.RequestException as error:
            log.warning("payment_service_unreachable", path=path, error=type(error).__name__)
            raise GatewayUnknownError(type(error).__name__) from error
        except ValueError:
            body = None
        status = answer.status_code
        if status >= requests.codes.server_error or status in PASSING_STATUSES or not isinstance(body, dict):
            log.warning("payment_service_undecided", path=path, status=status)
            raise GatewayUnknownError(f"HTTP {status}")
        if status != requests.codes.ok:
            log.warning("payment_service_refused", path=path, status=status, reason=_reason(body))
            raise GatewayRefusedError(_reason(body))
        return body


def checkout_form(order: CheckoutOrder) -> dict[str, str]:
    """Give the form of an order: the same bytes for the same order, as its idempotency key demands.

    No list of payment methods: its name differs between API versions, and without it the account's own choice holds.
    """
    return {
        "mode": "payment",
        "client_reference_id": order.number,
        "success_url": f"{order.return_url}?checkout={{CHECKOUT_SESSION_ID}}",
        "cancel_url": f"{order.return_url}?cancelled=1",
        "expires_at": str(int(order.expires_at.timestamp())),
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": CURRENCY,
        "line_items[0][price_data][unit_amount]": str(order.amount_fen),
        "line_items[0][price_data][product_data][name]": "分析测试卡充值 Analysis-test card top-up",
        "metadata[topup_no]": order.number,
        "metadata[account_id]": str(order.account_id),
        "payment_intent_data[description]": f"分析测试卡充值 {order.number}",
        "payment_intent_data[metadata][topup_no]": order.number,
        "payment_method_options[wechat_pay][client]": "web",
    }


def checkout_of(session: Mapping[str, Any]) -> Checkout:
    """Read a checkout session. Raises GatewayUnknownError if it is none."""
    checkout_id = _text(session.get("id"))
    if checkout_id is None:
        raise GatewayUnknownError("the answer is no checkout session")
    number = _top_up_number(session)
    kind = {
        ("complete", "paid"): FactKind.PAID,
        ("complete", "unpaid"): FactKind.NOT_PAID_YET,
        ("expired", "unpaid"): FactKind.CHECKOUT_EXPIRED,
    }.get((str(session.get("status")), str(session.get("payment_status"))))
    return Checkout(
        id=checkout_id,
        url=_text(session.get("url")),
        top_up_number=number,
        amount_fen=_fen(session.get("amount_total")),
        currency=_text(session.get("currency")),
        livemode=session.get("livemode") is True,
        fact=_session_fact(session, kind) if kind is not None and number is not None else None,
    )


def event_of(payload: Any) -> Event:
    """Read an event. Raises MalformedEventError if the message does not have the shape of one."""
    if not isinstance(payload, dict):
        raise MalformedEventError("not an object")
    event_id, name, created = _text(payload.get("id")), _text(payload.get("type")), payload.get("created")
    if event_id is None or name is None or type(created) is not int:
        raise MalformedEventError("id, type or created is missing")
    try:
        created_at = datetime.fromtimestamp(created, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise MalformedEventError("created is no moment") from error
    if not _is_storable(payload):
        raise MalformedEventError("holds characters that no database keeps")
    data = payload.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    return Event(
        id=event_id,
        type=name,
        created_at=created_at,
        api_version=_text(payload.get("api_version")) or "",
        livemode=payload.get("livemode") is True,
        payload=payload,
        fact=_fact_of(name, thing) if isinstance(thing, dict) and _top_up_number(thing) is not None else None,
    )


def _fact_of(name: str, thing: Mapping[str, Any]) -> Fact | None:
    match name:
        case "checkout.session.completed" | "checkout.session.async_payment_succeeded":
            paid = thing.get("payment_status") == "paid"
            return _session_fact(thing, FactKind.PAID if paid else FactKind.NOT_PAID_YET)
        case "checkout.session.async_payment_failed":
            return _session_fact(thing, FactKind.PAYMENT_FAILED)
        case "checkout.session.expired":
            return _session_fact(thing, FactKind.CHECKOUT_EXPIRED)
        case "payment_intent.succeeded":
            return Fact(
                kind=FactKind.PAID,
                top_up_number=_top_up_number(thing) or "",
                checkout_id=None,
                payment_intent=_text(thing.get("id")),
                amount_fen=_fen(thing.get("amount_received")),
                currency=_text(thing.get("currency")),
                livemode=thing.get("livemode") is True,
            )
    return None


def _session_fact(session: Mapping[str, Any], kind: FactKind) -> Fact:
    """Read a session; when its payment is included, the amount that counts is what the payment received."""
    payment = session.get("payment_intent")
    amount = payment.get("amount_received") if isinstance(payment, dict) else session.get("amount_total")
    return Fact(
        kind=kind,
        top_up_number=_top_up_number(session) or "",
        checkout_id=_text(session.get("id")),
        payment_intent=_text(payment.get("id") if isinstance(payment, dict) else payment),
        amount_fen=_fen(amount),
        currency=_text(session.get("currency")),
        livemode=session.get("livemode") is True,
    )


def _top_up_number(thing: Mapping[str, Any]) -> str | None:
    metadata = thing.get("metadata")
    return _text(metadata.get("topup_no")) if isinstance(metadata, dict) else None


def _is_storable(value: object) -> bool:
    """Say whether all text in it can be kept: PostgreSQL takes neither NUL nor half a surrogate pair."""
    match value:
        case str():
            return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
        case dict():
            return all(_is_storable(key) and _is_storable(item) for key, item in value.items())
        case list():
            return all(_is_storable(item) for item in value)
        case float():
            return math.isfinite(value)
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _fen(value: object) -> int | None:
    """Take an integer only, and one that JSON keeps exact: True is one to Python, and 100.0 is a mistake."""
    return value if type(value) is int and abs(value) <= INTEGER_MAX else None


def _reason(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    said = error.get("code") or error.get("type") or error.get("message") if isinstance(error, dict) else None
    return str(said or "no reason given")[:REASON_LENGTH_MAX]

"""Messages as Stripe would send them about a top-up."""

import itertools
import json
from typing import Any

from app import clock
from app.topups import signatures
from app.topups.models import TopUp

Payload = dict[str, Any]
SECRET = "whsec_test"
_number = itertools.count(1)


def event(name: str, thing: Payload, *, livemode: bool = False, **values: Any) -> Payload:
    return {
        "id": f"evt_{next(_number)}",
        "object": "event",
        "api_version": "2026-09-30",
        "created": int(clock.real_now().timestamp()),
        "data": {"object": {**thing, "livemode": livemode}},
        "livemode": livemode,
        "type": name,
        **values,
    }


def session(top_up: TopUp, **values: Any) -> Payload:
    """The checkout session of a top-up, paid unless told otherwise."""
    return {
        "id": f"cs_test_{top_up.number}",
        "object": "checkout.session",
        "amount_total": top_up.amount_fen,
        "client_reference_id": top_up.number,
        "currency": "cny",
        "metadata": {"topup_no": top_up.number, "account_id": str(top_up.account_id)},
        "payment_intent": f"pi_{top_up.number}",
        "payment_status": "paid",
        "status": "complete",
        **values,
    }


def intent(top_up: TopUp, **values: Any) -> Payload:
    """The succeeded payment of a top-up."""
    return {
        "id": f"pi_{top_up.number}",
        "object": "payment_intent",
        "amount": top_up.amount_fen,
        "amount_received": top_up.amount_fen,
        "currency": "cny",
        "metadata": {"topup_no": top_up.number},
        "status": "succeeded",
        **values,
    }


def completed(top_up: TopUp, **values: Any) -> Payload:
    return event("checkout.session.completed", session(top_up, **values))


def completed_unpaid(top_up: TopUp) -> Payload:
    return completed(top_up, payment_status="unpaid")


def paid_later(top_up: TopUp) -> Payload:
    return event("checkout.session.async_payment_succeeded", session(top_up))


def failed_later(top_up: TopUp) -> Payload:
    return event("checkout.session.async_payment_failed", session(top_up, payment_status="unpaid"))


def expired(top_up: TopUp) -> Payload:
    unpaid = session(top_up, payment_status="unpaid", status="expired", payment_intent=None)
    return event("checkout.session.expired", unpaid)


def succeeded(top_up: TopUp, **values: Any) -> Payload:
    return event("payment_intent.succeeded", intent(top_up, **values))


def signed(payload: Payload, *, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a delivery."""
    body = json.dumps(payload).encode()
    header = signatures.sign(body, secret=secret, at=clock.real_now())
    return body, {"Stripe-Signature": header, "Content-Type": "application/json"}

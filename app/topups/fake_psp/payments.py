"""The life of a checkout session at the fake payment service: open → complete or expired, and who is told."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from app.topups.fake_psp import forms
from app.topups.fake_psp.errors import ApiError
from app.topups.fake_psp.store import Document, Work

LIFETIME_MIN = timedelta(minutes=30)
LIFETIME_MAX = timedelta(hours=24)
AMOUNT_MAX = 99_999_999
ID_BYTES = 12


def new_session(form: Mapping[str, str], *, pay_url: str, api_version: str, now: datetime) -> Document:
    """Make the session that a checked form asks for. Raises ApiError for an amount or a time out of range."""
    price = "line_items[0][price_data]"
    amount = int(form[f"{price}[unit_amount]"])
    if not 1 <= amount <= AMOUNT_MAX:
        code = "amount_too_small" if amount < 1 else "amount_too_large"
        raise ApiError(400, "The amount is out of range.", code=code, param=f"{price}[unit_amount]")
    expires_at = int(form.get("expires_at", int((now + LIFETIME_MAX).timestamp())))
    if not (now + LIFETIME_MIN).timestamp() <= expires_at <= (now + LIFETIME_MAX).timestamp() + 1:
        raise ApiError(400, "expires_at must be 30 minutes to 24 hours from now.", param="expires_at")
    session_id = _new_id("cs_test")
    return {
        "id": session_id,
        "object": "checkout.session",
        "amount_subtotal": amount,
        "amount_total": amount,
        "cancel_url": form.get("cancel_url"),
        "client_reference_id": form.get("client_reference_id"),
        "created": int(now.timestamp()),
        "currency": form[f"{price}[currency]"],
        "expires_at": expires_at,
        "livemode": False,
        "metadata": forms.nested(form, "metadata"),
        "mode": "payment",
        "payment_intent": None,
        "payment_status": "unpaid",
        "status": "open",
        "success_url": form["success_url"],
        "url": f"{pay_url}/{session_id}",
        # Not part of the real object: what the payment will need, and what the page shows.
        "_intent": {
            "description": form.get("payment_intent_data[description]"),
            "metadata": forms.nested(form, "payment_intent_data[metadata]"),
        },
        "_product": form[f"{price}[product_data][name]"],
        "_api_version": api_version,
    }


def pay(work: Work, session: Document, *, now: datetime, deliver: bool) -> Document:
    """Pay an open session whole. Raises ApiError if it is not open."""
    _check_open(session, now=now)
    intent: Document = {
        "id": _new_id("pi"),
        "object": "payment_intent",
        "amount": session["amount_total"],
        "amount_received": session["amount_total"],
        "created": int(now.timestamp()),
        "currency": session["currency"],
        "livemode": False,
        "status": "succeeded",
        **session["_intent"],
    }
    session |= {"payment_intent": intent["id"], "payment_status": "paid", "status": "complete"}
    work.keep(intent)
    work.keep(session)
    version = session["_api_version"]
    announce(work, "payment_intent.succeeded", intent, api_version=version, now=now, deliver=deliver)
    announce(work, "checkout.session.completed", session, api_version=version, now=now, deliver=deliver)
    return session


def expire(work: Work, session: Document, *, now: datetime, deliver: bool) -> Document:
    """Close an open session, so that it can no longer be paid. Raises ApiError if it is not open."""
    if session["status"] != "open":
        raise ApiError(400, f"Only open sessions can be expired; this one is {session['status']}.")
    session |= {"status": "expired", "url": None}
    work.keep(session)
    announce(work, "checkout.session.expired", session, api_version=session["_api_version"], now=now, deliver=deliver)
    return session


def expire_due(work: Work, *, now: datetime, deliver: bool) -> int:
    """Close the sessions whose time is over, and give how many."""
    due = work.overdue_sessions(now.timestamp())
    for session in due:
        expire(work, session, now=now, deliver=deliver)
    return len(due)


def announce(work: Work, name: str, thing: Document, *, api_version: str, now: datetime, deliver: bool) -> None:
    """Write an event about an object as it stands now."""
    event: Document = {
        "id": _new_id("evt"),
        "object": "event",
        "api_version": api_version,
        "created": int(now.timestamp()),
        "data": {"object": public(thing)},
        "livemode": False,
        "pending_webhooks": int(deliver),
        "request": {"id": None, "idempotency_key": None},
        "type": name,
    }
    work.announce(event, deliver_at_s=now.timestamp() if deliver else None)


def public(document: Document) -> Document:
    """Give an object as the outside sees it."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


def _check_open(session: Document, *, now: datetime) -> None:
    if session["status"] != "open" or session["expires_at"] <= now.timestamp():
        raise ApiError(400, "This session is no longer open.")


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(ID_BYTES)}"

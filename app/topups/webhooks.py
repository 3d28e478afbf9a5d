"""The door where the payment service tells us what happened; its signature is its log-in."""

import json
from http import HTTPStatus
from typing import Any

import flask_smorest
import structlog
from flask import request

from app import clock
from app.books import PostingError
from app.errors import Code, Refusal
from app.problems import refuses
from app.topups import online, signatures
from app.topups.gateway import Event
from app.topups.schemas import DeliverySchema
from app.topups.stripe import MalformedEventError, Stripe, event_of
from app.web import database, settings

BODY_BYTES_MAX = 256 * 1024

log = structlog.get_logger(__name__)

blueprint = flask_smorest.Blueprint(
    "topups_webhooks", __name__, url_prefix="/webhooks", description="What the payment service tells us."
)


@blueprint.post("/psp")
@refuses(
    blueprint,
    Code.WEBHOOK_SIGNATURE_INVALID,
    Code.VALIDATION_FAILED,
    Code.PAYLOAD_TOO_LARGE,
    Code.TRY_AGAIN,
)
@blueprint.response(HTTPStatus.OK, DeliverySchema)
@blueprint.doc(security=[], parameters=[{"name": "Stripe-Signature", "in": "header", "schema": {"type": "string"}}])
def receive() -> dict[str, Any]:
    """Take one event of the payment service, signed over its raw bytes; events that concern no top-up are ignored.

    Anything but 200 makes the sender deliver it again.
    """
    event = _event(_verified_body())
    try:
        status = online.deliver(database(), event=event, livemode=Stripe(settings()).livemode)
    except PostingError as error:
        raise Refusal(Code.TRY_AGAIN) from error
    return {"event": event.id, "status": status}


def _verified_body() -> bytes:
    body = request.get_data(cache=True)
    if len(body) > BODY_BYTES_MAX:
        raise Refusal(Code.PAYLOAD_TOO_LARGE)
    header = request.headers.get("Stripe-Signature", "")
    # Real time, whatever the site's clock shows: the sender's clock is real.
    if not signatures.is_valid(header, body, secrets=settings().psp_webhook_secrets, now=clock.real_now()):
        log.warning("webhook_signature_invalid", bytes=len(body))
        raise Refusal(Code.WEBHOOK_SIGNATURE_INVALID)
    return body


def _event(body: bytes) -> Event:
    try:
        return event_of(json.loads(body))
    except (MalformedEventError, ValueError, RecursionError) as error:
        raise Refusal(Code.VALIDATION_FAILED, event="not an event") from error

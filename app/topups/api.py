"""JSON doors of top-ups: the counter's maker and checker, the customer's online payment, finance's list."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.problems import refuses
from app.security import principal, require
from app.topups import online, service
from app.topups.models import TopUp, TopUpMethod
from app.topups.schemas import (
    DecisionSchema,
    LookSchema,
    NewCounterTopUpSchema,
    NewOnlineTopUpSchema,
    PaymentProblemsSchema,
    RejectionSchema,
    TopUpSchema,
    TopUpsQuery,
    TopUpsSchema,
)
from app.topups.service import Wish
from app.topups.stripe import Stripe
from app.web import database, settings

LIMITS = (
    Code.NOT_FOUND,
    Code.ACCOUNT_NOT_ACTIVE,
    Code.AMOUNT_TOO_SMALL,
    Code.AMOUNT_TOO_LARGE,
    Code.BALANCE_CAP_EXCEEDED,
    Code.REQUEST_ID_USED,
    Code.NOT_LOGGED_IN,
    Code.FORBIDDEN,
)
PAYMENT_SERVICE = (Code.TOP_UP_ENDED, Code.PAYMENT_SERVICE_UNAVAILABLE, Code.PAYMENT_SERVICE_REFUSED)

blueprint = flask_smorest.Blueprint(
    "topups", __name__, url_prefix="/api/v1/top-ups", description="Money into card accounts: counter and online."
)


@blueprint.post("/counter")
@refuses(blueprint, *LIMITS, Code.BANK_REFERENCE_USED)
@blueprint.arguments(NewCounterTopUpSchema)
@blueprint.response(HTTPStatus.CREATED, TopUpSchema)
@require(Role.CLERK)
def begin_at_counter(body: dict[str, Any]) -> TopUp:
    """Enter money received at the counter. For clerks; it is credited when an approver approves it."""
    maker = principal()
    return database().run(
        lambda session: service.begin_counter_top_up(
            session, wish=Wish(**body), maker=maker, settings=settings(), at=clock.now()
        )
    )


@blueprint.post("/<uuid:top_up_id>/approve")
@refuses(
    blueprint,
    Code.NOT_FOUND,
    Code.SAME_PERSON,
    Code.ALREADY_DECIDED,
    Code.ACCOUNT_NOT_ACTIVE,
    Code.NOT_LOGGED_IN,
    Code.FORBIDDEN,
)
@blueprint.arguments(DecisionSchema)
@blueprint.response(HTTPStatus.OK, TopUpSchema)
@require(Role.APPROVER)
def approve(body: dict[str, Any], top_up_id: UUID) -> TopUp:
    """Approve money received at the counter, which credits it. For approvers, and never for who entered it."""
    return _decide(top_up_id, approve=True, reason=body["reason"])


@blueprint.post("/<uuid:top_up_id>/reject")
@refuses(blueprint, Code.NOT_FOUND, Code.SAME_PERSON, Code.ALREADY_DECIDED, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(RejectionSchema)
@blueprint.response(HTTPStatus.OK, TopUpSchema)
@require(Role.APPROVER)
def reject(body: dict[str, Any], top_up_id: UUID) -> TopUp:
    """Reject money entered at the counter. For approvers, and never for who entered it."""
    return _decide(top_up_id, approve=False, reason=body["reason"])


@blueprint.post("/online")
@refuses(blueprint, *LIMITS, *PAYMENT_SERVICE)
@blueprint.arguments(NewOnlineTopUpSchema)
@blueprint.response(HTTPStatus.CREATED, TopUpSchema)
@require(Role.CARDHOLDER)
def begin_online(body: dict[str, Any]) -> TopUp:
    """Begin to pay online into an own account; `checkout_url` is where to pay. The same request again is safe."""
    return online.begin(
        database(),
        gateway=Stripe(settings()),
        settings=settings(),
        wish=Wish(method=TopUpMethod.ONLINE, **body),
        customer=principal(),
    )


@blueprint.post("/<uuid:top_up_id>/look")
@refuses(blueprint, Code.NOT_FOUND, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.OK, LookSchema)
@require()
def look(top_up_id: UUID) -> online.Look:
    """Ask the payment service how an online top-up stands, and book what it says, as its own message would."""
    _visible(top_up_id)
    return online.look(database(), gateway=Stripe(settings()), top_up_id=top_up_id)


@blueprint.post("/<uuid:top_up_id>/cancel")
@refuses(blueprint, Code.NOT_FOUND, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.PAYMENT_SERVICE_UNAVAILABLE)
@blueprint.response(HTTPStatus.OK, LookSchema)
@require(Role.CARDHOLDER)
def cancel(top_up_id: UUID) -> online.Look:
    """Close the payment page of an online top-up; a payment that came first is credited all the same."""
    _visible(top_up_id)
    return online.cancel(database(), gateway=Stripe(settings()), top_up_id=top_up_id)


@blueprint.get("/")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(TopUpsQuery, location="query")
@blueprint.response(HTTPStatus.OK, TopUpsSchema)
@require()
def list_top_ups(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of top-ups, newest first: the center all, a customer those of the own accounts."""
    with database().reader() as session:
        found = service.list_top_ups(session, viewer=principal(), **query)
        return {"top_ups": found.items, "total": found.total}


@blueprint.get("/<uuid:top_up_id>")
@refuses(blueprint, Code.NOT_FOUND, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.OK, TopUpSchema)
@require()
def get_top_up(top_up_id: UUID) -> TopUp:
    """Give one top-up."""
    return _visible(top_up_id)


@blueprint.get("/problems")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, PaymentProblemsSchema)
@require(Role.FINANCE, Role.AUDITOR)
def list_problems(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of online payments that fitted no top-up and need a person. For finance and the auditor."""
    with database().reader() as session:
        found = service.list_payment_problems(session, **query)
        return {"payments": found.items, "total": found.total}


def _decide(top_up_id: UUID, *, approve: bool, reason: str) -> TopUp:
    checker = principal()
    return database().run(
        lambda session: service.decide(
            session, top_up_id=top_up_id, approve=approve, checker=checker, reason=reason, at=clock.now()
        )
    )


def _visible(top_up_id: UUID) -> TopUp:
    with database().reader() as session:
        return service.get_top_up(session, top_up_id=top_up_id, viewer=principal())

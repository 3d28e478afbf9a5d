"""Online top-ups as a whole: commit the intent, call the payment service, commit the outcome; and the way back.

No transaction is open while the payment service is asked. Between any two of the steps the process may die: the intent
carries the key under which asking again is safe.
"""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy.exc
import structlog

from app import clock
from app.books import PostingError
from app.db import Database
from app.errors import Code, Refusal
from app.people.principals import Principal
from app.settings import Settings
from app.topups import receiving, service
from app.topups.gateway import (
    Checkout,
    CheckoutOrder,
    Event,
    Gateway,
    GatewayRefusedError,
    GatewayUnknownError,
)
from app.topups.models import EventStatus, TopUp, TopUpMethod, TopUpStatus
from app.topups.service import Wish
from app.topups.stripe import CURRENCY, MalformedEventError, Stripe, event_of

# The payment service keeps its list of events this long.
EVENTS_KEPT = timedelta(days=30)
# Its clock and ours may differ, and an event may enter its list late.
POLL_OVERLAP = timedelta(minutes=10)
POLL_BATCH = 100
RETURN_PATH = "/top-ups/{top_up_id}/return"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A top-up after we looked at the payment service, and in what the two disagree."""

    top_up: TopUp
    mismatches: tuple[str, ...]


def begin(database: Database, *, gateway: Gateway, settings: Settings, wish: Wish, customer: Principal) -> TopUp:
    """Give a top-up with the address of its payment page; the same wish again gives the same page.

    Refuses as `service.begin_online_top_up`, then as `open_checkout`.
    """
    top_up = database.run(
        lambda session: service.begin_online_top_up(
            session, wish=wish, maker=customer, settings=settings, at=clock.now(), real_at=clock.real_now()
        )
    )
    return open_checkout(database, gateway=gateway, settings=settings, top_up=top_up)


def open_checkout(database: Database, *, gateway: Gateway, settings: Settings, top_up: TopUp) -> TopUp:
    """Give a top-up with the address of its payment page, asking for one if there is none yet.

    Refuses TOP_UP_ENDED, PAYMENT_SERVICE_UNAVAILABLE when it is unknown whether there is a page now: it stays pending
    and the next try repeats the same request; PAYMENT_SERVICE_REFUSED, after which the next try is a new request.
    """
    over = top_up.checkout_expires_at is None or clock.real_now() >= top_up.checkout_expires_at
    if top_up.status is not TopUpStatus.AWAITING_PAYMENT or over:
        raise Refusal(Code.TOP_UP_ENDED, status=top_up.status.value)
    if top_up.checkout_url is not None:
        return top_up
    order = _order(top_up, settings=settings)
    try:
        checkout = gateway.create_checkout(order)
    except GatewayUnknownError as unknown:
        raise Refusal(Code.PAYMENT_SERVICE_UNAVAILABLE, top_up_id=str(top_up.id)) from unknown
    except GatewayRefusedError as refused:
        _remember_refusal(database, order=order, top_up_id=top_up.id, reason=refused.reason)
        raise Refusal(Code.PAYMENT_SERVICE_REFUSED, top_up_id=str(top_up.id)) from refused
    mismatches = compare(top_up, checkout, livemode=gateway.livemode)
    known = database.run(
        lambda session: service.remember_checkout(
            session, top_up_id=top_up.id, checkout=checkout, mismatches=mismatches
        )
    )
    if known.checkout_url is None:
        raise Refusal(Code.PAYMENT_SERVICE_UNAVAILABLE, top_up_id=str(top_up.id))
    return known


def look(database: Database, *, gateway: Gateway, top_up_id: UUID) -> Look:
    """Ask the payment service how a top-up stands and book what it says, as its own message would.

    Without an answer the top-up is given as it stands.
    """
    top_up = _read(database, top_up_id)
    if top_up.checkout_id is None or top_up.status is TopUpStatus.CREDITED:
        return Look(top_up=top_up, mismatches=())
    try:
        checkout = gateway.retrieve_checkout(top_up.checkout_id)
    except (GatewayUnknownError, GatewayRefusedError) as error:
        log.warning("look_failed", top_up=top_up.number, error=str(error))
        return Look(top_up=top_up, mismatches=())
    return _book_look(database, gateway=gateway, top_up=top_up, checkout=checkout)


def cancel(database: Database, *, gateway: Gateway, top_up_id: UUID) -> Look:
    """Close the payment page of a customer who changed her mind; a payment that came first is credited all the same."""
    top_up = _read(database, top_up_id)
    if top_up.checkout_id is None or top_up.status is not TopUpStatus.AWAITING_PAYMENT:
        return Look(top_up=top_up, mismatches=())
    try:
        checkout = gateway.expire_checkout(top_up.checkout_id)
    except GatewayRefusedError:
        return look(database, gateway=gateway, top_up_id=top_up_id)
    except GatewayUnknownError as unknown:
        raise Refusal(Code.PAYMENT_SERVICE_UNAVAILABLE, top_up_id=str(top_up_id)) from unknown
    return _book_look(database, gateway=gateway, top_up=top_up, checkout=checkout)


def deliver(database: Database, *, event: Event, livemode: bool) -> EventStatus:
    """Apply an event with its postings in one transaction; if that fails, keep it as failed and raise what happened."""
    try:
        return database.run(lambda session: receiving.apply_event(session, event, livemode=livemode, at=clock.now()))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        database.run(lambda session: receiving.remember_failure(session, event, reason=reason, at=clock.now()))
        raise


def poll_events(database: Database, settings: Settings) -> int:
    """Apply what the payment service lists and never delivered, and what could not be applied before; give how many.

    Without an answer of the payment service nothing is lost: the next poll begins where the last whole one ended.
    """
    if not settings.psp_api_key:
        return 0
    gateway = Stripe(settings)
    started_at = clock.real_now()
    with database.reader() as session:
        until = receiving.polled_until(session) or started_at - EVENTS_KEPT
        waiting = receiving.open_events(session, limit=POLL_BATCH)
    done = sum(_deliver_waiting(database, payload, livemode=gateway.livemode) for payload in waiting)
    listed = gateway.events_since(until - POLL_OVERLAP)
    try:
        while batch := list(itertools.islice(listed, POLL_BATCH)):
            done += _deliver_new(database, batch, livemode=gateway.livemode)
    except (GatewayUnknownError, GatewayRefusedError) as error:
        log.warning("poll_ended_early", error=str(error))
        return done
    database.run(lambda session: receiving.remember_poll(session, polled_until=started_at))
    return done


def compare(top_up: TopUp, checkout: Checkout, *, livemode: bool) -> tuple[str, ...]:
    """Name the fields in which a payment page is not what the top-up asked for."""
    pairs = {
        "top_up_number": (top_up.number, checkout.top_up_number),
        "amount_fen": (top_up.amount_fen, checkout.amount_fen),
        "currency": (CURRENCY, checkout.currency),
        "livemode": (livemode, checkout.livemode),
    }
    mismatches = tuple(name for name, (wanted, said) in pairs.items() if wanted != said)
    if mismatches:
        log.warning("checkout_mismatch", top_up=top_up.number, fields=mismatches)
    return mismatches


def _order(top_up: TopUp, *, settings: Settings) -> CheckoutOrder:
    if top_up.checkout_expires_at is None:
        raise AssertionError("an online top-up has the end of its page (ck_top_up_online_expires)")
    return CheckoutOrder(
        number=top_up.number,
        attempt=top_up.attempt,
        account_id=top_up.account_id,
        amount_fen=top_up.amount_fen,
        expires_at=top_up.checkout_expires_at,
        return_url=settings.public_url.rstrip("/") + RETURN_PATH.format(top_up_id=top_up.id),
    )


def _remember_refusal(database: Database, *, order: CheckoutOrder, top_up_id: UUID, reason: str) -> None:
    database.run(
        lambda session: service.remember_refusal(
            session, top_up_id=top_up_id, attempt=order.attempt, reason=reason, real_at=clock.real_now()
        )
    )


def _read(database: Database, top_up_id: UUID) -> TopUp:
    with database.reader() as session:
        top_up = session.get(TopUp, top_up_id)
        if top_up is None or top_up.method is not TopUpMethod.ONLINE:
            raise Refusal(Code.NOT_FOUND)
        return top_up


def _book_look(database: Database, *, gateway: Gateway, top_up: TopUp, checkout: Checkout) -> Look:
    fact = checkout.fact
    if fact is not None:
        database.run(lambda session: receiving.apply_fact(session, fact, livemode=gateway.livemode, at=clock.now()))
    mismatches = compare(top_up, checkout, livemode=gateway.livemode)
    return Look(top_up=_read(database, top_up.id), mismatches=mismatches)


def _deliver_new(database: Database, batch: list[Event], *, livemode: bool) -> int:
    with database.reader() as session:
        known = receiving.known_events(session, ids=[event.id for event in batch])
    return sum(_deliver_quietly(database, event, livemode=livemode) for event in batch if event.id not in known)


def _deliver_waiting(database: Database, payload: dict[str, object], *, livemode: bool) -> int:
    try:
        event = event_of(payload)
    except MalformedEventError as error:
        log.warning("event_unreadable", reason=str(error))
        return 0
    return _deliver_quietly(database, event, livemode=livemode)


def _deliver_quietly(database: Database, event: Event, *, livemode: bool) -> int:
    """Apply one event; one that fails stays behind as failed and does not keep the others waiting."""
    try:
        return int(deliver(database, event=event, livemode=livemode) is EventStatus.DONE)
    except (PostingError, sqlalchemy.exc.SQLAlchemyError) as error:
        log.warning("event_failed", event_id=event.id, error=type(error).__name__)
        return 0

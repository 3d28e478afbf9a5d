"""What the payment service says, turned into postings: any order and any repetition gives the same books.

Each message posts only the fact it names, under a key of that fact; see docs/explanation/topups.md.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import books
from app.cards.models import AccountStatus, CardAccount
from app.topups import postings
from app.topups.gateway import Event, Fact, FactKind
from app.topups.models import (
    EventStatus,
    PaymentOutcome,
    PaymentProblem,
    PspEvent,
    PspPayment,
    PspPoll,
    TopUp,
    TopUpEvent,
    TopUpMethod,
    TopUpStatus,
)
from app.topups.service import lock, move

CURRENCY = "cny"
FINAL = (EventStatus.DONE, EventStatus.IGNORED)
REASON_LENGTH_MAX = 200

log = structlog.get_logger(__name__)


def apply_event(session: Session, event: Event, *, livemode: bool, at: datetime) -> EventStatus:
    """Book what an event says, and mark it done, in this one transaction; an event that is done stays as it is.

    `livemode` says whether this site takes real money. Raises PostingError.
    """
    row = _event_row(session, event, at=at)
    if row.status in FINAL:
        return row.status
    if event.fact is None:
        row.status, row.reason = EventStatus.IGNORED, "does not concern a top-up"
    else:
        apply_fact(session, event.fact, livemode=livemode, at=at)
        row.status, row.reason = EventStatus.DONE, ""
    return row.status


def remember_failure(session: Session, event: Event, *, reason: str, at: datetime) -> None:
    """Keep an event that could not be applied, so that a person sees it and a later delivery tries again."""
    row = _event_row(session, event, at=at)
    if row.status not in FINAL:
        row.status, row.reason = EventStatus.FAILED, reason[:REASON_LENGTH_MAX]


def open_events(session: Session, *, limit: int) -> list[dict[str, Any]]:
    """Give the messages that were seen but could not be applied, oldest first."""
    wanted = select(PspEvent.payload).where(PspEvent.status.in_((EventStatus.RECEIVED, EventStatus.FAILED)))
    return list(session.scalars(wanted.order_by(PspEvent.received_at).limit(limit)))


def known_events(session: Session, *, ids: Iterable[str]) -> set[str]:
    """Give those of the ids whose events need nothing more."""
    wanted = select(PspEvent.id).where(PspEvent.id.in_(list(ids)), PspEvent.status.in_(FINAL))
    return set(session.scalars(wanted))


def polled_until(session: Session) -> datetime | None:
    """Give the moment up to which the list of events was read to its end, in real time."""
    return session.scalar(select(PspPoll.polled_until))


def remember_poll(session: Session, *, polled_until: datetime) -> None:
    """Write down that the list of events was read up to this moment."""
    row = insert(PspPoll).values(id=1, polled_until=polled_until)
    session.execute(row.on_conflict_do_update(index_elements=[PspPoll.id], set_={"polled_until": polled_until}))


def apply_fact(session: Session, fact: Fact, *, livemode: bool, at: datetime) -> None:
    """Book what the payment service says about one top-up, whether it told us or we looked. Raises PostingError."""
    match fact.kind:
        case FactKind.PAID:
            _receive(session, fact, livemode=livemode, at=at)
        case FactKind.PAYMENT_FAILED:
            _end(session, fact, TopUpEvent.PAYMENT_FAILED, livemode=livemode, at=at)
        case FactKind.CHECKOUT_EXPIRED:
            _end(session, fact, TopUpEvent.CHECKOUT_EXPIRED, livemode=livemode, at=at)
        case FactKind.NOT_PAID_YET:
            pass  # no money has moved; the message that says so will come


def _receive(session: Session, fact: Fact, *, livemode: bool, at: datetime) -> None:
    key = f"pi:{fact.payment_intent}:credit" if fact.payment_intent else f"cs:{fact.checkout_id}:credit"
    # Messages about one payment queue here, so that only the first of them books it.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
    payment = session.scalar(select(PspPayment).where(PspPayment.key == key))
    if payment is not None and payment.outcome is not PaymentOutcome.NOT_BOOKED:
        _compare(payment, fact)
        return
    top_up = lock(session, TopUp.number == fact.top_up_number)
    payment = payment or PspPayment(key=key, received_at=at)
    payment.top_up_id = top_up.id if top_up is not None else None
    payment.top_up_number = fact.top_up_number
    payment.amount_fen = fact.amount_fen
    payment.currency = fact.currency or ""
    payment.livemode = fact.livemode
    payment.problem = _unbookable(fact, livemode=livemode) or _misfit(session, fact, top_up)
    payment.outcome = _outcome(payment.problem)
    if payment.outcome is PaymentOutcome.CREDITED and top_up is not None:
        _credit(session, top_up, fact, key=key, at=at)
    elif payment.outcome is PaymentOutcome.UNIDENTIFIED and fact.amount_fen is not None:
        postings.set_aside(session, _voucher(fact, key=key, at=at), amount_fen=fact.amount_fen)
    if payment.problem is not None:
        log.warning("payment_problem", key=key, top_up=fact.top_up_number, problem=payment.problem)
    session.add(payment)
    session.flush()


def _credit(session: Session, top_up: TopUp, fact: Fact, *, key: str, at: datetime) -> None:
    postings.credit_account(
        session,
        _voucher(fact, key=key, at=at),
        account_id=top_up.account_id,
        amount_fen=top_up.amount_fen,
        method=TopUpMethod.ONLINE,
    )
    move(top_up, TopUpEvent.PAID, at=at)
    top_up.payment_intent = fact.payment_intent
    top_up.checkout_id = top_up.checkout_id or fact.checkout_id


def _unbookable(fact: Fact, *, livemode: bool) -> PaymentProblem | None:
    """Say why nothing can be booked at all: the message names no money of ours."""
    if fact.livemode is not livemode:
        return PaymentProblem.OTHER_MODE
    if fact.payment_intent is None:
        return PaymentProblem.NO_PAYMENT_INTENT
    if fact.amount_fen is None or fact.amount_fen <= 0:
        return PaymentProblem.NO_AMOUNT
    if fact.currency != CURRENCY:
        return PaymentProblem.OTHER_CURRENCY
    return None


def _misfit(session: Session, fact: Fact, top_up: TopUp | None) -> PaymentProblem | None:
    """Say why real money cannot go to the account it names."""
    if top_up is None or top_up.method is not TopUpMethod.ONLINE:
        return PaymentProblem.UNKNOWN_TOP_UP
    if top_up.status is TopUpStatus.CREDITED:
        return PaymentProblem.PAID_BEFORE
    if fact.amount_fen != top_up.amount_fen:
        return PaymentProblem.OTHER_AMOUNT
    if session.get_one(CardAccount, top_up.account_id).status is AccountStatus.CLOSED:
        return PaymentProblem.ACCOUNT_CLOSED
    return None


def _outcome(problem: PaymentProblem | None) -> PaymentOutcome:
    if problem is None:
        return PaymentOutcome.CREDITED
    misfits = (
        PaymentProblem.UNKNOWN_TOP_UP,
        PaymentProblem.PAID_BEFORE,
        PaymentProblem.OTHER_AMOUNT,
        PaymentProblem.ACCOUNT_CLOSED,
    )
    return PaymentOutcome.UNIDENTIFIED if problem in misfits else PaymentOutcome.NOT_BOOKED


def _compare(payment: PspPayment, fact: Fact) -> None:
    """Two messages about one payment that disagree are for a person; the books keep what was booked first."""
    said = (fact.top_up_number, fact.amount_fen, fact.currency, fact.livemode)
    if said != (payment.top_up_number, payment.amount_fen, payment.currency, payment.livemode):
        log.warning("payment_contradicted", key=payment.key, amount_fen=fact.amount_fen)
        payment.problem = payment.problem or PaymentProblem.CONTRADICTION


def _end(session: Session, fact: Fact, event: TopUpEvent, *, livemode: bool, at: datetime) -> None:
    top_up = lock(session, TopUp.number == fact.top_up_number)
    if top_up is None or fact.livemode is not livemode:
        log.info("payment_message_without_top_up", top_up=fact.top_up_number, kind=fact.kind)
        return
    # The end of the page of an earlier attempt says nothing about the present one.
    if fact.checkout_id == (top_up.checkout_id or fact.checkout_id):
        move(top_up, event, at=at)


def _voucher(fact: Fact, *, key: str, at: datetime) -> books.Voucher:
    return books.Voucher(
        key=key,
        reference=fact.top_up_number,
        text=f"线上充值 {fact.top_up_number} 支付单 {fact.payment_intent}",
        actor="system:payment_service",
        value_at=at,
    )


def _event_row(session: Session, event: Event, *, at: datetime) -> PspEvent:
    """Give the row of an event, made now if need be, locked so that parallel deliveries of it queue."""
    session.execute(
        insert(PspEvent)
        .values(
            id=event.id,
            type=event.type,
            created_at=event.created_at,
            api_version=event.api_version,
            livemode=event.livemode,
            payload=event.payload,
            status=EventStatus.RECEIVED,
            received_at=at,
        )
        .on_conflict_do_nothing(index_elements=[PspEvent.id])
    )
    return session.get_one(PspEvent, event.id, with_for_update=True, populate_existing=True)

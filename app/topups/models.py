"""Top-ups at the counter and online, and what the payment service told us."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.cards.models import CardAccount
from app.db import Base
from app.people.models import Moment, Person


class TopUpMethod(StrEnum):
    CASH = "cash"
    BANK_TRANSFER = "bank_transfer"
    ONLINE = "online"


class TopUpStatus(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    AWAITING_PAYMENT = "awaiting_payment"
    CREDITED = "credited"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"


class TopUpEvent(StrEnum):
    """What can happen to a top-up after it was begun."""

    APPROVED = "approved"
    REFUSED = "refused"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    CHECKOUT_EXPIRED = "checkout_expired"


# A pair that is not here leaves the status as it is. The rows of online top-ups form an order (paid over failed over
# expired), so the messages of the payment service may come in any order and as often as they like.
TRANSITIONS: dict[tuple[TopUpStatus, TopUpEvent], TopUpStatus] = {
    (TopUpStatus.AWAITING_APPROVAL, TopUpEvent.APPROVED): TopUpStatus.CREDITED,
    (TopUpStatus.AWAITING_APPROVAL, TopUpEvent.REFUSED): TopUpStatus.REJECTED,
    (TopUpStatus.AWAITING_PAYMENT, TopUpEvent.CHECKOUT_EXPIRED): TopUpStatus.EXPIRED,
    (TopUpStatus.AWAITING_PAYMENT, TopUpEvent.PAYMENT_FAILED): TopUpStatus.FAILED,
    (TopUpStatus.AWAITING_PAYMENT, TopUpEvent.PAID): TopUpStatus.CREDITED,
    (TopUpStatus.EXPIRED, TopUpEvent.PAYMENT_FAILED): TopUpStatus.FAILED,
    (TopUpStatus.EXPIRED, TopUpEvent.PAID): TopUpStatus.CREDITED,
    (TopUpStatus.FAILED, TopUpEvent.PAID): TopUpStatus.CREDITED,
}


class TopUp(Base):
    """Money on its way into a card account."""

    __tablename__ = "top_up"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("checker_id IS NULL OR checker_id <> maker_id", name="two_people"),
        Index(
            "uq_top_up_bank_reference",
            "bank_reference",
            unique=True,
            postgresql_where=text("bank_reference IS NOT NULL AND status <> 'rejected'"),
        ),
        CheckConstraint("(method = 'bank_transfer') = (bank_reference IS NOT NULL)", name="bank_reference_given"),
        CheckConstraint("(method = 'online') = (checkout_expires_at IS NOT NULL)", name="online_expires"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(CardAccount.id), index=True)
    amount_fen: Mapped[int]
    method: Mapped[TopUpMethod]
    status: Mapped[TopUpStatus]
    maker_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    checker_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    bank_reference: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    """Part of the idempotency key at the payment service; a definite refusal needs a new one."""
    checkout_id: Mapped[str | None] = mapped_column(unique=True)
    checkout_url: Mapped[str | None]
    payment_intent: Mapped[str | None] = mapped_column(unique=True)
    checkout_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    """When the payment page closes. Of an attempt it never changes, for the same idempotency key needs the same
    request. In real time, as the payment service reckons it, also where the site's own clock is simulated."""
    reason: Mapped[str] = mapped_column(server_default="")
    """Why the checker rejected it, or what the payment service said."""
    created_at: Mapped[datetime] = mapped_column(Moment)
    decided_at: Mapped[datetime | None] = mapped_column(Moment)

    account: Mapped[CardAccount] = relationship()
    maker: Mapped[Person] = relationship(foreign_keys=maker_id)
    checker: Mapped[Person | None] = relationship(foreign_keys=checker_id)


class EventStatus(StrEnum):
    RECEIVED = "received"
    DONE = "done"
    IGNORED = "ignored"
    FAILED = "failed"


class PspEvent(Base):
    """An event of the payment service; it, its postings and `done` commit together."""

    __tablename__ = "psp_event"
    __table_args__ = (
        Index("ix_psp_event_open", "received_at", postgresql_where=text("status IN ('received', 'failed')")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Moment)
    api_version: Mapped[str]
    livemode: Mapped[bool]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[EventStatus]
    reason: Mapped[str] = mapped_column(server_default="")
    received_at: Mapped[datetime] = mapped_column(Moment)


class PaymentOutcome(StrEnum):
    """Where the money of a payment went in the books."""

    CREDITED = "credited"
    UNIDENTIFIED = "unidentified"
    NOT_BOOKED = "not_booked"


class PaymentProblem(StrEnum):
    """Why a payment was not simply credited; a person of finance must look at each."""

    NO_PAYMENT_INTENT = "no_payment_intent"
    NO_AMOUNT = "no_amount"
    OTHER_CURRENCY = "other_currency"
    OTHER_MODE = "other_mode"
    UNKNOWN_TOP_UP = "unknown_top_up"
    OTHER_AMOUNT = "other_amount"
    PAID_BEFORE = "paid_before"
    ACCOUNT_CLOSED = "account_closed"
    CONTRADICTION = "contradiction"


class PspPayment(Base):
    """A payment the service told us of: one row a payment, whatever the number and order of its messages."""

    __tablename__ = "psp_payment"
    __table_args__ = (
        CheckConstraint("outcome = 'not_booked' OR amount_fen > 0", name="booked_amount"),
        CheckConstraint("outcome <> 'credited' OR top_up_id IS NOT NULL", name="credited_has_top_up"),
        CheckConstraint("outcome = 'credited' OR problem IS NOT NULL", name="problem_named"),
        Index("ix_psp_payment_problem", "received_at", postgresql_where=text("problem IS NOT NULL")),
        # Two payments of one top-up: one is credited, the other is unidentified.
        Index("uq_psp_payment_credited", "top_up_id", unique=True, postgresql_where=text("outcome = 'credited'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    """pi:{payment intent}:credit, also the key of its posting."""
    top_up_id: Mapped[UUID | None] = mapped_column(ForeignKey(TopUp.id))
    top_up_number: Mapped[str]
    """What the payment service said it is for; there may be no such top-up."""
    amount_fen: Mapped[int | None]
    currency: Mapped[str]
    livemode: Mapped[bool]
    outcome: Mapped[PaymentOutcome]
    problem: Mapped[PaymentProblem | None]
    received_at: Mapped[datetime] = mapped_column(Moment)

    top_up: Mapped[TopUp | None] = relationship()


class PspPoll(Base):
    """One row: up to when we have asked the payment service for its events, whatever it delivered by itself."""

    __tablename__ = "psp_poll"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    polled_until: Mapped[datetime] = mapped_column(Moment)
    """In the payment service's time, which is real time."""

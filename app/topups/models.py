"""Top-ups at the counter and online, and what the payment service told us."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
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

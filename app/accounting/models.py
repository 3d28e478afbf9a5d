"""Vouchers that a person of finance drafted, until another person decides; what was posted is in the ledger."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.books import BookRole
from app.db import Base
from app.people.models import Moment, Person


class DraftKind(StrEnum):
    MANUAL = "manual"
    REVERSAL = "reversal"


class DraftStatus(StrEnum):
    WAITING = "waiting"
    POSTED = "posted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    """By the ledger: what it asks for could not be posted."""


class DraftEvent(StrEnum):
    """What can happen to a draft."""

    APPROVED = "approved"
    DECLINED = "declined"
    TAKEN_BACK = "taken_back"
    LEDGER_REFUSED = "ledger_refused"


# A decided draft stays as it is; whoever wants it otherwise drafts anew.
TRANSITIONS: dict[tuple[DraftStatus, DraftEvent], DraftStatus] = {
    (DraftStatus.WAITING, DraftEvent.APPROVED): DraftStatus.POSTED,
    (DraftStatus.WAITING, DraftEvent.DECLINED): DraftStatus.REJECTED,
    (DraftStatus.WAITING, DraftEvent.TAKEN_BACK): DraftStatus.WITHDRAWN,
    (DraftStatus.WAITING, DraftEvent.LEDGER_REFUSED): DraftStatus.REFUSED,
}


class VoucherDraft(Base):
    """A voucher by two people: one drafts it, another one decides. Its content is written once (a trigger)."""

    __tablename__ = "voucher_draft"
    __table_args__ = (
        CheckConstraint("checker_id IS NULL OR checker_id <> maker_id", name="two_people"),
        CheckConstraint("(kind = 'reversal') = (reverses_id IS NOT NULL)", name="reversal_named"),
        CheckConstraint("(status = 'posted') = (journal_id IS NOT NULL)", name="posted_has_journal"),
        Index(
            "uq_voucher_draft_reverses_id",
            "reverses_id",
            unique=True,
            postgresql_where=text("status IN ('waiting', 'posted')"),
        ),
        Index("ix_voucher_draft_waiting", "value_at", postgresql_where=text("status = 'waiting'")),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[DraftKind]
    status: Mapped[DraftStatus]
    text: Mapped[str]
    value_at: Mapped[datetime] = mapped_column(Moment)
    """The beginning of the day for which it counts, in the site's zone."""
    reverses_id: Mapped[UUID | None]
    maker_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    checker_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    reason: Mapped[str] = mapped_column(server_default="")
    """Why the checker rejected it, or what the ledger said."""
    journal_id: Mapped[UUID | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(Moment)
    decided_at: Mapped[datetime | None] = mapped_column(Moment)

    maker: Mapped[Person] = relationship(foreign_keys=maker_id)
    checker: Mapped[Person | None] = relationship(foreign_keys=checker_id)
    lines: Mapped[list["VoucherDraftLine"]] = relationship(order_by="VoucherDraftLine.position")


class VoucherDraftLine(Base):
    """One line of a manual voucher: an amount on the debit or on the credit side of one account."""

    __tablename__ = "voucher_draft_line"
    __table_args__ = (
        CheckConstraint("debit_fen >= 0 AND credit_fen >= 0 AND (debit_fen = 0) <> (credit_fen = 0)", name="one_side"),
    )

    draft_id: Mapped[UUID] = mapped_column(ForeignKey(VoucherDraft.id), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[BookRole]
    owner_id: Mapped[int]
    debit_fen: Mapped[int]
    credit_fen: Mapped[int]

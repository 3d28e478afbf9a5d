"""Verdicts over charges and the verified usage records they lead to."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.instruments.models import CustomerClass, Instrument
from app.people.models import Moment, Person
from app.sessions.models import CardSession


class ChargeVerdict(StrEnum):
    """What reconciliation says of a charge (telemetry.md, Reconciliation)."""

    MATCHED = "matched"
    MATCHED_SPLIT = "matched_split"
    MATCHED_SHARED = "matched_shared"
    OVER_CHARGED = "over_charged"
    UNDER_CHARGED = "under_charged"
    PHANTOM = "phantom"
    NO_EVIDENCE = "no_evidence"
    BOX_SUSPECT = "box_suspect"
    PROVISIONAL = "provisional"
    EXEMPT = "exempt"


class BoxVerdictKind(StrEnum):
    """What reconciliation says of a run that a collector box saw (telemetry.md, Reconciliation)."""

    COVERED = "covered"
    UNPAID = "unpaid"
    UNPAID_HEAD = "unpaid_head"
    UNPAID_TAIL = "unpaid_tail"
    BELOW_MINIMUM = "below_minimum"
    BOX_SUSPECT = "box_suspect"
    PROVISIONAL = "provisional"


UNPAID_USE = frozenset({BoxVerdictKind.UNPAID, BoxVerdictKind.UNPAID_HEAD, BoxVerdictKind.UNPAID_TAIL})
VERIFYING = frozenset({ChargeVerdict.MATCHED, ChargeVerdict.MATCHED_SPLIT, ChargeVerdict.MATCHED_SHARED})


class Review(StrEnum):
    """What a person said after looking at a charge that did not verify."""

    VERIFIED = "verified"
    UPHELD = "upheld"


class Verdict(Base):
    """One decision over one charge; a newer version supersedes it, nothing edits it (a trigger sees to that)."""

    __tablename__ = "verdict"
    __table_args__ = (
        Index(None, "session_id", "version", unique=True),
        Index("uq_verdict_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
        CheckConstraint("num_nonnulls(review, reviewed_by_id, review_note) IN (0, 3)", name="review_is_whole"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id))
    version: Mapped[int]
    verdict: Mapped[ChargeVerdict]
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Ids and versions of the collector sessions, coverage, tolerance, sums: enough to decide again."""
    algorithm_version: Mapped[int]
    tolerance_s: Mapped[int]
    overlap_s: Mapped[int]
    charge_only_s: Mapped[int]
    box_only_s: Mapped[int]
    decided_at: Mapped[datetime] = mapped_column(Moment)
    superseded_at: Mapped[datetime | None] = mapped_column(Moment)
    review: Mapped[Review | None]
    """A person's word on this version; new evidence makes a new version, and the word is asked for again."""
    reviewed_by_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    review_note: Mapped[str | None]

    session: Mapped[CardSession] = relationship()
    reviewed_by: Mapped[Person | None] = relationship()

    @property
    def verifies(self) -> bool:
        """Say whether this verdict makes the use a verified one."""
        return self.verdict in VERIFYING or self.review is Review.VERIFIED


class UsageRecord(Base):
    """A verified usage record (核实使用记录): the one source for subsidy, appraisal, statistics and reports."""

    __tablename__ = "usage_record"
    __table_args__ = (
        Index("uq_usage_record_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
        Index("ix_usage_record_account_id_started_at", "account_id", "started_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id), index=True)
    verdict_id: Mapped[int] = mapped_column(ForeignKey(Verdict.id))
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    account_id: Mapped[int]
    customer_class: Mapped[CustomerClass]
    external: Mapped[bool]
    """对外服务: for another, unrelated unit."""
    started_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime] = mapped_column(Moment)
    charged_s: Mapped[int]
    effective_s: Mapped[int]
    amount_fen: Mapped[int]
    paid_principal_fen: Mapped[int]
    paid_subsidy_fen: Mapped[int]
    verified_at: Mapped[datetime] = mapped_column(Moment)
    superseded_at: Mapped[datetime | None] = mapped_column(Moment)

    session: Mapped[CardSession] = relationship()
    instrument: Mapped[Instrument] = relationship()
    verdict: Mapped[Verdict] = relationship()


class BoxVerdict(Base):
    """One decision over one collector session: whether somebody paid for what the box saw."""

    __tablename__ = "box_verdict"
    __table_args__ = (
        Index(
            "uq_box_verdict_current",
            "collector_session_id",
            "instrument_id",
            unique=True,
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(
            "ix_box_verdict_unpaid",
            "instrument_id",
            "started_at",
            postgresql_where=text("superseded_at IS NULL AND verdict IN ('unpaid', 'unpaid_head', 'unpaid_tail')"),
        ),
        Index("ix_box_verdict_instrument_id_started_at", "instrument_id", "started_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    collector_session_id: Mapped[int]
    """The id in telemetry; with its version it names the evidence."""
    collector_version: Mapped[int]
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    started_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime] = mapped_column(Moment)
    verdict: Mapped[BoxVerdictKind]
    overlap_s: Mapped[int]
    box_only_s: Mapped[int]
    head_s: Mapped[int]
    tail_s: Mapped[int]
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    algorithm_version: Mapped[int]
    decided_at: Mapped[datetime] = mapped_column(Moment)
    superseded_at: Mapped[datetime | None] = mapped_column(Moment)

    instrument: Mapped[Instrument] = relationship()


class DueStretch(Base):
    """A stretch of an instrument's time that is to be reconciled; the row goes when it was."""

    __tablename__ = "reconciliation_due"

    key: Mapped[str] = mapped_column(primary_key=True)
    """What asked for it: charge:<id> or run:<collector session>."""
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    from_at: Mapped[datetime] = mapped_column(Moment)
    until_at: Mapped[datetime] = mapped_column(Moment)
    due_at: Mapped[datetime] = mapped_column(Moment, index=True)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))


class FeedCursor(Base):
    """How far a feed of changes was read; its lock lets one worker at a time read on."""

    __tablename__ = "feed_cursor"

    feed: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]

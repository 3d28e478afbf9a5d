"""Verdicts over charges and the verified usage records they lead to."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.instruments.models import CustomerClass, Instrument
from app.people.models import Moment
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


class Verdict(Base):
    """One decision over one charge; a newer version supersedes it, nothing edits it."""

    __tablename__ = "verdict"
    __table_args__ = (
        Index(None, "session_id", "version", unique=True),
        Index("uq_verdict_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
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

    session: Mapped[CardSession] = relationship()


class UsageRecord(Base):
    """A verified usage record (核实使用记录): the one source for subsidy, appraisal, statistics and reports."""

    __tablename__ = "usage_record"
    __table_args__ = (
        Index("uq_usage_record_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
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

"""Funds, rule sets and the decisions they led to."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.people.models import Moment, Organisation, Person
from app.reconciliation.models import UsageRecord


class Fund(Base):
    """A subsidy fund; its money is a ledger account that can never be overspent."""

    __tablename__ = "fund"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    budget_fen_per_year: Mapped[int]


class RuleSet(Base):
    """A published subsidy rule as data, one version of it; only its end may be set later (a trigger sees to that)."""

    __tablename__ = "rule_set"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="order"),
        Index(None, "code", "version", unique=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str]
    version: Mapped[int]
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    fund_id: Mapped[int] = mapped_column(ForeignKey(Fund.id))
    source: Mapped[str]

    fund: Mapped[Fund] = relationship()


class DecisionStatus(StrEnum):
    GRANTED = "granted"
    ZERO = "zero"
    CLAWED_BACK = "clawed_back"


class Decision(Base):
    """What a rule set gave for a verified record, also when it gave nothing; can be re-run to the same result."""

    __tablename__ = "subsidy_decision"
    __table_args__ = (
        CheckConstraint("amount_fen >= 0", name="amount_not_negative"),
        CheckConstraint("(amount_fen > 0) = (status <> 'zero')", name="zero_is_zero"),
        CheckConstraint("(amount_fen > 0) = (journal_id IS NOT NULL)", name="amount_is_posted"),
        CheckConstraint(
            "(status = 'clawed_back') = (clawed_back_at IS NOT NULL)"
            " AND (clawed_back_at IS NULL) = (claw_back_journal_id IS NULL)",
            name="claw_back_is_whole",
        ),
        # What caps and budgets add up.
        Index("ix_subsidy_decision_granted", "organisation_id", "year", postgresql_where=text("status = 'granted'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    usage_record_id: Mapped[int] = mapped_column(ForeignKey(UsageRecord.id), unique=True)
    rule_set_id: Mapped[int] = mapped_column(ForeignKey(RuleSet.id), index=True)
    account_id: Mapped[int] = mapped_column(index=True)
    organisation_id: Mapped[int | None]
    """Of the account's owner on the day of the decision; caps per organisation add up by it."""
    project_id: Mapped[int | None]
    year: Mapped[int]
    """The calendar year of the use, as the authority counts."""
    inputs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    trace: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    reason: Mapped[str]
    amount_fen: Mapped[int]
    status: Mapped[DecisionStatus]
    journal_id: Mapped[UUID | None]
    decided_at: Mapped[datetime] = mapped_column(Moment)
    clawed_back_at: Mapped[datetime | None] = mapped_column(Moment)
    claw_back_journal_id: Mapped[UUID | None]

    usage_record: Mapped[UsageRecord] = relationship()
    rule_set: Mapped[RuleSet] = relationship()


class RelatedParty(Base):
    """Two organisations that are related (关联方): use of one's instruments by the other earns no subsidy."""

    __tablename__ = "related_party"
    __table_args__ = (
        CheckConstraint("organisation_id < other_id", name="written_once"),
        Index(None, "organisation_id", "other_id", unique=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey(Organisation.id))
    other_id: Mapped[int] = mapped_column(ForeignKey(Organisation.id))
    source: Mapped[str]
    recorded_by_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    recorded_at: Mapped[datetime] = mapped_column(Moment)

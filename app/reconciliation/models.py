"""Verdicts over charges, the usage records they lead to, and what people and policies make of the exceptions."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.cards.models import CardAccount
from app.db import Base
from app.instruments.models import CustomerClass, Instrument, SubCenter
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
    MAINTENANCE = "maintenance"
    BACKGROUND = "background"
    BELOW_MINIMUM = "below_minimum"
    BOX_SUSPECT = "box_suspect"
    PROVISIONAL = "provisional"


UNPAID_USE = frozenset({BoxVerdictKind.UNPAID, BoxVerdictKind.UNPAID_HEAD, BoxVerdictKind.UNPAID_TAIL})
VERIFYING = frozenset({ChargeVerdict.MATCHED, ChargeVerdict.MATCHED_SPLIT, ChargeVerdict.MATCHED_SHARED})


class Review(StrEnum):
    """What a person said after looking at a charge that did not verify."""

    VERIFIED = "verified"
    UPHELD = "upheld"
    ADJUSTED = "adjusted"
    """Money went back, and what is left is not verified."""
    ADJUSTED_VERIFIED = "adjusted_verified"
    """Money went back, and what is left is verified."""


ADJUSTING = frozenset({Review.ADJUSTED, Review.ADJUSTED_VERIFIED})
REVIEWED_TRUE = frozenset({Review.VERIFIED, Review.ADJUSTED_VERIFIED})


class Verdict(Base):
    """One decision over one charge; a newer version supersedes it, nothing edits it (a trigger sees to that)."""

    __tablename__ = "verdict"
    __table_args__ = (
        Index(None, "session_id", "version", unique=True),
        Index("uq_verdict_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
        # What waits for a policy or a person: few among all verdicts, and looked for every few seconds.
        Index(
            "ix_verdict_waiting",
            "verdict",
            "id",
            postgresql_where=text(
                "superseded_at IS NULL AND review IS NULL"
                " AND verdict NOT IN ('matched', 'matched_split', 'matched_shared')"
            ),
        ),
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
        return self.verdict in VERIFYING or self.review in REVIEWED_TRUE


class UsageRecord(Base):
    """A version of a verified usage record (核实使用记录): the one source for subsidy, appraisal, statistics, reports.

    Written once and sealed with the books; what changes is a next version, which supersedes this one. A version that is
    `withdrawn` says that the use is verified no longer, and never holds. `superseded_at` is None of what holds now.
    """

    __tablename__ = "usage_record"
    __table_args__ = (
        Index(None, "session_id", "version", unique=True),
        Index("uq_usage_record_current", "session_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
        Index("ix_usage_record_account_id_started_at", "account_id", "started_at"),
        Index(None, "instrument_id", "ended_at"),
        Index(None, "ended_at", "id"),
        Index("ix_usage_record_holding", "verified_at", postgresql_where=text("superseded_at IS NULL")),
        CheckConstraint("NOT withdrawn OR superseded_at IS NOT NULL", name="withdrawn_never_holds"),
        CheckConstraint("(version = 1) = (previous_digest IS NULL)", name="chain"),
        CheckConstraint("amount_fen = paid_principal_fen + paid_subsidy_fen", name="amount_is_what_was_paid"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    document_id: Mapped[UUID] = mapped_column(unique=True)
    """Under which the books know the hash of this version."""
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id))
    version: Mapped[int]
    previous_digest: Mapped[bytes | None]
    """The hash of the version before: whoever has the newest one holds all of them."""
    withdrawn: Mapped[bool]
    verdict_id: Mapped[int] = mapped_column(ForeignKey(Verdict.id))
    verdict_kind: Mapped[ChargeVerdict]
    verified_by: Mapped[str | None]
    """The login name of the person whose word verified the use; None: box and card alone did."""
    algorithm_version: Mapped[int]
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Collector sessions, verdict and tariffs it rests on, with their versions."""
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    instrument_code: Mapped[str]
    group_id: Mapped[int]
    unit_id: Mapped[int]
    unit_code: Mapped[str]
    sub_center_id: Mapped[int | None]
    """The instrument's home when the use was verified; it may move later."""
    sub_center_code: Mapped[str | None]
    account_id: Mapped[int]
    account_number: Mapped[str]
    customer_class: Mapped[CustomerClass]
    external: Mapped[bool]
    """对外服务: for another, unrelated unit."""
    started_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime] = mapped_column(Moment)
    charged_s: Mapped[int]
    effective_s: Mapped[int]
    """有效机时: warm-up, test and after-treatment within the charge."""
    running_s: Mapped[int]
    """What the use's own runs lie within the charge."""
    overlap_s: Mapped[int]
    """What any run lies within the charge."""
    energy_wh: Mapped[int]
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
    """What asked for it: charge:<id>, run:<collector session>:<instrument> or rule:<id>:<week>."""
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


class RuleKind(StrEnum):
    """What a silence rule says of an instrument's time."""

    MAINTENANCE = "maintenance"
    """Nobody owes for what runs then."""
    BACKGROUND = "background"
    """The instrument runs by itself then, up to a length."""
    QUIET = "quiet"
    """The box is normally silent then: nothing waits for it. Silence stays unknown, it never becomes off."""
    EXEMPT = "exempt"
    """Charges that begin then are not compared with the box."""


class SilenceRule(Base):
    """What is normal at one instrument, by a named person: for good, for a time, or weekly in the site's zone."""

    __tablename__ = "silence_rule"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="order"),
        CheckConstraint("num_nonnulls(weekdays, from_minute, until_minute) IN (0, 3)", name="week_is_whole"),
        CheckConstraint("weekdays BETWEEN 1 AND 127", name="weekdays_range"),
        CheckConstraint("from_minute BETWEEN 0 AND 1439 AND until_minute BETWEEN 0 AND 1440", name="minutes_range"),
        CheckConstraint("(kind = 'background') = (run_s_max IS NOT NULL)", name="background_is_bounded"),
        CheckConstraint("num_nonnulls(ended_by_id, ended_at) IN (0, 2)", name="end_is_whole"),
        Index(None, "instrument_id", "valid_from"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    kind: Mapped[RuleKind]
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)
    weekdays: Mapped[int | None]
    """Bit 0 is Monday; None: the whole time from valid_from on."""
    from_minute: Mapped[int | None]
    until_minute: Mapped[int | None]
    """Of the day at the site; not after from_minute: on the next day."""
    run_s_max: Mapped[int | None]
    note: Mapped[str]
    made_by_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    made_at: Mapped[datetime] = mapped_column(Moment)
    ended_by_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    ended_at: Mapped[datetime | None] = mapped_column(Moment)

    instrument: Mapped[Instrument] = relationship()
    made_by: Mapped[Person] = relationship(foreign_keys=made_by_id)
    ended_by: Mapped[Person | None] = relationship(foreign_keys=ended_by_id)


class PolicyStatus(StrEnum):
    WAITING = "waiting"
    PUBLISHED = "published"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class PolicyStep(StrEnum):
    """What can happen to a drafted policy."""

    APPROVED = "approved"
    DECLINED = "declined"
    TAKEN_BACK = "taken_back"


POLICY_TRANSITIONS: dict[tuple[PolicyStatus, PolicyStep], PolicyStatus] = {
    (PolicyStatus.WAITING, PolicyStep.APPROVED): PolicyStatus.PUBLISHED,
    (PolicyStatus.WAITING, PolicyStep.DECLINED): PolicyStatus.REJECTED,
    (PolicyStatus.WAITING, PolicyStep.TAKEN_BACK): PolicyStatus.WITHDRAWN,
}


class Policy(Base):
    """What follows from each verdict, as data: a version by two people, for one sub-center or for all others."""

    __tablename__ = "reconciliation_policy"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="order"),
        CheckConstraint("decided_by_id IS NULL OR decided_by_id <> drafted_by_id", name="two_people"),
        CheckConstraint("status <> 'published' OR decided_by_id IS NOT NULL", name="published_by_a_second_person"),
        Index(None, "sub_center_id", "version", unique=True, postgresql_nulls_not_distinct=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    sub_center_id: Mapped[int | None] = mapped_column(ForeignKey(SubCenter.id))
    version: Mapped[int]
    status: Mapped[PolicyStatus]
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    note: Mapped[str]
    drafted_by_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    drafted_at: Mapped[datetime] = mapped_column(Moment)
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    decided_at: Mapped[datetime | None] = mapped_column(Moment)

    sub_center: Mapped[SubCenter | None] = relationship()
    drafted_by: Mapped[Person] = relationship(foreign_keys=drafted_by_id)
    decided_by: Mapped[Person | None] = relationship(foreign_keys=decided_by_id)


class ContestStatus(StrEnum):
    CONTESTED = "contested"
    UPHELD = "upheld"
    ADJUSTED = "adjusted"
    WITHDRAWN = "withdrawn"


class ContestStep(StrEnum):
    """What can happen to a contest."""

    UPHOLD = "uphold"
    ADJUST = "adjust"
    TAKE_BACK = "take_back"


CONTEST_TRANSITIONS: dict[tuple[ContestStatus, ContestStep], ContestStatus] = {
    (ContestStatus.CONTESTED, ContestStep.UPHOLD): ContestStatus.UPHELD,
    (ContestStatus.CONTESTED, ContestStep.ADJUST): ContestStatus.ADJUSTED,
    (ContestStatus.CONTESTED, ContestStep.TAKE_BACK): ContestStatus.WITHDRAWN,
}


class Contest(Base):
    """A customer's word against a charge, and the answer of those who run the instrument."""

    __tablename__ = "contest"
    __table_args__ = (
        CheckConstraint("num_nonnulls(answered_by_id, answered_at, answer) IN (0, 3)", name="answer_is_whole"),
        CheckConstraint("(status IN ('upheld', 'adjusted')) = (answer IS NOT NULL)", name="answered_has_answer"),
        # A charge is contested once; who took it back may change her mind within the window.
        Index("uq_contest_session_id", "session_id", unique=True, postgresql_where=text("status <> 'withdrawn'")),
        Index("ix_contest_open", "answer_due_at", postgresql_where=text("status = 'contested'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id))
    reason: Mapped[str]
    made_by_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    made_at: Mapped[datetime] = mapped_column(Moment)
    answer_due_at: Mapped[datetime] = mapped_column(Moment)
    status: Mapped[ContestStatus]
    answer: Mapped[str | None]
    answered_by_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    answered_at: Mapped[datetime | None] = mapped_column(Moment)

    session: Mapped[CardSession] = relationship()
    made_by: Mapped[Person] = relationship(foreign_keys=made_by_id)
    answered_by: Mapped[Person | None] = relationship(foreign_keys=answered_by_id)


class Cause(StrEnum):
    """Why money went back."""

    POLICY = "policy"
    REVIEW = "review"
    CONTEST = "contest"


class Adjustment(Base):
    """Money of a charge that went back to the purses it came from: one journal, beside the charge and never in it.

    A policy that found nothing to give back leaves a row of nothing, so that it looks at each verdict once.
    """

    __tablename__ = "adjustment"
    __table_args__ = (
        CheckConstraint("amount_fen = principal_fen + subsidy_fen", name="amount_is_both_purses"),
        CheckConstraint("(amount_fen > 0) = (journal_id IS NOT NULL)", name="amount_is_posted"),
        CheckConstraint("amount_fen > 0 OR cause = 'policy'", name="nothing_only_by_policy"),
        CheckConstraint("least(principal_fen, subsidy_fen, fee_fen, vat_fen) >= 0", name="parts_not_negative"),
        CheckConstraint("(cause = 'policy') = (policy_id IS NOT NULL)", name="policy_named"),
        CheckConstraint("(cause = 'policy') = (decided_by_id IS NULL)", name="person_named"),
        CheckConstraint("(cause = 'contest') = (contest_id IS NOT NULL)", name="contest_named"),
        Index("uq_adjustment_policy", "verdict_id", unique=True, postgresql_where=text("cause = 'policy'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id), index=True)
    verdict_id: Mapped[int | None] = mapped_column(ForeignKey(Verdict.id))
    """The version that was looked at; None for a contest before there was any."""
    cause: Mapped[Cause]
    policy_id: Mapped[int | None] = mapped_column(ForeignKey(Policy.id))
    contest_id: Mapped[int | None] = mapped_column(ForeignKey(Contest.id))
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    amount_fen: Mapped[int]
    principal_fen: Mapped[int]
    subsidy_fen: Mapped[int]
    fee_fen: Mapped[int]
    """Of the service fee that the unit got back."""
    vat_fen: Mapped[int]
    note: Mapped[str]
    journal_id: Mapped[UUID | None] = mapped_column(unique=True)
    posted_at: Mapped[datetime] = mapped_column(Moment)

    session: Mapped[CardSession] = relationship()
    verdict: Mapped[Verdict | None] = relationship()
    policy: Mapped[Policy | None] = relationship()
    decided_by: Mapped[Person | None] = relationship()


class UnpaidAction(StrEnum):
    """What a person made of use that nobody paid for."""

    INVOICE = "invoice"
    MAINTENANCE = "maintenance"
    EXPLAINED = "explained"


class UnpaidAnswer(Base):
    """A person's answer to a run nobody paid for; of a new version of that run it says nothing."""

    __tablename__ = "unpaid_answer"
    __table_args__ = (
        CheckConstraint("(action = 'maintenance') = (rule_id IS NOT NULL)", name="maintenance_has_rule"),
        CheckConstraint(
            "num_nonnulls(account_id, amount_fen) = CASE action WHEN 'invoice' THEN 2 ELSE 0 END",
            name="invoice_has_amount",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    box_verdict_id: Mapped[int] = mapped_column(ForeignKey(BoxVerdict.id), unique=True)
    action: Mapped[UnpaidAction]
    note: Mapped[str]
    rule_id: Mapped[int | None] = mapped_column(ForeignKey(SilenceRule.id))
    account_id: Mapped[int | None] = mapped_column(ForeignKey(CardAccount.id))
    amount_fen: Mapped[int | None]
    price_lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    made_by_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    made_at: Mapped[datetime] = mapped_column(Moment)

    run: Mapped[BoxVerdict] = relationship()
    account: Mapped[CardAccount | None] = relationship()
    made_by: Mapped[Person] = relationship()


class ControlTotal(Base):
    """Charged and run seconds of one instrument on one day of the site; the two identities are walls of the table."""

    __tablename__ = "control_total"
    __table_args__ = (
        CheckConstraint("charge_s = overlap_s + charge_only_s", name="charge_adds_up"),
        CheckConstraint("box_s = overlap_s + box_only_s", name="box_adds_up"),
        CheckConstraint("least(overlap_s, charge_only_s, box_only_s) >= 0", name="parts_not_negative"),
        Index(None, "day"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    charge_s: Mapped[int]
    box_s: Mapped[int]
    overlap_s: Mapped[int]
    charge_only_s: Mapped[int]
    box_only_s: Mapped[int]
    computed_at: Mapped[datetime] = mapped_column(Moment)

    instrument: Mapped[Instrument] = relationship()

"""Terminals with their keys and messages, and where collector boxes stand."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.instruments.models import Instrument
from app.people.models import Moment


class TerminalStatus(StrEnum):
    PENDING = "pending"
    """Made, and no key has come for its code yet."""
    COMPARING = "comparing"
    """A key has come; nothing is taken of it until a person has compared its fingerprint."""
    ENROLLED = "enrolled"
    REVOKED = "revoked"


class Revocation(StrEnum):
    """Why a terminal is trusted no more."""

    STOLEN = "stolen"
    BROKEN = "broken"
    REPLACED = "replaced"
    FINGERPRINT = "fingerprint"
    """The key that came was not the terminal's."""
    RETIRED = "retired"


class Terminal(Base):
    """A card terminal (刷卡终端) beside one instrument."""

    __tablename__ = "terminal"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    status: Mapped[TerminalStatus]
    enrolment_code_hash: Mapped[bytes | None] = mapped_column(unique=True)
    enrolment_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    public_key: Mapped[bytes | None]
    """Raw Ed25519 public key, 32 bytes."""
    created_at: Mapped[datetime] = mapped_column(Moment)
    enrolled_at: Mapped[datetime | None] = mapped_column(Moment)
    """When its key came."""
    approved_at: Mapped[datetime | None] = mapped_column(Moment)
    approved_by: Mapped[str] = mapped_column(server_default="")
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
    revocation: Mapped[Revocation | None]
    last_seen_at: Mapped[datetime | None] = mapped_column(Moment)
    app_version: Mapped[str] = mapped_column(server_default="")
    reader: Mapped[str] = mapped_column(server_default="")
    unsent: Mapped[int] = mapped_column(server_default=text("0"))
    config_version: Mapped[int] = mapped_column(server_default=text("0"))
    config_hash: Mapped[str] = mapped_column(server_default="")
    """Of the content of `config_version`: other content, next version."""
    boot: Mapped[int] = mapped_column(server_default=text("0"))
    last_seq: Mapped[int] = mapped_column(server_default=text("0"))
    last_event_hash: Mapped[str] = mapped_column(server_default="0" * 64)
    clock_ahead_ms: Mapped[int | None]
    """How far its wall clock was ahead of ours when it last said hello; below 0, behind."""
    shown_config_version: Mapped[int | None]
    """The configuration that it has, by its own word."""
    running_session_id: Mapped[UUID | None]
    """The session that it believes to be running."""

    instrument: Mapped[Instrument] = relationship()


class TerminalAnswer(Base):
    """The stored answer to a query: the same message again gets the same answer."""

    __tablename__ = "terminal_answer"

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id), primary_key=True)
    mid: Mapped[UUID] = mapped_column(primary_key=True)
    message_hash: Mapped[bytes]
    http_status: Mapped[int]
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime] = mapped_column(Moment, index=True)


class EventOutcome(StrEnum):
    ACCEPTED = "accepted"
    PARKED = "parked"


class Settlement(StrEnum):
    """What a person did with a parked event."""

    APPLIED = "applied"
    """It had its effect on its session after all."""
    REDUCED = "reduced"
    """It told less time than was charged, and the difference went back."""
    CHARGED = "charged"
    """A person charged the open session, within its hold."""
    DISMISSED = "dismissed"


class TerminalEvent(Base):
    """An event as the terminal signed it, provable years later; parked ones wait for a person."""

    __tablename__ = "terminal_event"
    __table_args__ = (
        Index("ix_terminal_event_parked", "received_at", postgresql_where=text("outcome = 'parked'")),
        Index("uq_terminal_event_chain", "terminal_id", "seq", unique=True, postgresql_where=text("chained")),
    )

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    message_hash: Mapped[str] = mapped_column(primary_key=True)
    message: Mapped[str]
    chained: Mapped[bool]
    """False: another message under a number that was taken, kept for staff and outside the chain."""
    kind: Mapped[str]
    session_id: Mapped[UUID | None] = mapped_column(index=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    outcome: Mapped[EventOutcome]
    reason: Mapped[str] = mapped_column(server_default="")
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime] = mapped_column(Moment)
    resolved_at: Mapped[datetime | None] = mapped_column(Moment)
    resolved_by: Mapped[str] = mapped_column(server_default="")
    resolution: Mapped[str] = mapped_column(server_default="")
    settlement: Mapped[Settlement | None]
    """What a person did with it; None until then."""


class RequestCount(Base):
    """How often something was asked since a moment; it may be thrown away and begins anew."""

    __tablename__ = "request_count"

    key: Mapped[str] = mapped_column(primary_key=True)
    """What is limited and for whom, such as `card/begin terminal <id>`."""
    since: Mapped[datetime] = mapped_column(Moment, index=True)
    count: Mapped[int]


class ServerKey(Base):
    """The server's signing key, its private half wrapped by the key from the settings."""

    __tablename__ = "server_key"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    public_key: Mapped[bytes]
    wrapped_private_key: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(Moment)


class BoxPlacement(Base):
    """Which channel of which collector box meters which instrument, from when to when."""

    __tablename__ = "box_placement"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="order"),
        Index("uq_box_placement_current", "box", "channel", unique=True, postgresql_where=text("valid_to IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    box: Mapped[str]
    """The box's code in telemetry."""
    channel: Mapped[int] = mapped_column(server_default=text("0"))
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)

    instrument: Mapped[Instrument] = relationship()


class AlarmKind(StrEnum):
    """What a box, its meter or the ingest does that a person should know (docs/reference/alarms.md)."""

    SILENT = "silent"
    NO_READINGS = "no_readings"
    CLOCK = "clock"
    SIGNATURE = "signature"
    STUCK = "stuck"
    BACKLOG = "backlog"
    INGEST_LOST = "ingest_lost"


class Alarm(Base):
    """Something is wrong from a moment on, and until when; a person says that she has seen it. Never deleted."""

    __tablename__ = "alarm"
    __table_args__ = (
        CheckConstraint("closed_at IS NULL OR closed_at >= opened_at", name="order"),
        CheckConstraint("(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name="acknowledged_is_whole"),
        Index("uq_alarm_open", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("ix_alarm_box_opened_at", "box", "opened_at"),
        Index("ix_alarm_opened_at", "opened_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[AlarmKind]
    subject: Mapped[str]
    """What it is about: a box, `box/channel`, or `ingest`."""
    box: Mapped[str | None]
    channel: Mapped[int | None]
    opened_at: Mapped[datetime] = mapped_column(Moment)
    closed_at: Mapped[datetime | None] = mapped_column(Moment)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The figures that opened it, and then the newest ones."""
    acknowledged_at: Mapped[datetime | None] = mapped_column(Moment)
    acknowledged_by: Mapped[str | None]
    note: Mapped[str] = mapped_column(server_default="")


class ChannelCheck(Base):
    """What was found when a channel was last looked at; it may be thrown away and made anew."""

    __tablename__ = "channel_check"

    box: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    checked_at: Mapped[datetime] = mapped_column(Moment, index=True)
    window_s: Mapped[int] = mapped_column(server_default=text("0"))
    """So much time of the last seven days the box should have seen, since it stands there."""
    known_s: Mapped[int] = mapped_column(server_default=text("0"))
    offset_s: Mapped[float | None]
    """How far its clock is behind ours by the live messages of the last day; below 0, ahead."""
    clock_unset: Mapped[bool] = mapped_column(server_default=text("false"))
    backlog_messages: Mapped[int] = mapped_column(server_default=text("0"))
    backlog_rises: Mapped[int] = mapped_column(server_default=text("0"))
    """So many looks in a row found more than the look before."""
    signature_checked_at: Mapped[datetime | None] = mapped_column(Moment)
    separation_decades: Mapped[float | None]
    """How far the means of running and not running lie apart at the threshold in force, in the last seven days."""


class CalibrationAttempt(Base):
    """A calibration that a person started: what it found, or why it refused; never edited but for its version."""

    __tablename__ = "calibration_attempt"
    __table_args__ = (
        CheckConstraint("(reason IS NULL) = (run_threshold_w IS NOT NULL)", name="thresholds_or_reason"),
        Index("ix_calibration_attempt_box_channel", "box", "channel", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    box: Mapped[str]
    channel: Mapped[int]
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str]
    method: Mapped[str]
    """`otsu`, or `hand` for thresholds that a person chose."""
    since: Mapped[datetime] = mapped_column(Moment)
    """Its readings were those from here until `at`."""
    reason: Mapped[str | None]
    """Why it refused; None: it found thresholds."""
    known_s: Mapped[int]
    separation_decades: Mapped[float | None]
    duty: Mapped[float | None]
    runs_a_day: Mapped[float | None]
    run_threshold_w: Mapped[float | None]
    standby_threshold_w: Mapped[float | None]
    version: Mapped[int | None]
    """The calibration that it became; None: nobody adopted it."""
    valid_from: Mapped[datetime | None] = mapped_column(Moment)

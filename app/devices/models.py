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
    ENROLLED = "enrolled"
    REVOKED = "revoked"


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
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
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

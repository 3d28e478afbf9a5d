"""Card accounts, cards, the projects they pay for, and the keys that prove a card."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.devices.models import Terminal
from app.people.models import Moment, Organisation, Person


class AccountStatus(StrEnum):
    ACTIVE = "active"
    FROZEN = "frozen"
    CLOSED = "closed"


class CardAccount(Base):
    """The money behind the cards of one customer, a person or an organisation; its balances are in the ledger."""

    __tablename__ = "card_account"
    __table_args__ = (CheckConstraint("num_nonnulls(person_id, organisation_id) = 1", name="one_customer"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id), index=True)
    organisation_id: Mapped[int | None] = mapped_column(ForeignKey(Organisation.id), index=True)
    status: Mapped[AccountStatus]
    created_at: Mapped[datetime] = mapped_column(Moment)

    person: Mapped[Person | None] = relationship()
    organisation: Mapped[Organisation | None] = relationship()


class ProjectLevel(StrEnum):
    NONE = "none"
    ENTERPRISE = "enterprise"
    MUNICIPAL = "municipal"
    NATIONAL = "national"


class Project(Base):
    """A research project whose tests a card pays for; its proof decides the subsidy tier."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(CardAccount.id), index=True)
    title: Mapped[str]
    level: Mapped[ProjectLevel]
    evidence_reference: Mapped[str] = mapped_column(server_default="")
    """The number of the contract or task book on file; empty: no proof."""


class CardClass(StrEnum):
    """What a tap proves (terminal.md, Cards)."""

    TYPED = "typed"
    UID = "uid"
    """A card of somebody else's, bound by the UID that anybody can copy; only where the site takes such cards."""
    SUN = "sun"
    EV2 = "ev2"


class CardStatus(StrEnum):
    PREPARING = "preparing"
    """Ordered, or on a station: no session begins before its chip has proved itself."""
    ISSUED = "issued"
    LOST = "lost"
    BLOCKED = "blocked"
    REPLACED = "replaced"


class Card(Base):
    __tablename__ = "card"
    __table_args__ = (
        CheckConstraint("card_class <> 'typed' OR uid IS NULL", name="typed_has_no_uid"),
        CheckConstraint(
            "card_class = 'typed' OR uid IS NOT NULL OR status IN ('preparing', 'replaced')", name="chip_has_uid"
        ),
        CheckConstraint("pin_failures BETWEEN 0 AND 5", name="pin_failures_range"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(CardAccount.id), index=True)
    holder_id: Mapped[int] = mapped_column(ForeignKey(Person.id), index=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey(Project.id))
    face_number: Mapped[str] = mapped_column(unique=True)
    """Printed on the card; the last digit is a check digit."""
    card_class: Mapped[CardClass]
    uid: Mapped[bytes | None] = mapped_column(unique=True)
    """Seven bytes in anticollision order; four or seven of a card of class `uid`."""
    key_version: Mapped[int] = mapped_column(server_default=text("1"))
    read_counter: Mapped[int] = mapped_column(server_default=text("0"))
    """The highest SDM read counter seen under this key version; a lower or equal one is a replay."""
    status: Mapped[CardStatus]
    pin_hash: Mapped[str]
    pin_failures: Mapped[int] = mapped_column(server_default=text("0"))
    expires_on: Mapped[date]
    issued_at: Mapped[datetime] = mapped_column(Moment)
    status_reason: Mapped[str] = mapped_column(server_default="")
    """Why it is lost, blocked or replaced, in the words of who said so."""
    status_at: Mapped[datetime | None] = mapped_column(Moment)
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("app.card.id"), unique=True)
    """The card that this one took the place of: same account, same holder."""
    printed_at: Mapped[datetime | None] = mapped_column(Moment)

    account: Mapped[CardAccount] = relationship()
    holder: Mapped[Person] = relationship()
    project: Mapped[Project | None] = relationship()


class Chip(Base):
    """What is known of a chip whoever's card it is: how much of its patience with wrong keys is used up."""

    __tablename__ = "chip"

    uid: Mapped[bytes] = mapped_column(primary_key=True)
    attempts_unproved: Mapped[int] = mapped_column(server_default=text("0"))
    """Authentications begun since the last one that succeeded: refused, or torn before their end."""
    attempts_total: Mapped[int] = mapped_column(server_default=text("0"))
    last_attempt_at: Mapped[datetime | None] = mapped_column(Moment)


class ChipKeys(Base):
    """Which master keys made the keys that a chip has, or may have, under a key version; never changed."""

    __tablename__ = "chip_keys"

    uid: Mapped[bytes] = mapped_column(primary_key=True)
    key_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    master_version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Moment)


class StationStatus(StrEnum):
    PENDING = "pending"
    ENROLLED = "enrolled"
    REVOKED = "revoked"


class Station(Base):
    """A personalisation station (制卡台): a reader at the counter that relays, and knows no key."""

    __tablename__ = "station"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    place: Mapped[str] = mapped_column(server_default="")
    status: Mapped[StationStatus]
    enrolment_code_hash: Mapped[bytes | None] = mapped_column(unique=True)
    enrolment_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    public_key: Mapped[bytes | None]
    """Raw Ed25519 public key, 32 bytes."""
    created_at: Mapped[datetime] = mapped_column(Moment)
    last_seen_at: Mapped[datetime | None] = mapped_column(Moment)


class WorkPurpose(StrEnum):
    ISSUE = "issue"
    RENEW = "renew"


class WorkStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class CardWork(Base):
    """A chip that a station is to make into a card, over as many taps as it takes."""

    __tablename__ = "card_work"
    __table_args__ = (
        Index(
            "uq_card_work_station", "station_id", unique=True, postgresql_where=text("status IN ('waiting', 'running')")
        ),
        Index("uq_card_work_card", "card_id", unique=True, postgresql_where=text("status IN ('waiting', 'running')")),
        Index("ix_card_work_card_id_created_at", "card_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id))
    station_id: Mapped[UUID] = mapped_column(ForeignKey(Station.id))
    purpose: Mapped[WorkPurpose]
    status: Mapped[WorkStatus]
    expires_on: Mapped[date]
    """The card's last day once it is done."""
    uid: Mapped[bytes | None]
    """The chip, once it has proved its UID; from then on no other chip will do."""
    key_version: Mapped[int | None]
    """The version that its keys get."""
    taps: Mapped[int] = mapped_column(server_default=text("0"))
    stage: Mapped[str] = mapped_column(server_default="")
    """How far the last tap came."""
    trouble: Mapped[str] = mapped_column(server_default="")
    """Why the last tap ended before the end; empty: it did not."""
    exchange_id: Mapped[UUID | None]
    """The tap that goes on now."""
    exchange_step: Mapped[int] = mapped_column(server_default=text("0"))
    exchange_state: Mapped[bytes | None]
    """What the server must remember between two messages, wrapped: it holds session keys."""
    last_message: Mapped[str] = mapped_column(server_default="")
    """The hash of the last message, and what was answered: the same again gets the same."""
    last_answer: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)

    card: Mapped[Card] = relationship()
    station: Mapped[Station] = relationship()


class KeyReason(StrEnum):
    """Why a master key was opened."""

    SUN_PROOF = "sun_proof"
    PERSONALISE = "personalise"
    ONLINE_PROOF = "online_proof"
    OFFLINE_LIST = "offline_list"
    VIRTUAL_CARD = "virtual_card"
    CREATED = "created"
    REWRAPPED = "rewrapped"


class KeyUse(Base):
    """A master key was opened: by whom, why, and for which chip; append-only by trigger."""

    __tablename__ = "key_use"
    __table_args__ = (Index("ix_key_use_uid", "uid"), Index("ix_key_use_at", "at"))

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str]
    reason: Mapped[KeyReason]
    slot: Mapped[int]
    master_version: Mapped[int]
    uid: Mapped[bytes | None]
    """The chip it was opened for; none: all of them, or not known yet."""


class CardToken(Base):
    """The one-use proof of a tap, valid 60 s at one terminal; only its hash is kept."""

    __tablename__ = "card_token"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id))
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id))
    by_chip: Mapped[bool]
    """Whether the chip proved itself; a number that was typed, also a chip card's, still needs its PIN."""
    expires_at: Mapped[datetime] = mapped_column(Moment, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Moment)


class CardExchange(Base):
    """A chip that is proving itself at one terminal: gone as soon as it has, or has not; used once, for seconds."""

    __tablename__ = "card_exchange"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id), index=True)
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id))
    uid: Mapped[bytes]
    key_version: Mapped[int]
    step: Mapped[int]
    state: Mapped[bytes] = mapped_column(server_default=text("''"))
    """The chip's key and the random numbers of the authentication, wrapped."""
    expires_at: Mapped[datetime] = mapped_column(Moment, index=True)


class MasterKey(Base):
    """A versioned master key MK0–MK4, wrapped by the key from the settings (terminal.md, Keys)."""

    __tablename__ = "master_key"
    __table_args__ = (Index(None, "slot", "version", unique=True),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    slot: Mapped[int]
    version: Mapped[int]
    wrapped_key: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(Moment)

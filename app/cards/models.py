"""Card accounts, cards, the projects they pay for, and the keys that prove a card."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
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
    SUN = "sun"


class CardStatus(StrEnum):
    ISSUED = "issued"
    LOST = "lost"
    BLOCKED = "blocked"
    REPLACED = "replaced"


class Card(Base):
    __tablename__ = "card"
    __table_args__ = (
        CheckConstraint("(card_class = 'sun') = (uid IS NOT NULL)", name="sun_has_uid"),
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
    """Seven bytes in anticollision order."""
    key_version: Mapped[int] = mapped_column(server_default=text("1"))
    read_counter: Mapped[int] = mapped_column(server_default=text("0"))
    """The highest SDM read counter seen under this key version; a lower or equal one is a replay."""
    status: Mapped[CardStatus]
    pin_hash: Mapped[str]
    pin_failures: Mapped[int] = mapped_column(server_default=text("0"))
    expires_on: Mapped[date]
    issued_at: Mapped[datetime] = mapped_column(Moment)

    account: Mapped[CardAccount] = relationship()
    holder: Mapped[Person] = relationship()
    project: Mapped[Project | None] = relationship()


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


class MasterKey(Base):
    """A versioned master key MK0–MK4, wrapped by the key from the settings (terminal.md, Keys)."""

    __tablename__ = "master_key"
    __table_args__ = (Index(None, "slot", "version", unique=True),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    slot: Mapped[int]
    version: Mapped[int]
    wrapped_key: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(Moment)

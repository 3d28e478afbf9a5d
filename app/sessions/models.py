"""Card sessions and the holds behind them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.cards.models import Card, CardAccount
from app.db import Base
from app.devices.models import Terminal
from app.instruments.models import CustomerClass, Instrument
from app.people.models import Moment


class SessionStatus(StrEnum):
    """Where a card session stands (terminal.md, Protocol)."""

    HELD = "held"
    ACTIVE = "active"
    STALE = "stale"
    CAPTURED = "captured"
    VOID = "void"
    AUTO_ENDED = "auto_ended"
    REFUSED = "refused"


OPEN_STATUSES = (SessionStatus.HELD, SessionStatus.ACTIVE, SessionStatus.STALE)


class Step(StrEnum):
    """What may happen to a session."""

    STARTED = "started"
    STARTED_LATE = "started_late"
    """Told of only after the hold had been given back as never started: the terminal was cut off."""
    EXTENDED = "extended"
    METERED = "metered"
    ENDED = "ended"
    REVERSED = "reversed"
    NEVER_STARTED = "never_started"
    OVERDUE = "overdue"
    SILENT = "silent"
    """No sign of life for so long that the terminal or its network must be down."""
    FORGOTTEN = "forgotten"
    CLOSED = "closed"
    """By the staff of the instrument's group."""


# What is not here does not happen: an event without its line is parked, a request is refused.
TRANSITIONS: dict[tuple[SessionStatus, Step], SessionStatus] = {
    (SessionStatus.HELD, Step.STARTED): SessionStatus.ACTIVE,
    (SessionStatus.HELD, Step.EXTENDED): SessionStatus.HELD,
    (SessionStatus.HELD, Step.REVERSED): SessionStatus.VOID,
    (SessionStatus.HELD, Step.NEVER_STARTED): SessionStatus.VOID,
    (SessionStatus.HELD, Step.CLOSED): SessionStatus.VOID,
    (SessionStatus.ACTIVE, Step.METERED): SessionStatus.ACTIVE,
    (SessionStatus.ACTIVE, Step.EXTENDED): SessionStatus.ACTIVE,
    (SessionStatus.ACTIVE, Step.ENDED): SessionStatus.CAPTURED,
    (SessionStatus.ACTIVE, Step.OVERDUE): SessionStatus.STALE,
    (SessionStatus.ACTIVE, Step.SILENT): SessionStatus.STALE,
    (SessionStatus.ACTIVE, Step.CLOSED): SessionStatus.AUTO_ENDED,
    # Whatever is overdue nevertheless is so again with the next look.
    (SessionStatus.STALE, Step.METERED): SessionStatus.ACTIVE,
    (SessionStatus.STALE, Step.EXTENDED): SessionStatus.ACTIVE,
    (SessionStatus.STALE, Step.ENDED): SessionStatus.CAPTURED,
    (SessionStatus.STALE, Step.FORGOTTEN): SessionStatus.AUTO_ENDED,
    (SessionStatus.STALE, Step.CLOSED): SessionStatus.AUTO_ENDED,
    # Money that was held was used from then on, whenever that is told (see `lifecycle`).
    (SessionStatus.VOID, Step.STARTED_LATE): SessionStatus.ACTIVE,
    # A reversal of what holds nothing any more is answered as done: the terminal may ask twice.
    (SessionStatus.VOID, Step.REVERSED): SessionStatus.VOID,
    (SessionStatus.REFUSED, Step.REVERSED): SessionStatus.REFUSED,
}


class Flag(StrEnum):
    """Why a person should look at a captured session."""

    LOWER_BOUND = "lower_bound"
    """A reboot hid part of the time."""
    OVER_HOLD = "over_hold"
    """The price was above the hold; only the hold was charged."""
    IMPLAUSIBLE_DURATION = "implausible_duration"
    """The terminal reported more time than had passed; only what had passed was charged."""
    AUTO_ENDED = "auto_ended"
    """Nobody ended it; the time that was held for was charged."""
    CLOSED_BY_STAFF = "closed_by_staff"
    TAKEN_OVER = "taken_over"
    """Another card's holder ended it at the instrument, to start her own; it was charged up to then."""
    SAMPLES_ASSUMED = "samples_assumed"
    """The price counts samples and nobody said how many; one was charged."""
    HOLD_EXPIRED = "hold_expired"
    """The hold was gone before the end came; what the purses then had was charged."""
    OFFLINE = "offline"
    """The terminal began it alone, by its offline list."""
    OFFLINE_LATE = "offline_late"
    """It began outside of the time of its list, or its list had been given up."""
    OFFLINE_HOT = "offline_hot"
    """The card may not be used any more."""
    OFFLINE_OVERLAP = "offline_overlap"
    """The card or the instrument was in use elsewhere at the same time."""
    OFFLINE_OVER_LIMIT = "offline_over_limit"
    """It cost more than the card's list allowed, or was one session too many."""
    ON_CREDIT = "on_credit"
    """The purses did not have it all; the rest is a debt of the customer, and the card is blocked."""
    CLOCK_DOUBTFUL = "clock_doubtful"
    """The terminal named a time that cannot be; the nearest that can be was taken."""


# These call a person also where the box confirms the charge; the others only explain it.
FLAGS_TO_REVIEW = (
    Flag.AUTO_ENDED,
    Flag.IMPLAUSIBLE_DURATION,
    Flag.OFFLINE_LATE,
    Flag.OFFLINE_HOT,
    Flag.OFFLINE_OVERLAP,
    Flag.OFFLINE_OVER_LIMIT,
    Flag.ON_CREDIT,
    Flag.CLOCK_DOUBTFUL,
)


class CardSession(Base):
    """From swipe-in to swipe-out; its id is made by the terminal, so a repeated message means the same session."""

    __tablename__ = "card_session"
    __table_args__ = (
        CheckConstraint("ended_at >= started_at", name="order"),
        CheckConstraint("amount_fen >= 0", name="amount_not_negative"),
        CheckConstraint(
            "amount_fen IS NULL OR amount_fen = paid_principal_fen + paid_subsidy_fen", name="amount_is_what_was_paid"
        ),
        Index(
            "uq_card_session_open_instrument",
            "instrument_id",
            unique=True,
            # What began without this server is taken in whatever else it believed to run there.
            postgresql_where=text("status IN ('held', 'active', 'stale') AND offline_version IS NULL"),
        ),
        Index("ix_card_session_open", "latest_end_at", postgresql_where=text("status IN ('held', 'active', 'stale')")),
        Index("ix_card_session_charged", "ended_at", postgresql_where=text("status IN ('captured', 'auto_ended')")),
        Index(None, "account_id", "started_at"),
        Index(None, "instrument_id", "started_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id))
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(CardAccount.id))
    project_id: Mapped[int | None]
    customer_class: Mapped[CustomerClass]
    status: Mapped[SessionStatus]
    tariff_snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The price rules that held at swipe-in, with the tariff's id and source."""
    minutes: Mapped[int]
    """What the hold pays for; extends add to it."""
    held_fen: Mapped[int]
    authorized_at: Mapped[datetime] = mapped_column(Moment)
    latest_end_at: Mapped[datetime] = mapped_column(Moment)
    pin_verified: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[datetime | None] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
    alive_at: Mapped[datetime | None] = mapped_column(Moment)
    """When the terminal last said that it runs."""
    metered_s: Mapped[int | None]
    """The time so far in the last sign of life."""
    duration_s: Mapped[int | None]
    samples: Mapped[int] = mapped_column(server_default=text("0"))
    price_lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    amount_fen: Mapped[int | None]
    paid_principal_fen: Mapped[int] = mapped_column(server_default=text("0"))
    paid_subsidy_fen: Mapped[int] = mapped_column(server_default=text("0"))
    refusal: Mapped[str] = mapped_column(server_default="")
    flags: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    """What a person should know; the list is `Flag`."""
    capture_journal_id: Mapped[UUID | None]
    offline_version: Mapped[int | None]
    """The offline list by which its terminal began it alone; None: this server was asked."""
    advanced_fen: Mapped[int] = mapped_column(server_default=text("0"))
    """Of the principal that paid, what the customer did not have and owes since."""

    terminal: Mapped[Terminal] = relationship()
    instrument: Mapped[Instrument] = relationship()
    card: Mapped[Card] = relationship()
    account: Mapped[CardAccount] = relationship()


class Purse(StrEnum):
    SUBSIDY = "subsidy"
    PRINCIPAL = "principal"


class SessionHold(Base):
    """One pending transfer of a session; captures use them in this order, so subsidy is spent first."""

    __tablename__ = "session_hold"
    __table_args__ = (Index(None, "session_id", "sequence", unique=True),)

    transfer_id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(CardSession.id))
    sequence: Mapped[int]
    purse: Mapped[Purse]
    amount_fen: Mapped[int]


class SessionTombstone(Base):
    """A reversal came for a session that is not known (yet): a late authorize for it is refused."""

    __tablename__ = "session_tombstone"

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id))
    received_at: Mapped[datetime] = mapped_column(Moment)


class OfflineSetting(Base):
    """Whether the terminals of an instrument may start sessions without the server; without a row they may not."""

    __tablename__ = "offline_setting"

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), primary_key=True, autoincrement=False)
    enabled: Mapped[bool]
    strict: Mapped[bool]
    """Each card's limit is held in the ledger, so that nothing can be lost."""
    changed_by: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(Moment)


class OfflineList(Base):
    """What a terminal may do alone for a day: made in versions, never changed but for the word that it was taken."""

    __tablename__ = "offline_list"

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime] = mapped_column(Moment, index=True)
    valid_until: Mapped[datetime] = mapped_column(Moment)
    strict: Mapped[bool]
    tariffs: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """For each class of customers: the rules as a session keeps them, and the schedule that the terminal has."""
    hot_uids: Mapped[list[str]] = mapped_column(JSONB)
    taken_at: Mapped[datetime | None] = mapped_column(Moment)
    """When the terminal said that it has this one, with everything that it did by earlier ones."""


class OfflineAllowance(Base):
    """One card on one list, and what it may spend by it."""

    __tablename__ = "offline_allowance"
    __table_args__ = (
        ForeignKeyConstraint(["terminal_id", "version"], ["app.offline_list.terminal_id", "app.offline_list.version"]),
        CheckConstraint("limit_fen > 0", name="limit_is_something"),
        Index(None, "card_id", "version"),
    )

    terminal_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id), primary_key=True, autoincrement=False)
    uid: Mapped[bytes]
    key_version: Mapped[int]
    tariff: Mapped[int]
    """Its place in the list's tariffs."""
    limit_fen: Mapped[int]

    card: Mapped[Card] = relationship()


class OfflineReserve(Base):
    """What is held of a card's account for what one terminal may let it spend alone."""

    __tablename__ = "offline_reserve"
    __table_args__ = (
        CheckConstraint("held_fen >= 0", name="held_not_negative"),
        Index("ix_offline_reserve_open", "keep_until", postgresql_where=text("held_fen > 0")),
    )

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey(Terminal.id), primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey(Card.id), primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(ForeignKey(CardAccount.id), index=True)
    held_fen: Mapped[int]
    generation: Mapped[int]
    """Counts the holds behind it: what is held changes by giving back and holding anew."""
    held_at: Mapped[datetime] = mapped_column(Moment)
    last_version: Mapped[int]
    """The newest list that has the card."""
    keep_until: Mapped[datetime] = mapped_column(Moment)
    """From then on a terminal that was never heard of again keeps nobody's money."""


class OfflineHold(Base):
    """One pending transfer behind a reserve."""

    __tablename__ = "offline_hold"
    __table_args__ = (
        ForeignKeyConstraint(
            ["terminal_id", "card_id"], ["app.offline_reserve.terminal_id", "app.offline_reserve.card_id"]
        ),
        Index(None, "terminal_id", "card_id", "generation"),
    )

    transfer_id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID]
    card_id: Mapped[int]
    generation: Mapped[int]
    purse: Mapped[Purse]
    amount_fen: Mapped[int]

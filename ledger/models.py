"""The ledger's tables, as the migration's check knows them; the ledger itself speaks SQL (see `posting`)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, MetaData, SmallInteger, text
from sqlalchemy.dialects.postgresql import DOMAIN, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger, Text

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


FAR = text("(value_at - timestamp) NOT BETWEEN interval '-1 hour' AND interval '1 hour'")
OPEN_AND_DATED = text("state = 'open' AND expires_at IS NOT NULL")


class Base(DeclarativeBase):
    """Every table of the ledger, in the schema `ledger`."""

    metadata = MetaData(schema="ledger", naming_convention=NAMING)
    type_annotation_map = {datetime: TIMESTAMP(timezone=True), str: Text}  # noqa: RUF012 - SQLAlchemy reads a class attribute


FEN = BigInteger().with_variant(DOMAIN("fen", BigInteger, schema="ledger", create_type=False), "postgresql")
"""An amount: never below zero."""

# Filled in by the database: the transaction that wrote the row.
XID = text("pg_current_xact_id()::text::bigint")


class Account(Base):
    """What an account is; never changed. What it holds stands in `Balance`."""

    __tablename__ = "accounts"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "xid", postgresql_using="brin"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger: Mapped[int]
    code: Mapped[int]
    flags: Mapped[int] = mapped_column(SmallInteger)
    user_data_128: Mapped[UUID | None]
    user_data_64: Mapped[int] = mapped_column(BigInteger)
    user_data_32: Mapped[int]
    created_at: Mapped[datetime]
    xid: Mapped[int] = mapped_column(BigInteger, server_default=XID)


class Balance(Base):
    """What an account holds now; derived from the transfers, and written anew from them by `rebuild`.

    `debits_excess_max_fen` is by how much debits may exceed credits, holds included: 0, or NULL where nothing limits
    them. The database sets it from the flags, which nobody can change.
    """

    __tablename__ = "balances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger: Mapped[int]
    flags: Mapped[int] = mapped_column(SmallInteger)
    debits_excess_max_fen: Mapped[int | None] = mapped_column(BigInteger)
    credits_excess_max_fen: Mapped[int | None] = mapped_column(BigInteger)
    closed: Mapped[bool]
    debits_pending_fen: Mapped[int] = mapped_column(BigInteger, server_default="0")
    debits_posted_fen: Mapped[int] = mapped_column(BigInteger, server_default="0")
    credits_pending_fen: Mapped[int] = mapped_column(BigInteger, server_default="0")
    credits_posted_fen: Mapped[int] = mapped_column(BigInteger, server_default="0")
    last_at: Mapped[datetime]


class Journal(Base):
    __tablename__ = "journals"
    __table_args__ = (Index(None, "value_at", "id"), Index(None, "xid", postgresql_using="brin"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    reference: Mapped[str]
    text: Mapped[str]
    actor: Mapped[str]
    value_at: Mapped[datetime]
    created_at: Mapped[datetime]
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    request_hash: Mapped[bytes]
    reverses_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger.journals.id"), unique=True)
    xid: Mapped[int] = mapped_column(BigInteger, server_default=XID)


class RefusedJournal(Base):
    """The remembered answer to a journal that was refused for a passing reason; its ids are burnt."""

    __tablename__ = "refused_journals"

    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    journal_id: Mapped[UUID]
    request_hash: Mapped[bytes]
    failing_position: Mapped[int]
    failing_status: Mapped[str]
    created_at: Mapped[datetime]


class PeriodEvent(Base):
    """A step in the life of an accounting period: its close, the wish to reopen it, its reopening."""

    __tablename__ = "period_events"
    __table_args__ = (Index(None, "xid", postgresql_using="brin"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    action: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(unique=True)
    xid: Mapped[int] = mapped_column(BigInteger, server_default=XID)


class Transfer(Base):
    __tablename__ = "transfers"
    __table_args__ = (
        Index(None, "debit_account_id", "timestamp", unique=True),
        Index(None, "credit_account_id", "timestamp", unique=True),
        Index(None, "pending_id", unique=True, postgresql_where=text("pending_id IS NOT NULL")),
        Index(None, "journal_id", postgresql_where=text("journal_id IS NOT NULL")),
        Index(None, "xid", "timestamp", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
        Index(None, "debit_account_id", "value_at", "timestamp", postgresql_where=FAR),
        Index(None, "credit_account_id", "value_at", "timestamp", postgresql_where=FAR),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount_fen: Mapped[int] = mapped_column(FEN)
    ledger: Mapped[int]
    code: Mapped[int]
    flags: Mapped[int] = mapped_column(SmallInteger)
    pending_id: Mapped[UUID | None]
    timeout_s: Mapped[int]
    user_data_128: Mapped[UUID | None]
    user_data_64: Mapped[int] = mapped_column(BigInteger)
    user_data_32: Mapped[int]
    journal_id: Mapped[UUID | None]
    timestamp: Mapped[datetime]
    value_at: Mapped[datetime]
    debit_debits_pending_fen: Mapped[int] = mapped_column(BigInteger)
    debit_debits_posted_fen: Mapped[int] = mapped_column(BigInteger)
    debit_credits_pending_fen: Mapped[int] = mapped_column(BigInteger)
    debit_credits_posted_fen: Mapped[int] = mapped_column(BigInteger)
    credit_debits_pending_fen: Mapped[int] = mapped_column(BigInteger)
    credit_debits_posted_fen: Mapped[int] = mapped_column(BigInteger)
    credit_credits_pending_fen: Mapped[int] = mapped_column(BigInteger)
    credit_credits_posted_fen: Mapped[int] = mapped_column(BigInteger)
    xid: Mapped[int] = mapped_column(BigInteger, server_default=XID)


class Document(Base):
    """A document that others wrote and hold, by its hash."""

    __tablename__ = "documents"
    __table_args__ = (Index(None, "kind", "xid", "id"), Index(None, "xid", postgresql_using="brin"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    digest: Mapped[bytes]
    created_at: Mapped[datetime]
    xid: Mapped[int] = mapped_column(BigInteger, server_default=XID)


class FailedTransfer(Base):
    """An id that was refused for a passing reason: it can never succeed later."""

    __tablename__ = "failed_transfers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    status: Mapped[str]
    created_at: Mapped[datetime]


class PendingTransfer(Base):
    """Where a pending transfer stands; derived, like `Balance`."""

    __tablename__ = "pending_transfers"
    __table_args__ = (
        Index(None, "debit_account_id", "expires_at", postgresql_where=OPEN_AND_DATED),
        Index(None, "credit_account_id", "expires_at", postgresql_where=OPEN_AND_DATED),
        Index(None, "debit_account_id", "ended_at", postgresql_where=text("state = 'expired'")),
        Index(None, "credit_account_id", "ended_at", postgresql_where=text("state = 'expired'")),
        Index(None, "expires_at", postgresql_where=OPEN_AND_DATED),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount_fen: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime | None]
    state: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[UUID | None]


class Cluster(Base):
    """A database server that the books have stood in; the newest one numbers what is written."""

    __tablename__ = "clusters"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    system_identifier: Mapped[int] = mapped_column(BigInteger)
    xid_offset: Mapped[int] = mapped_column(BigInteger)
    adopted_at: Mapped[datetime]


class Seal(Base):
    """A block of the chained log over all facts."""

    __tablename__ = "seals"
    __table_args__ = (Index(None, "last_xid", "last_kind", "last_id", unique=True),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(SmallInteger)
    rows_count: Mapped[int]
    last_xid: Mapped[int] = mapped_column(BigInteger)
    last_kind: Mapped[str] = mapped_column(Text(collation="C"))
    last_id: Mapped[UUID]
    system_identifier: Mapped[int] = mapped_column(BigInteger)
    previous_hash: Mapped[bytes] = mapped_column(unique=True)
    root: Mapped[bytes]
    sealed_at: Mapped[datetime]
    key_id: Mapped[str]
    hash: Mapped[bytes]
    signature: Mapped[bytes | None]
    keys: Mapped[bytes]
    leaves: Mapped[bytes]

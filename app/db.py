"""The database: engine, sessions, and the only place that commits."""

import enum
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import psycopg
import sqlalchemy.exc
import structlog
from sqlalchemy import BigInteger, Enum, MetaData, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Session

from ledger.models import NAMING

T = TypeVar("T")

RETRIES = 4
RETRY_PAUSE_S = 0.05
# Serialisation failure, deadlock, lock not available: nothing was written, and the same work may succeed next time.
PASSING_SQLSTATES = frozenset({"40001", "40P01", "55P03"})

log = structlog.get_logger(__name__)


class Base(DeclarativeBase):
    """Every table of the service, in the schema `app`."""

    metadata = MetaData(schema="app", naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        # Stored by value with a CHECK: readable in SQL, and a new value needs no new type.
        enum.Enum: Enum(
            enum.Enum,
            native_enum=False,
            create_constraint=True,
            length=32,
            values_callable=lambda members: [member.value for member in members],
        ),
    }


# The service works with this role, whoever it logged in as: it may add to the books and never change them.
ROLE = "testcard_service"
TAKE_ROLE = """
SELECT set_config('role', rolname, false) FROM pg_roles WHERE rolname = %s AND pg_has_role(rolname, 'MEMBER')
"""


def _take_role(connection: Any, _record: object) -> None:
    connection.autocommit = True  # outside a transaction, or its rollback would give the role back
    connection.execute(TAKE_ROLE, (ROLE,))
    connection.autocommit = False


class Database:
    """One engine and the two ways to use it."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        # Short timeouts answer a killed or stuck server within seconds (reliability.md, finding 8).
        self.engine: Engine = create_engine(
            self.driver_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            # What people typed must not reach the log inside an error.
            hide_parameters=True,
            connect_args={
                "connect_timeout": 4,
                "tcp_user_timeout": 4000,
                "options": "-c timezone=UTC -c statement_timeout=5000 -c lock_timeout=3000",
            },
        )
        event.listen(self.engine, "connect", _take_role)

    @staticmethod
    def driver_url(url: str) -> str:
        """Give the address as SQLAlchemy wants it, with the driver named."""
        return url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+psycopg://", 1)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that commits when the block ends and rolls back when it raises."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def owner(self) -> Iterator[Session]:
        """Open a transaction with all the rights of whoever logged in, as only a person at the machine needs them."""
        with self.transaction() as session:
            session.execute(text("SET LOCAL ROLE NONE"))
            yield session

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Open a session that sees one snapshot and cannot write."""
        with Session(self.engine) as session:
            session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            yield session
            # What was read stays readable afterwards: a rollback would ask the database for it again.
            session.expunge_all()
            session.rollback()

    def run(self, work: Callable[[Session], T]) -> T:
        """Do `work` in one transaction; after a deadlock or serialisation failure do it again from the start.

        `work` must take all its ids from outside, so that a second run means the same.
        Raises what `work` raises; after the last retry, the database's own error.
        """
        for attempt in range(1, RETRIES + 1):
            try:
                with self.transaction() as session:
                    return work(session)
            except sqlalchemy.exc.DBAPIError as error:
                if attempt == RETRIES or getattr(error.orig, "sqlstate", None) not in PASSING_SQLSTATES:
                    raise
                log.info("transaction_retried", attempt=attempt, sqlstate=getattr(error.orig, "sqlstate", None))
                time.sleep(RETRY_PAUSE_S * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def connect(self) -> psycopg.Connection:
        """Open a connection of the driver's own, with the same timeouts and rights, for whoever needs nothing else."""
        pooled = self.engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        if not isinstance(connection, psycopg.Connection):
            raise TypeError("the driver is psycopg")
        return connection

    def close(self) -> None:
        """Give all connections back to the server."""
        self.engine.dispose()


def apart(session: Session, work: Callable[[], T], **item: Any) -> T | None:
    """Do one item of a job apart from the others: one that fails is taken back and logged, and gives None.

    Raises the database's error for trouble that no item is to blame for: then the whole job is done again.
    """
    try:
        with session.begin_nested():
            return work()
    except sqlalchemy.exc.DBAPIError as error:
        if is_passing(error):
            raise
        log.exception("item_failed", **item)
    except Exception:
        log.exception("item_failed", **item)
    return None


def is_passing(error: sqlalchemy.exc.DBAPIError) -> bool:
    """Say whether the trouble lies with the database or the moment, and no item is to blame for it."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in PASSING_SQLSTATES


def violated(error: sqlalchemy.exc.IntegrityError) -> str | None:
    """Give the name of the constraint behind an IntegrityError: "it is a duplicate" is a guess without it."""
    diagnostics = getattr(error.orig, "diag", None)
    name: str | None = getattr(diagnostics, "constraint_name", None)
    return name

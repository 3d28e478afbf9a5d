"""Books that are sealed, and what a person with the superuser's powers does to them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from importlib import import_module
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

import ledger
from app.db import Database
from ledger import Finding, Published, Verification
from ledger.lines import KINDS
from tests.ledger.stories import Books, ident
from tests.owner import without_triggers

# The ledger's public functions bear the names of these modules.
SEALS, VERIFY = import_module("ledger.seals"), import_module("ledger.verify")

BOOKS = """
account  bank     free
account  income   free
account  card:7   limited
journal  k1  2 lines                             posted
  pay    bank     card:7    100.00   as t1
  pay    bank     income    1.00     as t2
pay      bank     card:7    100.00   as t3       ok
hold     card:7   income    10.00    as h1       ok
capture  h1       4.00               as c1       ok
hold     card:7   income    20.00    as h2 for 90s ok
reverse  k1  as r1                               posted
"""
PATIENCE_S = 30


def sign(digest: bytes) -> bytes:
    return sha256(b"the key of these books" + digest).digest()


def is_signed(digest: bytes, signature: bytes, key_id: str) -> bool:
    return key_id == "test" and signature == sign(digest)


def tell_books(database: Database) -> None:
    """Write rows of every kind that is sealed."""
    Books(database).tell(BOOKS)
    with database.transaction() as session:
        ((now,),) = session.execute(text("SELECT clock_timestamp()")).all()
        closed = ledger.close_period(
            session, starts_at=now - timedelta(days=900), ends_at=now - timedelta(days=800), actor="7"
        )
        assert closed.ok, closed
        ledger.add_documents(session, [ledger.NewDocument(id=ident("paper"), kind="paper", digest=bytes(range(32)))])
    settle(database)


def settle(database: Database) -> None:
    """Wait for everybody who writes now; the tests' server has other databases, and their writers count too."""
    with database.reader() as session:
        now = session.execute(text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")).scalar_one()
    until = time.monotonic() + PATIENCE_S
    first_open = 0
    while first_open < now:
        assert time.monotonic() < until, "somebody writes for very long"
        with database.reader() as session:
            horizon = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            first_open = session.execute(horizon).scalar_one()


def seal(database: Database, *, limit_blocks: int = 1_000) -> int:
    """Seal everything that is committed at this moment."""
    settle(database)
    return seal_at_once(database, limit_blocks=limit_blocks)


def seal_at_once(database: Database, *, limit_blocks: int = 1_000) -> int:
    return database.run(lambda session: ledger.seal(session, sign=sign, key_id="test", limit_blocks=limit_blocks))


def verified(database: Database, *, published: Published | None = None) -> Verification:
    return ledger.verify(database.reader, check_signature=is_signed, published=published)


def found(database: Database, *, published: Published | None = None) -> list[Finding]:
    """Give what verifying finds in the log; what the audit finds beside it is tested elsewhere."""
    return [
        finding
        for finding in verified(database, published=published).findings
        if finding.check.startswith(("seal_", "row_"))
    ]


@contextmanager
def superuser(database: Database) -> Iterator[Session]:
    with database.transaction() as session:
        without_triggers(session)
        yield session


def row_of(session: Session, table: str, id_: Any) -> dict[str, Any]:
    return dict(session.execute(text(f"SELECT * FROM {table} WHERE id = :id"), {"id": id_}).mappings().one())  # noqa: S608 - a constant


def sealed_rows(database: Database) -> int:
    with database.reader() as session:
        return sum(
            session.execute(text(f"SELECT count(*) FROM {kind.table}")).scalar_one()  # noqa: S608 - a constant
            for kind in KINDS
        )

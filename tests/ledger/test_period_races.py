"""The close of a period beside postings in flight: what its trial balance did not see never comes into it."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db import Database
from app.embedded import EmbeddedPostgres
from ledger import (
    JournalResult,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PeriodResult,
    PeriodStatus,
    TransferFlag,
    audit,
    close_period,
    create_accounts,
    create_transfers,
    post_journal,
)
from ledger.models import Transfer
from migrations import upgrade
from tests.conftest import quick_folder
from tests.ledger.stories import month

BANK, CARD, INCOME = (UUID(f"0193d1f0-0000-7000-8000-00000000000{digit}") for digit in "123")
OCTOBER = month("2020-10")
SOON_S = 5.0
SLOW_ANALYZE = (
    """
    CREATE FUNCTION slow(value integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'autovacuum worker' THEN
            PERFORM pg_current_xact_id(), pg_sleep(1);
        END IF;
        RETURN value;
    END $$
    """,
    "CREATE TABLE visited (value integer) WITH (autovacuum_analyze_threshold = 1)",
    "CREATE INDEX ON visited (public.slow(value))",
    "INSERT INTO visited SELECT generate_series(1, 60)",
)


@pytest.fixture
def books(database: Database) -> Database:
    wanted = [NewAccount(id=id_, code=1002) for id_ in (BANK, CARD, INCOME)]
    database.run(lambda session: create_accounts(session, wanted))
    return database


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def pay(**changes: object) -> NewTransfer:
    values = {"id": uuid4(), "debit_account_id": BANK, "credit_account_id": INCOME, "amount_fen": 5, "code": 1}
    return NewTransfer(**{**values, **changes})  # type: ignore[arg-type]


def dated(value_at: datetime | None, transfer: NewTransfer | None = None) -> NewJournal:
    return NewJournal(
        id=uuid4(),
        kind="correction",
        reference="1",
        text="",
        actor="anna",
        idempotency_key=str(uuid4()),
        transfers=(transfer or pay(),),
        value_at=value_at,
    )


def make(database: Database, transfer: NewTransfer) -> None:
    assert database.run(lambda session: create_transfers(session, [transfer]))[0].ok


def make_plainly(database: Database, transfer: NewTransfer) -> None:
    """Take the one statement in the database, as the queue does for a caller who is alone."""
    plain = text(
        "SELECT ledger.post_plain(:id, :debit, :credit, :amount, 156, 1, 0::smallint, 0, CAST(NULL AS uuid), 0, 0)"
    )
    sides = {"debit": transfer.debit_account_id, "credit": transfer.credit_account_id}
    values = {"id": transfer.id, "amount": transfer.amount_fen, **sides}

    def post(session: Session) -> None:
        for way in ("seqscan", "bitmapscan"):
            session.execute(text(f"SET LOCAL enable_{way} = off"))
        session.execute(plain, values)

    database.run(post)


def book(database: Database, journal: NewJournal) -> JournalResult:
    return database.run(lambda session: post_journal(session, journal))


def clock(session: Session) -> datetime:
    at: datetime = session.scalars(text("SELECT clock_timestamp()")).one()
    return at


def now(database: Database) -> datetime:
    with database.reader() as session:
        return clock(session)


def turnover_fen(session: Session, *, since: datetime, until: datetime) -> int:
    """Add up everything dated in the period, as a trial balance does."""
    dated_in = (Transfer.value_at >= since) & (Transfer.value_at < until)
    return int(session.scalar(select(func.sum(Transfer.amount_fen)).where(dated_in)) or 0)


def close_and_read(database: Database, since: datetime, until: datetime) -> tuple[PeriodResult, int]:
    """Close, and read the period in the same transaction, as an accountant would."""
    with database.transaction() as session:
        result = close_period(session, starts_at=since, ends_at=until, actor="anna")
        return result, turnover_fen(session, since=since, until=until)


def read(database: Database, since: datetime, until: datetime) -> int:
    with database.reader() as session:
        return turnover_fen(session, since=since, until=until)


@contextmanager
def held_open(database: Database) -> Iterator[Session]:
    """A transaction that commits only at the end of the block."""
    with database.transaction() as session:
        yield session


def wait_until(is_so: Callable[[], bool], *, seconds: float = SOON_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def somebody_waits_for_the_lock(database: Database) -> bool:
    waiting = """
        SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
    """
    with database.reader() as session:
        return bool(session.scalars(text(waiting)).one())


def an_autovacuum_writes(database: Database) -> bool:
    writing = """
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'transactionid' AND backend_type = 'autovacuum worker' AND query LIKE '%public.visited%'
    """
    with database.owner() as session:
        return bool(session.scalars(text(writing)).one())


def still_waits(future: Future[tuple[PeriodResult, int]]) -> bool:
    """Say whether it has not come to an end in a while that is long enough for any work that need not wait."""
    time.sleep(0.3)
    return not future.done()


def test_a_close_waits_for_what_is_being_dated_into_the_period_and_sees_it(
    books: Database, pool: ThreadPoolExecutor
) -> None:
    with held_open(books) as session:
        assert post_journal(session, dated(OCTOBER[0])).ok
        close = pool.submit(close_and_read, books, *OCTOBER)
        assert still_waits(close)
    result, seen_fen = close.result(SOON_S)
    assert (result.status, seen_fen) == (PeriodStatus.CLOSED, 5)
    assert read(books, *OCTOBER) == 5


def test_what_comes_while_a_period_is_being_closed_waits_and_is_then_refused(
    books: Database, pool: ThreadPoolExecutor
) -> None:
    wish = dated(OCTOBER[0])
    with held_open(books) as session:
        assert close_period(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="anna").ok
        posting = pool.submit(book, books, wish)
        wait_until(lambda: somebody_waits_for_the_lock(books))
    result = posting.result(SOON_S)
    assert result.status is JournalStatus.PERIOD_CLOSED
    assert read(books, *OCTOBER) == 0


def test_what_waits_while_a_close_is_taken_back_is_posted(books: Database, pool: ThreadPoolExecutor) -> None:
    wish = dated(OCTOBER[0])
    with books.transaction() as session:
        assert close_period(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="anna").ok
        posting = pool.submit(book, books, wish)
        wait_until(lambda: somebody_waits_for_the_lock(books))
        session.rollback()
    assert posting.result(SOON_S).ok


def test_a_close_waits_for_a_plain_posting_that_began_before_the_end(books: Database, pool: ThreadPoolExecutor) -> None:
    with held_open(books) as session:
        assert create_transfers(session, [pay()])[0].ok
        ends_at = clock(session)
        close = pool.submit(close_and_read, books, OCTOBER[0], ends_at)
        assert still_waits(close)
    result, seen_fen = close.result(SOON_S)
    assert (result.status, seen_fen) == (PeriodStatus.CLOSED, 5)


def test_a_close_does_not_wait_for_ever(books: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package names the function as the module.
    monkeypatch.setattr(import_module("ledger.periods"), "WAITS_MAX", 5)
    with held_open(books) as session:
        assert create_transfers(session, [pay()])[0].ok
        result, _ = close_and_read(books, OCTOBER[0], clock(session))
        assert result.status is PeriodStatus.POSTINGS_IN_FLIGHT
    assert close_and_read(books, *OCTOBER)[0].ok


def test_the_servers_own_workers_do_not_hold_up_a_close() -> None:
    """A slow autovacuum writes, too, and has a number, but it posts nothing."""
    folder = Path(tempfile.mkdtemp(prefix="testcard-", dir=quick_folder()))
    server = EmbeddedPostgres(folder / "postgres", options=("fsync=off", "autovacuum_naptime=1"))
    try:
        server.start()
        server.ensure_database()
        upgrade(server.url())
        database = Database(server.url())
        with database.owner() as session:
            for statement in SLOW_ANALYZE:
                session.execute(text(statement))
        wait_until(lambda: an_autovacuum_writes(database), seconds=30)
        assert close_and_read(database, *OCTOBER)[0].ok
        assert an_autovacuum_writes(database)
        database.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_readers_do_not_hold_up_a_close(books: Database) -> None:
    with books.reader() as session:
        assert turnover_fen(session, since=OCTOBER[0], until=OCTOBER[1]) == 0
        assert close_and_read(books, *OCTOBER)[0].ok


def test_a_close_holds_up_no_posting_without_a_date(books: Database, pool: ThreadPoolExecutor) -> None:
    def pay_ten_times() -> None:
        for _ in range(10):
            make(books, pay())
            assert book(books, dated(None)).ok

    with held_open(books) as session:
        assert close_period(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="anna").ok
        # All on the same two accounts, so that they wait for each other and find rows that somebody changed meanwhile.
        for future in [pool.submit(pay_ten_times) for _ in range(4)]:
            future.result(4 * SOON_S)


def test_a_hold_made_while_its_capture_waits_is_captured(books: Database, pool: ThreadPoolExecutor) -> None:
    hold = pay(flags=TransferFlag.PENDING, debit_account_id=CARD)
    capture = NewTransfer(id=uuid4(), pending_id=hold.id, flags=TransferFlag.POST_PENDING_TRANSFER)
    wish = dated(OCTOBER[1], capture)
    with held_open(books) as session:
        assert close_period(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="anna").ok
        posting = pool.submit(book, books, wish)
        wait_until(lambda: somebody_waits_for_the_lock(books))
        make(books, hold)
    assert posting.result(SOON_S).ok
    with books.reader() as session:
        assert audit(session) == []


def test_two_people_closing_at_once_close_once(books: Database, pool: ThreadPoolExecutor) -> None:
    closes = [pool.submit(close_and_read, books, *OCTOBER) for _ in range(4)]
    statuses = sorted(close.result(4 * SOON_S)[0].status for close in closes)
    assert statuses == [PeriodStatus.ALREADY_CLOSED] * 3 + [PeriodStatus.CLOSED]


def test_no_closed_period_ever_changes_however_many_post(books: Database, pool: ThreadPoolExecutor) -> None:
    over = threading.Event()

    def post_plainly(seed: int) -> int:
        random, count = Random(seed), 0  # noqa: S311 - no secret
        while not over.is_set():
            debit, credit = random.sample((BANK, CARD, INCOME), 2)
            random.choice((make, make_plainly))(books, pay(debit_account_id=debit, credit_account_id=credit))
            count += 1
        return count

    def post_dated(seed: int) -> set[JournalStatus]:
        random, statuses = Random(seed), set()  # noqa: S311 - no secret
        while not over.is_set():
            late_s = random.choice((0.0, 0.01, 0.1, 1.0)) * random.random()
            statuses.add(book(books, dated(now(books) - timedelta(seconds=late_s))).status)
        return statuses

    plain = [pool.submit(post_plainly, seed) for seed in range(2)]
    backdated = [pool.submit(post_dated, seed) for seed in range(2, 5)]
    starts_at, closed = OCTOBER[0], []
    try:
        for _ in range(8):
            time.sleep(0.2)
            ends_at = now(books)
            result, seen_fen = close_and_read(books, starts_at, ends_at)
            assert result.ok
            closed.append((starts_at, ends_at, seen_fen))
            starts_at = ends_at
    finally:
        over.set()
    assert all(future.result(SOON_S) > 0 for future in plain)
    assert {status for future in backdated for status in future.result(SOON_S)} == {
        JournalStatus.POSTED,
        JournalStatus.PERIOD_CLOSED,
    }
    for since, until, seen_fen in closed:
        assert read(books, since, until) == seen_fen
    assert sum(seen_fen for _, _, seen_fen in closed) > 0
    with books.reader() as session:
        assert audit(session) == []

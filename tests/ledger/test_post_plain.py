"""The fast path takes nothing that the machine would refuse, and writes what the machine would write."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import (
    AMOUNT_MAX_FEN,
    AccountFlag,
    NewAccount,
    NewTransfer,
    PostingQueue,
    Transfer,
    TransferFlag,
    audit,
    create_accounts,
    create_transfers,
    lookup_transfers,
)
from ledger.queue import FOR_THE_MACHINE, NOT_PLAIN, POST_PLAIN, _arguments
from tests.ledger.test_races import wait_until_blocked

SPACE = UUID("0193d1f0-0000-7000-8000-00000000f1a1")
KINDS = {
    "free": AccountFlag.NONE,
    "other": AccountFlag.NONE,
    "purse": AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS,
    "till": AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS,
    "shut": AccountFlag.CLOSED,
    "foreign": AccountFlag.NONE,
    "nowhere": None,
}


def wishes(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[NewTransfer]:
    return st.builds(lambda **drawn: NewTransfer(id=uuid4(), **drawn), **fields)


def accounts(*names: str) -> st.SearchStrategy[UUID]:
    return st.sampled_from([uuid5(SPACE, name) for name in names])


ODD = {
    "debit_account_id": accounts(*KINDS),
    "credit_account_id": accounts(*KINDS),
    "amount_fen": st.sampled_from([0, 101, AMOUNT_MAX_FEN]),
    "code": st.just(0),
    "ledger": st.sampled_from([840, 0]),
    "flags": st.sampled_from([1, 4, 8, 16, 32, 64, 130, 256, 2**15]).map(TransferFlag),
    "timeout_s": st.just(60),
}
PLAIN = {
    "debit_account_id": accounts("free", "purse", "till"),
    "credit_account_id": accounts("free", "other", "purse", "till"),
    "amount_fen": st.sampled_from([1, 7, 40]),
    "code": st.just(1),
    "ledger": st.just(156),
    "flags": st.sampled_from([0, 2]).map(TransferFlag),
    "timeout_s": st.just(0),
    "user_data_128": st.none() | st.uuids(),
    "user_data_64": st.integers(0, 3),
    "user_data_32": st.integers(0, 3),
}
# Plain ones as often as those in which one field or two are not.
WISHES = (st.just(set[str]()) | st.sets(st.sampled_from(sorted(ODD)), min_size=1, max_size=2)).flatmap(
    lambda odd: wishes(**{**PLAIN, **{name: ODD[name] for name in odd}})
)


@pytest.fixture
def books(database: Database) -> Database:
    wanted = [
        NewAccount(id=uuid5(SPACE, name), code=1001, flags=flags, ledger=840 if name == "foreign" else 156)
        for name, flags in KINDS.items()
        if flags is not None
    ]
    assert all(result.ok for result in database.run(lambda session: create_accounts(session, wanted)))
    start = [wish("free", "purse", 100), wish("till", "free", 100)]
    assert all(result.ok for result in database.run(lambda session: create_transfers(session, start)))
    return database


def wish(debit: str, credit: str, amount_fen: int, **more: Any) -> NewTransfer:
    return NewTransfer(
        id=uuid4(),
        debit_account_id=uuid5(SPACE, debit),
        credit_account_id=uuid5(SPACE, credit),
        amount_fen=amount_fen,
        code=1,
        **more,
    )


def post_plain(connection: psycopg.Connection, new: NewTransfer) -> bool:
    try:
        with connection.transaction():
            connection.execute(POST_PLAIN, _arguments(new), binary=True)
    except FOR_THE_MACHINE:
        return False
    except psycopg.DatabaseError as error:
        if error.sqlstate != NOT_PLAIN:
            raise
        return False
    return True


def written(database: Database, id_: UUID) -> Transfer | None:
    with database.reader() as session:
        found = lookup_transfers(session, [id_])
    return found[0] if found else None


def test_what_the_fast_path_takes_is_what_the_machine_would_have_written(books: Database, database_url: str) -> None:
    taken = 0
    with psycopg.connect(database_url, autocommit=True) as connection:

        @settings(max_examples=100)
        @given(WISHES)
        def agrees(new: NewTransfer) -> None:
            nonlocal taken
            with books.engine.connect() as look:  # what the machine would do, taken back
                session = Session(look)
                machines = create_transfers(session, [new])[0]
                expected = lookup_transfers(session, [new.id])
                session.rollback()
            if not post_plain(connection, new):
                assert written(books, new.id) is None
                return
            taken += 1
            assert machines.ok, (new, machines)
            found = written(books, new.id)
            assert found is not None
            assert found._replace(timestamp=expected[0].timestamp, value_at=expected[0].value_at) == expected[0]

        agrees()
    assert taken > 5
    with books.reader() as session:
        assert audit(session) == []


def test_plain_transfers_and_holds_are_taken_and_nothing_else_is(books: Database, database_url: str) -> None:
    known = wish("free", "other", 1)
    burnt = wish("purse", "free", 500)
    books.run(lambda session: create_transfers(session, [known, burnt]))
    plain = [
        wish("purse", "free", 40),
        wish("purse", "free", 40, flags=TransferFlag.PENDING),
        wish("purse", "free", 20, flags=TransferFlag.PENDING, timeout_s=60),
        wish("free", "till", 60, flags=TransferFlag.PENDING),
        wish("free", "till", 40),
        wish("free", "other", 2**60, flags=TransferFlag.PENDING),
        wish("free", "purse", 1),  # what is spent to the last fen may be filled again
        wish("till", "free", 1),
    ]
    others = [
        wish("purse", "free", 2),  # open holds count
        wish("free", "till", 2),
        wish("shut", "free", 1),
        wish("free", "shut", 1),
        wish("free", "free", 1),
        wish("purse", "purse", 500),
        wish("till", "till", 500),
        wish("free", "foreign", 1),
        wish("free", "nowhere", 1),
        wish("free", "other", 0),
        wish("free", "other", 1, timeout_s=5),
        wish("free", "other", 1, ledger=840),
        wish("free", "other", AMOUNT_MAX_FEN),
        wish("free", "other", 2**61),
        wish("free", "other", 1, flags=TransferFlag.LINKED),
        wish("free", "other", 1, flags=TransferFlag.BALANCING_DEBIT),
        wish("free", "other", 1, flags=TransferFlag(2**15)),
        replace(wish("free", "other", 1), code=0),
        replace(wish("free", "other", 1), id=UUID(int=0)),
        replace(wish("free", "other", 1), id=UUID(int=2**128 - 1)),
        known,
        burnt,
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert [post_plain(connection, new) for new in plain] == [True] * len(plain)
        before = states(connection)
        for new in others:
            assert not post_plain(connection, new), new
        assert states(connection) == before
    with books.reader() as session:
        assert audit(session) == []


@pytest.mark.parametrize("flags", [TransferFlag.NONE, TransferFlag.PENDING])
@pytest.mark.parametrize(("debit", "credit"), [("free", "till"), ("till", "other")])
def test_sums_near_the_end_of_their_columns_are_left_to_the_machine(
    books: Database, database_url: str, debit: str, credit: str, flags: TransferFlag
) -> None:
    great, small = wish("free", "other", 2**61, flags=flags), wish(debit, credit, 1)
    books.run(lambda session: create_transfers(session, [great]))
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert not post_plain(connection, small)
    assert books.run(lambda session: create_transfers(session, [small]))[0].ok


def states(connection: psycopg.Connection) -> list[Any]:
    tables = ("balances", "transfers", "pending_transfers", "failed_transfers")
    return [connection.execute(f"SELECT * FROM ledger.{table} ORDER BY id").fetchall() for table in tables]  # noqa: S608 - names from above


def test_a_burnt_id_is_not_taken_even_when_the_money_is_there_now(books: Database, database_url: str) -> None:
    burnt = wish("purse", "free", 101)
    assert not books.run(lambda session: create_transfers(session, [burnt]))[0].ok
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert post_plain(connection, wish("free", "purse", 1))
        assert not post_plain(connection, burnt)
        assert post_plain(connection, replace(burnt, id=uuid4()))


@pytest.mark.parametrize("ahead", ["debit", "credit"])
def test_an_account_whose_clock_is_ahead_takes_the_other_one_along(
    books: Database, database_url: str, ahead: str
) -> None:
    """Both accounts' next moments lie after the transfer, so that history stays in order."""
    debit, credit = uuid5(SPACE, "free"), uuid5(SPACE, "other")
    with books.transaction() as session:
        forward = text("UPDATE ledger.balances SET last_at = last_at + interval '1 hour' WHERE id = :id")
        session.execute(forward, {"id": debit if ahead == "debit" else credit})
    first, second, third = wish("free", "other", 5), wish("free", "till", 1), wish("purse", "other", 1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert all(post_plain(connection, new) for new in (first, second, third))
    moments = [found.timestamp for new in (first, second, third) if (found := written(books, new.id))]
    assert moments[0] > datetime.now(UTC) + timedelta(minutes=59)
    assert moments[0] < min(moments[1:])
    with books.reader() as session:
        assert audit(session) == []


def test_whoever_closes_a_period_can_see_a_posting_before_it_looks_at_the_clock(
    books: Database, database_url: str
) -> None:
    """A clock of ours, found before PostgreSQL's, divides by nothing if the transaction has no number yet."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ours")
        connection.execute(
            "CREATE FUNCTION ours.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$"
            " SELECT pg_catalog.clock_timestamp()"
            " + make_interval(secs => 0 / (pg_current_xact_id_if_assigned() IS NOT NULL)::integer) $$"
        )
        connection.execute("SET search_path = ours, pg_catalog")
        new = wish("free", "other", 1)
        assert post_plain(connection, new)
    assert written(books, new.id) is not None


def test_the_fast_path_locks_in_the_order_of_ids_as_batches_do(database: Database, database_url: str) -> None:
    """A small table is read from end to end, in whatever order its rows lie: two orders are a deadlock."""
    low, high = sorted([uuid4(), uuid4()])
    for id_ in (high, low):
        database.run(lambda session, id_=id_: create_accounts(session, [NewAccount(id=id_, code=1001)]))  # type: ignore[misc]
    new = replace(wish("free", "other", 1), debit_account_id=low, credit_account_id=high)
    lock = "SELECT FROM ledger.balances WHERE id = %s FOR NO KEY UPDATE NOWAIT"
    queue, pool = PostingQueue(database.connect), ThreadPoolExecutor(1)
    with psycopg.connect(database_url) as batch, queue, pool:
        batch.execute(lock, (low,))
        waiting = pool.submit(queue.post, [new])
        wait_until_blocked(database)
        batch.execute(lock, (high,))
        batch.rollback()
        assert waiting.result()[0].ok

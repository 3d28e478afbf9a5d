"""Many threads post through one queue: each gets its own answer, and the books stay exact."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from app.db import Database
from ledger import (
    AccountFlag,
    CreateTransferStatus,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PostingQueue,
    TransferFlag,
    audit,
    balances,
    create_accounts,
    lookup_transfers,
    post_together,
)
from tests.owner import as_owner

THREADS = 16
BANK, FUND, SHOP = (uuid4() for _ in range(3))
CREATED, SHORT = CreateTransferStatus.CREATED, CreateTransferStatus.EXCEEDS_CREDITS


@pytest.fixture
def queue(database: Database) -> Iterator[PostingQueue]:
    wanted = [
        NewAccount(id=BANK, code=1002),
        NewAccount(id=FUND, code=2711, flags=AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS),
        NewAccount(id=SHOP, code=2241),
    ]
    database.run(lambda session: create_accounts(session, wanted))
    with PostingQueue(database.connect) as queue:
        assert queue.post([pay(BANK, FUND, 100_00)])[0].status is CREATED
        yield queue


def pay(debit: UUID, credit: UUID, amount_fen: int, flags: TransferFlag = TransferFlag.NONE) -> NewTransfer:
    return NewTransfer(
        id=uuid4(), debit_account_id=debit, credit_account_id=credit, amount_fen=amount_fen, code=1, flags=flags
    )


def journal(*transfers: NewTransfer, text: str = "") -> NewJournal:
    key = str(uuid4())
    return NewJournal(
        id=uuid4(), kind="story", reference="", text=text, actor="", idempotency_key=key, transfers=transfers
    )


def assert_balanced(database: Database) -> None:
    with database.reader() as session:
        assert audit(session) == []


def test_a_fund_that_everybody_spends_at_once_is_spent_to_the_last_fen_and_never_overspent(
    database: Database, queue: PostingQueue
) -> None:
    def spend(_: int) -> list[CreateTransferStatus]:
        return [queue.post([pay(FUND, SHOP, 7_00)])[0].status for _ in range(10)]

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(status for each in pool.map(spend, range(THREADS)) for status in each)
    assert statuses == {CREATED: 14, SHORT: 10 * THREADS - 14}
    with database.reader() as session:
        assert balances(session, [FUND])[FUND].available_credit_fen == 2_00
    assert_balanced(database)


def test_callers_who_wait_together_are_committed_together(database: Database, queue: PostingQueue) -> None:
    with database.transaction() as session, ThreadPoolExecutor(THREADS) as pool:
        session.execute(text("SELECT FROM ledger.balances WHERE id = :id FOR UPDATE"), {"id": FUND})
        first = pool.submit(queue.post, [pay(FUND, SHOP, 1)])
        wait_until(lambda: queue._leader is not None and not queue._waiting)
        others = [pool.submit(queue.post, [pay(FUND, SHOP, 1)]) for _ in range(THREADS - 1)]
        wait_until(lambda: len(queue._waiting) == THREADS - 1)
        session.rollback()
        assert first.result()[0].status is CREATED
        assert {other.result()[0].status for other in others} == {CREATED}
    with database.reader() as session:
        commits = session.scalar(
            text("SELECT count(DISTINCT xid) FROM ledger.transfers WHERE debit_account_id = :id"), {"id": FUND}
        )
    assert commits == 2
    assert_balanced(database)


def test_a_batch_takes_in_as_many_as_it_holds_and_no_more(database: Database, queue: PostingQueue) -> None:
    assert queue.post([pay(FUND, SHOP, 1)])[0].ok
    with (
        PostingQueue(database.connect, batch_max=3) as small,
        database.transaction() as session,
        ThreadPoolExecutor(4) as pool,
    ):
        session.execute(text("SELECT FROM ledger.balances WHERE id = :id FOR UPDATE"), {"id": FUND})
        asked = []
        for waiting, size in enumerate((3, 2, 1, 1)):
            asked.append(pool.submit(small.post, [pay(FUND, SHOP, 1) for _ in range(size)]))
            wait_until(lambda waiting=waiting: small._leader is not None and len(small._waiting) == waiting)  # type: ignore[misc]
        session.rollback()
        assert all(result.ok for each in asked for result in each.result())
        with pytest.raises(ValueError, match="at most 3"):
            small.post([pay(FUND, SHOP, 1)] * 4)
    with database.reader() as session:
        commits = text(
            "SELECT count(*) FROM ledger.transfers WHERE debit_account_id = :id GROUP BY xid ORDER BY min(timestamp)"
        )
        assert session.scalars(commits, {"id": FUND}).all() == [1, 3, 3, 1]


def test_the_answer_to_a_plain_transfer_says_what_was_written(database: Database, queue: PostingQueue) -> None:
    wish = pay(FUND, SHOP, 7)
    (answer,) = queue.post([wish])
    with database.reader() as session:
        (found,) = lookup_transfers(session, [wish.id])
    assert answer == (found.id, CREATED, found.timestamp, found.amount_fen)


def test_each_caller_gets_the_answer_to_its_own_wish(database: Database, queue: PostingQueue) -> None:
    wishes = [pay(FUND, SHOP, 1), pay(FUND, SHOP, 1_000_00), pay(FUND, FUND, 1), pay(uuid4(), SHOP, 1)]
    expected = [
        CREATED,
        SHORT,
        CreateTransferStatus.ACCOUNTS_MUST_BE_DIFFERENT,
        CreateTransferStatus.DEBIT_ACCOUNT_NOT_FOUND,
    ]

    def ask(number: int) -> tuple[CreateTransferStatus, CreateTransferStatus]:
        wish = replace(wishes[number % 4], id=uuid4())
        return queue.post([wish])[0].status, queue.post([wish])[0].status

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(ask, range(40)))
    again = [
        CreateTransferStatus.EXISTS,
        CreateTransferStatus.ID_ALREADY_FAILED,
        expected[2],
        CreateTransferStatus.ID_ALREADY_FAILED,
    ]
    assert found == [(expected[number % 4], again[number % 4]) for number in range(40)]
    assert_balanced(database)


def test_a_chain_left_open_by_one_caller_does_not_take_in_the_next(queue: PostingQueue) -> None:
    def ask(number: int) -> CreateTransferStatus:
        flags = TransferFlag.LINKED if number % 2 else TransferFlag.NONE
        return queue.post([pay(FUND, SHOP, 1, flags)])[0].status

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(pool.map(ask, range(40)))
    assert statuses == {CREATED: 20, CreateTransferStatus.LINKED_EVENT_CHAIN_OPEN: 20}


def test_journals_and_transfers_go_through_one_queue(database: Database, queue: PostingQueue) -> None:
    same = journal(pay(FUND, SHOP, 1))
    works: list[Callable[[], str]] = [lambda: queue.post_journal(same).status] * 8
    works += [lambda: queue.post_journal(replace(same, text="other")).status] * 4
    works += [lambda: queue.post_journal(journal(pay(FUND, SHOP, 1), pay(BANK, SHOP, 1))).status] * 8
    works += [lambda: queue.post_journal(journal(pay(FUND, SHOP, 500_00))).status] * 4
    works += [lambda: queue.post([pay(BANK, FUND, 1)])[0].status] * 8
    queue.post_journal(same)
    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(pool.map(lambda work: work(), works))
    assert statuses == {
        JournalStatus.POSTED: 16,
        JournalStatus.IDEMPOTENCY_CONFLICT: 4,
        JournalStatus.REFUSED: 4,
        CREATED: 8,
    }
    assert_balanced(database)


@pytest.mark.usefixtures("queue")
def test_one_key_twice_in_one_batch_is_one_journal(database: Database) -> None:
    same, short = journal(pay(FUND, SHOP, 1)), journal(pay(FUND, SHOP, 500_00))
    answers = database.run(
        lambda session: post_together(session, [same, same, short, short, replace(same, idempotency_key="other")])
    )
    assert [answer.status for answer in answers] == [  # type: ignore[union-attr]
        *(JournalStatus.POSTED, JournalStatus.POSTED, JournalStatus.REFUSED, JournalStatus.REFUSED),
        JournalStatus.JOURNAL_EXISTS,
    ]
    assert [answer.replayed for answer in answers] == [False, True, False, True, False]  # type: ignore[union-attr]
    assert_balanced(database)


def test_a_wish_that_cannot_be_written_down_is_refused_alone(database: Database, queue: PostingQueue) -> None:
    def ask(number: int) -> str:
        text = "a text with \0 in it" if number == 7 else "a text"
        try:
            return queue.post_journal(journal(pay(FUND, SHOP, 1), text=text)).status
        except psycopg.DataError:
            return "refused by the database"

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(pool.map(ask, range(20)))
    assert statuses == {JournalStatus.POSTED: 19, "refused by the database": 1}
    assert_balanced(database)


def test_a_broken_connection_costs_no_posting_and_doubles_none(database: Database, queue: PostingQueue) -> None:
    done, answered = threading.Event(), threading.Event()
    cuts: list[bool] = []

    def cut() -> None:
        while not done.is_set():
            # However slow the machine is: whoever is cut off again and again is told so in the end.
            answered.wait(1)
            answered.clear()
            with database.transaction() as session:
                as_owner(session)
                cuts.extend(
                    session.scalars(
                        text(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND query LIKE '%ledger.%' AND pid <> pg_backend_pid()"
                        )
                    )
                )
            time.sleep(0.02)

    def spend_one() -> bool:
        is_posted = queue.post([pay(BANK, SHOP, 1)])[0].ok
        answered.set()
        return is_posted

    def spend(_: int) -> list[bool]:
        return [spend_one() for _ in range(20)]

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            answers = [ok for each in pool.map(spend, range(THREADS)) for ok in each]
    finally:
        done.set()
        cutter.join()
    assert all(answers)
    assert any(cuts)
    with database.reader() as session:
        assert balances(session, [SHOP])[SHOP].credits_posted_fen == 20 * THREADS
    assert_balanced(database)


def test_a_database_that_does_not_answer_is_told_to_every_caller_and_the_queue_goes_on(database: Database) -> None:
    working = False

    def connect() -> psycopg.Connection:
        if not working:
            raise psycopg.OperationalError("no server")
        return database.connect()

    database.run(lambda session: create_accounts(session, [NewAccount(id=id_, code=1) for id_ in (BANK, SHOP)]))
    with PostingQueue(connect) as queue:

        def ask(_: int) -> str:
            try:
                return queue.post([pay(BANK, SHOP, 1)])[0].status
            except psycopg.OperationalError:
                return "no server"

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(ask, range(4))) == {"no server"}
        working = True
        assert ask(0) == CREATED


def test_more_than_a_batch_holds_is_refused_at_once(queue: PostingQueue) -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        queue.post([pay(BANK, SHOP, 1)] * 1001)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to that")

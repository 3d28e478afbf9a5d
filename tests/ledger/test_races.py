"""Real threads, each with its own connection, on one database."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import (
    AccountFlag,
    CreateTransferStatus,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PendingState,
    TransferFlag,
    audit,
    balances,
    create_accounts,
    create_transfers,
    expire_pending,
    lock_balances,
    pending_transfers,
    post_journal,
    reverse_journal,
)
from ledger.posting import execute
from tests.ledger.stories import pass_time
from tests.owner import as_owner

T = TypeVar("T")
BANK, CARD, INCOME = (UUID(f"0193d1f0-0000-7000-8000-00000000000{digit}") for digit in "123")
THREADS = 8
HOLD_AND_POST = {
    CreateTransferStatus.CREATED,
    CreateTransferStatus.PENDING_TRANSFER_ALREADY_POSTED,
    CreateTransferStatus.PENDING_TRANSFER_ALREADY_VOIDED,
}


@pytest.fixture
def books(database: Database) -> Database:
    limited = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS
    wanted = [NewAccount(id=BANK, code=1002), NewAccount(id=INCOME, code=6001)]
    database.run(lambda session: create_accounts(session, [*wanted, NewAccount(id=CARD, code=224101, flags=limited)]))
    assert pay(database, debit=BANK, credit=CARD, amount_fen=100_00) is CreateTransferStatus.CREATED
    return database


def pay(
    database: Database,
    *,
    debit: UUID | None = None,
    credit: UUID | None = None,
    amount_fen: int | None = None,
    flags: TransferFlag = TransferFlag.NONE,
    id: UUID | None = None,  # noqa: A002
    pending_id: UUID | None = None,
    timeout_s: int = 0,
) -> CreateTransferStatus:
    transfer = NewTransfer(
        id=id or uuid4(),
        debit_account_id=debit,
        credit_account_id=credit,
        amount_fen=amount_fen,
        code=0 if pending_id else 1,
        flags=flags,
        pending_id=pending_id,
        timeout_s=timeout_s,
    )
    return database.run(lambda session: create_transfers(session, [transfer]))[0].status


def together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do all works at the same moment, each in a thread; raise what any of them raises."""
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], T]) -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(start, work) for work in works]]


def assert_balanced(database: Database) -> None:
    with database.reader() as session:
        assert audit(session) == []


def test_forty_charges_of_seven_on_a_card_of_a_hundred_give_fourteen(books: Database) -> None:
    def charge_five_times() -> list[CreateTransferStatus]:
        statuses = []
        for _ in range(5):
            hold = uuid4()
            status = pay(books, debit=CARD, credit=INCOME, amount_fen=700, flags=TransferFlag.PENDING, id=hold)
            if status is CreateTransferStatus.CREATED:
                status = pay(books, pending_id=hold, flags=TransferFlag.POST_PENDING_TRANSFER)
            statuses.append(status)
        return statuses

    statuses = Counter(status for batch in together([charge_five_times] * THREADS) for status in batch)
    assert statuses == {CreateTransferStatus.CREATED: 14, CreateTransferStatus.EXCEEDS_CREDITS: 26}
    with books.reader() as session:
        assert balances(session, [CARD])[CARD].available_credit_fen == 200
    assert_balanced(books)


def test_payments_in_opposite_directions_do_not_lock_each_other_out(books: Database) -> None:
    other = uuid4()
    books.run(lambda session: create_accounts(session, [NewAccount(id=other, code=1002)]))

    def work(debit: UUID, credit: UUID) -> Callable[[], list[CreateTransferStatus]]:
        return lambda: [pay(books, debit=debit, credit=credit, amount_fen=1) for _ in range(25)]

    statuses = together([work(BANK, other), work(other, BANK)] * (THREADS // 2))
    assert {status for batch in statuses for status in batch} == {CreateTransferStatus.CREATED}
    assert_balanced(books)


@pytest.mark.parametrize("work", [create_transfers, lock_balances])
def test_accounts_are_locked_in_the_order_of_their_ids(database: Database, work: Callable[..., object]) -> None:
    """In one order whoever locks, or two would wait for each other and one be sent away."""
    low, high = sorted([uuid4(), uuid4()])
    for id_ in (high, low):
        database.run(lambda session, id_=id_: create_accounts(session, [NewAccount(id=id_, code=1001)]))  # type: ignore[misc]
    wish = NewTransfer(id=uuid4(), debit_account_id=high, credit_account_id=low, amount_fen=1, code=1)
    wanted = [wish] if work is create_transfers else [high, low]
    lock = text("SELECT FROM ledger.balances WHERE id = :id FOR NO KEY UPDATE NOWAIT")
    with ThreadPoolExecutor(1) as pool, database.transaction() as first:
        first.execute(lock, {"id": low})
        waiting = pool.submit(database.run, lambda session: work(session, wanted))
        wait_until_blocked(database)
        first.execute(lock, {"id": high})
        first.rollback()
        assert waiting.result()


@pytest.mark.parametrize("judged_side", ["debit", "credit"])
@pytest.mark.parametrize("why", ["limited", "closed for a time", "asked for what is left"])
def test_the_other_account_of_an_overdue_hold_is_locked_in_its_turn(
    database: Database, why: str, judged_side: str
) -> None:
    """A late lock would be out of order: two would wait for each other, a second at a time."""
    is_debited = judged_side == "debit"
    limits = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
    closing = TransferFlag.CLOSING_DEBIT, TransferFlag.CLOSING_CREDIT
    balancing = TransferFlag.BALANCING_DEBIT, TransferFlag.BALANCING_CREDIT
    side = 0 if is_debited else 1
    other, judged, third = sorted(uuid4() for _ in range(3))
    flags = {judged: limits[side]} if why == "limited" else {}
    wanted = [NewAccount(id=id_, code=1001, flags=flags.get(id_, AccountFlag.NONE)) for id_ in (other, judged, third)]
    database.run(lambda session: create_accounts(session, wanted))

    def from_judged(to: UUID, **more: Any) -> CreateTransferStatus:
        return pay(database, debit=judged if is_debited else to, credit=to if is_debited else judged, **more)

    giver, taker = (third, judged) if is_debited else (judged, third)
    assert pay(database, debit=giver, credit=taker, amount_fen=9) is CreateTransferStatus.CREATED
    hold = TransferFlag.PENDING | (closing[side] if why == "closed for a time" else TransferFlag.NONE)
    assert from_judged(other, amount_fen=5, flags=hold, timeout_s=1) is CreateTransferStatus.CREATED
    pass_time(database, 1)
    wish = balancing[side] if why == "asked for what is left" else TransferFlag.NONE
    lock = text("SELECT FROM ledger.balances WHERE id = :id FOR NO KEY UPDATE NOWAIT")
    with ThreadPoolExecutor(1) as pool, database.transaction() as first:
        first.execute(lock, {"id": other})
        waiting = pool.submit(from_judged, third, amount_fen=9, flags=wish)
        wait_until_blocked(database)
        first.execute(lock, {"id": judged})
        first.rollback()
        assert waiting.result() is CreateTransferStatus.CREATED


def test_who_learns_late_of_a_locked_account_begins_again_and_takes_it_in_its_turn(database: Database) -> None:
    """The hold's time runs out while the posting waits: to wait on for its other account would be out of order."""
    other, card, third = sorted(uuid4() for _ in range(3))
    limits = {card: AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS}
    wanted = [NewAccount(id=id_, code=1001, flags=limits.get(id_, AccountFlag.NONE)) for id_ in (other, card, third)]
    database.run(lambda session: create_accounts(session, wanted))
    assert pay(database, debit=third, credit=card, amount_fen=9) is CreateTransferStatus.CREATED
    hold = pay(database, debit=card, credit=other, amount_fen=5, flags=TransferFlag.PENDING, timeout_s=60)
    assert hold is CreateTransferStatus.CREATED
    wish = NewTransfer(id=uuid4(), debit_account_id=card, credit_account_id=third, amount_fen=9, code=1)
    with ThreadPoolExecutor(1) as pool, database.transaction() as first, database.transaction() as second:
        lock_balances(first, [card])
        lock_balances(second, [other])
        waiting = pool.submit(_post_once, database, wish)
        wait_until_blocked(database)
        pass_time(database, 60, tables=["transfers", "pending_transfers"])
        first.rollback()
        with pytest.raises(sqlalchemy.exc.OperationalError, match="could not obtain lock"):
            waiting.result()
        again = pool.submit(pay, database, debit=card, credit=third, amount_fen=9)
        wait_until_blocked(database)
        lock_balances(first, [card])
        first.rollback()
        second.rollback()
        assert again.result() is CreateTransferStatus.CREATED


def test_of_many_posts_and_voids_of_one_hold_exactly_one_succeeds(books: Database) -> None:
    for _ in range(5):
        hold = uuid4()
        pay(books, debit=CARD, credit=INCOME, amount_fen=500, flags=TransferFlag.PENDING, id=hold)
        works = [
            lambda flags=flags, hold=hold: pay(books, pending_id=hold, flags=flags)
            for flags in (TransferFlag.POST_PENDING_TRANSFER, TransferFlag.VOID_PENDING_TRANSFER) * 4
        ]
        statuses = Counter(together(works))
        assert statuses[CreateTransferStatus.CREATED] == 1
        assert statuses.keys() <= HOLD_AND_POST
        assert len(statuses) == 2
    assert_balanced(books)


def test_one_transfer_sent_by_eight_threads_is_made_once(books: Database) -> None:
    id_ = uuid4()
    statuses = Counter(together([lambda: pay(books, debit=CARD, credit=INCOME, amount_fen=700, id=id_)] * THREADS))
    assert statuses == {CreateTransferStatus.CREATED: 1, CreateTransferStatus.EXISTS: THREADS - 1}


def test_one_id_for_different_accounts_at_one_moment_is_made_once(books: Database) -> None:
    others = [uuid4() for _ in range(THREADS)]
    books.run(lambda session: create_accounts(session, [NewAccount(id=id_, code=1002) for id_ in others]))
    for _ in range(5):
        id_ = uuid4()
        pairs = list(zip(others[::2], others[1::2], strict=True))
        works = [
            lambda pair=pair, id_=id_: pay(books, debit=pair[0], credit=pair[1], amount_fen=1, id=id_) for pair in pairs
        ]
        statuses = Counter(together(works))
        assert statuses == {
            CreateTransferStatus.CREATED: 1,
            CreateTransferStatus.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID: len(pairs) - 1,
        }
    assert_balanced(books)


def journal(*, key: str, amount_fen: int = 100, id_: UUID | None = None) -> NewJournal:
    line = NewTransfer(id=uuid4(), debit_account_id=CARD, credit_account_id=INCOME, amount_fen=amount_fen, code=1)
    return NewJournal(
        id=id_ or uuid4(),
        kind="charge",
        reference=key,
        text="",
        actor="desk",
        idempotency_key=key,
        transfers=(line,),
    )


@pytest.mark.parametrize(("amount_fen", "status"), [(100, JournalStatus.POSTED), (200_00, JournalStatus.REFUSED)])
def test_one_journal_sent_by_eight_threads_gets_one_answer(
    books: Database, amount_fen: int, status: JournalStatus
) -> None:
    wanted = journal(key="k", amount_fen=amount_fen)
    results = together([lambda: books.run(lambda session: post_journal(session, wanted))] * THREADS)
    assert {result.status for result in results} == {status}
    assert len({result.results for result in results}) == 1
    assert [result.replayed for result in results].count(False) == 1
    assert_balanced(books)


def test_one_key_for_two_journals_at_one_moment_is_used_once(books: Database) -> None:
    wanted = [journal(key="k", amount_fen=100 + number) for number in range(THREADS)]
    works = [lambda one=one: books.run(lambda session: post_journal(session, one)) for one in wanted]
    statuses = Counter(result.status for result in together(works))
    assert statuses == {JournalStatus.POSTED: 1, JournalStatus.IDEMPOTENCY_CONFLICT: THREADS - 1}


def test_one_journal_reversed_by_eight_people_is_reversed_once(books: Database) -> None:
    original = journal(key="k")
    books.run(lambda session: post_journal(session, original))

    def reverse(number: int) -> JournalStatus:
        def work(session: Session) -> JournalStatus:
            return reverse_journal(
                session, original.id, id=ids[number], reason="", actor="desk", idempotency_key=f"r{number}"
            ).status

        return books.run(work)

    ids = [uuid4() for _ in range(THREADS)]
    statuses = Counter(together([lambda number=number: reverse(number) for number in range(THREADS)]))  # type: ignore[misc]
    assert statuses == {JournalStatus.POSTED: 1, JournalStatus.JOURNAL_ALREADY_REVERSED: THREADS - 1}
    assert_balanced(books)


def test_sweepers_and_payments_side_by_side_free_each_hold_once(books: Database) -> None:
    holds = [uuid4() for _ in range(20)]
    for id_ in holds:
        pay(books, debit=CARD, credit=INCOME, amount_fen=500, flags=TransferFlag.PENDING, id=id_, timeout_s=60)
    assert pay(books, debit=CARD, credit=INCOME, amount_fen=1) is CreateTransferStatus.EXCEEDS_CREDITS
    pass_time(books, 60)

    def sweep() -> CreateTransferStatus:
        books.run(lambda session: expire_pending(session, limit=7))
        return CreateTransferStatus.CREATED

    def spend() -> CreateTransferStatus:
        return pay(books, debit=CARD, credit=INCOME, amount_fen=25_00)

    assert set(together([sweep, spend] * 4)) == {CreateTransferStatus.CREATED}
    with books.reader() as session:
        assert set(pending_transfers(session, holds).values()) == {PendingState.EXPIRED}
        assert balances(session, [CARD])[CARD].available_credit_fen == 0
    assert_balanced(books)


@pytest.mark.parametrize("locked", [CARD, INCOME])
def test_a_sweeper_does_not_wait_for_an_account_that_is_being_posted_to(books: Database, locked: UUID) -> None:
    pay(books, debit=CARD, credit=INCOME, amount_fen=5, flags=TransferFlag.PENDING, timeout_s=1)
    pass_time(books, 1)
    with books.transaction() as posting, books.transaction() as sweeping:
        lock_balances(posting, [locked])
        sweeping.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert expire_pending(sweeping) == 0
    assert books.run(expire_pending) == 1


def test_a_reader_never_sees_debits_differ_from_credits(books: Database) -> None:
    done = threading.Event()

    def write() -> int:
        for _ in range(30):
            pay(books, debit=BANK, credit=CARD, amount_fen=1)
        done.set()
        return 0

    def watch() -> int:
        looks = 0
        while not done.is_set():
            with books.transaction() as session:  # READ COMMITTED: the audit must bring its own snapshot
                assert audit(session) == []
            looks += 1
        return looks

    assert max(together([write, watch])) > 0


def test_a_key_taken_at_the_same_moment_asks_for_another_try(books: Database) -> None:
    """Without the door's retry the loser sees a serialisation failure, never a duplicate key."""
    other = uuid4()
    id_ = uuid4()
    books.run(lambda session: create_accounts(session, [NewAccount(id=other, code=1002)]))
    with books.transaction() as first:
        wish = NewTransfer(id=id_, debit_account_id=BANK, credit_account_id=CARD, amount_fen=1, code=1)
        create_transfers(first, [wish])
        raced = NewTransfer(id=id_, debit_account_id=other, credit_account_id=INCOME, amount_fen=1, code=1)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(_post_once, books, raced)
            wait_until_blocked(books)
            first.commit()
            with pytest.raises(sqlalchemy.exc.OperationalError, match="same id at the same moment"):
                future.result()


def test_a_key_taken_at_the_same_moment_asks_for_another_try_on_a_bare_connection_too(books: Database) -> None:
    """So that the queue, which works without a session, tries again and tells nobody."""
    statement = """
    INSERT INTO ledger.accounts (id, ledger, code, flags, user_data_64, user_data_32, created_at)
    VALUES (%(id)s, 156, 1, 0, 0, 0, now())
    """
    with books.connect() as first, books.connect() as second, ThreadPoolExecutor(1) as pool:
        assert execute(first, statement, {"id": uuid4()}, reads=False) == ()
        wish = {"id": uuid4()}
        execute(first, statement, wish, reads=False)
        future = pool.submit(execute, second, statement, wish, reads=False)
        wait_until_blocked(books)
        first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure, match="same id at the same moment"):
            future.result()
        second.rollback()
        with pytest.raises(psycopg.errors.UniqueViolation):
            execute(second, "INSERT INTO ledger.failed_transfers VALUES (%(id)s, '', now()), (%(id)s, '', now())", wish)


def wait_until_blocked(database: Database) -> None:
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(200):
        with database.transaction() as session:
            as_owner(session)
            if session.scalar(blocked):
                return
        time.sleep(0.01)
    pytest.fail("nobody waits for a lock")


def _post_once(database: Database, transfer: NewTransfer) -> None:
    with database.transaction() as session:
        create_transfers(session, [transfer])

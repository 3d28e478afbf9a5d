"""The queue when somebody gives up in the middle: a caller, the one who posts for all, the one who closes it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from app.db import Database
from ledger import (
    CreateTransferStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PostingQueue,
    audit,
    create_accounts,
    lookup_transfers,
)
from ledger import queue as queue_module
from tests.ledger.test_queue import wait_until

BANK, SHOP = uuid4(), uuid4()
CREATED = CreateTransferStatus.CREATED


@pytest.fixture
def queue(database: Database) -> Iterator[PostingQueue]:
    wanted = [NewAccount(id=BANK, code=1002), NewAccount(id=SHOP, code=2241)]
    database.run(lambda session: create_accounts(session, wanted))
    with PostingQueue(database.connect) as queue:
        yield queue
    with database.reader() as session:
        assert audit(session) == []


def pay(amount_fen: int = 1) -> NewTransfer:
    return NewTransfer(id=uuid4(), debit_account_id=BANK, credit_account_id=SHOP, amount_fen=amount_fen, code=1)


def stands(database: Database, *transfers: NewTransfer) -> list[UUID]:
    with database.reader() as session:
        return [found.id for found in lookup_transfers(session, [each.id for each in transfers])]


@contextmanager
def held_up(database: Database) -> Iterator[None]:
    """Nobody can post while this lasts."""
    with database.transaction() as session:
        session.execute(text("SELECT FROM ledger.balances FOR UPDATE"))
        yield
        session.rollback()


def interrupt_once(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, *, is_after: bool) -> None:
    """Let the next call of a function of the queue's end with this error, before or after it did its work."""
    real = getattr(queue_module, name)
    left = [error]

    def interrupted(*arguments: Any) -> Any:
        if left and not is_after:
            raise left.pop()
        answer = real(*arguments)
        if left:
            raise left.pop()
        return answer

    monkeypatch.setattr(queue_module, name, interrupted)


@pytest.mark.parametrize("is_after", [False, True])
def test_what_is_acknowledged_after_an_interrupt_is_committed(
    database: Database, queue: PostingQueue, monkeypatch: pytest.MonkeyPatch, *, is_after: bool
) -> None:
    """An open transaction left in the connection would swallow every later posting."""
    lost, chain = [pay(), pay()], [pay(), pay()]
    interrupt_once(monkeypatch, "post_together", KeyboardInterrupt(), is_after=is_after)
    begin = psycopg.Connection.transaction

    @contextmanager
    def begun(connection: psycopg.Connection, *arguments: Any) -> Iterator[Any]:
        connection.execute("BEGIN")  # an interrupt here leaves no one who would end it
        with begin(connection, *arguments) as transaction:
            yield transaction

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "transaction", begun)
        with pytest.raises(KeyboardInterrupt):
            queue.post(lost)
    assert [result.status for result in queue.post(chain)] == [CREATED, CREATED]
    assert sorted(stands(database, *lost, *chain)) == sorted(each.id for each in chain)


def test_those_who_waited_with_an_interrupted_caller_are_posted_all_the_same(
    database: Database, queue: PostingQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as pool:
        with held_up(database):
            first = pool.submit(queue.post, [pay()])
            wait_until(lambda: queue._leader is not None and not queue._waiting)
            interrupted = pool.submit(queue.post, [pay(), pay()])
            wait_until(lambda: len(queue._waiting) == 1)
            others = [pool.submit(queue.post, [pay()]) for _ in range(2)]
            wait_until(lambda: len(queue._waiting) == 3)
            interrupt_once(monkeypatch, "post_together", KeyboardInterrupt(), is_after=True)
        assert first.result()[0].ok
        with pytest.raises(KeyboardInterrupt):
            interrupted.result()
        assert [other.result()[0].ok for other in others] == [True, True]
    assert queue.post([pay()])[0].ok


def test_a_caller_who_gives_up_waiting_is_not_waited_for(
    database: Database, queue: PostingQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, stays = [pay()], [pay()]
    entered = threading.Event()

    class Impatient:
        """The lock of a caller who is interrupted while he sleeps."""

        def acquire(self) -> None:
            entered.wait()
            raise KeyboardInterrupt

    class Entry(queue_module._Entry):
        def __init__(self, wish: Any) -> None:
            super().__init__(wish)
            if threading.current_thread().name.startswith("impatient"):
                self.awake = Impatient()  # type: ignore[assignment]

    monkeypatch.setattr(queue_module, "_Entry", Entry)
    with ThreadPoolExecutor(1, "impatient") as impatient, ThreadPoolExecutor(2) as pool:
        with held_up(database):
            first = pool.submit(queue.post, [pay()])
            wait_until(lambda: queue._leader is not None and not queue._waiting)
            waiter = impatient.submit(queue.post, given_up)
            wait_until(lambda: len(queue._waiting) == 1)
            last = pool.submit(queue.post, stays)
            wait_until(lambda: len(queue._waiting) == 2)
            entered.set()
            with pytest.raises(KeyboardInterrupt):
                waiter.result()
        assert first.result()[0].ok
        assert last.result()[0].ok
    assert stands(database, *given_up, *stays) == [stays[0].id]
    assert queue.post([pay()])[0].ok


def test_an_error_nobody_foresaw_is_told_to_all_and_the_queue_goes_on(
    database: Database, queue: PostingQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_once(monkeypatch, "post_together", LookupError("unforeseen"), is_after=True)
    lost = [pay(), pay()]
    with pytest.raises(LookupError, match="unforeseen"):
        queue.post(lost)
    assert stands(database, *lost) == []
    assert [result.status for result in queue.post(lost)] == [CREATED, CREATED]


def test_closing_the_queue_waits_for_whoever_posts_and_loses_nothing(database: Database, queue: PostingQueue) -> None:
    wanted = [pay(), pay()]
    with ThreadPoolExecutor(2) as pool:
        with held_up(database):
            posting = pool.submit(queue.post, wanted)
            wait_until(lambda: queue._leader is not None and not queue._waiting)
            closing = pool.submit(queue.close)
            with pytest.raises(TimeoutError):
                closing.result(timeout=0.2)
        closing.result()
        assert [result.status for result in posting.result()] == [CREATED, CREATED]


def test_many_post_while_the_queue_is_closed_again_and_again(queue: PostingQueue) -> None:
    done = threading.Event()

    def close() -> None:
        while not done.wait(0.002):
            queue.close()

    def spend(_: int) -> list[bool]:
        return [result.status is CREATED for _ in range(40) for result in queue.post([pay()])]

    closer = threading.Thread(target=close)
    closer.start()
    with ThreadPoolExecutor(8) as pool:
        answers = [answer for each in pool.map(spend, range(8)) for answer in each]
    done.set()
    closer.join()
    assert answers == [True] * 320


def test_a_value_date_is_not_lost_on_the_queued_path(database: Database, queue: PostingQueue) -> None:
    """Neither alone nor beside others, and none of it rubs off on who is posted with it."""
    last_month = datetime.now(UTC) - timedelta(days=31)
    dated, plain = [_journal(last_month) for _ in range(8)], [pay() for _ in range(8)]
    assert queue.post_journal(dated[0]).ok
    with ThreadPoolExecutor(16) as pool:
        with held_up(database):
            works = [pool.submit(queue.post_journal, journal) for journal in dated[1:]]
            works += [pool.submit(queue.post, [each]) for each in plain]  # type: ignore[arg-type]
            wait_until(lambda: len(queue._waiting) == len(works) - 1)
        for work in works:
            work.result()
    ids = [journal.transfers[0].id for journal in dated]
    with database.reader() as session:
        assert {found.value_at for found in lookup_transfers(session, ids)} == {last_month}
        for found in lookup_transfers(session, [each.id for each in plain]):
            assert (found.value_at, found.journal_id) == (found.timestamp, None)


def _journal(value_at: datetime) -> NewJournal:
    id_ = uuid4()
    return NewJournal(
        id=id_,
        kind="charge",
        reference="",
        text="",
        actor="",
        idempotency_key=str(id_),
        transfers=(pay(),),
        value_at=value_at,
    )

"""Many callers, one transaction: the queue that keeps accounts that are in every transfer from serialising them.

Whoever comes first posts; whoever comes meanwhile waits, and is posted together with all the others who waited when
the first returns, at one lock of each account and one commit. A single plain transfer goes as one statement. Limits and
after-balances stay exact, because it is the same machine that runs over the same locked rows.

It is for callers whose only write is the posting: what must commit together with rows of their own is posted in their
own transaction, by `post_journal` and `create_transfers`.
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

import psycopg

from ledger.errors import CreateTransferStatus
from ledger.journals import Wish, post_together
from ledger.values import JournalResult, NewJournal, NewTransfer, TransferResult

BATCH_MAX = 1_000
RETRIES = 6
RETRY_PAUSE_S = 0.02
# After a crowd was answered, its first one to come back waits so long for the others: alone it would post alone.
GATHER_S = 0.0005
NOT_PLAIN = "TC001"

# Casts, so that the driver need not guess a type from a value.
POST_PLAIN = """
SELECT ledger.post_plain(%b::uuid, %b::uuid, %b::uuid, %b::bigint, %b::integer, %b::integer, %b::smallint, %b::integer,
                         %b::uuid, %b::bigint, %b::integer)
"""
# Of one row or thousands, all are found by their ids: `post_plain` locks in the order in which it finds.
BY_INDEX = "SET enable_seqscan = off; SET enable_bitmapscan = off"
# Nothing was written, and the same may succeed next time: deadlock, serialisation, lock not available.
_PASSING = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.LockNotAvailable)
# What `post_plain` leaves to the machine beside what it calls not plain: a limit, one account twice, a known id, flags
# that no column holds.
FOR_THE_MACHINE = (
    psycopg.errors.CheckViolation,
    psycopg.errors.UniqueViolation,
    psycopg.errors.NumericValueOutOfRange,
)

# Mistakes of a program that no rule foresees, as a number that no column holds.
_GUILTY = (ValueError, TypeError, RuntimeError, struct.error)

Answer = JournalResult | list[TransferResult]


class _Entry:
    """What one caller wants, and the lock on which the caller sleeps until it is answered or called to lead."""

    __slots__ = ("answer", "awake", "error", "wish")

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.awake = threading.Lock()
        self.awake.acquire()

    @property
    def is_done(self) -> bool:
        return self.answer is not None or self.error is not None

    @property
    def size(self) -> int:
        return len(self.wish.transfers if isinstance(self.wish, NewJournal) else self.wish)


class PostingQueue:
    """Posts for any number of threads through one connection.

    `connect` gives a connection of the driver's, whose role may post; it is called again after the connection broke.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], *, batch_max: int = BATCH_MAX) -> None:
        self._connect = connect
        self._batch_max = batch_max
        self._connection: psycopg.Connection | None = None
        self._waiting: deque[_Entry] = deque()
        self._crowd = 0
        self._mutex = threading.Lock()
        self._posting = threading.Lock()
        self._leader: _Entry | None = None

    def __enter__(self) -> Self:
        """Give the queue itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the queue."""
        self.close()

    def post(self, transfers: Sequence[NewTransfer]) -> list[TransferResult]:
        """Post transfers as `create_transfers` does, and return when they are committed; refusals are, too.

        Raises the database's error when it does not answer; what became of the transfers is then not known, and the
        same transfers again find out. Raises ValueError for more than a batch holds.
        """
        answer = self._post(_Entry(transfers))
        return answer if isinstance(answer, list) else list(answer.results)

    def post_journal(self, journal: NewJournal) -> JournalResult:
        """Post a journal as `ledger.post_journal` does, and return when the answer is committed. Raises as `post`."""
        answer = self._post(_Entry(journal))
        if isinstance(answer, list):
            raise TypeError("a journal is answered by a journal's result")
        return answer

    def close(self) -> None:
        """Give the connection back, once nobody posts; a later posting opens a new one."""
        with self._posting:
            self._drop()

    def _post(self, entry: _Entry) -> Answer:
        if entry.size > self._batch_max:
            raise ValueError(f"a batch holds at most {self._batch_max} transfers, not {entry.size}")
        with self._mutex:
            self._waiting.append(entry)
            leads = self._leader is None
            if leads:
                self._leader = entry
        try:
            if not leads:
                entry.awake.acquire()
            if not entry.is_done:
                self._lead()
        except BaseException:
            self._leave(entry)
            raise
        if entry.error is not None:
            raise entry.error
        if entry.answer is None:
            raise RuntimeError("the queue returned without an answer")
        return entry.answer

    def _lead(self) -> None:
        """Post what waits now, wake everybody who is answered, and call the next one who came meanwhile to lead."""
        batch: list[_Entry] = []
        try:
            with self._posting:
                if self._crowd > 1:
                    time.sleep(GATHER_S)
                with self._mutex:
                    batch = self._take()
                    self._crowd = len(batch)
                self._answer(batch)
        except Exception as error:  # noqa: BLE001 - each caller raises it for itself
            for entry in batch:
                if not entry.is_done:
                    entry.error = error
        except BaseException:
            # Only this caller is interrupted; what became of the others' wishes they find out under the same ids.
            # In the connection an open transaction may be left, which would swallow all that is posted through it.
            self._drop()
            with self._mutex:
                self._waiting.extendleft(entry for entry in reversed(batch[1:]) if not entry.is_done)
            raise
        finally:
            for entry in batch[1:]:
                if entry.is_done:
                    entry.awake.release()
            with self._mutex:
                self._call_next()

    def _leave(self, entry: _Entry) -> None:
        """Forget a caller who was interrupted, and have nobody wait for its turn."""
        with self._mutex:
            if entry in self._waiting:
                self._waiting.remove(entry)
            if self._leader is entry:
                self._call_next()

    def _call_next(self) -> None:
        self._leader = self._waiting[0] if self._waiting else None
        if self._leader is not None:
            self._leader.awake.release()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _take(self) -> list[_Entry]:
        batch = [self._waiting.popleft()]
        size = batch[0].size
        while self._waiting and size + self._waiting[0].size <= self._batch_max:
            entry = self._waiting.popleft()
            size += entry.size
            batch.append(entry)
        return batch

    def _answer(self, batch: Sequence[_Entry]) -> None:
        try:
            answers = self._insist([entry.wish for entry in batch])
        except (*_GUILTY, psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            # One of them cannot be written down at all; alone, each is told what is its own.
            for entry in batch:
                self._answer([entry])
        else:
            for entry, answer in zip(batch, answers, strict=True):
                entry.answer = answer

    def _insist(self, wishes: Sequence[Wish]) -> list[Answer]:
        """Post with the same ids until the database says what became of them."""
        for attempt in range(1, RETRIES + 1):
            try:
                return self._answer_once(wishes)
            except (*_PASSING, psycopg.OperationalError) as error:
                if not isinstance(error, _PASSING):
                    self._drop()
                if attempt == RETRIES:
                    raise
                time.sleep(RETRY_PAUSE_S * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _answer_once(self, wishes: Sequence[Wish]) -> list[Answer]:
        connection = self._connection
        if connection is None:
            connection = self._connection = _prepared(self._connect())
        if len(wishes) == 1 and (answer := _post_plain(connection, wishes[0])) is not None:
            return [answer]
        with connection.transaction():
            return post_together(connection, wishes)


def _prepared(connection: psycopg.Connection) -> psycopg.Connection:
    try:
        connection.autocommit = True
        connection.execute(BY_INDEX)
    except BaseException:
        connection.close()
        raise
    return connection


def _post_plain(connection: psycopg.Connection, wish: Wish) -> list[TransferResult] | None:
    """Post a single transfer as one statement; None if it is not plain, and then nothing was done."""
    if isinstance(wish, NewJournal) or len(wish) != 1:
        return None
    (new,) = wish
    if new.amount_fen is None or new.pending_id is not None:
        return None
    try:
        cursor = connection.execute(POST_PLAIN, _arguments(new), binary=True, prepare=True)
    except FOR_THE_MACHINE:
        return None
    except psycopg.DatabaseError as error:
        if error.sqlstate != NOT_PLAIN:
            raise
        return None
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("post_plain gave no row")
    return [TransferResult(new.id, CreateTransferStatus.CREATED, row[0], new.amount_fen)]


def _arguments(new: NewTransfer) -> tuple[UUID | int | None, ...]:
    return (
        *(new.id, new.debit_account_id, new.credit_account_id, new.amount_fen, new.ledger, new.code),
        *(int(new.flags), new.timeout_s, new.user_data_128, new.user_data_64, new.user_data_32),
    )

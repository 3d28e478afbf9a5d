"""What one process does to the ledger while it is measured, through nothing but the ledger's public names."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg

import ledger
from app.db import Database
from bench.ledger.server import ACCOUNTS
from bench.ledger.wishes import capture, hold, new_id, random_id, wish
from ledger import NewTransfer
from ledger.posting import TRANSFERS, execute

CALLERS = 64
"""Threads that wait for one queue in the coalesced measurements."""

WARM_CALLS = 7
"""Past the driver's threshold for prepared statements."""

CALLS_MAX_PER_CALLER_SECOND = 500
"""So many wishes are made beforehand for each thread; it says so if they do not suffice."""

BARE = dataclasses.replace(TRANSFERS, table="bare", condition="true")
BY_DRIVER = f"""
INSERT INTO ledger.bare ({", ".join(name for name, _ in BARE.columns)})
SELECT * FROM unnest({", ".join(f"%b::{type_}[]" for _, type_ in BARE.columns)})
"""  # noqa: S608 - names only
EXAMPLE = "SELECT id FROM ledger.transfers LIMIT 1"

Step = Callable[[], int]


@dataclass(slots=True)
class Found:
    """How many transfers were done, in how many seconds of waiting for the ledger, and how long each call took."""

    count: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)


class Worker:
    """One process's hands: connections are made when a measurement first needs them, and then kept."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, steps: Iterator[Step], *, seconds: float, ready: Callable[[], None]) -> Found:
        """Do step after step; only these are timed: making the wishes is neither the ledger nor its reference."""
        for _ in range(WARM_CALLS):
            next(steps)()
        ready()
        found, until = Found(), time.perf_counter() + seconds
        for step in steps:
            started = time.perf_counter()
            found.count += step()
            ended = time.perf_counter()
            found.seconds += ended - started
            if ended >= until:
                break
        return found

    # --- one caller of the queue

    def single(self, *, hot: bool = False) -> Iterator[Step]:
        """Post transfers one by one, each committed before the next."""
        while True:
            yield functools.partial(self._post, [wish(hot=hot)])

    def pair(self) -> Iterator[Step]:
        """Post a hold and then its capture, each committed by itself; both together count as one."""
        while True:
            yield functools.partial(self._post_pair, hold())

    # --- batches, one transaction each

    def batch(self, *, size: int, hot: bool = False, ordered: bool = True) -> Iterator[Step]:
        """Post batches of plain transfers."""
        make_id = new_id if ordered else random_id
        while True:
            yield functools.partial(self._create, [wish(hot=hot, make_id=make_id) for _ in range(size)])

    def two_phase(self, *, size: int) -> Iterator[Step]:
        """Post batches of holds, each followed by the batch of its captures."""
        while True:
            holds = [hold() for _ in range(size)]
            yield functools.partial(self._create, holds)
            yield functools.partial(self._create, [capture(held) for held in holds])

    def insert(self, *, size: int, packed: bool = False) -> Iterator[Step]:
        """Insert the rows of a batch with nothing but a primary key: no lock, no rule, no other index.

        They travel as the driver sends lists, the fastest of its ways to insert many, or packed by `ledger.arrays`.
        """
        insert = self._insert_packed if packed else self._insert
        ((example_id,),) = execute(self._connection, EXAMPLE, {})
        (example,) = ledger.lookup_transfers(self._connection, [example_id])
        while True:
            yield functools.partial(insert, [example._replace(id=new_id()) for _ in range(size)])

    # --- many callers of one queue

    def coalesced(
        self, *, seconds: float, ready: Callable[[], None], hot: bool = False, accounts: int = ACCOUNTS
    ) -> Found:
        """Let 64 threads post single transfers; each call is timed as its caller sees it."""
        found, queue = Found(), self._queue
        prepared = int(CALLS_MAX_PER_CALLER_SECOND * seconds) + WARM_CALLS
        supplies = [[[wish(hot=hot, accounts=accounts)] for _ in range(prepared)] for _ in range(CALLERS)]
        start = threading.Barrier(CALLERS + 1, timeout=30)

        def call(supply: list[list[NewTransfer]]) -> None:
            for _ in range(WARM_CALLS):
                _all_ok(queue.post(supply.pop()))
            start.wait()
            start.wait()
            ended = time.perf_counter()
            until = ended + seconds
            while ended < until:
                started = ended
                _all_ok(queue.post(supply.pop()))
                ended = time.perf_counter()
                found.latencies_s.append(ended - started)

        with ThreadPoolExecutor(CALLERS) as pool:
            calls = [pool.submit(call, supply) for supply in supplies]
            start.wait()
            ready()
            started = time.perf_counter()
            start.wait()
            for ended_call in calls:
                ended_call.result()
            found.seconds, found.count = time.perf_counter() - started, len(found.latencies_s)
        return found

    # --- the calls themselves

    @functools.cached_property
    def _database(self) -> Database:
        return Database(self._url, pool_size=1)

    @functools.cached_property
    def _connection(self) -> psycopg.Connection:
        connection = self._database.connect()
        connection.autocommit = True
        return connection

    @functools.cached_property
    def _queue(self) -> ledger.PostingQueue:
        return ledger.PostingQueue(self._database.connect)

    def _post(self, transfers: Sequence[NewTransfer]) -> int:
        return _all_ok(self._queue.post(transfers))

    def _post_pair(self, held: NewTransfer) -> int:
        self._post([held])
        return self._post([capture(held)])

    def _create(self, wishes: Sequence[NewTransfer]) -> int:
        with self._connection.transaction():
            return _all_ok(ledger.create_transfers(self._connection, wishes))

    def _insert(self, rows: Sequence[ledger.Transfer]) -> int:
        with self._connection.transaction():
            self._connection.execute(BY_DRIVER.encode(), [list(column) for column in zip(*rows, strict=True)])
        return len(rows)

    def _insert_packed(self, rows: Sequence[ledger.Transfer]) -> int:
        part = BARE.rows(rows)
        sql, parameters = part.sql, part.parameters
        with self._connection.transaction():
            execute(self._connection, sql, parameters, reads=False)
        return len(rows)


def _all_ok(results: Sequence[ledger.TransferResult]) -> int:
    refused = [result.status for result in results if not result.ok]
    assert not refused, refused[:3]
    return len(results)

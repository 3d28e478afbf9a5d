"""A process that posts until it is killed: what it intends stands on the disk before, what was acknowledged after."""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID, uuid4

import psycopg
import sqlalchemy.exc

from app.db import Database
from ledger import (
    CreateTransferStatus,
    NewJournal,
    NewTransfer,
    PostingQueue,
    TransferFlag,
    TransferResult,
    create_transfers,
    expire_pending,
    post_journal,
)

QUEUE_THREADS = 4
PAUSE_S = 0.05
NO_SERVER = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error)
Post = Callable[["Wish"], Sequence[TransferResult]]


@dataclass(frozen=True)
class Wish:
    """What stands in the log: a single transfer, a chain, or a journal."""

    transfers: list[dict[str, Any]]
    journal_id: str | None = None

    @property
    def ids(self) -> list[str]:
        return [transfer["id"] for transfer in self.transfers]

    def line(self) -> dict[str, Any]:
        return {"transfers": self.transfers, "journal_id": self.journal_id}

    def events(self) -> list[NewTransfer]:
        return [NewTransfer(**{name: _read(name, value) for name, value in each.items()}) for each in self.transfers]

    def journal(self) -> NewJournal:
        key = str(self.journal_id)
        return NewJournal(
            id=UUID(key),
            kind="charge",
            reference=key[:8],
            text="",
            actor="writer",
            idempotency_key=key,
            transfers=tuple(self.events()),
        )


def _read(name: str, value: Any) -> Any:
    if name == "flags":
        return TransferFlag(value)
    return UUID(value) if isinstance(value, str) else value


@dataclass
class Log:
    """A file of lines, each on the disk before the next step is taken."""

    path: Path
    _file: TextIO = field(init=False)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._file = self.path.open("a")

    def write(self, line: object) -> None:
        with self._mutex:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def lines(path: Path) -> Iterator[Any]:
    """Read a log; a last line that was cut off was never relied on."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def unanswered(folder: Path, name: str) -> list[Wish]:
    """Give what a writer intended and was not told the outcome of."""
    told = {id_ for answer in lines(folder / f"{name}.told") for id_ in answer}
    return [wish for line in lines(folder / f"{name}.meant") if (wish := Wish(**line)).ids[0] not in told]


@dataclass
class Writer:
    """Posts one thing after the other, each until it is told what became of it."""

    accounts: list[str]
    post: Post
    chance: random.Random
    meant: Log
    told: Log
    holds: list[str] = field(default_factory=list)

    def work(self) -> None:
        while True:
            wish = self._wish()
            self.meant.write(wish.line())
            self.insist(wish)

    def insist(self, wish: Wish) -> None:
        while True:
            try:
                results = self.post(wish)
            except NO_SERVER:
                time.sleep(PAUSE_S)
            else:
                break
        self.told.write(
            {str(each.id): [each.status.value, str(each.timestamp or ""), each.amount_fen] for each in results}
        )
        self.holds += [
            transfer["id"]
            for transfer, result in zip(wish.transfers, results, strict=True)
            if transfer["flags"] & TransferFlag.PENDING and result.status is CreateTransferStatus.CREATED
        ]

    def _wish(self) -> Wish:
        kind = self.chance.choice(["pay", "hold", "end", "end", "chain", "journal", "journal"])
        if kind == "end" and self.holds:
            flags = self.chance.choice([TransferFlag.POST_PENDING_TRANSFER, TransferFlag.VOID_PENDING_TRANSFER])
            hold = self.holds.pop(self.chance.randrange(len(self.holds)))
            return Wish([{"id": str(uuid4()), "pending_id": hold, "flags": int(flags), "ledger": 0}])
        if kind == "hold":
            pending = int(TransferFlag.PENDING)
            return Wish([self._transfer(flags=pending, timeout_s=self.chance.choice([0, 2]))])
        if kind == "chain":
            return Wish([self._transfer(flags=1), self._transfer(flags=1), self._transfer()])
        if kind == "journal":
            return Wish([self._transfer() for _ in range(self.chance.randint(1, 4))], str(uuid4()))
        return Wish([self._transfer()])

    def _transfer(self, *, flags: int = 0, timeout_s: int = 0) -> dict[str, Any]:
        debit, credit = self.chance.sample(self.accounts, 2)
        return {
            "id": str(uuid4()),
            "debit_account_id": debit,
            "credit_account_id": credit,
            "amount_fen": self.chance.randint(1, 9),
            "code": 1,
            "flags": flags,
            "timeout_s": timeout_s,
        }


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a writer's process is told; `before` names the one whose unanswered wishes it takes up."""

    url: str
    folder: str
    name: str
    before: str | None
    accounts: list[str]
    is_queued: bool


def write(task: Task) -> None:
    """Post until killed; each writer logs in files of its own."""
    folder = Path(task.folder)
    database = Database(task.url)
    post = _through_queue(PostingQueue(database.connect)) if task.is_queued else _by_itself(database)
    meant, told = Log(folder / f"{task.name}.meant"), Log(folder / f"{task.name}.told")
    writers = [
        Writer(task.accounts, post, random.Random(f"{task.name} {number}"), meant, told)  # noqa: S311 - what is wanted
        for number in range(QUEUE_THREADS if task.is_queued else 1)
    ]
    for wish in unanswered(folder, task.before) if task.before else []:
        meant.write(wish.line())
        writers[0].insist(wish)
    threads = [threading.Thread(target=writer.work) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _through_queue(queue: PostingQueue) -> Post:
    return lambda wish: queue.post_journal(wish.journal()).results if wish.journal_id else queue.post(wish.events())


def _by_itself(database: Database) -> Post:
    def post(wish: Wish) -> Sequence[TransferResult]:
        database.run(lambda session: expire_pending(session, limit=5))
        if wish.journal_id:
            return database.run(lambda session: post_journal(session, wish.journal())).results
        return database.run(lambda session: create_transfers(session, wish.events()))

    return post


def watch(url: str, folder: str) -> None:
    """Look at the trial balance as often as the server answers; write down each look."""
    log = Log(Path(folder) / "looks")
    while True:
        try:
            with psycopg.connect(url, connect_timeout=4) as connection:
                while True:
                    log.write(connection.execute(TRIAL_BALANCE).fetchone())
                    connection.rollback()
                    time.sleep(PAUSE_S)
        except psycopg.Error:
            time.sleep(PAUSE_S)


# As the sums have it, as the transfers have it, and whether the one is the other: all in one snapshot.
TRIAL_BALANCE = """
WITH moved AS (
    SELECT account_id, sum(debit)::bigint AS debits, sum(credit)::bigint AS credits FROM (
        SELECT debit_account_id AS account_id, amount_fen AS debit, 0 AS credit, flags FROM ledger.transfers
        UNION ALL SELECT credit_account_id, 0, amount_fen, flags FROM ledger.transfers
    ) AS sides WHERE flags & 266 = 0 GROUP BY 1
)
SELECT (sum(debits_posted_fen) - sum(credits_posted_fen))::bigint,
       (sum(debits_pending_fen) - sum(credits_pending_fen))::bigint,
       count(*) FILTER (WHERE (debits_posted_fen, credits_posted_fen) <> (coalesce(debits, 0), coalesce(credits, 0))),
       sum(debits_posted_fen)::bigint
FROM ledger.balances LEFT JOIN moved ON account_id = id
"""

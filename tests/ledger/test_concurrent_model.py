"""Many writers at once; then the model takes what stands in the books one by one, and must come to the same."""

import logging
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

import ledger
from app.db import Database
from ledger import (
    AccountFlag,
    Balances,
    CreateTransferStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PostingQueue,
    Transfer,
    TransferFlag,
    TransferResult,
)
from tests.ledger.model import (
    BALANCING_DEBIT,
    CLOSING_DEBIT,
    LINKED,
    PENDING,
    POST,
    VOID,
    Books,
    T,
)

TIMES = int(os.environ.get("LEDGER_TIMES", "1"))
# Threads meet by chance: they go on until each answer was given that such a life should bring.
WRITERS, WORKS, WORKS_MAX = 8, 90 * TIMES, 900 * TIMES
EXPECTED = {
    *(T.CREATED, T.EXISTS, T.EXCEEDS_CREDITS, T.LINKED_EVENT_FAILED, T.DEBIT_ACCOUNT_ALREADY_CLOSED),
    *(T.PENDING_TRANSFER_ALREADY_POSTED, T.PENDING_TRANSFER_ALREADY_VOIDED, T.PENDING_TRANSFER_EXPIRED),
}
LIMITED, ASSET = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
KINDS = {"bank": AccountFlag.NONE, "shop": AccountFlag.NONE, "fund": LIMITED, "till": ASSET} | {
    f"card {number}": LIMITED for number in range(4)
}
IDS = {name: uuid4() for name in KINDS}
EXPIRED = int(TransferFlag.EXPIRED_PENDING_TRANSFER)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ZERO_SUM = """
SELECT sum(debits_posted_fen) - sum(credits_posted_fen), sum(debits_pending_fen) - sum(credits_pending_fen),
       count(*) FILTER (WHERE flags & 2 <> 0 AND debits_pending_fen + debits_posted_fen > credits_posted_fen
                           OR flags & 4 <> 0 AND credits_pending_fen + credits_posted_fen > debits_posted_fen)
FROM ledger.balances
"""
DATED = "SELECT EXISTS (SELECT FROM ledger.pending_transfers WHERE state = 'open' AND expires_at IS NOT NULL)"


def pay(debit: str, credit: str, amount_fen: int, **more: Any) -> NewTransfer:
    return NewTransfer(
        id=uuid4(), debit_account_id=IDS[debit], credit_account_id=IDS[credit], amount_fen=amount_fen, code=1, **more
    )


@dataclass(frozen=True)
class Call:
    """What somebody asked for, what he was told, and between which moments."""

    wishes: Sequence[NewTransfer]
    results: Sequence[TransferResult]
    started_at: datetime
    ended_at: datetime


@dataclass
class Customer:
    """Asks for whatever comes to mind, by any door, also for what others have asked for before."""

    database: Database
    queue: PostingQueue
    chance: random.Random
    wishes: list[NewTransfer]
    holds: list[UUID]
    seen: set[CreateTransferStatus]
    calls: list[Call] = field(default_factory=list)

    def start(self) -> None:
        """Put something on every account that may not go below nothing."""
        self.ask([pay("bank", name, 300) for name, flags in KINDS.items() if flags == LIMITED])
        self.ask([pay("till", "shop", 300)])

    def live(self) -> None:
        for work in range(WORKS_MAX):
            if work >= WORKS and self.seen >= EXPECTED:
                break
            wanted = [self._wish() for _ in range(self.chance.choice([1, 1, 1, 2, 4]))]
            self.ask([replace(wish, flags=wish.flags | LINKED) for wish in wanted[:-1]] + wanted[-1:])

    def ask(self, wanted: list[NewTransfer]) -> None:
        self.wishes += wanted
        started_at = datetime.now(UTC)
        results = self._send(wanted)
        self.calls.append(Call(wanted, results, started_at, datetime.now(UTC)))
        self.seen.update(result.status for result in results)
        made = {result.id for result in results if result.ok}
        self.holds += [wish.id for wish in wanted if wish.flags & PENDING and wish.id in made]

    def _send(self, wanted: list[NewTransfer]) -> Sequence[TransferResult]:
        door = self.chance.choice(["run", "queue", "queue", "journal", "queued journal"])
        if door == "run":
            return self.database.run(lambda session: ledger.create_transfers(session, wanted))
        if door == "queue":
            return self.queue.post(wanted)
        key = uuid4()
        journal = NewJournal(
            id=key, kind="charge", reference="", text="", actor="", idempotency_key=str(key), transfers=tuple(wanted)
        )
        if door == "journal":
            return self.database.run(lambda session: ledger.post_journal(session, journal)).results
        return self.queue.post_journal(journal).results

    def _wish(self) -> NewTransfer:
        kind = self.chance.choice(["pay", "pay", "hold", "hold", "end", "end", "end", "up to", "close", "again"])
        if kind == "again":
            return self.chance.choice(self.wishes[-20:])
        if kind == "end" and self.holds:
            flags = self.chance.choice([POST, POST, VOID])
            amount_fen = self.chance.choice([None, 1]) if flags == POST else None
            # Of the latest, that others end at the same moment, or of those whose second may be over.
            hold_id = self.chance.choice(self.holds[-self.chance.choice([8, 8, 8, 400]) :])
            return NewTransfer(id=uuid4(), pending_id=hold_id, flags=flags, amount_fen=amount_fen, ledger=0)
        flags, timeout_s = {
            "up to": (BALANCING_DEBIT, 0),
            "hold": (PENDING, self.chance.choice([0, 1])),
            # Few, and for a second, or soon nobody could do anything.
            "close": (PENDING | CLOSING_DEBIT if self.chance.randint(0, 9) == 0 else PENDING, 1),
        }.get(kind, (TransferFlag.NONE, 0))
        debit, credit = self.chance.sample(sorted(IDS), 2)
        # Now and then more than it ever has, so that limits are met in every run.
        is_too_much = KINDS[debit] == LIMITED and self.chance.randint(0, 9) == 0
        amount_fen = 1_000_000 if is_too_much else self.chance.randint(1, 40)
        return pay(debit, credit, amount_fen, flags=flags, timeout_s=timeout_s)


@dataclass(frozen=True)
class Aftermath:
    calls: list[Call]
    rows: list[Transfer]
    looks: int
    swept: int


@pytest.fixture(scope="module")
def seed() -> int:
    """The seed of what is asked for; it is logged, though threads never meet twice in the same way."""
    found = random.SystemRandom().randrange(2**32)
    logging.getLogger(__name__).warning("seed %s", found)
    return found


@pytest.fixture
def aftermath(database: Database, seed: int) -> Aftermath:
    accounts = [NewAccount(id=IDS[name], code=1001, flags=flags) for name, flags in KINDS.items()]
    database.run(lambda session: ledger.create_accounts(session, accounts))
    with PostingQueue(database.connect) as queue:
        shared: tuple[list[NewTransfer], list[UUID], set[CreateTransferStatus]] = ([], [], set())
        customers = [Customer(database, queue, random.Random(f"{seed} {number}"), *shared) for number in range(WRITERS)]  # noqa: S311
        customers[0].start()
        looks, swept = _let_live(database, customers)
    with database.reader() as session:
        assert ledger.audit(session) == []
        ids = session.scalars(text("SELECT id FROM ledger.transfers"))
        rows = ledger.lookup_transfers(session, ids)
    return Aftermath([call for customer in customers for call in customer.calls], rows, looks, swept)


def _let_live(database: Database, customers: list[Customer]) -> tuple[int, int]:
    """Run all customers, with a sweeper and a reader beside them; say how often these found something to do."""
    done, chance = threading.Event(), random.Random(0)  # noqa: S311 - when to look twice, not a secret

    def until_done(work: Callable[[], int]) -> int:
        count = 0
        while not done.is_set():
            count += work()
            time.sleep(0.01)
        return count

    def look() -> int:
        with database.reader() as session:
            assert session.execute(text(ZERO_SUM)).one() == (0, 0, 0)
            if chance.randint(0, 9) == 0:
                assert ledger.audit(session) == []
        return 1

    with ThreadPoolExecutor(len(customers) + 3) as pool:
        others = [
            pool.submit(until_done, look),
            pool.submit(until_done, lambda: database.run(ledger.expire_pending)),
        ]
        lives = [pool.submit(customer.live) for customer in customers]
        try:
            for life in lives:
                life.result()
            _await_the_end_of_holds(database)
        finally:
            done.set()
        return others[0].result(), others[1].result()


def _await_the_end_of_holds(database: Database) -> None:
    """Nobody posts any more: what runs out of time now is left to the sweeper."""
    give_up_at = time.monotonic() + 30
    while True:
        with database.reader() as session:
            if not session.scalar(text(DATED)):
                return
        assert time.monotonic() < give_up_at, "the sweeper leaves holds open"
        time.sleep(0.05)


@pytest.mark.timeout(120 * TIMES)
def test_what_many_did_at_once_could_have_been_done_one_after_another(aftermath: Aftermath) -> None:
    _every_answer_is_true(aftermath)
    _one_after_another_gives_the_same(aftermath)
    _every_refusal_was_true_at_some_moment(aftermath)
    assert aftermath.looks > 0
    assert aftermath.swept > 0
    assert {result.status for call in aftermath.calls for result in call.results} >= EXPECTED


def _every_answer_is_true(aftermath: Aftermath) -> None:
    """Who was told that a transfer was made finds it as told; an id is made once, or refused and never made."""
    rows = {row.id: row for row in aftermath.rows}
    told: dict[UUID, list[TransferResult]] = defaultdict(list)
    for call in aftermath.calls:
        for result in call.results:
            told[result.id].append(result)
            # A chain that names one id twice undoes itself; the second is told that it exists, as in TigerBeetle.
            if result.ok and [wish.id for wish in call.wishes].count(result.id) == 1:
                row = rows[result.id]
                assert (result.timestamp, result.amount_fen) == (row.timestamp, row.amount_fen)
            if result.status is T.CREATED:
                assert result.timestamp is not None
                # Behind others on the same account, a moment may lie some ticks ahead of the clock.
                assert call.started_at <= result.timestamp <= call.ended_at + timedelta(milliseconds=5)
    for id_, results in told.items():
        assert [result.status for result in results].count(T.CREATED) == (id_ in rows)
        assert not (id_ in rows and any(result.status is T.ID_ALREADY_FAILED for result in results))
    assert {row.id for row in aftermath.rows if not row.flags & EXPIRED} <= told.keys()


def _one_after_another_gives_the_same(aftermath: Aftermath) -> None:
    """No two transfers of one account have the same moment, so their moments are an order for all of them."""
    wishes = {wish.id: wish for call in aftermath.calls for wish in call.wishes}
    books = Books([NewAccount(id=IDS[name], code=1001, flags=flags) for name, flags in KINDS.items()])
    sums: dict[UUID, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in aftermath.rows:
        books.now = row.timestamp - EPOCH
        ended = books.transfer(row.pending_id)
        if row.flags & EXPIRED:
            assert ended is not None
            assert books.now >= ended.made_at + timedelta(seconds=ended.timeout_s)
        else:
            wish = replace(wishes[row.id], flags=TransferFlag(row.flags & ~LINKED))
            assert books.send([wish]) == [T.CREATED], (wish, row)
            assert books.transfers[-1].amount_fen == row.amount_fen
        for place, id_ in ((0, row.debit_account_id), (2, row.credit_account_id)):
            sums[id_][place] += row.amount_fen if row.flags & PENDING else -ended.amount_fen if ended else 0
            sums[id_][place + 1] += 0 if row.flags & (PENDING | VOID | EXPIRED) else row.amount_fen
        assert [*row[-8:]] == [*sums[row.debit_account_id], *sums[row.credit_account_id]]


def _every_refusal_was_true_at_some_moment(aftermath: Aftermath) -> None:
    """Who was told that an account had too little asked for more than it had, at some moment of the call."""
    slack = max(call.ended_at - call.started_at for call in aftermath.calls)
    for call in aftermath.calls:
        for wish, result in zip(call.wishes, call.results, strict=True):
            if result.status is not T.EXCEEDS_CREDITS or len(call.wishes) > 1:
                continue
            assert wish.debit_account_id is not None
            # A transfer's moment may lie before the wait for its locks, so a moment before the call counts too.
            available = _available(aftermath.rows, wish.debit_account_id, call.started_at - slack, call.ended_at)
            assert min(available) < (wish.amount_fen or 0)


def _available(rows: list[Transfer], account_id: UUID, since: datetime, until: datetime) -> list[int]:
    """Give what the account had to spend at the first moment, and after every change until the last."""
    found = [0]
    for row in rows:
        if account_id not in (row.debit_account_id, row.credit_account_id) or row.timestamp > until:
            continue
        after = Balances._make(row[-8:-4] if row.debit_account_id == account_id else row[-4:])
        if row.timestamp < since:
            found.clear()
        found.append(after.available_credit_fen)
    return found

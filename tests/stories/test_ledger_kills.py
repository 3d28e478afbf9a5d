"""SIGKILL to writers and to PostgreSQL while they post: what was acknowledged is there, the rest whole or absent."""

import logging
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

import ledger
from app.db import Database
from app.embedded import EmbeddedPostgres
from ledger import AccountFlag, CreateTransferStatus, NewAccount, NewTransfer, Transfer
from migrations import upgrade
from tests.stories import ledger_writer
from tests.stories.ledger_writer import Wish, lines, unanswered

# To live dangerously for a minute and then to come to rest takes a slow machine longer than other tests may.
pytestmark = pytest.mark.timeout(400)

TIMES = int(os.environ.get("LEDGER_TIMES", "1"))
WRITERS = (True, True, False, False)
"""Four at a time; half of them post through a queue."""
WRITER_KILLS, SERVER_KILLS = 12 * TIMES, 3 * TIMES
KILL_PAUSE_S = (0.2, 1.2)
LOOKS_MIN = 20
STANDS = {CreateTransferStatus.CREATED.value, CreateTransferStatus.EXISTS.value}


@dataclass
class Yard:
    """A server of its own, with fsync, and the processes that work on it."""

    folder: Path
    server: EmbeddedPostgres
    accounts: list[str]
    living: list[tuple[str, bool, BaseProcess]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def begin(self, *, is_queued: bool, before: str | None = None) -> None:
        name = f"writer-{len(self.names)}"
        self.names.append(name)
        task = ledger_writer.Task(
            url=self.server.url(),
            folder=str(self.folder),
            name=name,
            before=before,
            accounts=self.accounts,
            is_queued=is_queued,
        )
        process = CONTEXT.Process(target=ledger_writer.write, args=(task,), daemon=True)
        process.start()
        self.living.append((name, is_queued, process))

    def kill_writer(self, chance: random.Random) -> None:
        """Kill one; another takes up what it left."""
        name, is_queued, process = self.living.pop(chance.randrange(len(self.living)))
        kill(process)
        self.begin(is_queued=is_queued, before=name)

    def kill_server(self) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.is_running():
            time.sleep(0.01)
        self.server.start()


# A process that has imported everything and then divides itself: each writer begins within milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.stories.ledger_writer"])


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


@dataclass(frozen=True)
class Aftermath:
    """What is left on the disks: the writers' logs, the reader's, and the books."""

    rows: dict[str, Transfer]
    wishes: list[Wish]
    told: dict[str, list[Any]]
    left: list[Wish]
    looks: list[list[int]]
    findings: list[ledger.Finding]
    journals: set[str]


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    folder = Path(tempfile.mkdtemp(prefix="testcard-kills-"))
    server = EmbeddedPostgres(folder / "postgres")
    try:
        server.start()
        server.ensure_database()
        upgrade(server.url())
        yard = Yard(folder, server, open_accounts(server.url()))
        live_dangerously(yard)
        yield take_stock(yard)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def open_accounts(url: str) -> list[str]:
    database = Database(url)
    limited = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS
    accounts = [NewAccount(id=uuid4(), code=1001, flags=limited if number else AccountFlag.NONE) for number in range(7)]
    bank = accounts[0].id
    wealth = [
        NewTransfer(id=uuid4(), debit_account_id=bank, credit_account_id=each.id, amount_fen=500, code=1)
        for each in accounts[1:]
    ]
    database.run(lambda session: ledger.create_accounts(session, accounts))
    assert all(result.ok for result in database.run(lambda session: ledger.create_transfers(session, wealth)))
    database.close()
    return [str(each.id) for each in accounts]


def live_dangerously(yard: Yard) -> None:
    seed = random.SystemRandom().randrange(2**32)
    logging.getLogger(__name__).warning("seed %s", seed)
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    watcher = CONTEXT.Process(target=ledger_writer.watch, args=(yard.server.url(), str(yard.folder)), daemon=True)
    watcher.start()
    for is_queued in WRITERS:
        yard.begin(is_queued=is_queued)
    kills = [yard.kill_server] * SERVER_KILLS + [lambda: yard.kill_writer(chance)] * WRITER_KILLS
    chance.shuffle(kills)
    try:
        for strike in kills:
            time.sleep(chance.uniform(*KILL_PAUSE_S))
            strike()
        time.sleep(max(KILL_PAUSE_S))
    finally:
        for process in [watcher, *(process for *_, process in yard.living)]:
            kill(process)


def take_stock(yard: Yard) -> Aftermath:
    database = Database(yard.server.url())
    with database.reader() as session:
        rows = ledger.lookup_transfers(session, session.scalars(text("SELECT id FROM ledger.transfers")))
        journals = {str(id_) for id_ in session.scalars(text("SELECT id FROM ledger.journals"))}
        findings = ledger.audit(session)
    database.close()
    logs = [yard.folder / name for name in yard.names]
    return Aftermath(
        rows={str(row.id): row for row in rows},
        wishes=[Wish(**line) for log in logs for line in lines(log.with_suffix(".meant"))],
        told={id_: answer for log in logs for line in lines(log.with_suffix(".told")) for id_, answer in line.items()},
        left=[wish for name in yard.names for wish in unanswered(yard.folder, name)],
        looks=list(lines(yard.folder / "looks")),
        findings=findings,
        journals=journals,
    )


def test_everything_acknowledged_stands_once_with_the_acknowledged_amount_and_moment(aftermath: Aftermath) -> None:
    assert len(aftermath.told) > 10 * (WRITER_KILLS + SERVER_KILLS)
    for id_, (status, timestamp, amount_fen) in aftermath.told.items():
        if status in STANDS:
            row = aftermath.rows[id_]
            assert (str(row.timestamp), row.amount_fen) == (timestamp, amount_fen)
        elif status != CreateTransferStatus.LINKED_EVENT_FAILED.value:
            assert id_ not in aftermath.rows


def test_what_belongs_together_is_whole_or_absent_acknowledged_or_not(aftermath: Aftermath) -> None:
    assert any(wish.ids[0] not in aftermath.told for wish in aftermath.left), "every kill missed"
    for wish in aftermath.wishes:
        standing = [id_ for id_ in wish.ids if id_ in aftermath.rows]
        assert standing in ([], wish.ids), wish
        if wish.journal_id:
            assert (wish.journal_id in aftermath.journals) == bool(standing)
            assert {str(aftermath.rows[id_].journal_id) for id_ in standing} <= {wish.journal_id}


def test_nothing_stands_that_nobody_meant(aftermath: Aftermath) -> None:
    meant = {id_ for wish in aftermath.wishes for id_ in wish.ids}
    others = [row for id_, row in aftermath.rows.items() if id_ not in meant]
    expired = int(ledger.TransferFlag.EXPIRED_PENDING_TRANSFER)
    assert sum(row.amount_fen for row in others if row.flags != expired) == 6 * 500


def test_whoever_looked_saw_debits_equal_credits(aftermath: Aftermath) -> None:
    assert len(aftermath.looks) >= LOOKS_MIN
    assert {tuple(look[:3]) for look in aftermath.looks} == {(0, 0, 0)}
    turnovers = [look[3] for look in aftermath.looks]
    assert turnovers == sorted(turnovers)
    assert turnovers[-1] > turnovers[0]


def test_the_books_audit_clean_afterwards(aftermath: Aftermath) -> None:
    assert aftermath.findings == []

"""How fast the books are sealed while they are posted, and proved, beside what hledger needs for their export."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text

import ledger
from app import sealing
from app.db import Database
from bench.ledger.rounds import Rates
from bench.ledger.server import Server
from bench.ledger.wishes import wish
from bench.ledger.workers import COALESCED, Task, workers

ROWS = 100_000
BATCH = 1_000
ACCOUNTS = 100
"""So few that hledger is at its fastest: with ten thousand it needs six times as long for as many transactions."""
POSTING, SEALING = "coalesced, 64 threads, before sealing", "rows sealed"
VERIFYING, CHECKING = "ledger.verify, seconds", "hledger check --strict, seconds"
NO_HLEDGER = "not measured: hledger not found"

_POST = Task(COALESCED, {"accounts": ACCOUNTS})


class Proof:
    """Books of a hundred thousand posted transfers: sealed round by round, then proved as a whole."""

    def __init__(self, server: Server, *, rounds: int, seconds: int) -> None:
        self._server, self._rounds, self._seconds = server, rounds, seconds
        self._key = sealing.seal_key(secrets.token_bytes(32))
        self.rates = Rates()
        self.found: dict[str, float | str | None] = {}

    def measure(self, say: Callable[[str], None]) -> None:
        """Post and seal in turns, then verify and let hledger check in turns."""
        url = self._server.books("proof", accounts=ACCOUNTS)
        database = Database(url, pool_size=2)
        with workers(url, processes=1) as hands:
            hands.rate(_POST, seconds=0.5)
            sealing.seal_due(database, key=self._key)
            self.rates.take(
                {
                    POSTING: lambda: hands.rate(_POST, seconds=self._seconds),
                    SEALING: lambda: self._seal(database),
                },
                rounds=self._rounds,
            )
        self.found["seal_vs_posting"] = self.rates.ratio(SEALING, POSTING)
        exported, self.found["proved_transfers"] = self._export(database)
        say(f"{self.found['proved_transfers']:,} transfers exported")
        hledger = shutil.which("hledger")
        measures: dict[str, Callable[[], float]] = {VERIFYING: lambda: self._verify(database)}
        if hledger is not None:
            measures[CHECKING] = lambda: _check(hledger, exported)
        self.rates.take(measures, rounds=self._rounds)
        self.found["verify_vs_hledger"] = NO_HLEDGER if hledger is None else self.rates.ratio(VERIFYING, CHECKING)
        database.close()

    def _seal(self, database: Database) -> float:
        """Post until this round's share is there, and give how many rows a second are then sealed."""
        with database.reader() as session:
            waiting = ledger.unsealed(session).rows
        for _ in range(waiting, ROWS // self._rounds, BATCH):
            wishes = [wish(accounts=ACCOUNTS) for _ in range(BATCH)]
            results = database.run(lambda session, all_=wishes: ledger.create_transfers(session, all_))  # type: ignore[misc]
            assert all(result.ok for result in results)
        started = time.perf_counter()
        rows = sealing.seal_due(database, key=self._key)
        return rows / (time.perf_counter() - started)

    def _verify(self, database: Database) -> float:
        started = time.perf_counter()
        proved = sealing.verify(database, key=self._key)
        seconds = time.perf_counter() - started
        assert not proved.findings, proved.findings[:3]
        return seconds

    def _export(self, database: Database) -> tuple[Path, int]:
        path = self._server.folder / "books.journal"
        with database.reader() as session, path.open("w", encoding="utf-8") as file:
            (until,) = session.execute(text("SELECT now()")).one()
            written = ledger.write_hledger(
                session, file, names=_name, until=until + timedelta(days=1), zone=ZoneInfo("Asia/Shanghai")
            )
        return path, written


def _name(account: ledger.NamedAccount) -> ledger.AccountName:
    return ledger.AccountName(ledger.Root.ASSETS, (str(account.code), account.id.hex[-8:]))


def _check(hledger: str, journal: Path) -> float:
    started = time.perf_counter()
    subprocess.run(  # noqa: S603 - a program of this machine over a file made here
        [hledger, "check", "--strict", "-f", str(journal)],
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    return time.perf_counter() - started

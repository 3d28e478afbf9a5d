"""What ten million transfers cost that a hundred thousand do not, and how long a person waits for a page."""

import itertools
import random
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

import ledger
from app.db import Database
from bench.ledger import history
from bench.ledger.rounds import Rates
from bench.ledger.server import ACCOUNTS, HOT, Pgbench, Server, account
from bench.ledger.speed import BATCH_1000, CLIENTS, POST, POST_RANDOM_IDS
from bench.ledger.workers import Task, Workers, workers
from bench.report import quantile

SMALL_ROWS = 100_000
PAGES = 40
WARM_S = 10
"""After a checkpoint the first change of each page is logged as a whole page; ten thousand accounts have as many."""

BATCH_1000_RANDOM_IDS = Task("batch", {"size": 1_000, "ordered": False})


class Size:
    """The same work in small books and in large ones, in turns."""

    def __init__(self, server: Server, *, rows: int, rounds: int, seconds: int) -> None:
        self._server, self._rows, self._rounds, self._seconds = server, rows, rounds, seconds
        self.rates = Rates()
        self.found: dict[str, float] = {}

    def measure(self, say: Callable[[str], None]) -> None:
        """Load both, prove the small one, time the pages, then post into both in turns."""
        small, large = self._server.books("small"), self._server.books("large")
        history.load(small, rows=SMALL_ROWS, say=say)
        self._prove(small)
        started = time.perf_counter()
        rows = history.load(large, rows=self._rows, say=say)
        self.found |= {"rows": rows, "load_s": time.perf_counter() - started} | reading(large)
        with workers(small, processes=1) as small_hands, workers(large, processes=1) as large_hands:
            for hands, task in itertools.product((small_hands, large_hands), (BATCH_1000, BATCH_1000_RANDOM_IDS)):
                hands.rate(task, seconds=WARM_S)
            self.rates.take(
                {
                    f"{what}, {size} books": measure
                    for size, url, hands in (("small", small, small_hands), ("large", large, large_hands))
                    for what, measure in self._posting(Pgbench(url, folder=self._server.folder), hands).items()
                },
                rounds=self._rounds,
            )
        costs = {
            what: self.rates.ratio(f"{what}, small books", f"{what}, large books")
            for what in (SQL, BATCH, SQL_RANDOM_IDS, BATCH_RANDOM_IDS)
        }
        self.found |= {
            "cost_at_10m_vs_100k": max(costs[SQL], costs[BATCH]),
            "sql_single_cost_at_10m_vs_100k": costs[SQL],
            "batch1000_cost_at_10m_vs_100k": costs[BATCH],
            "random_ids_cost_at_10m_vs_100k": max(costs[SQL_RANDOM_IDS], costs[BATCH_RANDOM_IDS]),
        }

    def _posting(self, pgbench: Pgbench, hands: Workers) -> dict[str, Callable[[], float]]:
        def script(sql: str) -> Callable[[], float]:
            return lambda: pgbench.script(sql, clients=CLIENTS, seconds=self._seconds)

        return {
            SQL: script(POST),
            BATCH: lambda: hands.rate(BATCH_1000, seconds=self._seconds),
            SQL_RANDOM_IDS: script(POST_RANDOM_IDS),
            BATCH_RANDOM_IDS: lambda: hands.rate(BATCH_1000_RANDOM_IDS, seconds=self._seconds),
        }

    def _prove(self, url: str) -> None:
        database = Database(url, pool_size=1)
        with database.reader() as session:
            findings = ledger.audit(session)
        database.close()
        assert not findings, findings[:3]


SQL, BATCH = "single in SQL, 8 clients", "batch of 1,000"
SQL_RANDOM_IDS, BATCH_RANDOM_IDS = f"{SQL}, random ids", f"{BATCH}, random ids"


def reading(url: str) -> dict[str, float]:
    """Time statement pages of the account with the most lines, and balances of any account at any moment."""
    database = Database(url, pool_size=1)
    with database.reader() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        lines = session.scalar(text("SELECT count(*) FROM ledger.transfers WHERE credit_account_id = :id"), {"id": HOT})
        first, last = session.execute(
            text("SELECT min(timestamp), max(timestamp) FROM ledger.transfers WHERE credit_account_id = :id"),
            {"id": HOT},
        ).one()

        def moment() -> datetime:
            return first + random.random() * (last - first)  # type: ignore[no-any-return]

        def anyone() -> UUID:
            return account(random.randrange(ACCOUNTS))

        pages = {
            "newest": lambda: ledger.account_lines(session, HOT),
            "before any moment": lambda: ledger.account_lines(session, HOT, before=moment()),
            "after any moment": lambda: ledger.account_lines(session, HOT, newest_first=False, after=moment()),
            "any account": lambda: ledger.account_lines(session, anyone(), before=moment()),
        }
        balances = {
            "hot": lambda: ledger.balance_at(session, HOT, at=moment()),
            "any account": lambda: ledger.balance_at(session, anyone(), at=moment()),
        }
        page_times = [_times_s(page) for page in pages.values()]
        balance_times = [_times_s(balance) for balance in balances.values()]
    database.close()
    return {
        "statement_lines": float(lines or 0),
        "statement_page_ms": max(quantile(times, 0.5) for times in page_times) * 1_000,
        "statement_page_p95_ms": max(quantile(times, 0.95) for times in page_times) * 1_000,
        "balance_at_ms": max(quantile(times, 0.5) for times in balance_times) * 1_000,
        "balance_at_p95_ms": max(quantile(times, 0.95) for times in balance_times) * 1_000,
    }


def _times_s(work: Callable[[], object]) -> list[float]:
    """Time each call, the first ones included: nobody's page is warm."""
    times = []
    for _ in range(PAGES):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times

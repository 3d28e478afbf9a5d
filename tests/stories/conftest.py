"""The application and a site, for the stories that go the whole way, and a PC/SC daemon of our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.cards.bench import new_bench
from tests.app.conftest import app_, client, equipped_app, settings
from tests.app.taps import Site
from tests.card_terminal.virtual_reader import Pcscd, place_of_run, what_is_missing
from tests.stories.desk import Desk
from tests.stories.server import Server

__all__ = ["app_", "client", "equipped_app", "settings"]


@pytest.fixture
def site(database: Database, settings: Settings, app_: Flask) -> Site:
    return taps.new_site(database, settings, app_.test_client())


@pytest.fixture
def server(app_: Flask) -> Iterator[Server]:
    server = Server(app_)
    server.up()
    yield server
    server.down()


@pytest.fixture
def desk(tmp_path: Path, site: Site, server: Server, pcscd: Pcscd) -> Iterator[Desk]:
    bench = new_bench(site.database, site.client)
    bench.settings = site.settings
    desk = Desk(tmp_path / "terminal", site=site, server=server, pcscd=pcscd, bench=bench)
    yield desk
    if hasattr(desk, "terminal"):
        desk.terminal.stop()


@pytest.fixture(scope="session")
def pcscd() -> Iterator[Pcscd]:
    """One daemon for all stories of this process."""
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    daemon = Pcscd(place=place_of_run())
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()

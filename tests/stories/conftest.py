"""The application and a site, for the stories that go the whole way, and a PC/SC daemon of our own."""

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.conftest import app_, client, equipped_app, settings
from tests.app.taps import Site
from tests.card_terminal.virtual_reader import Pcscd, place_of_run, what_is_missing

__all__ = ["app_", "client", "equipped_app", "settings"]


class Server:
    """The service over real HTTP, which can go away and come back at the same place."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._port = 0
        self._server: BaseWSGIServer | None = None
        self._thread = threading.Thread()

    @property
    def url(self) -> str:
        """Where it is, also while it is down."""
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Begin to answer."""
        self._server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def down(self) -> None:
        """Answer nothing any more."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


@pytest.fixture
def site(database: Database, settings: Settings, app_: Flask) -> Site:
    return taps.new_site(database, settings, app_.test_client())


@pytest.fixture
def server(app_: Flask) -> Iterator[Server]:
    server = Server(app_)
    server.up()
    yield server
    server.down()


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

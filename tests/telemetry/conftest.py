from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from tests.telemetry.network import MOSQUITTO, Running
from tests.telemetry.wire import Server


@pytest.fixture
def server(database: Database) -> Server:
    return Server(database)


@pytest.fixture
def embedded_broker(tmp_path: Path) -> Iterator[Running]:
    running = Running("embedded", tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture(params=["embedded", "mosquitto"])
def any_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "mosquitto" and MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    running = Running(request.param, tmp_path)
    running.start()
    yield running
    running.kill()

import pytest

from app.db import Database
from tests.telemetry.wire import Server


@pytest.fixture
def server(database: Database) -> Server:
    return Server(database)

"""A fund of 10,000.00 and a customer whose uses earn 20%."""

import pytest

from app.db import Database
from tests.app.subsidies.paying import Till


@pytest.fixture
def till(database: Database) -> Till:
    return Till(database)

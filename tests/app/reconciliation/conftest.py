"""A small world in which charges are reconciled."""

import pytest

from app.db import Database
from tests.app.reconciliation.world import World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)

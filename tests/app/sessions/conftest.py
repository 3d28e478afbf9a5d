"""A site with a customer, for every test of sessions."""

import pytest
from flask.testing import FlaskClient

from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.taps import Site


@pytest.fixture
def site(database: Database, settings: Settings, client: FlaskClient) -> Site:
    return taps.new_site(database, settings, client)

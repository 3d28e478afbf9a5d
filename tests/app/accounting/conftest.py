"""An accountant's office for every test of accounting."""

import pytest
from flask.testing import FlaskClient

from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.accounting.office import Office, open_office


@pytest.fixture
def office(database: Database, settings: Settings, client: FlaskClient) -> Office:
    return open_office(taps.new_site(database, settings, client, service_fee_basis_points=500, vat_basis_points=600))

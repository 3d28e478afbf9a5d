"""A site with a customer, and the small world of reconciliation, for every test of reports."""

import pytest
from flask.testing import FlaskClient

from app import clock
from app.clock import Anchor
from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.reconciliation.world import World
from tests.app.taps import Site
from tests.telemetry.wire import at


@pytest.fixture
def site(database: Database, settings: Settings, client: FlaskClient) -> Site:
    return taps.new_site(database, settings, client, service_fee_basis_points=1000)


@pytest.fixture
def world(database: Database) -> World:
    """The box saw a run from 10 to 70; it is minute 130."""
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(130), speed=1.0))
    world = World(database)
    world.use(10, 70, until=130)
    return world

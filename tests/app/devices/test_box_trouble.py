"""A box whose readings cannot be computed says so to the people who look after it."""

from zoneinfo import ZoneInfo

from app.db import Database
from app.devices.boxes.details import details
from app.people.models import Role
from telemetry.models import DeriveTrouble
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, at


def test_trouble_with_a_box_stands_on_its_page_until_it_is_over(database: Database) -> None:
    world = World(database)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with database.transaction() as session:
        session.add(DeriveTrouble(box=BOX, attempts=3, since=at(0), retry_at=at(2), error="ZeroDivisionError: "))
    with database.reader() as session:
        found = details(session, code=BOX, reader=manager, zone=ZoneInfo("Asia/Shanghai"), at=at(1))
        assert found.trouble is not None
        assert (found.trouble.attempts, found.trouble.retry_at) == (3, at(2))
    world.use(10, 40, until=60)
    with database.reader() as session:
        assert details(session, code=BOX, reader=manager, zone=ZoneInfo("Asia/Shanghai"), at=at(61)).trouble is None

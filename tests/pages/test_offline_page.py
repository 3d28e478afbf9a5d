"""Offline use on its page: switched on and off by an administrator, read by the center, strange to everybody else."""

from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from app import clock
from app.db import Database
from app.devices.models import Terminal, TerminalStatus
from app.people.models import AuditEntry, Role
from app.sessions.models import OfflineList, OfflineSetting
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(240)


def test_an_administrator_switches_offline_use_on_and_an_auditor_reads_it(
    world: World, enter: Enter, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(update(Terminal).values(status=TerminalStatus.ENROLLED))
        found = session.scalars(select(Terminal)).one()
        instrument_id = found.instrument_id
        session.add(
            OfflineList(
                terminal_id=world.terminal_id,
                version=7,
                valid_from=clock.now(),
                valid_until=clock.now(),
                strict=True,
                tariffs=[],
                hot_uids=[],
            )
        )
        for username, role in (("admin", Role.ADMIN), ("auditor", Role.AUDITOR)):
            builders.person(session, username=username, role=role)
    admin = enter()
    page = admin.log_in("admin")
    admin.visit("/devices/offline?lang=en")
    assert "not taken yet" in page.inner_text("table")
    page.locator("select").first.select_option("strict")
    admin.press("Save")
    assert "on, strict" in page.inner_text("table")
    with database.reader() as session:
        setting = session.get_one(OfflineSetting, instrument_id)
        assert (setting.enabled, setting.strict, setting.changed_by) == (True, True, "admin")
        assert session.scalars(select(AuditEntry.detail).where(AuditEntry.action == "offline.switch")).one() == {
            "enabled": True,
            "strict": True,
        }
    auditor = enter(phone=True)
    page = auditor.log_in("auditor")
    auditor.visit("/devices/offline?lang=zh")
    assert page.locator("main select").count() == 0

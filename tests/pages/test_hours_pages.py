"""Machine-hours as a sub-center sees them: by instrument, then month by month, and as a file."""

from collections.abc import Callable

import pytest

from app.people.models import Role
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(180)


def test_a_sub_center_sees_hours_by_instrument_and_by_month(world: World, enter: Enter) -> None:
    world.charge(8, 72, duration_s=64 * 60)
    world.reconcile(minutes=130)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    for phone in (False, True):
        manager = enter(phone=phone)
        page = manager.log_in("manager")
        manager.visit("/machine-hours?lang=en")
        row = page.inner_text("tbody tr")
        assert "1.0 h" in row
        assert "2.2 h" in row
        manager.follow(page.locator("tbody tr a").first)
        assert "2026-05" in page.inner_text("tbody tr >> nth=0")
        manager.visit("/machine-hours?lang=zh")
        assert "有效机时" in page.inner_text("main")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert any(",130,60,85," in line for line in lines)

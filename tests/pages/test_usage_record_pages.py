"""The evidence of a charge convinces in one row, can be carried away, and stands in the list of usage records."""

import json
from collections.abc import Callable
from typing import Any

from app import sealing
from app.people.models import Role
from app.settings import Settings
from tests.app.reconciliation.world import World
from tests.ledger.sealed import settle
from tests.pages.conftest import Visitor


def test_a_doubted_charge_is_answered_in_one_row_and_carried_away(
    world: World, enter: Callable[..., Visitor], settings: Settings
) -> None:
    charge = world.charge(8, 72, duration_s=64 * 60)
    world.charge(75, 129, duration_s=54 * 60)
    world.reconcile(minutes=130)
    settle(world.database)
    sealing.seal_due(world.database, key=sealing.seal_key(settings.key_encryption_key))
    visitor = enter()
    visitor.log_in("holder")
    page = visitor.visit(f"/charges/{charge}?lang=en")
    answers = [each.strip() for each in page.locator(".answer dd").all_inner_texts()]
    assert answers == ["1 h 04 min", "1 h 00 min", "0 s of 10 min allowed", "No: sealed"]
    with page.expect_download() as download:
        page.get_by_role("link", name="All of this as one file").click()
    document: Any = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert document["charge"]["id"] == str(charge)
    assert document["seal"]["proofs"]
    phone = enter(phone=True, script=False)
    phone.log_in("holder")
    phone.page.goto(f"{phone.base}/charges/{charge}?lang=zh")
    assert phone.page.locator(".answer dd").count() == 4
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_list_of_usage_records_leads_to_the_evidence_and_can_be_narrowed(
    world: World, enter: Callable[..., Visitor]
) -> None:
    world.charge(8, 72, duration_s=64 * 60)
    world.reconcile(minutes=130)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    visitor = enter()
    visitor.log_in("manager")
    page = visitor.visit("/usage-records?lang=en")
    assert page.get_by_role("row").count() == 2
    page.select_option("#scope", "past")
    visitor.press("Find")
    assert "No usage record fits." in page.locator("main").inner_text()
    page.select_option("#scope", "external")
    visitor.press("Find")
    page.get_by_role("link", name="Evidence").click()
    assert page.get_by_role("heading", name="Evidence of a charge").count() == 1
    phone = enter(phone=True, script=False)
    phone.log_in("manager")
    phone.page.goto(f"{phone.base}/usage-records?lang=zh")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 375

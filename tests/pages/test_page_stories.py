"""One story per role, as people walk through the pages."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from app.cards.models import Card, CardStatus
from app.cards.service import open_account
from app.people.models import Role
from app.sessions.models import CardSession
from app.topups.models import TopUp, TopUpStatus
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor
from tests.telemetry.wire import RUN_W, STANDBY_W, at

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(180)


def test_a_cardholder_checks_a_charge_and_stops_a_lost_card_in_two_taps(world: World, enter: Enter) -> None:
    charge = world.charge(8, 72, price_lines=[{"zh": "机时", "en": "time", "amount_fen": 500_00}], duration_s=64 * 60)
    world.reconcile(minutes=130)
    holder = enter(phone=True)
    assert "用户名或密码错误" in holder.log_in("holder", "wrong").inner_text("[role=alert]")
    holder.check()
    page = holder.log_in("holder")
    holder.follow(page.get_by_role("link", name="English"))

    holder.visit("/charges")
    holder.follow(page.get_by_role("link", name="Evidence"))
    assert page.url.endswith(f"/charges/{charge}")
    assert "¥500.00 charged for 1 h 04 min" in page.inner_text("main")
    assert "Verified" in page.inner_text(".page-top")
    assert page.locator("svg.evidence-small polygon.running").count() >= 1
    assert page.locator("svg.evidence-small .mark-line").count() == 2

    holder.visit("/cards")
    page.get_by_text("Report lost…").click()
    holder.press("Stop card")
    assert "is stopped" in page.inner_text("[role=status]")
    with world.database.reader() as session:
        assert session.get_one(Card, world.card_id).status is CardStatus.LOST


def test_a_manager_follows_the_money_down_to_the_evidence(world: World, enter: Enter) -> None:
    world.charge(8, 72, duration_s=64 * 60)
    world.charge(80, 95, duration_s=15 * 60)  # nothing ran then
    world.play((20, RUN_W), (40, STANDBY_W))  # and this run was nobody's
    world.reconcile(minutes=190)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = enter()
    page = manager.log_in("manager")
    manager.visit("/ledger-view?lang=en")
    assert page.locator("tr.depth-0").inner_text().split("\t")[1] == "¥1,000.00"
    manager.follow(page.locator("tr.depth-3 a"))
    assert page.get_by_role("link", name="Evidence").count() == 2
    manager.visit("/unpaid-use")
    unpaid = page.locator("tbody tr")
    assert "Nobody paid" in unpaid.inner_text()
    assert "20 min" in unpaid.inner_text()
    manager.visit("/exceptions")
    manager.follow(page.locator("td a").first)
    assert page.locator(".page-top .mark.bad").count() == 1
    page.get_by_text("Give your word on this charge").click()
    page.fill("#note", "The sample was prepared outside the box's sight.")
    manager.press("Verify the use")
    assert "Verified by hand by manager" in page.inner_text("main")
    manager.visit("/exceptions")
    assert "No exceptions." in page.inner_text("main")
    page.goto(f"{manager.base}/ledger-view/instruments/{world.instrument_id}")
    assert page.get_by_text("Verified by hand").count() == 1


def test_the_wall_shows_a_card_as_soon_as_it_is_on(world: World, enter: Enter) -> None:
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = enter()
    page = manager.log_in("manager")
    manager.visit("/wall?lang=en")
    tile = page.locator(".wall .tile").first
    expect(tile).to_contain_text("Standby")
    world.charge(128, None)
    expect(tile).to_contain_text("holder · 2 min")  # without anybody touching the page
    manager.check()


def test_money_at_the_counter_needs_two_people_and_shows_its_postings_first(world: World, enter: Enter) -> None:
    with world.database.transaction() as session:
        for username, role in (("clerk", Role.CLERK), ("approver", Role.APPROVER)):
            builders.person(session, username=username, role=role)
        customer = builders.person(session, username="new", role=Role.CARDHOLDER)
        number = open_account(session, person_id=customer.id, actor="test", at=at(0)).number
    clerk, approver = enter(), enter()
    page = clerk.log_in("clerk")
    clerk.visit("/counter?lang=en")
    page.fill("#number", f" {number} ")
    page.fill("#amount", "1,200.50")
    clerk.press("Continue")
    assert "1001 Cash at the counter" in page.inner_text(".postings")
    clerk.press("Enter for approval")
    assert "waits for a second person" in page.inner_text("[role=status]")
    assert page.get_by_role("button", name="Approve").count() == 0

    page = approver.log_in("approver")
    approver.visit("/counter?lang=en")
    assert "¥1,200.50" in page.inner_text(".postings")
    approver.press("Approve and post")
    assert "is credited" in page.inner_text("[role=status]")
    with world.database.reader() as session:
        assert session.query(TopUp).one().status is TopUpStatus.CREDITED
    approver.visit("/today")
    assert page.locator(".mark.bad").count() == 0
    approver.visit("/devices")


def test_an_operator_sees_what_ending_a_session_charges_before_it_does(world: World, enter: Enter) -> None:
    snapshot = {
        "rules": {"per_hour": {"price_fen": 30_00}},
        "customer_class": "company",
        "timezone": "Asia/Shanghai",
        "words": {"zh": "", "en": ""},
    }
    charge = world.charge(40, None, tariff_snapshot=snapshot, held_fen=0, minutes=480)
    with world.database.reader() as session:
        group_id = session.get_one(CardSession, charge).instrument.group_id
    world.person("operator", Role.GROUP_OPERATOR, group_id=group_id)
    operator = enter()
    page = operator.log_in("operator")
    operator.visit("/on-now?lang=en")
    operator.follow(page.get_by_role("link", name="End session…"))
    assert "¥0.00 will be charged" in page.inner_text(".claim")  # nothing was held, so nothing can be charged
    operator.press("End the session and charge")
    assert "Nobody is on your instruments." in page.inner_text("main")


def test_a_customer_whose_payment_service_is_away_loses_nothing(world: World, enter: Enter) -> None:
    customer = enter()
    page = customer.log_in("holder")
    customer.visit("/top-up?lang=en")
    page.fill("#amount", "100.00")
    customer.press("Continue")
    assert "¥100.00" in page.inner_text(".postings")
    customer.press("Go to the payment page")
    assert "The payment service did not answer." in page.inner_text("h1")
    with world.database.reader() as session:
        top_up = session.query(TopUp).one()
        assert top_up.status is TopUpStatus.AWAITING_PAYMENT
    page = customer.visit(f"/top-ups/{top_up.id}/return")
    assert "nothing is lost" in page.inner_text("main")


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_strangers_find_an_instrument_and_read_errors_in_their_language(
    world: World, enter: Enter, *, phone: bool
) -> None:
    stranger = enter(phone=phone, script=True)
    page = stranger.visit("/")
    assert page.get_attribute("html", "lang") == "zh-Hans-CN"
    stranger.follow(page.locator("td a").first)
    page.goto(f"{stranger.base}/instruments/{world.instrument_id + 999}")
    stranger.check()
    assert "此地址没有内容" in page.inner_text("h1")
    page.goto(f"{stranger.base}/nowhere?lang=en")
    stranger.check()
    assert "There is nothing at this address." in page.inner_text("h1")
    page.goto(f"{stranger.base}/charges/{uuid4()}")
    assert re.search(r"/log-in\?next=", page.url)


def test_everything_but_the_live_updates_works_without_javascript(world: World, enter: Enter) -> None:
    charge = world.charge(8, 72, duration_s=64 * 60)
    holder = enter(script=False)
    holder.log_in("holder")
    page = holder.page
    page.goto(f"{holder.base}/charges/{charge}?lang=en")
    assert page.locator("svg.evidence-wide polyline").count() >= 1
    page.goto(f"{holder.base}/cards")
    page.get_by_text("Report lost…").click()
    page.get_by_role("button", name="Stop card").click()
    assert "is stopped" in page.inner_text("[role=status]")

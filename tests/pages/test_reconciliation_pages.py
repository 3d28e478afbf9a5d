"""Exceptions, contests, unpaid use, rules, policies and totals, as people of a sub-center and customers use them."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from app import clock
from app.cards.models import CardAccount
from app.clock import Anchor
from app.instruments.models import Instrument
from app.people.models import Role
from app.reconciliation.models import Contest, ContestStatus, SilenceRule, UnpaidAnswer, Verdict
from tests.app import builders
from tests.app.reconciliation.paying import TARIFF, balances_fen, paid_charge
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor
from tests.telemetry.wire import RUN_W, STANDBY_W, at

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(180)


def later(minutes: float) -> None:
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(minutes), speed=1.0))


def test_a_customer_contests_and_the_sub_center_gives_back_what_was_shown(world: World, enter: Enter) -> None:
    charge = paid_charge(world, 80, 100)  # nothing ran then
    world.play((60, STANDBY_W))
    later(190)
    world.reconcile(minutes=190)
    holder = enter(phone=True)
    page = holder.log_in("holder")
    holder.visit(f"/charges/{charge}?lang=en")
    holder.follow(page.get_by_role("link", name="Contest this charge"))
    page.fill("#reason", "The instrument was broken; nobody could measure.")
    holder.press("Contest the charge")
    assert "Your contest is with the people" in page.inner_text("[role=status]")

    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = enter()
    desk = manager.log_in("manager")
    manager.visit("/exceptions?lang=en")
    assert "¥400.00" in desk.inner_text("tbody tr")
    manager.follow(desk.get_by_role("link", name="Answer…"))
    manager.press("Show what will be posted")
    assert "Given back" in desk.inner_text(".postings")
    assert "¥400.00 go back to the card, ¥300.00 to principal and ¥100.00" in desk.inner_text("main")
    desk.fill("#why", "You are right: it was out of order.")
    manager.press("Post and answer")
    assert balances_fen(world)["principal"] == 300_00
    manager.visit("/contests")

    holder.visit(f"/charges/{charge}/contest")
    assert "Charge adjusted" in page.inner_text("main")
    assert "You are right" in page.inner_text("main")
    with world.database.reader() as session:
        assert session.scalars(select(Contest)).one().status is ContestStatus.ADJUSTED


def test_a_manager_decides_on_an_exception_after_seeing_what_is_posted(world: World, enter: Enter) -> None:
    charge = paid_charge(world, 80, 100)
    world.play((60, STANDBY_W))
    later(190)
    world.reconcile(minutes=190)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = enter(phone=True)
    page = manager.log_in("manager")
    manager.visit("/exceptions?lang=en&verdict=phantom&order=amount")
    manager.follow(page.get_by_role("link", name="Decide…"))
    page.fill("#amount", "150.00")
    manager.press("Show what will be posted")
    assert "Service fee given back" in page.inner_text(".postings")
    page.fill("#why", "Half an hour of it was ours.")
    manager.press("Post, and verify nothing")
    assert "No exceptions." in page.inner_text("main")
    assert balances_fen(world)["principal"] == 150_00
    with world.database.reader() as session:
        held = session.scalars(select(Verdict).where(Verdict.superseded_at.is_(None))).one()
        assert (held.session_id, held.review) == (charge, "adjusted")


def test_unpaid_use_is_answered_by_an_invoice_or_as_maintenance(world: World, enter: Enter) -> None:
    world.play((20, RUN_W), (60, STANDBY_W), (20, RUN_W), (60, STANDBY_W))
    later(300)
    with world.database.transaction() as session:
        instrument = session.get_one(Instrument, world.instrument_id)
        builders.tariff(session, of_instrument=instrument, rules=TARIFF["rules"])  # type: ignore[arg-type]
    world.reconcile(minutes=300)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = enter()
    page = manager.log_in("manager")
    manager.visit("/unpaid-use?lang=en")
    assert page.locator("tbody tr").count() == 3  # the one the world begins with, too
    manager.follow(page.get_by_role("link", name="Do something…").first)
    with world.database.reader() as session:
        number = session.get_one(CardAccount, world.account_id).number
    page.fill("#account", str(number))
    page.fill("#invoice-note", "The group's logbook names them.")
    manager.press("Draft the invoice")
    assert "Total" in page.inner_text("main")
    assert page.request.get(f"{page.url}?format=pdf").ok
    manager.visit("/unpaid-use")
    manager.follow(page.get_by_role("link", name="Do something…").first)
    page.fill("#maintenance-note", "The pump was exchanged.")
    manager.press("Mark as maintenance")
    world.reconcile(minutes=301)
    assert world.box_verdicts() == ["unpaid", "maintenance", "unpaid"]
    with world.database.reader() as session:
        assert {row.action for row in session.scalars(select(UnpaidAnswer))} == {"invoice", "maintenance"}


def test_rules_policies_and_totals_are_data_of_named_people(world: World, enter: Enter) -> None:
    world.charge(8, 72)
    world.reconcile(minutes=130)
    for username, role in (("clerk", Role.CLERK), ("approver", Role.APPROVER)):
        world.person(username, role)
    clerk = enter()
    page = clerk.log_in("clerk")
    clerk.visit("/silence-rules?lang=en")
    page.select_option("#kind", "background")
    page.get_by_label("Sun").check()
    page.fill("#note", "The pump bakes out on Sundays.")
    clerk.press("Make the rule")
    assert "The pump bakes out" in page.inner_text("tbody")
    clerk.press("End now")
    assert "ended by clerk" in page.inner_text("tbody")

    clerk.visit("/reconciliation-policies")
    page.get_by_text("Draft a new version").click()
    page.select_option("[name=do-phantom]", "refund")
    page.fill("#note", "Decision of the center, No. 7.")
    clerk.press("Draft for approval")
    assert "waits for a second person" in page.inner_text("[role=status]")
    approver = enter(phone=True)
    desk = approver.log_in("approver")
    approver.visit("/reconciliation-policies?lang=en")
    approver.press("Publish")
    assert "100% of what was too much, 72 h after the verdict" in desk.inner_text("main")

    approver.visit("/control-totals")
    assert "1 h 04 min" in desk.inner_text("tfoot")
    assert desk.request.get(f"{approver.base}/control-totals?format=csv").ok
    with world.database.reader() as session:
        assert session.scalars(select(SilenceRule)).one().ended_at is not None

"""A closed month takes nothing more, and only two people open it again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

import ledger
from app import clock
from app.accounting import service
from app.accounting.models import DraftStatus
from app.accounting.service import MonthView
from app.clock import Anchor
from app.errors import Code
from app.periods import Month
from ledger import PeriodState
from tests.app.accounting.office import Office
from tests.app.topups.conftest import refusal_of


@pytest.fixture
def month(office: Office) -> Month:
    """The month before the present one, with one voucher in it; nothing is older."""
    earlier = Month.of(clock.now(), zone=office.zone).previous
    office.post(office.fee_wish(12_34, value_on=earlier.until(office.zone).date() - timedelta(days=3)))
    return earlier


def view(office: Office, month: Month) -> MonthView:
    with office.site.database.reader() as session:
        return service.month_view(session, month=month, zone=office.zone, at=clock.now())


def do(office: Office, work: Callable[..., MonthView], month: Month, *, by: str, **values: Any) -> MonthView:
    def once(session: Session) -> MonthView:
        return work(session, month=month, zone=office.zone, actor=by, at=clock.now(), **values)

    return office.site.database.run(once)


def test_into_a_closed_month_nothing_is_posted(office: Office, month: Month) -> None:
    assert view(office, month).closable
    closed = do(office, service.close_month, month, by="finance")
    assert (closed.state, closed.closable, closed.askable) == (PeriodState.CLOSED, False, True)
    late = office.fee_wish(1_00, value_on=month.since(office.zone).date())
    assert refusal_of(lambda: office.draft(late)) is Code.PERIOD_CLOSED
    office.post(office.fee_wish(1_00))  # today's still is


def test_a_draft_that_waits_keeps_its_month_open(office: Office, month: Month) -> None:
    draft = office.draft(office.fee_wish(1_00, value_on=month.since(office.zone).date()))
    assert (view(office, month).drafts, view(office, month).closable) == (1, False)
    assert refusal_of(lambda: do(office, service.close_month, month, by="finance")) is Code.PERIOD_NOT_CLOSABLE
    office.decide(draft)
    assert do(office, service.close_month, month, by="finance").state is PeriodState.CLOSED


def test_a_month_is_reopened_by_another_person_than_the_one_who_asked(office: Office, month: Month) -> None:
    do(office, service.close_month, month, by="finance")
    assert refusal_of(lambda: do(office, service.reopen_month, month, by="approver")) is Code.PERIOD_NOT_REOPENABLE
    asked = do(office, service.ask_to_reopen, month, by="finance", reason="漏记一笔")
    assert (asked.state, asked.asked_by, asked.reopenable) == (PeriodState.REOPENING_ASKED, "finance", True)
    assert refusal_of(lambda: do(office, service.reopen_month, month, by="finance")) is Code.SAME_PERSON
    assert do(office, service.reopen_month, month, by="approver").state is PeriodState.OPEN
    late = office.fee_wish(1_00, value_on=month.since(office.zone).date())
    assert office.decide(office.draft(late)).status is DraftStatus.POSTED
    assert [step.actor for step in view(office, month).steps] == ["finance", "finance", "approver"]


def test_the_wish_to_reopen_may_be_refused(office: Office, month: Month) -> None:
    do(office, service.close_month, month, by="finance")
    assert refusal_of(lambda: do(office, service.keep_closed, month, by="approver")) is Code.PERIOD_NOT_REOPENABLE
    do(office, service.ask_to_reopen, month, by="finance", reason="漏记一笔")
    assert do(office, service.keep_closed, month, by="approver").state is PeriodState.CLOSED


def test_a_draft_whose_month_was_closed_meanwhile_is_refused_by_the_ledger(office: Office, month: Month) -> None:
    """The close looks for drafts first; the ledger is the wall behind it."""
    draft = office.draft(office.fee_wish(1_00, value_on=month.since(office.zone).date()))
    office.site.database.run(
        lambda session: ledger.close_period(
            session, starts_at=month.since(office.zone), ends_at=month.until(office.zone), actor="somebody"
        )
    )
    refused = office.decide(draft)
    assert (refused.status, refused.reason) == (DraftStatus.REFUSED, "period_closed")


def test_months_are_listed_from_the_first_voucher_to_the_present(office: Office, month: Month) -> None:
    with office.site.database.reader() as session:
        found = service.list_months(session, zone=office.zone, at=clock.now())
    assert [each.month for each in found] == [month.next, month]
    assert refusal_of(lambda: do(office, service.close_month, month.next, by="finance")) is Code.PERIOD_NOT_CLOSABLE
    assert refusal_of(lambda: view(office, month.previous)) is Code.NOT_FOUND


def test_a_month_ends_at_midnight_of_the_site(office: Office) -> None:
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=datetime(2026, 10, 31, 16, 30, tzinfo=UTC), speed=1.0))
    with office.site.database.reader() as session:
        assert service.list_months(session, zone=office.zone, at=clock.now())[0].month == Month(2026, 11)

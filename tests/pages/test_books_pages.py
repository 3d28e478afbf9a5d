"""The accountant's day in a browser: a voucher by two people, from the trial balance to its lines, a month closed."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from openpyxl import load_workbook
from pypdf import PdfReader

from app import clock
from app.db import Database
from app.periods import Month
from app.settings import Settings
from tests.app import taps
from tests.app.accounting.office import Office, open_office
from tests.app.conftest import client
from tests.pages.conftest import Visitor

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(240)
__all__ = ["client"]


@pytest.fixture
def office(database: Database, settings: Settings, client: FlaskClient) -> Office:
    return open_office(taps.new_site(database, settings, client, service_fee_basis_points=500, vat_basis_points=600))


@pytest.mark.usefixtures("office")
def test_a_voucher_is_drafted_seen_before_it_is_posted_approved_and_found_again(enter: Enter) -> None:
    finance, approver = enter(), enter()
    page = finance.log_in("finance")
    finance.visit("/books/drafts/new?lang=en")
    page.fill("#text", "Payment service fee of September")
    page.get_by_label("Account of line 1").select_option("psp_fee")
    page.get_by_label("Debit of line 1").fill("12.34")
    page.get_by_label("Account of line 2").select_option("operating_bank")
    page.get_by_label("Credit of line 2").fill("12.35")
    finance.press("Continue")
    assert "Debits and credits of this voucher are not the same." in page.inner_text("[role=alert]")
    page.get_by_label("Credit of line 2").fill("12.34")  # what was typed is still there
    finance.press("Continue")
    assert "Dr ¥12.34" in page.inner_text(".postings")
    finance.press("Change")
    assert page.get_by_label("Debit of line 1").input_value() == "12.34"
    finance.press("Continue")
    finance.press("Draft for approval")
    assert "waits for a second person" in page.inner_text("[role=status]")
    assert page.get_by_role("button", name="Approve and post").count() == 0

    page = approver.log_in("approver")
    approver.visit("/books/drafts?lang=en")
    approver.follow(page.locator("td a").first)
    approver.press("Approve and post")
    assert "is posted" in page.inner_text("[role=status]")
    assert "6603.01 Payment service fees" in page.inner_text("main")

    page = finance.page
    finance.visit("/books/trial-balance")
    assert "The sum is 0: the books balance." in page.inner_text("main")
    finance.follow(page.get_by_role("link", name="6603.01 Payment service fees"))
    finance.follow(page.get_by_role("link", name="Service center"))
    finance.follow(page.get_by_role("link", name="Manual voucher"))
    finance.follow(page.get_by_role("link", name="Reverse…"))
    page.fill("#text", "Booked twice")
    finance.press("Draft for approval")
    assert "waits for a second person" in page.inner_text("[role=status]")


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_every_room_of_the_books_can_be_read_in_chinese_on_a_desk_and_on_a_phone(
    office: Office, enter: Enter, *, phone: bool
) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 800_00)
    office.use(card, minutes=90)
    journal_id = office.post(office.fee_wish(12_34))
    auditor = enter(phone=phone)
    auditor.log_in("auditor")
    page = auditor.page
    month = Month.of(clock.now(), zone=office.zone)
    for path in (
        "/trial-balance",
        "/trial-balance?since=2026-01-01&until=2026-06-30",
        "/trial-balance/unit_payable",
        "/vouchers",
        "/vouchers?words=nowhere",
        f"/vouchers/{journal_id}",
        "/drafts",
        "/months",
        f"/months/{month}",
        "/chart",
        "/files",
    ):
        auditor.visit(f"/books{path}")
    assert page.get_by_role("button", name="结账").count() == 0


def test_a_month_is_closed_and_reopened_by_two_people(office: Office, enter: Enter) -> None:
    month = Month.of(clock.now(), zone=office.zone).previous
    office.post(office.fee_wish(12_34, value_on=month.until(office.zone).date() - timedelta(days=1)))
    finance, approver = enter(), enter()
    page = finance.log_in("finance")
    finance.visit("/books/months?lang=en")
    page.get_by_role("link", name="Close…").click()
    finance.press(f"Close {month}")
    assert "Month closed" in page.inner_text("main")
    page.fill("#reason", "The bank's statement came late")
    finance.press("Ask to reopen")
    page = approver.log_in("approver")
    approver.visit(f"/books/months/{month}?lang=en")
    assert "The bank's statement came late" in page.inner_text("main")
    approver.press(f"Reopen {month}")
    assert "Not closed yet" in page.inner_text("main")


def test_tables_are_saved_as_they_are_seen(office: Office, enter: Enter) -> None:
    office.post(office.fee_wish(12_34, text="九月手续费㛃𬭚"))
    office.post(office.fee_wish(1_00, text="十月手续费"))
    finance = enter()
    page = finance.log_in("finance")
    finance.visit("/books/vouchers?words=九月")

    def saved(form: str) -> bytes:
        with page.expect_download() as waiting:
            page.get_by_role("link", name=form, exact=True).click()
        return waiting.value.path().read_bytes()

    written = saved("CSV").decode()
    assert written.startswith("\ufeff")
    assert "九月手续费" in written
    assert "十月手续费" not in written
    sheet = load_workbook(io.BytesIO(saved("XLSX"))).active
    assert sheet is not None
    assert "科目代码" in [cell.value for row in sheet.iter_rows() for cell in row]
    assert "九月手续费㛃𬭚" in PdfReader(io.BytesIO(saved("PDF"))).pages[0].extract_text()
    finance.visit("/books/files")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="保存").first.click()
    assert "Expenses:6603-01" in waiting.value.path().read_text(encoding="utf-8")


def test_a_customer_saves_the_statement_of_a_month(office: Office, enter: Enter) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 800_00)
    finance = enter()
    page = finance.log_in("finance")
    finance.visit(f"/accounts/{card.account_id}/statement")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="PDF").click()
    text = PdfReader(waiting.value.path()).pages[0].extract_text()
    assert "对账单" in text
    assert "800.00" in text

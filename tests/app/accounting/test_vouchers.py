"""Vouchers: their lines, their numbers, finding them, and who made them."""

from datetime import timedelta

from app.accounting import service
from app.accounting.service import Voucher, Wanted
from app.topups.models import TopUpMethod
from tests.app.accounting.office import Office


def listed(office: Office, **values: object) -> list[Voucher]:
    since, until = office.month
    wanted = Wanted(since=since, until=until, **values)  # type: ignore[arg-type] # words and kinds of a test
    with office.site.database.reader() as session:
        return list(service.list_vouchers(session, wanted, zone=office.zone).vouchers)


def test_a_voucher_has_a_line_for_each_side_of_each_account(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 100_00)
    office.use(card, minutes=90)
    (used,) = listed(office, kind="session_capture")
    assert [(line.account.code, line.debit_fen, line.credit_fen) for line in used.lines] == [
        ("2241.01", 45_00, 0),
        ("2241.05", 4_95, 0),
        ("2241.05", 0, 45_00),
        ("6051.01", 0, 2_25),
        ("2221.01", 0, 2_70),
    ]
    assert used.amount_fen == 49_95 == sum(line.credit_fen for line in used.lines)


def test_numbers_have_no_gaps_and_a_late_voucher_takes_the_next_of_its_month(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 100_00)
    assert office.site.terminal().hold(card, minutes=60).status_code == 200  # reserves, posts nothing
    earlier = office.today - timedelta(days=32)
    first = office.post(office.fee_wish(1_00, value_on=earlier))
    second = office.post(office.fee_wish(2_00, value_on=earlier - timedelta(days=1)))
    office.post(office.fee_wish(3_00))
    by_month: dict[str, list[int | None]] = {}
    for voucher in sorted(listed(office), key=lambda each: each.booked_at):
        by_month.setdefault(str(voucher.month), []).append(voucher.number)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_month.values())
    numbers = {voucher.id: voucher.number for voucher in listed(office)}
    if (earlier - timedelta(days=1)).month == earlier.month:
        assert (numbers[first], numbers[second]) == (1, 2)


def test_vouchers_are_found_by_kind_and_by_words_and_page_by_page(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    top_up = office.top_up(card, 100_00, method=TopUpMethod.BANK_TRANSFER)
    office.post(office.fee_wish(1_00, text="九月手续费"))
    office.post(office.fee_wish(2_00, text="十月手续费"))
    assert [voucher.text for voucher in listed(office, words="十月")] == ["十月手续费"]
    assert [voucher.reference for voucher in listed(office, words=top_up.number.lower())] == [top_up.number]
    assert len(listed(office, kind="manual_voucher")) == 2
    assert listed(office, kind="manual_voucher", words="柜台") == []
    since, until = office.month
    wanted = Wanted(since=since, until=until)
    with office.site.database.reader() as session:
        pages: list[Voucher] = []
        after = None
        while True:
            page = service.list_vouchers(session, wanted, zone=office.zone, page_size=1, after=after)
            pages += page.vouchers
            if (after := page.cursor) is None:
                break
        whole = list(service.all_vouchers(session, wanted, zone=office.zone))
    assert pages == listed(office)
    assert pages == whole[::-1]


def test_a_voucher_says_who_drafted_and_who_approved_it(office: Office) -> None:
    journal_id = office.post(office.fee_wish(12_34))
    with office.site.database.reader() as session:
        view = service.voucher_view(session, journal_id=journal_id, zone=office.zone)
    assert view.draft is not None
    assert view.draft.checker is not None
    assert (view.draft.maker.username, view.draft.checker.username) == ("finance", "approver")
    assert (view.voucher.actor, view.voucher.reference) == ("approver", view.draft.number)

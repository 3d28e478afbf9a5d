"""The trial balance adds up, by value date, down to the single account and its lines."""

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import text

import ledger
from app import clock
from app.accounting import service
from app.accounting.service import Sums
from app.books import Book, BookRole
from app.periods import Month
from app.spans import month_span
from app.topups.models import TopUpMethod
from tests.app.accounting.office import Office, account_number
from tests.owner import without_triggers


def balance(office: Office) -> service.TrialBalance:
    since, until = office.month
    with office.site.database.reader() as session:
        return service.trial_balance(session, since=since, until=until)


def sums(found: service.TrialBalance) -> dict[str, tuple[int, int]]:
    """What each code moved: debits and credits."""
    return {group.code: (group.sums.debits_fen, group.sums.credits_fen) for group in found.groups}


def test_a_day_at_the_center_as_an_accountant_reads_it(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 800_00)
    office.top_up(card, 1200_50, method=TopUpMethod.BANK_TRANSFER)
    office.use(card, minutes=90)  # 45.00, of which 2.25 are the platform's fee and 2.70 VAT

    found = balance(office)

    assert sums(found) == {
        "1001": (800_00, 0),
        "1002.01": (1200_50, 0),
        "1002.02": (10_000_00, 0),
        "2221.01": (0, 2_70),
        "2241.01": (45_00, 2000_50),
        "2241.05": (4_95, 45_00),
        "2241.06": (1200_50, 1200_50),
        "2711.01": (0, 10_000_00),
        "6051.01": (0, 2_25),
    }
    assert found.difference_fen == 0
    assert found.closing_sides == (12_000_50, 12_000_50)


def test_a_hold_is_no_movement(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 100_00)
    before = sums(balance(office))
    assert office.site.terminal().hold(card, minutes=60).status_code == 200
    assert sums(balance(office)) == before


def test_the_closing_of_a_month_is_the_opening_of_the_next(office: Office) -> None:
    office.post(office.fee_wish(30_00, value_on=office.today - timedelta(days=32)))
    office.post(office.fee_wish(12_34))
    present = month_span(Month.of(clock.now(), zone=office.zone), zone=office.zone)
    with office.site.database.reader() as session:
        now = service.trial_balance(session, since=present.since, until=present.until)
        ever = service.trial_balance(session, since=present.since - timedelta(days=90), until=present.since)
    fees = next(group for group in now.groups if group.code == "6603.01")
    assert fees.sums == Sums(30_00, 12_34, 0)
    closing = {group.code: group.sums.closing_fen for group in ever.groups}
    assert {group.code: group.sums.opening_fen for group in now.groups if group.sums.opening_fen} == closing


def test_a_code_opens_into_its_single_accounts_with_their_owners(office: Office) -> None:
    cards = [office.site.card(principal_fen=0) for _ in range(3)]
    for number, card in enumerate(cards, start=1):
        office.top_up(card, number * 100_00)
    since, until = office.month
    with office.site.database.reader() as session:
        pages = [
            service.trial_detail(session, role=BookRole.PRINCIPAL, since=since, until=until, page=page, page_size=2)
            for page in (1, 2)
        ]
    assert [(page.count, page.has_more, page.total.credits_fen) for page in pages] == [
        (3, True, 600_00),
        (3, False, 600_00),
    ]
    found = [each for page in pages for each in page.accounts]
    assert [each.sums.closing_fen for each in found] == [-100_00, -200_00, -300_00]
    assert [each.account.owner and each.account.owner.code for each in found] == [
        account_number(office.site, card) for card in cards
    ]


def test_a_transfer_from_nowhere_turns_the_line_red(office: Office) -> None:
    """What no door can write, somebody with the database's keys can; the accountant sees it the same day."""
    office.post(office.fee_wish(12_34))
    assert balance(office).difference_fen == 0
    with office.site.database.transaction() as session:
        without_triggers(session)
        changed = session.scalars(
            text("UPDATE ledger.transfers SET credit_account_id = :nowhere WHERE code = 401 RETURNING code"),
            {"nowhere": uuid4()},
        )
        assert changed.all() == [401]
    assert balance(office).difference_fen == 12_34


def test_an_account_statement_runs_from_opening_to_closing_page_by_page(office: Office) -> None:
    for amount_fen in (10_00, 20_00, 30_00, 40_00):
        office.post(office.fee_wish(amount_fen))
    since, until = office.month
    fees = Book(BookRole.PSP_FEE).id
    with office.site.database.reader() as session:
        first = service.account_statement(session, account_id=fees, since=since, until=until, page_size=3)
        second = service.account_statement(
            session, account_id=fees, since=since, until=until, page_size=3, after=first.cursor
        )
        whole = list(service.all_lines(session, account_id=fees, since=since, until=until))
    assert (first.opening_fen, first.closing_fen) == (0, 100_00)
    assert [*first.lines, *second.lines] == whole
    assert second.cursor is None
    assert whole[-1].entry.balance_fen == first.closing_fen
    assert {line.counter.code for line in whole} == {"1002.03"}


def test_every_account_has_a_name_that_programs_of_accounting_take(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    with office.site.database.reader() as session:
        found = ledger.lookup_accounts(session, [Book(BookRole.PRINCIPAL, card.account_id).id])[0]
    name = service.plain_text_names(
        ledger.NamedAccount(found.id, found.ledger, found.code, None, found.user_data_64, 0)
    )
    assert (name.root, name.path) == (ledger.Root.LIABILITIES, ("2241.01", f"card-{card.account_id}"))

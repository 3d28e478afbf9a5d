"""Nothing is posted by one person alone, nothing is posted twice, and a draft that cannot be posted says why."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st

import ledger
from app import clock
from app.accounting import service
from app.accounting.models import DraftStatus, VoucherDraft
from app.accounting.service import WishLine
from app.accounting.service.wishes import movements_of
from app.books import Book, BookRole
from app.errors import Code
from app.reports.service.today import book_checks
from tests.app.accounting.office import Office
from tests.app.topups.conftest import refusal_of

FEES, OPERATOR = Book(BookRole.PSP_FEE), Book(BookRole.OPERATING_BANK)


def balance_fen(office: Office, book: Book) -> int:
    with office.site.database.reader() as session:
        return ledger.balances(session, [book.id])[book.id].debit_balance_fen


def test_a_draft_posts_nothing_until_another_person_approves_it(office: Office) -> None:
    draft = office.draft(office.fee_wish(12_34))
    assert (draft.status, balance_fen(office, FEES)) == (DraftStatus.WAITING, 0)
    posted = office.decide(draft)
    assert (posted.status, balance_fen(office, FEES), balance_fen(office, OPERATOR)) == (
        DraftStatus.POSTED,
        12_34,
        -12_34,
    )


def test_nobody_approves_her_own_draft(office: Office) -> None:
    both = replace(office.staff["finance"], grants=(*office.staff["finance"].grants, *office.staff["approver"].grants))
    office.staff["both"] = both
    draft = office.draft(office.fee_wish(12_34), by="both")
    assert refusal_of(lambda: office.decide(draft, by="both")) is Code.SAME_PERSON
    assert balance_fen(office, FEES) == 0
    # And the database would not believe it either.
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="two_people"):
        office.site.change(VoucherDraft, draft.id, checker_id=both.person_id)


def test_approving_twice_posts_once_and_drafting_twice_is_one_draft(office: Office) -> None:
    wish = office.fee_wish(12_34)
    draft, again = office.draft(wish), office.draft(wish)
    assert draft.id == again.id
    first, second = office.decide(draft), office.decide(draft)
    assert first.journal_id == second.journal_id
    assert balance_fen(office, FEES) == 12_34
    assert refusal_of(lambda: office.draft(replace(wish, text="anders"))) is Code.REQUEST_ID_USED
    assert refusal_of(lambda: office.draft(wish, by="finance2")) is Code.REQUEST_ID_USED
    assert refusal_of(lambda: office.decide(draft, approve=False, reason="nein")) is Code.ALREADY_DECIDED


def test_a_rejected_or_withdrawn_draft_stays_unposted_for_good(office: Office) -> None:
    rejected = office.decide(office.draft(office.fee_wish(1_00)), approve=False, reason="凭据不全")
    assert (rejected.status, rejected.reason) == (DraftStatus.REJECTED, "凭据不全")
    assert refusal_of(lambda: office.decide(rejected)) is Code.ALREADY_DECIDED
    draft = office.draft(office.fee_wish(2_00))

    def take_back(username: str) -> VoucherDraft:
        return office.site.database.run(
            lambda session: service.withdraw(session, draft_id=draft.id, maker=office.staff[username], at=clock.now())
        )

    assert refusal_of(lambda: take_back("finance2")) is Code.NOT_FOUND
    assert take_back("finance").status is DraftStatus.WITHDRAWN
    assert refusal_of(lambda: office.decide(draft)) is Code.ALREADY_DECIDED
    assert balance_fen(office, FEES) == 0


def test_what_the_ledger_refuses_is_not_posted_and_never_will_be(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 10_00)
    wish = office.wish(
        WishLine(role=BookRole.PRINCIPAL, owner_id=card.account_id, debit_fen=10_01),
        WishLine(role=BookRole.CASH, credit_fen=10_01),
    )
    draft = office.draft(wish)
    refused = office.decide(draft)
    assert (refused.status, refused.reason) == (DraftStatus.REFUSED, "exceeds_credits")
    office.top_up(card, 90_00)
    assert office.decide(draft).status is DraftStatus.REFUSED  # the same yes again is the same answer
    assert office.site.balances(card).principal_fen == 100_00


@pytest.mark.parametrize(
    ("debit_fen", "credit_fen", "code"),
    [(100, 99, Code.VOUCHER_UNBALANCED), (0, 0, Code.VALIDATION_FAILED)],
)
def test_an_unbalanced_voucher_is_no_draft(office: Office, debit_fen: int, credit_fen: int, code: Code) -> None:
    wish = office.wish(
        WishLine(role=BookRole.PSP_FEE, debit_fen=debit_fen),
        WishLine(role=BookRole.OPERATING_BANK, credit_fen=credit_fen),
    )
    assert refusal_of(lambda: office.draft(wish)) is code


def test_an_account_that_nobody_opened_and_a_day_that_has_not_come_are_refused(office: Office) -> None:
    nobody = office.wish(
        WishLine(role=BookRole.PRINCIPAL, owner_id=999, debit_fen=1), WishLine(role=BookRole.CASH, credit_fen=1)
    )
    assert refusal_of(lambda: office.draft(nobody)) is Code.BOOK_NOT_OPEN
    tomorrow = office.fee_wish(1, value_on=office.today + timedelta(days=1))
    assert refusal_of(lambda: office.draft(tomorrow)) is Code.VALUE_DATE_WRONG
    both_sides = office.wish(WishLine(role=BookRole.CASH, debit_fen=1), WishLine(role=BookRole.CASH, credit_fen=1))
    assert refusal_of(lambda: office.draft(both_sides)) is Code.VALIDATION_FAILED


def test_the_preview_is_what_is_posted(office: Office) -> None:
    wish = office.wish(
        WishLine(role=BookRole.PSP_FEE, debit_fen=70_00),
        WishLine(role=BookRole.CASH, debit_fen=30_00),
        WishLine(role=BookRole.OPERATING_BANK, credit_fen=60_00),
        WishLine(role=BookRole.CLIENT_BANK, credit_fen=40_00),
    )
    draft = office.draft(wish)
    with office.site.database.reader() as session:
        shown = service.preview(session, draft)
    journal_id = office.decide(draft).journal_id
    assert journal_id is not None
    with office.site.database.reader() as session:
        voucher = service.voucher_view(session, journal_id=journal_id, zone=office.zone).voucher
    assert tuple(each.line for each in shown) == voucher.lines
    assert [each.after_fen for each in shown] == [
        balance_fen(office, Book(role))
        for role in (BookRole.PSP_FEE, BookRole.CASH, BookRole.OPERATING_BANK, BookRole.CLIENT_BANK)
    ]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_pairing_debits_with_credits_moves_every_account_by_its_lines(debits: list[int], credits: list[int]) -> None:  # noqa: A002 - the word
    """Cards pay units; the last line of the smaller side makes both sides the same."""
    difference_fen = sum(debits) - sum(credits)
    debits = [*debits, -difference_fen] if difference_fen < 0 else debits
    credits = [*credits, difference_fen] if difference_fen > 0 else credits  # noqa: A001 - the word
    lines = [
        *(WishLine(role=BookRole.PRINCIPAL, owner_id=each, debit_fen=fen) for each, fen in enumerate(debits)),
        *(WishLine(role=BookRole.UNIT_PAYABLE, owner_id=each, credit_fen=fen) for each, fen in enumerate(credits)),
    ]
    movements = movements_of(lines)
    assert len(movements) < len(lines)
    assert all(movement.amount_fen > 0 for movement in movements)
    for line in lines:
        moved = sum(each.amount_fen for each in movements if line.account_id in each[:2])
        assert moved == line.debit_fen + line.credit_fen


def test_a_posted_voucher_is_reversed_once_and_by_two_people(office: Office) -> None:
    journal_id = office.post(office.fee_wish(12_34))
    draft = office.draft_reversal(journal_id)
    assert refusal_of(lambda: office.draft_reversal(journal_id, by="finance2")) is Code.VOUCHER_NOT_REVERSIBLE
    reversal = office.decide(draft)
    assert reversal.status is DraftStatus.POSTED
    assert reversal.journal_id is not None
    assert balance_fen(office, FEES) == 0
    with office.site.database.reader() as session:
        original = service.voucher_view(session, journal_id=journal_id, zone=office.zone).voucher
        mirror = service.voucher_view(session, journal_id=reversal.journal_id, zone=office.zone).voucher
    assert (original.reversed_by_id, mirror.reverses_id) == (mirror.id, original.id)
    assert refusal_of(lambda: office.draft_reversal(journal_id)) is Code.VOUCHER_NOT_REVERSIBLE
    assert refusal_of(lambda: office.draft_reversal(mirror.id)) is Code.VOUCHER_NOT_REVERSIBLE


def test_a_rejected_reversal_may_be_drafted_again(office: Office) -> None:
    journal_id = office.post(office.fee_wish(12_34))
    office.decide(office.draft_reversal(journal_id), approve=False, reason="无误")
    assert office.decide(office.draft_reversal(journal_id)).status is DraftStatus.POSTED


def test_a_counter_top_up_can_be_reversed_here_and_a_charge_cannot(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 100_00)
    office.use(card, minutes=60)
    since, until = office.month
    with office.site.database.reader() as session:
        wanted = service.Wanted(since=since, until=until)
        found = {each.kind: each.id for each in service.all_vouchers(session, wanted, zone=office.zone)}
    assert refusal_of(lambda: office.draft_reversal(found["session_capture"])) is Code.VOUCHER_NOT_REVERSIBLE
    refused = office.decide(office.draft_reversal(found["top_up_cash"]))
    assert refused.reason == "exceeds_credits"  # 30.00 of it are spent
    assert refusal_of(lambda: office.draft_reversal(uuid4())) is Code.NOT_FOUND


def test_what_a_draft_says_is_written_once(office: Office) -> None:
    draft = office.draft(office.fee_wish(12_34))
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="written once"):
        office.site.change(VoucherDraft, draft.id, text="something else")


def test_a_voucher_by_hand_does_not_upset_the_checks_of_the_day(office: Office) -> None:
    card = office.site.card(principal_fen=0)
    office.top_up(card, 100_00)
    office.use(card, minutes=60)
    office.post(
        office.wish(
            WishLine(role=BookRole.CLIENT_BANK, debit_fen=500_00),
            WishLine(role=BookRole.UNIT_PAYABLE, owner_id=office.site.unit_id, credit_fen=500_00),
            text="期初余额",
        )
    )
    with office.site.database.reader() as session:
        checks = {check.name: check.holds for check in book_checks(session)}
    assert checks == {"zero_sum": True, "charges": True, "fiscal": True}

"""Money at the counter: one person enters it, another one approves it, and only then the card has it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.books import BookRole
from app.cards.models import AccountStatus, CardAccount
from app.db import Database
from app.errors import Code, Refusal
from app.people.models import AuditEntry
from app.people.principals import Principal
from app.topups import service
from app.topups.models import TopUp, TopUpMethod, TopUpStatus
from tests.app.topups.conftest import Counter, refusal_of
from tests.app.topups.money import balance_fen, debt_fen, owe


def test_cash_reaches_the_card_when_a_second_person_approves(counter: Counter) -> None:
    top_up = counter.begin(amount_fen=100_00)
    assert counter.principal_fen() == 0
    assert counter.decide(top_up).status is TopUpStatus.CREDITED
    assert counter.principal_fen() == 100_00
    assert balance_fen(counter.database, BookRole.CASH) == 100_00


def test_a_bank_transfer_passes_through_the_unidentified_receipts(counter: Counter) -> None:
    counter.decide(counter.begin(amount_fen=250_00, method=TopUpMethod.BANK_TRANSFER, bank_reference="ICBC 2026 0001"))
    assert counter.principal_fen() == 250_00
    assert balance_fen(counter.database, BookRole.CLIENT_BANK) == 250_00
    assert balance_fen(counter.database, BookRole.UNIDENTIFIED) == 0


@pytest.mark.parametrize(("owed_fen", "left_fen", "principal"), [(30_00, 0, 70_00), (150_00, 50_00, 0)])
def test_a_top_up_repays_the_debt_first(counter: Counter, owed_fen: int, left_fen: int, principal: int) -> None:
    with counter.database.transaction() as session:
        owe(session, counter.center.account_id, amount_fen=owed_fen)
    counter.decide(counter.begin(amount_fen=100_00))
    assert debt_fen(counter.database, counter.center.account_id) == left_fen
    assert counter.principal_fen() == principal


def test_who_entered_it_may_not_approve_it(counter: Counter) -> None:
    with pytest.raises(Refusal) as refused:
        counter.decide(counter.begin(amount_fen=100_00), checker=counter.center.clerk)
    assert refused.value.code is Code.SAME_PERSON


def test_a_rejected_top_up_credits_nothing_and_frees_its_bank_reference(counter: Counter) -> None:
    bank = {"method": TopUpMethod.BANK_TRANSFER, "bank_reference": "ABC-77"}
    rejected = counter.decide(counter.begin(amount_fen=100_00, **bank), approve=False, reason="not on the statement")
    assert (rejected.status, rejected.reason) == (TopUpStatus.REJECTED, "not on the statement")
    assert counter.principal_fen() == 0
    counter.decide(counter.begin(amount_fen=100_00, **bank))
    assert counter.principal_fen() == 100_00


def test_a_bank_reference_counts_once_however_it_is_spaced(counter: Counter) -> None:
    counter.begin(amount_fen=100_00, method=TopUpMethod.BANK_TRANSFER, bank_reference="ABC 77")
    with pytest.raises(Refusal) as refused:
        counter.begin(amount_fen=200_00, method=TopUpMethod.BANK_TRANSFER, bank_reference="  ABC   77 ")
    assert refused.value.code is Code.BANK_REFERENCE_USED


@pytest.mark.parametrize("bank", [{"method": TopUpMethod.BANK_TRANSFER}, {"bank_reference": "ABC-77"}])
def test_a_bank_reference_goes_with_a_bank_transfer(counter: Counter, bank: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        counter.begin(amount_fen=100_00, **bank)
    assert refused.value.code is Code.VALIDATION_FAILED


@pytest.mark.parametrize(
    ("amount_fen", "account", "code"),
    [
        (9_99, "own", Code.AMOUNT_TOO_SMALL),
        (5_000_01, "own", Code.BALANCE_CAP_EXCEEDED),
        (5_000_00, "shared", Code.AMOUNT_TOO_LARGE),
        (50_000_00, "own", Code.AMOUNT_TOO_LARGE),
        (10_00, "own", None),
        (5_000_00, "own", None),
        (4_999_99, "shared", None),
    ],
)
def test_cash_has_its_limits(counter: Counter, amount_fen: int, account: str, code: Code | None) -> None:
    account_id = {"own": counter.center.account_id, "shared": counter.center.organisation_account_id}[account]
    assert refusal_of(lambda: counter.begin(amount_fen=amount_fen, account_id=account_id)) is code


def test_what_is_on_its_way_counts_against_the_cap_and_a_debt_makes_room(counter: Counter) -> None:
    counter.decide(counter.begin(amount_fen=3_000_00))
    waiting = counter.begin(amount_fen=1_500_00)
    with pytest.raises(Refusal) as refused:
        counter.begin(amount_fen=500_01)
    assert refused.value.details == {"maximum_fen": 500_00}
    counter.decide(waiting, approve=False)
    with counter.database.transaction() as session:
        owe(session, counter.center.account_id, amount_fen=100_00)
    assert counter.begin(amount_fen=2_100_00).amount_fen == 2_100_00


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
def test_no_top_up_begins_for_an_account_that_is_not_active(counter: Counter, status: AccountStatus) -> None:
    _set_status(counter.database, counter.center.account_id, status)
    with pytest.raises(Refusal) as refused:
        counter.begin(amount_fen=100_00)
    assert refused.value.code is Code.ACCOUNT_NOT_ACTIVE


def test_a_closed_account_takes_no_approval(counter: Counter) -> None:
    top_up = counter.begin(amount_fen=100_00)
    _set_status(counter.database, counter.center.account_id, AccountStatus.CLOSED)
    with pytest.raises(Refusal) as refused:
        counter.decide(top_up)
    assert refused.value.code is Code.ACCOUNT_NOT_ACTIVE
    assert counter.decide(top_up, approve=False).status is TopUpStatus.REJECTED


def test_the_same_wish_again_is_the_same_top_up(counter: Counter) -> None:
    top_up_id = uuid4()
    assert (
        counter.begin(id=top_up_id, amount_fen=100_00).number == counter.begin(id=top_up_id, amount_fen=100_00).number
    )
    with pytest.raises(Refusal) as refused:
        counter.begin(id=top_up_id, amount_fen=200_00)
    assert refused.value.code is Code.REQUEST_ID_USED
    with counter.database.reader() as session:
        assert len(session.scalars(select(AuditEntry).where(AuditEntry.action == "top_up.begin")).all()) == 1


def test_two_ids_that_would_read_the_same_aloud_are_one_too_many(counter: Counter) -> None:
    top_up_id = uuid4()
    counter.begin(id=top_up_id, amount_fen=100_00)
    with pytest.raises(Refusal) as refused:
        counter.begin(id=UUID(int=top_up_id.int ^ 1 << 127), amount_fen=100_00)
    assert refused.value.code is Code.REQUEST_ID_USED


def test_the_same_decision_again_is_the_same_answer(counter: Counter) -> None:
    top_up = counter.begin(amount_fen=100_00)
    counter.decide(top_up)
    assert counter.decide(top_up).status is TopUpStatus.CREDITED
    assert counter.principal_fen() == 100_00
    with pytest.raises(Refusal) as refused:
        counter.decide(top_up, approve=False)
    assert refused.value.code is Code.ALREADY_DECIDED


def test_of_two_approvers_at_once_one_approves(counter: Counter) -> None:
    approvers = (counter.center.approver, counter.center.second_approver)
    for round_ in range(1, 6):
        top_up = counter.begin(amount_fen=100_00)
        both = threading.Barrier(len(approvers))

        def attempt(checker: Principal, top_up: TopUp = top_up, both: threading.Barrier = both) -> Code | None:
            both.wait()
            return refusal_of(lambda: counter.decide(top_up, checker=checker))

        with ThreadPoolExecutor(len(approvers)) as pool:
            assert set(pool.map(attempt, approvers)) == {None, Code.ALREADY_DECIDED}
        assert counter.principal_fen() == round_ * 100_00


def test_wishes_at_once_cannot_pass_the_cap_together(counter: Counter) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refusal_of(lambda: counter.begin(amount_fen=1_000_00)), range(8)))
    assert (answers.count(None), answers.count(Code.BALANCE_CAP_EXCEEDED)) == (5, 3)


@given(amounts=st.lists(st.integers(min_value=1, max_value=6_000_00), max_size=8), data=st.data())
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_top_ups_lifts_a_person_above_the_cap(
    counter: Counter, amounts: list[int], data: st.DataObject
) -> None:
    before_fen = counter.principal_fen()
    approved_fen = 0
    for amount_fen in amounts:
        try:
            top_up = counter.begin(amount_fen=amount_fen)
        except Refusal:
            continue
        approve = data.draw(st.booleans())
        counter.decide(top_up, approve=approve)
        approved_fen += amount_fen if approve else 0
    assert counter.principal_fen() == before_fen + approved_fen <= 5_000_00


def test_a_customer_sees_only_own_top_ups(counter: Counter) -> None:
    own = counter.begin(amount_fen=100_00)
    shared = counter.begin(amount_fen=200_00, account_id=counter.center.organisation_account_id)
    with counter.database.reader() as session:
        assert {one.id for one in service.list_top_ups(session, viewer=counter.center.customer).items} == {
            own.id,
            shared.id,
        }
        assert service.list_top_ups(session, viewer=counter.center.stranger).total == 0
        assert (
            service.list_top_ups(session, viewer=counter.center.clerk, status=TopUpStatus.AWAITING_APPROVAL).total == 2
        )
        with pytest.raises(Refusal) as refused:
            service.get_top_up(session, top_up_id=own.id, viewer=counter.center.stranger)
    assert refused.value.code is Code.NOT_FOUND


def _set_status(database: Database, account_id: int, status: AccountStatus) -> None:
    with database.transaction() as session:
        session.get_one(CardAccount, account_id).status = status

"""Verified records in, decisions and postings out: once, exact, and back again when a record falls."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

import ledger
from app import books
from app.books import Book, BookRole
from app.cards.models import ProjectLevel
from app.db import Database
from app.errors import Code, Refusal
from app.instruments.models import CollaborativeListing, CustomerClass
from app.people.models import Organisation, Role
from app.reconciliation.models import UsageRecord
from app.subsidies import facts, postings, service
from app.subsidies.models import Decision, DecisionStatus
from tests.app import builders
from tests.app.subsidies.paying import NOW, VALID_FROM, Till


def purse(till: Till) -> Book:
    return Book(BookRole.SUBSIDY_PURSE, till.account_id)


def principal(till: Till) -> Book:
    return Book(BookRole.PRINCIPAL, till.account_id)


def debt_fen(till: Till) -> int:
    return -till.balance_fen(Book(BookRole.CUSTOMER_DEBT, till.account_id))


def test_the_subsidy_of_a_mix_is_computed_on_the_principal_alone(till: Till) -> None:
    till.use_verified(320_00, subsidy_fen=180_00, project_id=till.project(ProjectLevel.MUNICIPAL))
    assert till.pay() == 1
    assert till.subsidy_purse_fen() == 96_00
    assert till.fund_held_fen() == 10_000_00 - 96_00
    decision = till.decisions()[0]
    assert (decision.amount_fen, decision.status, decision.reason) == (96_00, DecisionStatus.GRANTED, "granted")
    assert [step["step"] for step in decision.trace] == ["base", "tier"]


def test_what_was_charged_on_credit_waits_for_its_subsidy_until_the_debt_is_paid(till: Till) -> None:
    till.move(Book(BookRole.CUSTOMER_DEBT, till.account_id), principal(till), 40_00)
    till.use_verified(100_00, advanced_fen=40_00)
    assert (till.pay(), till.subsidy_purse_fen()) == (0, 0)
    till.use_verified(50_00)
    assert (till.pay(), till.subsidy_purse_fen()) == (1, 10_00)

    till.move(principal(till), Book(BookRole.CUSTOMER_DEBT, till.account_id), 40_00)

    assert (till.pay(), till.subsidy_purse_fen()) == (1, 30_00)


def test_the_same_record_is_paid_once_however_often_the_job_runs(till: Till) -> None:
    till.use_verified(100_00)
    assert [till.pay(), till.pay(), till.pay()] == [1, 0, 0]
    assert till.subsidy_purse_fen() == 20_00


def test_workers_at_once_pay_every_record_once(till: Till) -> None:
    for _ in range(12):
        till.use_verified(100_00)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: till.pay(limit=3), range(16)))
    while till.pay():
        pass
    assert len(till.decisions()) == 12
    assert till.subsidy_purse_fen() == 12 * 20_00


def test_eight_threads_never_overspend_the_last_of_a_fund(database: Database) -> None:
    """A fund of 50.00 and claims of 8.00: six in full, the rest of 2.00 to the seventh, nothing to the eighth."""
    till = Till(database, fund_fen=50_00)
    for _ in range(8):
        till.use_verified(40_00)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: till.pay(limit=1), range(32)))
    while till.pay():
        pass
    assert [decision.amount_fen for decision in till.decisions()] == [8_00] * 6 + [2_00, 0]
    assert [decision.reason for decision in till.decisions()][-2:] == ["fund_last", "fund_empty"]
    assert (till.fund_held_fen(), till.subsidy_purse_fen()) == (0, 50_00)


def test_the_budget_of_the_year_limits_a_fund_that_holds_more(database: Database) -> None:
    till = Till(database, fund_fen=1_000_00, budget_fen=30_00)
    till.use_verified(100_00)
    till.use_verified(100_00)
    till.pay()
    assert [decision.amount_fen for decision in till.decisions()] == [20_00, 10_00]
    with database.transaction() as session:
        assert service.list_funds(session, at=NOW)[0].left_fen == 0


def test_the_cap_of_an_organisation_counts_all_its_grants_of_the_year(database: Database) -> None:
    till = Till(database, fund_fen=10_000_000)
    till.use_verified(20_000_000)
    till.use_verified(6_000_000)
    till.use_verified(1_00)
    till.pay()
    assert [decision.amount_fen for decision in till.decisions()] == [4_000_000, 1_000_000, 0]
    assert [decision.reason for decision in till.decisions()] == ["granted", "capped", "cap_reached"]


def test_a_record_that_falls_gives_its_subsidy_back(till: Till) -> None:
    charge = till.use_verified(100_00)
    till.pay()
    till.let_fall(charge)
    assert till.pay() == 1
    assert (till.subsidy_purse_fen(), till.fund_held_fen()) == (0, 10_000_00)
    decision = till.decisions()[0]
    assert (decision.status, decision.amount_fen) == (DecisionStatus.CLAWED_BACK, 20_00)
    assert till.pay() == 0


def test_what_was_spent_comes_back_from_principal_and_then_as_debt(till: Till) -> None:
    charge = till.use_verified(100_00)
    till.pay()
    till.move(Book(BookRole.CLIENT_BANK), principal(till), 7_00)
    till.move(purse(till), Book(BookRole.UNIT_PAYABLE, till.unit_id), 15_00)
    till.let_fall(charge)
    till.pay()
    assert (till.subsidy_purse_fen(), till.balance_fen(principal(till)), debt_fen(till)) == (0, 0, 8_00)
    assert till.fund_held_fen() == 10_000_00


def test_a_claw_back_leaves_open_holds_alone(till: Till) -> None:
    charge = till.use_verified(100_00)
    till.pay()
    till.move(purse(till), Book(BookRole.UNIT_PAYABLE, till.unit_id), 15_00, hold=True)
    till.let_fall(charge)
    till.pay()
    assert (till.subsidy_purse_fen(), debt_fen(till)) == (15_00, 15_00)


def test_a_charge_verified_anew_is_decided_anew_after_the_old_grant_came_back(till: Till) -> None:
    charge = till.use_verified(100_00)
    till.pay()
    till.let_fall(charge)
    till.verify(charge)
    assert till.pay() == 2
    assert [decision.status.value for decision in till.decisions()] == ["clawed_back", "granted"]
    assert till.subsidy_purse_fen() == 20_00


def test_a_use_verified_anew_keeps_a_subsidy_that_was_spent(till: Till) -> None:
    """Else late data of a box would turn a customer's own money, or a debt, into a subsidy balance."""
    charge = till.use_verified(100_00)
    till.pay()
    till.move(Book(BookRole.CLIENT_BANK), principal(till), 7_00)
    till.move(purse(till), Book(BookRole.UNIT_PAYABLE, till.unit_id), 15_00)
    till.let_fall(charge)
    till.verify(charge)
    assert till.pay() == 2
    assert (till.subsidy_purse_fen(), till.balance_fen(principal(till)), debt_fen(till)) == (5_00, 7_00, 0)
    assert [decision.status.value for decision in till.decisions()] == ["clawed_back", "granted"]


def test_what_comes_back_is_there_for_the_next_claim(database: Database) -> None:
    till = Till(database, fund_fen=20_00)
    charge = till.use_verified(100_00)
    till.pay()
    till.let_fall(charge)
    till.use_verified(100_00)
    till.pay()
    assert [decision.amount_fen for decision in till.decisions()] == [20_00, 20_00]


@pytest.mark.parametrize("crash_after", ["posting", "nothing"])
def test_a_worker_killed_before_its_commit_pays_nothing_and_the_repeat_pays_once(till: Till, crash_after: str) -> None:
    till.use_verified(100_00)

    class Killed(BaseException):
        pass

    def die() -> None:
        with till.database.transaction() as session:
            if crash_after == "posting":
                service.pay_due(session, at=NOW, limit=10)
            raise Killed

    with pytest.raises(Killed):
        die()
    assert (till.subsidy_purse_fen(), till.decisions()) == (0, [])
    till.pay()
    assert till.subsidy_purse_fen() == 20_00


def test_a_record_that_cannot_be_paid_keeps_no_other_waiting(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    till.use_verified(50_00)
    till.use_verified(100_00)
    grant = postings.grant

    def refuse_the_broken_one(*args: Any, amount_fen: int, **values: Any) -> UUID:
        if amount_fen == 10_00:
            raise books.PostingError("refused")
        return grant(*args, amount_fen=amount_fen, **values)

    monkeypatch.setattr(postings, "grant", refuse_the_broken_one)
    assert till.pay() == 1
    assert till.subsidy_purse_fen() == 20_00

    monkeypatch.undo()
    assert till.pay() == 1
    assert [decision.amount_fen for decision in till.decisions()] == [20_00, 10_00]
    assert till.subsidy_purse_fen() == 30_00


def test_own_unit_related_parties_and_unlisted_instruments_get_a_decision_of_nothing(till: Till) -> None:
    till.use_verified(customer_class=CustomerClass.OWN_UNIT)
    till.pay()
    with till.database.transaction() as session:
        person = builders.person(session)
        for pair in (
            (till.organisation_id, till.unit_organisation_id),
            (till.unit_organisation_id, till.organisation_id),
        ):
            service.add_related_party(
                session,
                organisation_id=pair[0],
                other_id=pair[1],
                source="registry",
                person_id=person.id,
                actor="clerk",
                at=NOW,
            )
    till.use_verified()
    till.pay()
    with till.database.transaction() as session:
        session.execute(update(CollaborativeListing).values(valid_to=datetime(2026, 2, 1, tzinfo=UTC)))
        session.execute(text("DELETE FROM app.related_party"))
    till.use_verified()
    till.pay()
    assert [decision.reason for decision in till.decisions()] == ["own_unit", "related_party", "not_eligible"]
    assert all(decision.trace[-1]["zh"] and decision.trace[-1]["en"] for decision in till.decisions())
    assert till.subsidy_purse_fen() == 0


def test_a_rerun_gives_the_same_after_the_world_has_changed(till: Till) -> None:
    till.use_verified(100_00, project_id=till.project(ProjectLevel.ENTERPRISE, evidence="K-1"))
    till.pay()
    with till.database.transaction() as session:
        session.execute(update(Organisation).values(network_member=False))
    auditor = till.person("auditor", Role.AUDITOR)
    with till.database.transaction() as session:
        found = service.rerun(session, decision_id=till.decisions()[0].id, reader=auditor)
        assert (found.same, found.again.amount_fen) == (True, 20_00)


def test_a_decision_is_shown_to_whom_it_concerns(till: Till) -> None:
    till.use_verified()
    till.pay()
    decision_id = till.decisions()[0].id
    manager = till.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=till.sub_center_id)
    with till.database.transaction() as session:
        elsewhere = builders.sub_center(session).id
    stranger = till.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=elsewhere)
    with till.database.transaction() as session:
        for reader in (till.principal(till.holder_id), manager):
            assert service.decision_for(session, decision_id=decision_id, reader=reader).id == decision_id
        with pytest.raises(Refusal):
            service.decision_for(session, decision_id=decision_id, reader=stranger)
        assert service.decisions_about(session, reader=stranger, limit=10) == []


def test_a_use_is_decided_by_the_version_that_held_on_its_day(till: Till) -> None:
    till.use_verified(100_00)
    with till.database.transaction() as session:
        old = service.list_rule_sets(session)[0]
        tiers = [{**tier, "rate": "0.05"} for tier in old.body["tiers"]]
        new = service.publish(
            session, body={**old.body, "tiers": tiers}, fund_id=till.fund_id, valid_from=NOW, actor="clerk", at=NOW
        )
        assert (new.version, old.valid_to) == (2, NOW)
    till.pay()
    assert till.decisions()[0].amount_fen == 20_00


def test_money_for_a_fund_counts_once_by_its_reference(till: Till) -> None:
    with pytest.raises(Refusal) as refusal:
        till.receive(1_000_000)
    assert refusal.value.code is Code.BANK_REFERENCE_USED
    till.receive(5_00, reference="FISCAL-2")
    assert till.fund_held_fen() == 10_005_00


def test_a_reference_counts_once_however_it_is_spaced(till: Till) -> None:
    till.receive(5_00, "FB 7")
    with pytest.raises(Refusal) as refused:
        till.receive(5_00, " FB  7 ")
    assert refused.value.code is Code.BANK_REFERENCE_USED


def test_two_rule_sets_that_pay_at_once_never_hold_together(till: Till) -> None:
    with till.database.transaction() as session:
        body = {**service.list_rule_sets(session)[0].body, "code": "OTHER"}
    with pytest.raises(Refusal) as refusal, till.database.transaction() as session:
        service.publish(session, body=body, fund_id=till.fund_id, valid_from=NOW, actor="clerk", at=NOW)
    assert refusal.value.code is Code.RULE_SET_OVERLAP
    with till.database.transaction() as session:
        service.publish_shipped(
            session, code="CQ-CLAIM", fund_id=till.fund_id, valid_from=VALID_FROM, actor="clerk", at=NOW
        )
        service.end(session, code="CQ-CARD", valid_to=NOW, actor="clerk", at=NOW)
        service.publish(session, body=body, fund_id=till.fund_id, valid_from=NOW, actor="clerk", at=NOW)


def test_a_year_is_the_calendar_year_of_the_authority() -> None:
    assert facts.year_of(datetime(2026, 12, 31, 15, 59, tzinfo=UTC)) == 2026
    assert facts.year_of(datetime(2026, 12, 31, 16, 0, tzinfo=UTC)) == 2027


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE app.subsidy_decision SET amount_fen = 1",
        "UPDATE app.rule_set SET body = '{}'",
        "DELETE FROM app.rule_set",
    ],
)
def test_decisions_and_rules_cannot_be_rewritten(till: Till, statement: str) -> None:
    till.use_verified()
    till.pay()
    with pytest.raises(IntegrityError, match="written once"), till.database.transaction() as session:
        session.execute(text(statement))


def test_the_books_balance_after_grants_and_claw_backs(till: Till) -> None:
    charges = [till.use_verified(100_00) for _ in range(4)]
    till.pay()
    till.let_fall(charges[0])
    till.let_fall(charges[2])
    till.pay()
    with till.database.transaction() as session:
        assert session.scalars(select(UsageRecord.id).where(UsageRecord.superseded_at.is_(None))).all()
        granted = session.scalars(select(Decision).where(Decision.status == DecisionStatus.GRANTED)).all()
        fiscal = ledger.balances(session, [Book(BookRole.FISCAL_BANK).id])[Book(BookRole.FISCAL_BANK).id]
    assert sum(decision.amount_fen for decision in granted) == till.subsidy_purse_fen() == 40_00
    assert fiscal.debit_balance_fen == till.fund_held_fen() + till.subsidy_purse_fen()

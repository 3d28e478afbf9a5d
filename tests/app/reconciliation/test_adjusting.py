"""Money that goes back: by policy, by review and after a contest; exact, once, and never more than was charged."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text

import ledger
from app.books import PostingError
from app.errors import Code, Refusal
from app.people.models import Role
from app.people.principals import Principal
from app.reconciliation import adjusting, contests, policies, queue, service
from app.reconciliation.models import Adjustment, Cause, Review, Verdict
from app.reports.service.ledger_view import ledger_view
from app.reports.service.today import book_checks
from app.sessions.models import CardSession
from tests.app.reconciliation.paying import balances_fen, paid_charge
from tests.app.reconciliation.world import World
from tests.telemetry.wire import STANDBY_W, at

REFUNDS = {"verdicts": {"phantom": {"do": "refund", "wait_h": 2}, "over_charged": {"do": "refund", "wait_h": 0}}}
NOTHING_MOVED = {"principal": 0, "subsidy": 0, "unit": 336_00, "fee": 40_00, "vat": 24_00}
ALL_BACK = {"principal": 300_00, "subsidy": 100_00, "unit": 0, "fee": 0, "vat": 0}


@pytest.fixture
def clerk(world: World) -> Principal:
    return world.person("clerk", Role.CLERK)


@pytest.fixture
def approver(world: World) -> Principal:
    return world.person("approver", Role.APPROVER)


def publish(
    world: World, clerk: Principal, approver: Principal, body: dict[str, Any] = REFUNDS, *, minutes: float = -1000
) -> int:
    """A policy for everyone that holds from before every story, as if it had been approved then."""
    with world.database.transaction() as session:
        drafted = policies.draft(
            session, body=body, sub_center_id=None, valid_from=at(minutes), note="n", maker=clerk, at=at(minutes)
        )
        policies.decide(session, policy_id=drafted.id, approve=True, checker=approver, at=at(minutes))
        return drafted.id


def adjust(world: World, *, minutes: float) -> int:
    return world.database.run(lambda session: adjusting.adjust_due(session, at=at(minutes), limit=10))


def rows(world: World) -> list[Adjustment]:
    with world.database.reader() as session:
        return list(session.scalars(select(Adjustment).order_by(Adjustment.id)))


def phantom(world: World) -> UUID:
    """A charge of four hours in which nothing ran."""
    charge = paid_charge(world, 10, 250)
    world.play((300, STANDBY_W))
    world.reconcile(minutes=300)
    assert world.verdict(charge) == "phantom"
    return charge


def decide_anew(world: World, charge: UUID, verdict: str, *, minutes: float) -> None:
    """A next version, as late data would make it."""
    with world.database.transaction() as session:
        before = session.scalars(select(Verdict).where(Verdict.superseded_at.is_(None))).one()
        before.superseded_at = at(minutes)
        session.flush()
        session.add(
            Verdict(
                session_id=charge,
                version=before.version + 1,
                verdict=verdict,
                evidence=before.evidence,
                algorithm_version=before.algorithm_version,
                tolerance_s=600,
                overlap_s=0,
                charge_only_s=0,
                box_only_s=0,
                decided_at=at(minutes),
            )
        )


def test_a_phantom_goes_back_whole_to_the_purses_it_came_from(
    world: World, clerk: Principal, approver: Principal
) -> None:
    publish(world, clerk, approver)
    charge = phantom(world)
    assert adjust(world, minutes=301) == 0  # late data may still come
    assert balances_fen(world) == NOTHING_MOVED
    assert adjust(world, minutes=300 + 120) == 1
    assert balances_fen(world) == ALL_BACK
    (row,) = rows(world)
    assert (row.session_id, row.cause, row.amount_fen, row.decided_by_id) == (charge, Cause.POLICY, 400_00, None)
    assert adjust(world, minutes=500) == 0
    with world.database.reader() as session:
        assert not ledger.audit(session)
        view = ledger_view(session, reader=clerk, since=at(-1000), until=at(1000))
        assert (view.total.charges, view.total.income_fen) == (1, 0)
        assert {check.name for check in book_checks(session) if not check.holds} == set()
        assert session.get_one(CardSession, charge).amount_fen == 400_00  # the charge itself is never edited


def test_an_over_charge_is_priced_anew_by_the_tariff_at_swipe_in_and_principal_comes_back_first(
    world: World, clerk: Principal, approver: Principal
) -> None:
    publish(world, clerk, approver)
    charge = paid_charge(world, 0, 240)
    world.use(5, 65, until=300)
    world.reconcile(minutes=300)
    assert world.verdict(charge) == "over_charged"
    adjust(world, minutes=301)
    (row,) = rows(world)
    # Explained are 5 min of preparing, 60 of running, 10 of cleaning up: 75 minutes at 100 an hour are 125 yuan.
    assert (row.amount_fen, row.principal_fen, row.subsidy_fen) == (275_00, 275_00, 0)
    assert (row.fee_fen, row.vat_fen) == (27_50, 16_50)
    assert balances_fen(world) == {
        "principal": 275_00,
        "subsidy": 0,
        "unit": 336_00 - 275_00 + 27_50 + 16_50,
        "fee": 12_50,
        "vat": 7_50,
    }


def test_without_a_policy_no_money_moves_by_itself(world: World) -> None:
    phantom(world)
    assert adjust(world, minutes=10_000) == 0
    assert balances_fen(world) == NOTHING_MOVED


def test_a_policy_never_reaches_back_to_charges_before_it_was_approved(
    world: World, clerk: Principal, approver: Principal
) -> None:
    phantom(world)
    publish(world, clerk, approver, minutes=300)
    assert adjust(world, minutes=10_000) == 0


def test_what_is_above_the_policys_limit_is_left_to_a_person_and_looked_at_once(
    world: World, clerk: Principal, approver: Principal
) -> None:
    publish(world, clerk, approver, {"verdicts": {"phantom": {"do": "refund", "wait_h": 0, "amount_fen_max": 399_99}}})
    phantom(world)
    assert (adjust(world, minutes=301), adjust(world, minutes=302)) == (1, 0)
    assert [row.amount_fen for row in rows(world)] == [0]
    assert balances_fen(world) == NOTHING_MOVED


def test_the_policys_limit_counts_what_went_back_by_an_earlier_verdict(
    world: World, clerk: Principal, approver: Principal
) -> None:
    step = {"do": "refund", "wait_h": 0, "amount_fen_max": 300_00}
    publish(world, clerk, approver, {"verdicts": {"phantom": step, "over_charged": step}})
    charge = paid_charge(world, 0, 240)
    world.use(5, 65, until=300)
    world.reconcile(minutes=300)
    adjust(world, minutes=301)
    decide_anew(world, charge, "phantom", minutes=310)
    adjust(world, minutes=311)
    assert [row.amount_fen for row in rows(world)] == [275_00, 0]


def test_a_refund_of_a_part_is_rounded_once_and_half_up(world: World, clerk: Principal, approver: Principal) -> None:
    publish(world, clerk, approver, {"verdicts": {"phantom": {"do": "refund", "wait_h": 0, "refund_percent": 33}}})
    paid_charge(world, 10, 70, principal_fen=50, subsidy_fen=0)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    adjust(world, minutes=121)
    assert [row.amount_fen for row in rows(world)] == [17]  # 16.5 fen


def test_many_workers_at_once_give_back_once(world: World, clerk: Principal, approver: Principal) -> None:
    publish(world, clerk, approver)
    phantom(world)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: adjust(world, minutes=1000), range(8)))
    assert [row.amount_fen for row in rows(world)] == [400_00]
    assert balances_fen(world) == ALL_BACK


def test_a_reviewer_gives_back_a_part_and_verifies_the_rest_under_her_name(world: World, clerk: Principal) -> None:
    charge = phantom(world)
    made = world.database.run(
        lambda session: service.review(
            session,
            session_id=charge,
            outcome=Review.ADJUSTED_VERIFIED,
            note="看过样品表",
            reader=clerk,
            at=at(310),
            amount_fen=350_00,
        )
    )
    assert (made.verifies, made.reviewed_by_id) == (True, clerk.person_id)
    (row,) = rows(world)
    assert (row.principal_fen, row.subsidy_fen, row.decided_by_id) == (300_00, 50_00, clerk.person_id)
    world.reconcile(minutes=311)
    assert [(record.amount_fen, record.paid_principal_fen) for record in world.records()] == [(50_00, 0)]


@pytest.mark.parametrize(
    ("outcome", "amount_fen"), [(Review.ADJUSTED, 0), (Review.VERIFIED, 1), (Review.ADJUSTED, 400_01)]
)
def test_never_more_than_was_charged_and_money_only_with_an_adjusting_word(
    world: World, clerk: Principal, outcome: Review, amount_fen: int
) -> None:
    charge = phantom(world)
    with pytest.raises(Refusal) as refused, world.database.transaction() as session:
        service.review(
            session, session_id=charge, outcome=outcome, note="note", reader=clerk, at=at(310), amount_fen=amount_fen
        )
    assert refused.value.code is Code.ADJUSTMENT_TOO_LARGE
    assert (rows(world), balances_fen(world)) == ([], NOTHING_MOVED)


def test_review_and_contest_together_never_give_back_more_than_was_charged(world: World, clerk: Principal) -> None:
    charge = phantom(world)
    holder = world.principal(world.holder_id)
    contest = world.database.run(
        lambda session: contests.contest(session, session_id=charge, reason="nothing ran", maker=holder, at=at(305))
    )
    world.database.run(
        lambda session: contests.answer(
            session, contest_id=contest.id, amount_fen=300_00, text="agreed", answerer=clerk, at=at(306)
        )
    )
    with pytest.raises(Refusal) as refused, world.database.transaction() as session:
        service.review(
            session, session_id=charge, outcome=Review.ADJUSTED, note="n", reader=clerk, at=at(310), amount_fen=100_01
        )
    assert refused.value.details["maximum_fen"] == 100_00
    world.database.run(
        lambda session: service.review(
            session, session_id=charge, outcome=Review.ADJUSTED, note="n", reader=clerk, at=at(310), amount_fen=100_00
        )
    )
    assert balances_fen(world) == ALL_BACK


def test_a_unit_that_was_paid_out_already_refuses_and_nothing_of_it_is_done(world: World, clerk: Principal) -> None:
    charge = phantom(world)
    with world.database.owner() as session:  # as if settled: nothing is owed to the unit any more
        settled = text(
            "UPDATE ledger.balances SET debits_posted_fen = credits_posted_fen FROM ledger.accounts AS a"
            " WHERE a.id = ledger.balances.id AND a.code = 224105"
        )
        assert session.execute(settled).rowcount >= 1  # type: ignore[attr-defined]
    with pytest.raises(Refusal) as refused, world.database.transaction() as session:
        service.review(
            session, session_id=charge, outcome=Review.ADJUSTED, note="n", reader=clerk, at=at(310), amount_fen=400_00
        )
    assert refused.value.code is Code.ADJUSTMENT_NOT_POSTABLE
    assert [row.review for row in world.versions(charge)] == [None]


def test_an_adjustment_is_dated_when_it_is_made_so_a_closed_month_stays_closed(world: World, clerk: Principal) -> None:
    charge = phantom(world)
    with world.database.transaction() as session:
        assert ledger.close_period(session, starts_at=at(-50_000), ends_at=at(305), actor="finance").ok

    def give_back(minutes: float) -> Adjustment:
        reason = adjusting.Reason(
            key=f"at {minutes}", cause=Cause.REVIEW, note="n", actor="c", verdict_id=None, person_id=clerk.person_id
        )
        with world.database.transaction() as session:
            row = adjusting.lock_charge(session, charge)
            return adjusting.give_back(session, row, amount_fen=1, reason=reason, at=at(minutes))

    with pytest.raises(PostingError, match="period_closed"):
        give_back(304)
    made = give_back(310)
    with world.database.reader() as session:
        dated = session.scalar(text("SELECT value_at FROM ledger.journals WHERE id = :id"), {"id": made.journal_id})
    assert dated == at(310)


def test_late_data_after_a_refund_bring_the_charge_back_to_a_person(
    world: World, clerk: Principal, approver: Principal
) -> None:
    """The box was thought to have said everything; then it turns out that the instrument ran."""
    publish(world, clerk, approver)
    charge = phantom(world)
    adjust(world, minutes=300 + 120)
    decide_anew(world, charge, "matched", minutes=430)
    with world.database.reader() as session:
        now = session.scalars(select(Verdict).where(Verdict.superseded_at.is_(None))).one()
        assert service.needs_person(session, now)
        assert session.scalar(select(func.count()).select_from(Adjustment)) == 1


def test_a_refused_posting_of_the_job_keeps_no_other_charge_waiting(
    world: World, clerk: Principal, approver: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, clerk, approver, {"verdicts": {"phantom": {"do": "refund", "wait_h": 0}}})
    first, second = paid_charge(world, 10, 40), paid_charge(world, 100, 130)
    world.play((200, STANDBY_W))
    world.reconcile(minutes=200)
    real = adjusting.give_back

    def fail_first(session: Any, row: CardSession, **values: Any) -> Adjustment:
        if row.id == first:
            raise PostingError("no")
        return real(session, row, **values)

    monkeypatch.setattr(adjusting, "give_back", fail_first)
    assert adjust(world, minutes=201) == 1
    assert [row.session_id for row in rows(world)] == [second]
    monkeypatch.undo()
    adjust(world, minutes=202)
    assert {row.session_id for row in rows(world)} == {first, second}


def test_refunds_that_the_books_refuse_are_passed_by_and_come_round_again(
    world: World, clerk: Principal, approver: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are looked at in one run stand in front; a unit that was paid out refuses for weeks."""
    publish(world, clerk, approver, {"verdicts": {"phantom": {"do": "refund", "wait_h": 0}}})
    charges = [paid_charge(world, 10 + start, 20 + start) for start in (0, 60, 120, 180)]
    world.play((300, STANDBY_W))
    world.reconcile(minutes=300)
    with world.database.reader() as session:
        first_two = session.scalars(select(Verdict.session_id).order_by(Verdict.id).limit(2)).all()
    real = adjusting.give_back

    def refuse(session: Any, row: CardSession, **values: Any) -> Adjustment:
        if row.id in first_two:
            raise PostingError("no")
        return real(session, row, **values)

    def run(minutes: float) -> int:
        return world.database.run(lambda session: adjusting.adjust_due(session, at=at(minutes), limit=2))

    monkeypatch.setattr(adjusting, "give_back", refuse)
    assert [run(301 + turn) for turn in range(3)] == [0, 2, 0]
    assert {row.session_id for row in rows(world)} == {*charges} - {*first_two}
    monkeypatch.undo()
    assert sum(run(310 + turn) for turn in range(2)) == 2
    assert {row.session_id for row in rows(world)} == {*charges}


def test_a_contest_that_comes_while_the_job_waits_for_the_charge_leaves_the_money_to_its_answer(
    world: World, clerk: Principal, approver: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, clerk, approver, {"verdicts": {"phantom": {"do": "refund", "wait_h": 0}}})
    phantom(world)
    holder = world.principal(world.holder_id)
    real = adjusting.lock_charge

    def contested_meanwhile(session: Any, session_id: UUID) -> CardSession:
        monkeypatch.setattr(adjusting, "lock_charge", real)  # whoever contests takes the lock, too
        world.database.run(
            lambda other: contests.contest(other, session_id=session_id, reason="broken", maker=holder, at=at(301)).id
        )
        return real(session, session_id)

    monkeypatch.setattr(adjusting, "lock_charge", contested_meanwhile)
    adjust(world, minutes=302)
    assert (rows(world), balances_fen(world)) == ([], NOTHING_MOVED)


def test_the_queue_asks_the_database_as_often_for_many_charges_as_for_one(world: World, clerk: Principal) -> None:
    for start in (10, 70, 130, 190):
        paid_charge(world, start, start + 30)
    world.play((300, STANDBY_W))
    world.reconcile(minutes=300)
    asked: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *arguments: asked.append(str(arguments[2])))
    counts = []
    for page_size in (1, 4):
        asked.clear()
        with world.database.reader() as session:
            found = queue.queue(session, reader=clerk, wanted=queue.Wanted(page_size=page_size), at=at(310))
        assert [line.suggested_fen for line in found.lines] == [400_00] * page_size
        counts.append(len(asked))
    assert counts[0] == counts[1]

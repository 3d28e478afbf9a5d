"""Adjustments (调整): what was charged too much goes back by a journal beside the charge, which itself is never edited.

A charge spends the subsidy first and then principal, so what comes back is what was spent last: principal first, then
subsidy. Never more comes back than was charged, however often and by whomever it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

import ledger
from app import books
from app.books import NAMESPACE, Book, BookRole, PostingError, TransferCode
from app.db import apart
from app.errors import Code, Refusal
from app.money import round_half_up
from app.reconciliation import due, policies
from app.reconciliation.models import (
    Adjustment,
    Cause,
    ChargeVerdict,
    Contest,
    ContestStatus,
    Policy,
    Verdict,
)
from app.reconciliation.policies import Do
from app.sessions.charging import terms_of
from app.sessions.models import CardSession
from ledger.models import Transfer

ACTOR = "system:reconciliation"
KIND = "session_adjustment"
PERCENT = 100
NOTE = "按对账处理办法退还 Given back by the policy of reconciliation"


class Line(NamedTuple):
    """One transfer of an adjustment."""

    debit: Book
    credit: Book
    amount_fen: int
    code: TransferCode
    flags: ledger.TransferFlag = ledger.TransferFlag.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What giving back an amount would post, and what then is left of the charge."""

    principal_fen: int
    subsidy_fen: int
    fee_fen: int
    vat_fen: int
    left_fen: int
    lines: tuple[Line, ...]

    @property
    def amount_fen(self) -> int:
        """What the customer gets."""
        return self.principal_fen + self.subsidy_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """What went back of a charge so far."""

    principal_fen: int = 0
    subsidy_fen: int = 0
    fee_fen: int = 0
    vat_fen: int = 0

    @property
    def amount_fen(self) -> int:
        """Both purses together."""
        return self.principal_fen + self.subsidy_fen

    @property
    def shares_fen(self) -> int:
        """Service fee and VAT that units got back."""
        return self.fee_fen + self.vat_fen


def adjustments_of(session: Session, session_id: UUID) -> Sequence[Adjustment]:
    """Give the adjustments of a charge, oldest first, those of nothing included."""
    return session.scalars(select(Adjustment).where(Adjustment.session_id == session_id).order_by(Adjustment.id)).all()


def given_back(session: Session, session_id: UUID) -> GivenBack:
    """Add up what went back of a charge."""
    return given_back_of(session, [session_id])[session_id]


def given_back_of(session: Session, session_ids: Sequence[UUID]) -> dict[UUID, GivenBack]:
    """Add up what went back of each of these charges."""
    rows = session.execute(
        select(Adjustment.session_id, *_sums())
        .where(Adjustment.session_id.in_(session_ids))
        .group_by(Adjustment.session_id)
    )
    found = {row[0]: _given_back(row[1:]) for row in rows}
    return {session_id: found.get(session_id, GivenBack()) for session_id in session_ids}


def all_given_back(session: Session) -> GivenBack:
    """Add up what ever went back, for the standing checks of the books."""
    return _given_back(session.execute(select(*_sums())).one())


def net_fen() -> ColumnElement[int]:
    """Give, for the `CardSession` of a query, what it was charged less what went back."""
    back = select(func.coalesce(func.sum(Adjustment.amount_fen), 0)).where(Adjustment.session_id == CardSession.id)
    return func.coalesce(CardSession.amount_fen, 0) - back.correlate(CardSession).scalar_subquery()


def fair_fen(row: CardSession, verdict: Verdict) -> int:
    """Give what the evidence says the charge should have been, by the tariff that held at swipe-in.

    Idle time is left out of an over-charge; a phantom is worth nothing; of all else the charge stands.
    """
    amount_fen = row.amount_fen or 0
    if verdict.verdict is ChargeVerdict.PHANTOM:
        return 0
    if verdict.verdict is not ChargeVerdict.OVER_CHARGED or row.started_at is None:
        return amount_fen
    charge_s = verdict.overlap_s + verdict.charge_only_s
    used_s = charge_s - int(verdict.evidence["idle_s"])
    if not row.tariff_snapshot.get("rules"):
        return round_half_up(Fraction(amount_fen * used_s, max(1, charge_s)))
    charge = terms_of(row).price(duration=timedelta(seconds=used_s), samples=row.samples, at=row.started_at)
    return min(amount_fen, charge.amount_fen)


def due_fen(row: CardSession, verdict: Verdict, *, back: GivenBack, percent: int = PERCENT) -> int:
    """Give what should still go back by a verdict: a share of what was charged too much, less what went back."""
    too_much_fen = (row.amount_fen or 0) - fair_fen(row, verdict)
    wanted_fen = round_half_up(Fraction(too_much_fen * percent, PERCENT))
    return max(0, min(wanted_fen, row.amount_fen or 0) - back.amount_fen)


def plan(session: Session, row: CardSession, *, amount_fen: int) -> Plan:
    """Reckon what giving back an amount would post now. Raises Refusal ADJUSTMENT_TOO_LARGE, also for nothing."""
    back = given_back(session, row.id)
    left_fen = (row.amount_fen or 0) - back.amount_fen
    if not 0 < amount_fen <= left_fen:
        raise Refusal(Code.ADJUSTMENT_TOO_LARGE, maximum_fen=left_fen)
    principal_fen = min(amount_fen, row.paid_principal_fen - back.principal_fen)
    subsidy_fen = amount_fen - principal_fen
    taken_fee_fen, taken_vat_fen = _shares_taken(session, row)
    # What the unit gave of the charge comes back to it in the same proportion; of the last part, all that is left.
    fee_fen = _part(taken_fee_fen - back.fee_fen, amount_fen, left_fen)
    vat_fen = _part(taken_vat_fen - back.vat_fen, amount_fen, left_fen)
    unit_id = row.instrument.group.unit_id
    payable = Book(BookRole.UNIT_PAYABLE, unit_id)
    lines = (
        Line(Book(BookRole.SERVICE_FEE, unit_id), payable, fee_fen, TransferCode.ADJUSTED_SERVICE_FEE),
        Line(Book(BookRole.VAT, unit_id), payable, vat_fen, TransferCode.ADJUSTED_VAT),
        Line(payable, Book(BookRole.PRINCIPAL, row.account_id), principal_fen, TransferCode.ADJUSTED),
        Line(payable, Book(BookRole.SUBSIDY_PURSE, row.account_id), subsidy_fen, TransferCode.ADJUSTED),
    )
    return Plan(
        principal_fen=principal_fen,
        subsidy_fen=subsidy_fen,
        fee_fen=fee_fen,
        vat_fen=vat_fen,
        left_fen=left_fen - amount_fen,
        lines=tuple(line for line in lines if line.amount_fen),
    )


def lock_charge(session: Session, session_id: UUID) -> CardSession:
    """Give a charge and keep every other adjustment of it waiting until the transaction ends."""
    return session.scalars(
        select(CardSession)
        .where(CardSession.id == session_id)
        .with_for_update(key_share=True, of=CardSession)
        .execution_options(populate_existing=True)
    ).one()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why and by whom money goes back; `key` makes giving it back twice the same as once."""

    key: str
    cause: Cause
    note: str
    actor: str
    verdict_id: int | None
    person_id: int | None = None
    policy_id: int | None = None
    contest_id: int | None = None


def give_back(session: Session, row: CardSession, *, amount_fen: int, reason: Reason, at: datetime) -> Adjustment:
    """Post an adjustment, dated now, so that no closed month changes, and let the usage record follow.

    What the customer owes is paid first of what comes back to her principal, as by a top-up.

    Call it with the charge locked. Raises Refusal ADJUSTMENT_TOO_LARGE; PostingError where the ledger refuses.
    """
    wanted = plan(session, row, amount_fen=amount_fen)
    voucher = books.Voucher(key=reason.key, reference=str(row.id), text=reason.note, actor=reason.actor, value_at=at)
    result = ledger.post_journal(
        session,
        ledger.NewJournal(
            id=voucher.journal_id,
            kind=KIND,
            reference=voucher.reference,
            text=voucher.text,
            actor=voucher.actor,
            idempotency_key=voucher.key,
            value_at=voucher.value_at,
            transfers=tuple(
                ledger.NewTransfer(
                    id=uuid5(NAMESPACE, f"{voucher.key}:{line.debit.role}:{line.credit.role}"),
                    debit_account_id=line.debit.id,
                    credit_account_id=line.credit.id,
                    amount_fen=line.amount_fen,
                    code=line.code,
                    flags=line.flags,
                )
                for line in (*wanted.lines, *_repaid(session, row, principal_fen=wanted.principal_fen))
            ),
        ),
    )
    if not result.ok:
        raise PostingError(f"{voucher.key}: {result.failed or result.status}")
    made = _row(row, reason, wanted, journal_id=voucher.journal_id, at=at)
    session.add(made)
    session.flush()
    # The job makes the usage record say what is left, and subsidies pull back what no longer stands.
    due.add_charge(session, row, at=at)
    return made


def adjust_due(session: Session, *, at: datetime, limit: int) -> int:
    """Give back what policies say, at most `limit` charges; gives how many were looked at. Safe to kill and to repeat.

    A verdict is looked at once, also when nothing is to go back; one that a person took up is left to her. What the
    books refuse is tried again when its turn comes round, and keeps no other charge waiting.
    """
    done = 0
    for policy in policies.published(session):
        terms = policies.parse(policy.body)
        for kind in sorted(terms.kinds(Do.REFUND)):
            for verdict in _next_in_turn(session, policy, kind, at=at, limit=limit - done):
                work = partial(_adjust_by_policy, session, verdict, policy=policy, step=terms.step(kind), at=at)
                done += apart(session, work, adjusting=str(verdict.session_id)) or 0
    return done


def _next_in_turn(
    session: Session, policy: Policy, kind: ChargeVerdict, *, at: datetime, limit: int
) -> Sequence[Verdict]:
    """Go on behind what was looked at last, and begin anew at the end: a unit that was paid out refuses for weeks."""
    cursor = due.hold_cursor(session, f"refunds:{policy.id}:{kind}") if limit > 0 else None
    if cursor is None:
        return ()
    found = _waiting_for_refund(session, policy, kind, after=cursor.position, at=at, limit=limit)
    cursor.position = found[-1].id if len(found) == limit else 0
    session.flush()
    return found


def _waiting_for_refund(
    session: Session, policy: Policy, kind: ChargeVerdict, *, after: int, at: datetime, limit: int
) -> Sequence[Verdict]:
    step = policies.parse(policy.body).step(kind)
    looked_at = exists().where(Adjustment.verdict_id == Verdict.id, Adjustment.cause == Cause.POLICY)
    return session.scalars(
        select(Verdict)
        .join(CardSession, CardSession.id == Verdict.session_id)
        .where(
            Verdict.id > after,
            Verdict.superseded_at.is_(None),
            Verdict.verdict == kind,
            Verdict.review.is_(None),
            Verdict.decided_at <= at - timedelta(hours=step.wait_h),
            ~looked_at,
            ~_contested(Verdict.session_id),
            policies.covers(policy),
        )
        .order_by(Verdict.id)
        .limit(limit)
    ).all()


def _adjust_by_policy(session: Session, verdict: Verdict, *, policy: Policy, step: policies.Step, at: datetime) -> int:
    row = lock_charge(session, verdict.session_id)
    # Whoever held the lock before may have done it, or a person may have taken it up.
    session.refresh(verdict)
    looked_at = exists().where(Adjustment.verdict_id == verdict.id)
    if verdict.superseded_at is not None or session.scalar(select(or_(looked_at, _contested(row.id)))):
        return 0
    reason = Reason(
        key=f"verdict:{verdict.id}:adjustment",
        cause=Cause.POLICY,
        note=NOTE,
        actor=ACTOR,
        verdict_id=verdict.id,
        policy_id=policy.id,
    )
    back = given_back(session, row.id)
    amount_fen = due_fen(row, verdict, back=back, percent=step.refund_percent)
    if step.amount_fen_max is not None and back.amount_fen + amount_fen > step.amount_fen_max:
        amount_fen = 0
    if amount_fen:
        give_back(session, row, amount_fen=amount_fen, reason=reason, at=at)
        return 1
    nothing = Plan(principal_fen=0, subsidy_fen=0, fee_fen=0, vat_fen=0, left_fen=0, lines=())
    session.add(_row(row, reason, nothing, journal_id=None, at=at))
    session.flush()
    return 1


def _contested(session_id: Any) -> ColumnElement[bool]:
    """Condition: a person answers for this charge, or has answered."""
    return exists().where(Contest.session_id == session_id, Contest.status != ContestStatus.WITHDRAWN)


def _repaid(session: Session, row: CardSession, *, principal_fen: int) -> tuple[Line, ...]:
    debt = Book(BookRole.CUSTOMER_DEBT, row.account_id)
    if not principal_fen or ledger.balances(session, [debt.id])[debt.id].debit_balance_fen <= 0:
        return ()
    # The ledger cuts it to what is owed at that moment, also if somebody else repays in between.
    flags = ledger.TransferFlag.BALANCING_CREDIT
    return (Line(Book(BookRole.PRINCIPAL, row.account_id), debt, principal_fen, TransferCode.DEBT_REPAID, flags),)


def _row(row: CardSession, reason: Reason, wanted: Plan, *, journal_id: UUID | None, at: datetime) -> Adjustment:
    return Adjustment(
        session_id=row.id,
        verdict_id=reason.verdict_id,
        cause=reason.cause,
        policy_id=reason.policy_id,
        contest_id=reason.contest_id,
        decided_by_id=reason.person_id,
        amount_fen=wanted.amount_fen,
        principal_fen=wanted.principal_fen,
        subsidy_fen=wanted.subsidy_fen,
        fee_fen=wanted.fee_fen,
        vat_fen=wanted.vat_fen,
        note=reason.note,
        journal_id=journal_id,
        posted_at=at,
    )


def _sums() -> list[Any]:
    return [func.coalesce(func.sum(getattr(Adjustment, each.name)), 0) for each in fields(GivenBack)]


def _given_back(sums: Sequence[Any]) -> GivenBack:
    return GivenBack(**{each.name: int(value) for each, value in zip(fields(GivenBack), sums, strict=True)})


def _shares_taken(session: Session, row: CardSession) -> tuple[int, int]:
    """Give what the capture took of the unit as service fee and as VAT."""
    if row.capture_journal_id is None:
        return 0, 0
    taken = dict(
        session.execute(
            select(Transfer.code, func.sum(Transfer.amount_fen))
            .where(
                Transfer.journal_id == row.capture_journal_id,
                Transfer.code.in_((TransferCode.SESSION_SERVICE_FEE, TransferCode.SESSION_VAT)),
            )
            .group_by(Transfer.code)
        ).all()
    )
    return int(taken.get(TransferCode.SESSION_SERVICE_FEE, 0)), int(taken.get(TransferCode.SESSION_VAT, 0))


def _part(whole_fen: int, amount_fen: int, left_fen: int) -> int:
    return round_half_up(Fraction(whole_fen * amount_fen, left_fen))

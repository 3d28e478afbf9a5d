"""Subsidies (用户补贴): decided once for every verified record, paid at once, taken back when the record falls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session, joinedload

from app import books
from app.db import apart
from app.errors import Code, Refusal
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord
from app.reconciliation.visibility import managed_by, owned_by
from app.sessions.models import CardSession
from app.subsidies import deciding, facts, funds, postings
from app.subsidies.funds import FundView, create_fund, fund_view, list_funds, receive_money
from app.subsidies.models import Decision, DecisionStatus, Fund, RuleSet
from app.subsidies.publishing import add_related_party, end, list_rule_sets, publish, publish_shipped
from app.subsidies.rules import Payment, parse_rules
from ledger.models import Account, Balance

__all__ = [
    "FundView",
    "Rerun",
    "add_related_party",
    "create_fund",
    "decision_for",
    "decisions_about",
    "decisions_of",
    "end",
    "fund_view",
    "list_funds",
    "list_rule_sets",
    "pay_due",
    "publish",
    "publish_shipped",
    "receive_money",
    "rerun",
]

ACTOR = "system:subsidies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A stored decision decided again from its stored inputs; `same` is what an auditor wants to read."""

    decision: Decision
    again: deciding.Decision
    same: bool


def pay_due(session: Session, *, at: datetime, limit: int) -> int:
    """Take back what fell, decide and pay what is new, at most `limit` of each; gives how many decisions it touched.

    Exact whoever else runs it: the funds' rows are locked, so one worker pays at a time and the others pass by.
    """
    locked = session.scalars(select(Fund).order_by(Fund.id).with_for_update(skip_locked=True)).all()
    known = session.scalars(select(Fund.id)).all()
    if len(locked) < len(known):
        return 0
    # First what comes back: it may be just what the next claim needs of its cap or its fund.
    touched = [
        apart(session, partial(_claw_back, session, decision, at=at), fallen=decision.usage_record_id)
        for decision in _fallen(session, limit=limit)
    ]
    touched += [
        apart(session, partial(_decide, session, record, rule_set=rule_set, at=at), undecided=record.id)
        for record, rule_set in _undecided(session, limit=limit)
    ]
    return sum(count or 0 for count in touched)


def rerun(session: Session, *, decision_id: int, reader: Principal) -> Rerun:
    """Decide again from the stored facts and rule version. Raises Refusal NOT_FOUND, also for others' decisions."""
    decision = decision_for(session, decision_id=decision_id, reader=reader)
    again = deciding.decide(parse_rules(decision.rule_set.body), deciding.Facts.from_document(decision.inputs))
    same = (again.amount_fen, again.reason.value, deciding.trace_document(again)) == (
        decision.amount_fen,
        decision.reason,
        decision.trace,
    )
    return Rerun(decision=decision, again=again, same=same)


def decisions_of(session: Session, *, reader: Principal, limit: int, offset: int = 0) -> list[Decision]:
    """Give the decisions on the reader's own accounts, newest first."""
    return _decisions(session, owned_by(reader, account_id=Decision.account_id), limit=limit, offset=offset)


def decisions_about(session: Session, *, reader: Principal, limit: int, offset: int = 0) -> list[Decision]:
    """Give the decisions on uses of the instruments the reader manages, newest first; to the center, all."""
    return _decisions(session, managed_by(reader, instrument_id=UsageRecord.instrument_id), limit=limit, offset=offset)


def decision_for(session: Session, *, decision_id: int, reader: Principal) -> Decision:
    """Give one decision to whom it concerns. Raises Refusal NOT_FOUND."""
    concerns = or_(
        owned_by(reader, account_id=Decision.account_id), managed_by(reader, instrument_id=UsageRecord.instrument_id)
    )
    found = _decisions(session, and_(Decision.id == decision_id, concerns), limit=1, offset=0)
    if not found:
        raise Refusal(Code.NOT_FOUND)
    return found[0]


def _decisions(session: Session, criterion: ColumnElement[bool], *, limit: int, offset: int) -> list[Decision]:
    return list(
        session.scalars(
            select(Decision)
            .join(UsageRecord, UsageRecord.id == Decision.usage_record_id)
            .where(criterion)
            .options(joinedload(Decision.usage_record), joinedload(Decision.rule_set))
            .order_by(Decision.id.desc())
            .limit(limit)
            .offset(offset)
        )
    )


def _fallen(session: Session, *, limit: int) -> Sequence[Decision]:
    """Find grants whose usage record no longer holds."""
    return session.scalars(
        select(Decision)
        .join(UsageRecord, UsageRecord.id == Decision.usage_record_id)
        .where(Decision.status == DecisionStatus.GRANTED, UsageRecord.superseded_at.is_not(None))
        .options(joinedload(Decision.rule_set))
        .order_by(Decision.id)
        .limit(limit)
    ).all()


def _undecided(session: Session, *, limit: int, session_id: UUID | None = None) -> list[tuple[UsageRecord, RuleSet]]:
    """Find verified records without a decision, oldest first, with the rule set that paid at once on the day of use.

    Only principal that was paid earns a subsidy: what was charged on credit waits until its customer owes nothing.
    """
    wanted = _is_paid() if session_id is None else UsageRecord.session_id == session_id
    rows = session.execute(
        select(UsageRecord, RuleSet)
        .join(
            RuleSet,
            and_(
                RuleSet.valid_from <= UsageRecord.ended_at,
                or_(RuleSet.valid_to.is_(None), RuleSet.valid_to > UsageRecord.ended_at),
                RuleSet.body["payment"].astext == Payment.AT_ONCE.value,
            ),
        )
        .outerjoin(Decision, Decision.usage_record_id == UsageRecord.id)
        .join(CardSession, CardSession.id == UsageRecord.session_id)
        .where(UsageRecord.superseded_at.is_(None), Decision.id.is_(None), wanted)
        .order_by(UsageRecord.verified_at, UsageRecord.id)
        .limit(limit)
    )
    return [(record, rule_set) for record, rule_set in rows]


def _is_paid() -> ColumnElement[bool]:
    owes = exists().where(
        Account.code == books.chart()[books.BookRole.CUSTOMER_DEBT].number,
        Account.user_data_64 == UsageRecord.account_id,
        Balance.id == Account.id,
        Balance.debits_posted_fen > Balance.credits_posted_fen,
    )
    return or_(CardSession.advanced_fen == 0, ~owes)


def _decide(session: Session, record: UsageRecord, *, rule_set: RuleSet, at: datetime) -> int:
    rules = parse_rules(rule_set.body)
    claim = facts.claim_of(session, record)
    left_fen = funds.lock_left_fen(session, rule_set.fund, year=claim.year)
    known = facts.gather(session, claim, rules=rules, rule_set=rule_set, fund_left_fen=left_fen)
    decided = deciding.decide(rules, known)
    journal_id = None
    if decided.amount_fen > 0:
        voucher = books.Voucher(
            key=f"usage-record:{record.id}:subsidy",
            reference=f"usage-record:{record.id}",
            text=f"{rules.title_zh} {rules.title_en}",
            actor=ACTOR,
            value_at=at,
        )
        journal_id = postings.grant(
            session,
            voucher,
            fund_id=rule_set.fund_id,
            account_id=record.account_id,
            amount_fen=decided.amount_fen,
        )
    session.add(
        Decision(
            usage_record_id=record.id,
            rule_set_id=rule_set.id,
            account_id=record.account_id,
            organisation_id=None if claim.organisation is None else claim.organisation.id,
            project_id=None if claim.project is None else claim.project.id,
            year=claim.year,
            inputs=known.as_document(),
            trace=deciding.trace_document(decided),
            reason=decided.reason.value,
            amount_fen=decided.amount_fen,
            status=DecisionStatus.GRANTED if decided.amount_fen else DecisionStatus.ZERO,
            journal_id=journal_id,
            decided_at=at,
        )
    )
    # The next claim's cap and budget count this one.
    session.flush()
    return 1


def _claw_back(session: Session, decision: Decision, *, at: datetime) -> int:
    voucher = books.Voucher(
        key=f"usage-record:{decision.usage_record_id}:claw-back",
        reference=f"usage-record:{decision.usage_record_id}",
        text="补贴收回 Subsidy taken back: the use is no longer verified as it was",
        actor=ACTOR,
        value_at=at,
    )
    decision.claw_back_journal_id = voucher.journal_id
    decision.status = DecisionStatus.CLAWED_BACK
    decision.clawed_back_at = at
    session.flush()
    fund_id, granted_anew = decision.rule_set.fund_id, 0
    if postings.lock_fund_fen(session, fund_id=fund_id) >= decision.amount_fen:
        # A use that is verified anew keeps its subsidy: the new grant comes first, so that the old one is taken from
        # it, and not from the customer's own money, although it was spent long ago.
        for record, rule_set in _undecided(session, limit=1, session_id=decision.usage_record.session_id):
            granted_anew = _decide(session, record, rule_set=rule_set, at=at)
    postings.claw_back(
        session, voucher, fund_id=fund_id, account_id=decision.account_id, amount_fen=decision.amount_fen
    )
    return 1 + granted_anew

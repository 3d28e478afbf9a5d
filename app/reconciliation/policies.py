"""Policies (处理办法): what follows from each verdict, as data; published by two people, never for what is past."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, cast, func, or_, select, text
from sqlalchemy.orm import Session, joinedload

from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, SubCenter, Unit
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation.models import (
    POLICY_TRANSITIONS,
    VERIFYING,
    ChargeVerdict,
    Policy,
    PolicyStatus,
    PolicyStep,
    Verdict,
)
from app.reconciliation.visibility import NO_EXCEPTION
from app.sessions.models import CardSession

# Verdicts about which a policy may say something; for the others there is nothing to do.
EXCEPTIONAL = tuple(each for each in ChargeVerdict if each not in VERIFYING | NO_EXCEPTION)
# Verdicts that say by themselves how much too much was charged.
REFUNDABLE = frozenset({ChargeVerdict.PHANTOM, ChargeVerdict.OVER_CHARGED})
WAIT_H = 24
DAYS_MAX, HOURS_MAX, PERCENT_MAX = 90, 30 * 24, 100
AMOUNT_FEN_MAX = 100_000_000_00
_LOCK_PUBLISHING = text("SELECT pg_advisory_xact_lock(hashtextextended('app.reconciliation.policy', 0))")


class Do(StrEnum):
    """What follows from a verdict without anybody asking."""

    REFUND = "refund"
    REVIEW = "review"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows from one verdict.

    A refund that would bring what went back of a charge above `amount_fen_max` is left to a person; None: no limit.
    """

    do: Do = Do.REVIEW
    refund_percent: int = PERCENT_MAX
    wait_h: int = WAIT_H
    """So long after the verdict nothing is given back: late data may still change it."""
    amount_fen_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A policy as programs read it."""

    steps: Mapping[ChargeVerdict, Step]
    contest_days: int = 7
    answer_days: int = 7

    def step(self, verdict: ChargeVerdict) -> Step:
        """Give what follows from a verdict; a policy that does not name it leaves it to a person."""
        return self.steps.get(verdict, Step())

    def kinds(self, do: Do) -> frozenset[ChargeVerdict]:
        """Give the verdicts from which this follows."""
        return frozenset(verdict for verdict, step in self.steps.items() if step.do is do)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The policy that holds for a charge; without a published one, the shipped terms: a person looks at everything."""

    policy: Policy | None
    terms: Terms


SHIPPED = Terms(steps={})


class PolicyInvalidError(Exception):
    """A policy cannot be read; the message names the field."""


def parse(body: Mapping[str, Any]) -> Terms:
    """Read a policy from JSON. Raises PolicyInvalidError with the field that is wrong."""
    if unknown := set(body) - {"verdicts", "contest_days", "answer_days", "source"}:
        raise PolicyInvalidError(min(unknown))
    verdicts = body.get("verdicts", {})
    if not isinstance(verdicts, Mapping):
        raise PolicyInvalidError("verdicts")
    return Terms(
        steps={_verdict(name): _step(name, value) for name, value in verdicts.items()},
        contest_days=_whole(body, "contest_days", 7, most=DAYS_MAX),
        answer_days=_whole(body, "answer_days", 7, most=DAYS_MAX),
    )


def draft(
    session: Session,
    *,
    body: dict[str, Any],
    sub_center_id: int | None,
    valid_from: datetime,
    note: str,
    maker: Principal,
    at: datetime,
) -> Policy:
    """Draft the next version of a policy, for one sub-center or for all that have none of their own.

    Raises Refusal: VALIDATION_FAILED with the field; FORBIDDEN for another sub-center's; NOT_FOUND.
    """
    try:
        parse(body)
    except PolicyInvalidError as mistake:
        raise Refusal(Code.VALIDATION_FAILED, fields={str(mistake): ["?"]}) from None
    if not (maker.sees_everything or sub_center_id in maker.sub_center_ids):
        raise Refusal(Code.FORBIDDEN)
    if sub_center_id is not None and session.get(SubCenter, sub_center_id) is None:
        raise Refusal(Code.NOT_FOUND)
    session.execute(_LOCK_PUBLISHING)
    newest = session.scalar(select(func.max(Policy.version)).where(_same_scope(sub_center_id)))
    made = Policy(
        sub_center_id=sub_center_id,
        version=(newest or 0) + 1,
        status=PolicyStatus.WAITING,
        valid_from=valid_from,
        body=body,
        note=note,
        drafted_by_id=maker.person_id,
        drafted_at=at,
    )
    session.add(made)
    session.flush()
    _audit(session, made, action="policy.draft", actor=maker, at=at)
    return made


def decide(session: Session, *, policy_id: int, approve: bool, checker: Principal, at: datetime) -> Policy:
    """Publish a draft or decline it. It holds from its date on, but never from before this moment.

    The version that held ends there, and one that was announced for later never begins. Raises Refusal: NOT_FOUND,
    SAME_PERSON, ALREADY_DECIDED.
    """
    session.execute(_LOCK_PUBLISHING)
    found = _waiting(session, policy_id)
    if found.drafted_by_id == checker.person_id:
        raise Refusal(Code.SAME_PERSON)
    step = PolicyStep.APPROVED if approve else PolicyStep.DECLINED
    if approve:
        found.valid_from = max(found.valid_from, at)
        for other in _in_force(session, found):
            other.valid_to = max(found.valid_from, other.valid_from)
            if other.valid_from > found.valid_from:
                other.valid_to = other.valid_from
    return _end(session, found, step, actor=checker, at=at)


def withdraw(session: Session, *, policy_id: int, maker: Principal, at: datetime) -> Policy:
    """Take one's own draft back. Raises Refusal: NOT_FOUND, for others' drafts too; ALREADY_DECIDED."""
    found = _waiting(session, policy_id)
    if found.drafted_by_id != maker.person_id:
        raise Refusal(Code.NOT_FOUND)
    return _end(session, found, PolicyStep.TAKEN_BACK, actor=maker, at=at)


def list_policies(session: Session, *, reader: Principal) -> list[Policy]:
    """Give every version for the reader's sub-centers and for all, the newest first; to the center, all of them."""
    query = select(Policy).options(
        joinedload(Policy.sub_center), joinedload(Policy.drafted_by), joinedload(Policy.decided_by)
    )
    if not reader.sees_everything:
        query = query.where(or_(Policy.sub_center_id.is_(None), Policy.sub_center_id.in_(reader.sub_center_ids)))
    return list(session.scalars(query.order_by(Policy.sub_center_id.nulls_first(), Policy.version.desc())))


def sub_centers_of(session: Session, *, reader: Principal) -> list[SubCenter]:
    """Give the sub-centers for which a person may draft a policy."""
    query = select(SubCenter).order_by(SubCenter.code)
    if not reader.sees_everything:
        query = query.where(SubCenter.id.in_(reader.sub_center_ids))
    return list(session.scalars(query))


def published(session: Session) -> Sequence[Policy]:
    """Give the versions that hold, held or will hold."""
    return session.scalars(select(Policy).where(Policy.status == PolicyStatus.PUBLISHED).order_by(Policy.id)).all()


def held_for(session: Session, row: CardSession) -> Held:
    """Give the policy that holds for a charge: its sub-center's at its end, else the one for all, else the shipped."""
    ended_at = row.ended_at or row.authorized_at
    sub_center_id = row.instrument.group.unit.sub_center_id
    scope: ColumnElement[bool] = Policy.sub_center_id.is_(None)
    if sub_center_id is not None:
        scope = or_(scope, Policy.sub_center_id == sub_center_id)
    found = session.scalar(
        select(Policy)
        .where(Policy.status == PolicyStatus.PUBLISHED, scope, _holds_at(Policy, ended_at))
        .order_by(Policy.sub_center_id.is_(None))
        .limit(1)
    )
    return Held(policy=found, terms=SHIPPED if found is None else parse(found.body))


def covers(policy: Policy) -> ColumnElement[bool]:
    """Condition on `CardSession`: this policy holds for the charge."""
    return _held(Policy.id).scalar_subquery() == policy.id


def leaves_alone(verdict: Any) -> ColumnElement[bool]:
    """Condition on `CardSession` and a column with a verdict: the policy that holds says that nothing follows."""
    do = _held(Policy.body["verdicts"].op("->")(cast(verdict, String)).op("->>")("do"))
    return func.coalesce(do.scalar_subquery(), "") == Do.NOTHING.value


def _held(what: Any) -> Select[Any]:
    """Select something of the policy that holds for the `CardSession` of the query around it."""
    sub_center = (
        select(Unit.sub_center_id)
        .join(InstrumentGroup, InstrumentGroup.unit_id == Unit.id)
        .join(Instrument, Instrument.group_id == InstrumentGroup.id)
        .where(Instrument.id == CardSession.instrument_id)
        .correlate(CardSession)
        .scalar_subquery()
    )
    return (
        select(what)
        .where(
            Policy.status == PolicyStatus.PUBLISHED,
            or_(Policy.sub_center_id.is_(None), Policy.sub_center_id == sub_center),
            _holds_at(Policy, CardSession.ended_at),
        )
        .order_by(Policy.sub_center_id.is_(None))
        .limit(1)
        .correlate(CardSession, Verdict)
    )


def _holds_at(policy: Any, moment: Any) -> ColumnElement[bool]:
    return and_(policy.valid_from <= moment, or_(policy.valid_to.is_(None), policy.valid_to > moment))


def _same_scope(sub_center_id: int | None) -> ColumnElement[bool]:
    return Policy.sub_center_id.is_(None) if sub_center_id is None else Policy.sub_center_id == sub_center_id


def _in_force(session: Session, policy: Policy) -> Sequence[Policy]:
    return session.scalars(
        select(Policy).where(
            _same_scope(policy.sub_center_id),
            Policy.status == PolicyStatus.PUBLISHED,
            or_(Policy.valid_to.is_(None), Policy.valid_to > policy.valid_from),
        )
    ).all()


def _waiting(session: Session, policy_id: int) -> Policy:
    found = session.scalar(select(Policy).where(Policy.id == policy_id).with_for_update())
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    if found.status is not PolicyStatus.WAITING:
        raise Refusal(Code.ALREADY_DECIDED, status=found.status.value)
    return found


def _end(session: Session, policy: Policy, step: PolicyStep, *, actor: Principal, at: datetime) -> Policy:
    policy.status = POLICY_TRANSITIONS[policy.status, step]
    if step is not PolicyStep.TAKEN_BACK:
        policy.decided_by_id = actor.person_id
    policy.decided_at = at
    session.flush()
    _audit(session, policy, action=f"policy.{step}", actor=actor, at=at)
    return policy


def _audit(session: Session, policy: Policy, *, action: str, actor: Principal, at: datetime) -> None:
    detail = {"version": policy.version, "sub_center_id": policy.sub_center_id, "status": policy.status.value}
    people.audit(session, actor=actor.username, action=action, subject=f"policy:{policy.id}", detail=detail, at=at)


def _verdict(name: str) -> ChargeVerdict:
    if name not in {each.value for each in EXCEPTIONAL}:
        raise PolicyInvalidError(f"verdicts.{name}")
    return ChargeVerdict(name)


def _step(name: str, value: Any) -> Step:
    field = f"verdicts.{name}"
    known = {"do", "refund_percent", "wait_h", "amount_fen_max"}
    if not isinstance(value, Mapping) or set(value) - known or value.get("do") not in set(Do):
        raise PolicyInvalidError(field)
    do = Do(value["do"])
    if do is Do.REFUND and ChargeVerdict(name) not in REFUNDABLE:
        raise PolicyInvalidError(f"{field}.do")
    limit = value.get("amount_fen_max")
    return Step(
        do=do,
        refund_percent=_whole(value, "refund_percent", PERCENT_MAX, least=1, most=PERCENT_MAX, within=field),
        wait_h=_whole(value, "wait_h", WAIT_H, most=HOURS_MAX, within=field),
        amount_fen_max=None if limit is None else _whole(value, "amount_fen_max", 0, most=AMOUNT_FEN_MAX, within=field),
    )


def _whole(body: Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int, within: str = "") -> int:
    value = body.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise PolicyInvalidError(f"{within}.{name}".removeprefix("."))
    return value

"""Rule sets: published as versions that never change, and looked up by the day of use."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session, joinedload

from app.errors import Code, Refusal
from app.people import service as people
from app.people.models import Organisation
from app.subsidies.conditions import RuleInvalid
from app.subsidies.models import Fund, RelatedParty, RuleSet
from app.subsidies.rules import CODE, Payment, Rules, parse_rules
from app.subsidies.shipped import shipped_rule_sets

# Two people who publish at the same moment take turns, so that the second one sees what the first one published.
_LOCK_PUBLISHING = text("SELECT pg_advisory_xact_lock(hashtextextended('app.subsidies.publish', 0))")


def publish(
    session: Session, *, body: dict[str, Any], fund_id: int, valid_from: datetime, actor: str, at: datetime
) -> RuleSet:
    """Publish the next version of a rule set, valid from a moment on; the version before it ends there.

    Raises Refusal: RULE_SET_INVALID with the field; NOT_FOUND; RULE_SET_OVERLAP when another rule set pays at once in
    that time, or when a version of this one begins at that moment or later.
    """
    try:
        rules = parse_rules(body)
    except RuleInvalid as mistake:
        raise Refusal(Code.RULE_SET_INVALID, field=str(mistake)) from None
    if session.get(Fund, fund_id) is None:
        raise Refusal(Code.NOT_FOUND)
    session.execute(_LOCK_PUBLISHING)
    _end_before(session, rules, valid_from=valid_from)
    newest = session.scalar(select(func.max(RuleSet.version)).where(RuleSet.code == rules.code))
    made = RuleSet(
        code=rules.code,
        version=(newest or 0) + 1,
        valid_from=valid_from,
        body=body,
        fund_id=fund_id,
        source=str(body.get("source", "")),
    )
    session.add(made)
    session.flush()
    people.audit(
        session,
        actor=actor,
        action="rule_set.publish",
        subject=f"rule_set:{made.code}",
        detail={"version": made.version, "valid_from": valid_from.isoformat(), "fund_id": fund_id},
        at=at,
    )
    return made


def publish_shipped(
    session: Session, *, code: str, fund_id: int, valid_from: datetime, actor: str, at: datetime
) -> RuleSet:
    """Publish a rule set that comes with the product. Raises Refusal NOT_FOUND for a code that does not."""
    body = shipped_rule_sets().get(code)
    if body is None:
        raise Refusal(Code.NOT_FOUND)
    return publish(session, body=body, fund_id=fund_id, valid_from=valid_from, actor=actor, at=at)


def end(session: Session, *, code: str, valid_to: datetime, actor: str, at: datetime) -> RuleSet:
    """Let the newest version of a rule set end. Raises Refusal: NOT_FOUND; RULE_SET_OVERLAP before its beginning."""
    if CODE.fullmatch(code) is None:
        raise Refusal(Code.NOT_FOUND)
    session.execute(_LOCK_PUBLISHING)
    newest = session.scalar(
        select(RuleSet).where(RuleSet.code == code, RuleSet.valid_to.is_(None)).options(joinedload(RuleSet.fund))
    )
    if newest is None:
        raise Refusal(Code.NOT_FOUND)
    if valid_to <= newest.valid_from:
        raise Refusal(Code.RULE_SET_OVERLAP, code=code)
    newest.valid_to = valid_to
    people.audit(
        session,
        actor=actor,
        action="rule_set.end",
        subject=f"rule_set:{code}",
        detail={"version": newest.version, "valid_to": valid_to.isoformat()},
        at=at,
    )
    return newest


def list_rule_sets(session: Session) -> list[RuleSet]:
    """Give every published version, newest first."""
    query = select(RuleSet).options(joinedload(RuleSet.fund)).order_by(RuleSet.code, RuleSet.version.desc())
    return list(session.scalars(query))


def add_related_party(
    session: Session, *, organisation_id: int, other_id: int, source: str, person_id: int, actor: str, at: datetime
) -> RelatedParty:
    """Record that two organisations are related, in either order; again changes nothing.

    Raises Refusal: NOT_FOUND; VALIDATION_FAILED for an organisation and itself.
    """
    low, high = sorted((organisation_id, other_id))
    if low == high:
        raise Refusal(Code.VALIDATION_FAILED, other_id="another organisation")
    found = session.scalars(select(Organisation.id).where(Organisation.id.in_((low, high))).with_for_update()).all()
    if len(found) != len((low, high)):
        raise Refusal(Code.NOT_FOUND)
    known = session.scalar(
        select(RelatedParty).where(RelatedParty.organisation_id == low, RelatedParty.other_id == high)
    )
    if known is not None:
        return known
    made = RelatedParty(organisation_id=low, other_id=high, source=source, recorded_by_id=person_id, recorded_at=at)
    session.add(made)
    session.flush()
    people.audit(
        session,
        actor=actor,
        action="related_party.add",
        subject=f"organisation:{low}",
        detail={"other_id": high, "source": source},
        at=at,
    )
    return made


def _end_before(session: Session, rules: Rules, *, valid_from: datetime) -> None:
    still_valid = session.scalars(
        select(RuleSet).where(or_(RuleSet.valid_to.is_(None), RuleSet.valid_to > valid_from))
    ).all()
    for other in still_valid:
        if other.code == rules.code:
            if other.valid_from >= valid_from:
                raise Refusal(Code.RULE_SET_OVERLAP, code=other.code)
            other.valid_to = valid_from
        elif rules.payment is Payment.AT_ONCE and other.body["payment"] == Payment.AT_ONCE:
            raise Refusal(Code.RULE_SET_OVERLAP, code=other.code)

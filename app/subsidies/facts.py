"""What is known of a verified use when its subsidy is decided, read once and stored with the decision."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from app.cards.models import CardAccount, Project
from app.instruments.models import CollaborativeListing, CustomerClass
from app.people.models import Organisation
from app.reconciliation.models import UsageRecord
from app.subsidies.conditions import FactValue
from app.subsidies.deciding import Facts
from app.subsidies.models import Decision, DecisionStatus, RelatedParty, RuleSet
from app.subsidies.rules import Base, Cap, CapPeriod, CapScope, Rules, Unique

# A year of caps and budgets is a calendar year of the authority that pays, wherever the site stands.
AUTHORITY_ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A usage record and those whom its subsidy concerns."""

    record: UsageRecord
    organisation: Organisation | None
    project: Project | None
    year: int


def claim_of(session: Session, record: UsageRecord) -> Claim:
    """Find out who claims: the account's organisation, or that of the person the account belongs to."""
    account = session.get_one(CardAccount, record.account_id)
    organisation = account.organisation or (account.person.organisation if account.person is not None else None)
    project_id = record.session.project_id
    return Claim(
        record=record,
        organisation=organisation,
        project=None if project_id is None else session.get(Project, project_id),
        year=year_of(record.ended_at),
    )


def gather(session: Session, claim: Claim, *, rules: Rules, rule_set: RuleSet, fund_left_fen: int) -> Facts:
    """Give the facts of a claim. Call it under the lock of the funds, for they say what was granted before."""
    return Facts(
        base_fen={Base.PAID_PRINCIPAL: claim.record.paid_principal_fen},
        values=_values(session, claim),
        granted_fen={
            cap.key: granted_fen(session, _same_scope(cap, claim, rule_set=rule_set), year=_year(cap, claim))
            for cap in rules.caps
            if cap.period is not CapPeriod.CLAIM and cap.scope is not CapScope.CLAIM
        },
        used_before=_used_before(session, claim, rules=rules, rule_set=rule_set),
        fund_left_fen=fund_left_fen,
    )


def granted_fen(session: Session, criterion: ColumnElement[bool], *, year: int | None) -> int:
    """Add up what was granted and not taken back; `year` None means ever."""
    query = (
        select(func.coalesce(func.sum(Decision.amount_fen), 0))
        .join(RuleSet, RuleSet.id == Decision.rule_set_id)
        .where(Decision.status == DecisionStatus.GRANTED, criterion)
    )
    if year is not None:
        query = query.where(Decision.year == year)
    return int(session.scalar(query) or 0)


def year_of(moment: datetime) -> int:
    """Give the calendar year as the authority counts it: 16:00 UTC on New Year's Eve is next year already."""
    return moment.astimezone(AUTHORITY_ZONE).year


def _values(session: Session, claim: Claim) -> dict[str, FactValue]:
    record, organisation, project = claim.record, claim.organisation, claim.project
    provider = record.instrument.group.unit.organisation_id
    values: dict[str, FactValue] = {
        "verified": True,
        "fee_fen": record.amount_fen,
        "customer_class": record.customer_class.value,
        "own_unit": record.customer_class is CustomerClass.OWN_UNIT
        or (organisation is not None and organisation.id == provider),
        "related_party": organisation is not None and _are_related(session, organisation.id, provider),
        "instrument.collaborative": _is_listed(session, record),
        "project.level": "none" if project is None else project.level.value,
        "project.evidence": project is not None and bool(project.evidence_reference),
    }
    if organisation is not None:
        values |= {
            "organisation.region": organisation.region,
            "organisation.kind": organisation.kind.value,
            "organisation.legal_person": organisation.legal_person,
            "organisation.network_member": organisation.network_member,
        }
    return values


def _is_listed(session: Session, record: UsageRecord) -> bool:
    """Say whether the instrument was on the list of collaborative instruments when the use began."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    CollaborativeListing.instrument_id == record.instrument_id,
                    CollaborativeListing.valid_from <= record.started_at,
                    or_(CollaborativeListing.valid_to.is_(None), CollaborativeListing.valid_to > record.started_at),
                )
            )
        )
    )


def _are_related(session: Session, one: int, other: int) -> bool:
    low, high = sorted((one, other))
    pair = exists().where(RelatedParty.organisation_id == low, RelatedParty.other_id == high)
    return bool(session.scalar(select(pair)))


def _same_scope(cap: Cap, claim: Claim, *, rule_set: RuleSet) -> ColumnElement[bool]:
    """Condition on `Decision`: those that count towards this cap."""
    same_rule = RuleSet.code == rule_set.code
    same_account = Decision.account_id == claim.record.account_id
    if cap.scope is CapScope.FUND:
        return RuleSet.fund_id == rule_set.fund_id
    if cap.scope is CapScope.ORGANISATION and claim.organisation is not None:
        return and_(same_rule, Decision.organisation_id == claim.organisation.id)
    if cap.scope is CapScope.PROJECT and claim.project is not None:
        return and_(same_rule, Decision.project_id == claim.project.id)
    # Who has no organisation or project is capped alone; a user is a card account.
    return and_(same_rule, same_account)


def _year(cap: Cap, claim: Claim) -> int | None:
    return claim.year if cap.period is CapPeriod.YEAR else None


def _used_before(session: Session, claim: Claim, *, rules: Rules, rule_set: RuleSet) -> tuple[str, ...]:
    """Say what of the things that count once did count; an invoice is the charge itself, which is never paid twice."""
    if Unique.PROJECT not in rules.unique or claim.project is None:
        return ()
    same_project = and_(RuleSet.code == rule_set.code, Decision.project_id == claim.project.id)
    return (Unique.PROJECT.value,) if granted_fen(session, same_project, year=None) > 0 else ()

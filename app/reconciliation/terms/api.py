"""JSON doors of silence rules, policies and answers to unpaid use: by the services that the pages use."""

from http import HTTPStatus
from typing import Any

import flask_smorest
from sqlalchemy.orm import Session

from app import clock
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.problems import refuses
from app.reconciliation import policies, ruling, unpaid
from app.reconciliation.models import Policy, SilenceRule, UnpaidAction, UnpaidAnswer
from app.reconciliation.silence import Week
from app.reconciliation.terms import schemas
from app.security import principal, require
from app.web import database, settings

STAFF = (Role.SUB_CENTER_MANAGER, *CENTER)
DECIDERS = (Role.SUB_CENTER_MANAGER, Role.CLERK, Role.APPROVER)
KNOWN = (Code.NOT_LOGGED_IN, Code.FORBIDDEN)

blueprint = flask_smorest.Blueprint(
    "reconciliation_terms",
    __name__,
    url_prefix="/api/v1/reconciliation",
    description="What people lay down: what is normal, what follows from a verdict, what unpaid use was.",
)


@blueprint.get("/silence-rules")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(schemas.RulesQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.RulesSchema)
@require(*STAFF)
def list_rules(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the rules of the instruments you manage, those that hold first."""
    with database().reader() as session:
        return {"rules": [_rule(row) for row in ruling.list_rules(session, reader=principal(), **query)]}


@blueprint.post("/silence-rules")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewRuleSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.RuleSchema)
@require(*DECIDERS)
def make_rule(body: dict[str, Any]) -> dict[str, Any]:
    """Say what is normal at an instrument; what it touches is decided anew."""
    week = body.pop("week")
    wish = ruling.Wish(
        **body,
        week=None
        if week is None
        else Week(days=frozenset(week["days"]), from_minute=week["from_minute"], until_minute=week["until_minute"]),
    )
    maker, at = principal().acting_as(*DECIDERS), clock.now()
    return database().run(lambda session: _rule(ruling.make(session, wish, maker=maker, at=at)))


@blueprint.post("/silence-rules/<int:rule_id>/end")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.OK, schemas.RuleSchema)
@require(*DECIDERS)
def end_rule(rule_id: int) -> dict[str, Any]:
    """Let a rule hold no longer; what it said of the past stays said."""
    ender, at = principal().acting_as(*DECIDERS), clock.now()
    return database().run(lambda session: _rule(ruling.end(session, rule_id=rule_id, ender=ender, at=at)))


@blueprint.get("/policies")
@refuses(blueprint, *KNOWN)
@blueprint.response(HTTPStatus.OK, schemas.PoliciesSchema)
@require(*STAFF)
def list_policies() -> dict[str, Any]:
    """Give every version of the policies that concern you."""
    with database().reader() as session:
        return {"policies": [_policy(row) for row in policies.list_policies(session, reader=principal())]}


@blueprint.post("/policies")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewPolicySchema)
@blueprint.response(HTTPStatus.CREATED, schemas.PolicySchema)
@require(*DECIDERS)
def draft_policy(body: dict[str, Any]) -> dict[str, Any]:
    """Draft a policy; another person publishes it."""
    maker, at = principal().acting_as(*DECIDERS), clock.now()
    return database().run(lambda session: _policy(policies.draft(session, **body, maker=maker, at=at)))


@blueprint.post("/policies/<int:policy_id>/decision")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.SAME_PERSON, Code.ALREADY_DECIDED)
@blueprint.arguments(schemas.PolicyDecisionSchema)
@blueprint.response(HTTPStatus.OK, schemas.PolicySchema)
@require(Role.APPROVER)
def decide_policy(body: dict[str, Any], policy_id: int) -> dict[str, Any]:
    """Publish somebody else's draft, or decline it."""
    checker, at = principal(), clock.now()
    return database().run(
        lambda session: _policy(
            policies.decide(session, policy_id=policy_id, approve=body["publish"], checker=checker, at=at)
        )
    )


@blueprint.post("/policies/<int:policy_id>/withdraw")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.OK, schemas.PolicySchema)
@require(*DECIDERS)
def withdraw_policy(policy_id: int) -> dict[str, Any]:
    """Take your own draft back."""
    maker, at = principal(), clock.now()
    return database().run(lambda session: _policy(policies.withdraw(session, policy_id=policy_id, maker=maker, at=at)))


@blueprint.post("/unpaid-use/<int:box_verdict_id>/answer")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED, Code.TARIFF_INVALID)
@blueprint.arguments(schemas.NewUnpaidAnswerSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.UnpaidAnswerSchema)
@require(*DECIDERS)
def answer_unpaid_use(body: dict[str, Any], box_verdict_id: int) -> dict[str, Any]:
    """Explain unpaid use, call it maintenance, or draft an invoice for it."""
    if (body["action"] is UnpaidAction.INVOICE) != bool(body["account_number"]):
        raise Refusal(Code.VALIDATION_FAILED, fields={"account_number": ["for an invoice, and only for one"]})
    maker, at, zone = principal().acting_as(*DECIDERS), clock.now(), settings().site_timezone
    common: dict[str, Any] = {"box_verdict_id": box_verdict_id, "note": body["note"], "maker": maker, "at": at}

    def work(session: Session) -> dict[str, Any]:
        match body["action"]:
            case UnpaidAction.EXPLAINED:
                return _answer(unpaid.explain(session, **common))
            case UnpaidAction.MAINTENANCE:
                return _answer(unpaid.mark_as_maintenance(session, **common))
            case _:
                number = body["account_number"]
                return _answer(unpaid.draft_invoice(session, **common, account_number=number, zone=zone))

    return database().run(work)


def _rule(row: SilenceRule) -> dict[str, Any]:
    week = None
    if row.weekdays is not None and row.from_minute is not None and row.until_minute is not None:
        read = Week.of_bits(row.weekdays, from_minute=row.from_minute, until_minute=row.until_minute)
        week = {"days": sorted(read.days), "from_minute": read.from_minute, "until_minute": read.until_minute}
    columns = ("id", "instrument_id", "kind", "valid_from", "valid_to", "run_s_max", "note", "made_at", "ended_at")
    return {
        **{name: getattr(row, name) for name in columns},
        "week": week,
        "made_by": row.made_by.name,
        "ended_by": None if row.ended_by is None else row.ended_by.name,
    }


def _policy(row: Policy) -> dict[str, Any]:
    columns = (
        *("id", "version", "status", "sub_center_id", "valid_from", "valid_to", "body", "note"),
        *("drafted_at", "decided_at"),
    )
    return {
        **{name: getattr(row, name) for name in columns},
        "drafted_by": row.drafted_by.name,
        "decided_by": None if row.decided_by is None else row.decided_by.name,
    }


def _answer(row: UnpaidAnswer) -> dict[str, Any]:
    columns = ("id", "box_verdict_id", "action", "note", "rule_id", "amount_fen", "made_at")
    return {
        **{name: getattr(row, name) for name in columns},
        "account_number": None if row.account is None else row.account.number,
        "made_by": row.made_by.name,
    }

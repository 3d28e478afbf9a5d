"""JSON doors of subsidies: mine, those of my instruments, funds, rule sets and their trial."""

from http import HTTPStatus
from typing import Any

import flask_smorest

from app import clock
from app.errors import Code, Refusal
from app.people.models import Role
from app.problems import refuses
from app.security import principal, require
from app.subsidies import deciding, schemas, service
from app.subsidies.conditions import RuleInvalid
from app.subsidies.models import Decision, RuleSet
from app.subsidies.rules import parse_rules
from app.subsidies.shipped import shipped_rule_sets
from app.web import database

CENTER = (Role.CLERK, Role.APPROVER, Role.FINANCE, Role.AUDITOR, Role.ADMIN)
STAFF = (Role.SUB_CENTER_MANAGER, Role.GROUP_OPERATOR, *CENTER)
ID = "<int(max=9007199254740991):{}>"

blueprint = flask_smorest.Blueprint(
    "subsidies", __name__, url_prefix="/api/v1/subsidies", description="Subsidies, their funds and their rules."
)


@blueprint.get("/mine")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.DecisionsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.DecisionsSchema)
@require()
def list_mine(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the decisions on your own accounts, each with its reasons."""
    with database().reader() as session:
        found = service.decisions_of(session, reader=principal(), **_slice(query))
        return {"decisions": [_decision(row) for row in found]}


@blueprint.get("/decisions")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.DecisionsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.DecisionsSchema)
@require(*STAFF)
def list_decisions(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the decisions on uses of instruments you manage; to the service center, all."""
    with database().reader() as session:
        found = service.decisions_about(session, reader=principal(), **_slice(query))
        return {"decisions": [_decision(row) for row in found]}


@blueprint.get(f"/decisions/{ID.format('decision_id')}")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.DecisionSchema)
@require()
def get_decision(decision_id: int) -> dict[str, Any]:
    """Give one decision that concerns you."""
    with database().reader() as session:
        return _decision(service.decision_for(session, decision_id=decision_id, reader=principal()))


@blueprint.get(f"/decisions/{ID.format('decision_id')}/rerun")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.RerunSchema)
@require()
def rerun(decision_id: int) -> dict[str, Any]:
    """Decide one decision again from its stored facts and rule version; nothing is changed."""
    with database().reader() as session:
        found = service.rerun(session, decision_id=decision_id, reader=principal())
        return {"same": found.same, "decision": _decision(found.decision), **_trial(found.again)}


@blueprint.get("/funds")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.OK, schemas.FundsSchema)
@require()
def list_funds() -> dict[str, Any]:
    """Give every fund, what it holds, and what is left of this year's budget."""
    with database().reader() as session:
        return {"funds": [_fund(view) for view in service.list_funds(session, at=clock.now())]}


@blueprint.post("/funds")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.CODE_TAKEN)
@blueprint.arguments(schemas.NewFundSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.FundSchema)
@require(Role.FINANCE)
def create_fund(body: dict[str, Any]) -> dict[str, Any]:
    """Open a fund. For finance."""
    actor, at = principal().username, clock.now()
    return database().run(
        lambda session: _fund(
            service.fund_view(session, service.create_fund(session, **body, actor=actor, at=at), at=at)
        )
    )


@blueprint.post(f"/funds/{ID.format('fund_id')}/receipts")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.BANK_REFERENCE_USED)
@blueprint.arguments(schemas.ReceiptSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.FundSchema)
@require(Role.FINANCE)
def receive_money(body: dict[str, Any], fund_id: int) -> dict[str, Any]:
    """Book fiscal money that arrived for a fund. For finance; a reference counts once."""
    actor, at = principal().username, clock.now()
    return database().run(
        lambda session: _fund(service.receive_money(session, fund_id=fund_id, **body, actor=actor, at=at))
    )


@blueprint.get("/rule-sets")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.OK, schemas.RuleSetsSchema)
@require()
def list_rule_sets() -> dict[str, Any]:
    """Give every published version, and the rule sets that come with the product."""
    with database().reader() as session:
        found = [_rule_set(row) for row in service.list_rule_sets(session)]
    return {"rule_sets": found, "shipped": list(shipped_rule_sets().values())}


@blueprint.post("/rule-sets")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.RULE_SET_INVALID, Code.RULE_SET_OVERLAP)
@blueprint.arguments(schemas.NewRuleSetSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.RuleSetSchema)
@require(Role.CLERK)
def publish(body: dict[str, Any]) -> dict[str, Any]:
    """Publish the next version of a rule set; the version before it ends there. For clerks."""
    actor = principal().username
    return database().run(lambda session: _rule_set(service.publish(session, **body, actor=actor, at=clock.now())))


@blueprint.post("/rule-sets/<string(maxlength=64):code>/end")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.RULE_SET_OVERLAP)
@blueprint.arguments(schemas.EndRuleSetSchema)
@blueprint.response(HTTPStatus.OK, schemas.RuleSetSchema)
@require(Role.CLERK)
def end(body: dict[str, Any], code: str) -> dict[str, Any]:
    """Let the newest version of a rule set end. For clerks."""
    actor = principal().username
    return database().run(
        lambda session: _rule_set(service.end(session, code=code, **body, actor=actor, at=clock.now()))
    )


@blueprint.post("/trials")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.RULE_SET_INVALID)
@blueprint.arguments(schemas.TrialSchema)
@blueprint.response(HTTPStatus.OK, schemas.TrialResultSchema)
@require(*STAFF)
def try_rules(body: dict[str, Any]) -> dict[str, Any]:
    """Try a rule set on claims against a budget, before it is published or in an argument; nothing is kept."""
    try:
        rules = parse_rules(body["body"])
    except RuleInvalid as mistake:
        raise Refusal(Code.RULE_SET_INVALID, field=str(mistake)) from None
    claims = {
        # Padded, so that the order of the keys is the order of the claims.
        f"{number:03}": deciding.Facts(**{**claim, "used_before": tuple(claim["used_before"])})
        for number, claim in enumerate(body["claims"])
    }
    decided = deciding.decide_batch(rules, claims, budget_fen=body["budget_fen"])
    return {"decisions": [{**_trial(decision), "wanted_fen": decision.wanted_fen} for decision in decided.values()]}


@blueprint.post("/related-parties")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.VALIDATION_FAILED)
@blueprint.arguments(schemas.RelatedPartySchema)
@blueprint.response(HTTPStatus.CREATED, schemas.RelatedPartySchema)
@require(Role.CLERK)
def add_related_party(body: dict[str, Any]) -> dict[str, Any]:
    """Record that two organisations are related. For clerks; recording it again changes nothing."""
    reader = principal()
    found = database().run(
        lambda session: service.add_related_party(
            session, **body, person_id=reader.person_id, actor=reader.username, at=clock.now()
        )
    )
    return {"organisation_id": found.organisation_id, "other_id": found.other_id, "source": found.source}


def _slice(query: dict[str, Any]) -> dict[str, int]:
    return {"limit": query["page_size"], "offset": (query["page"] - 1) * query["page_size"]}


def _decision(row: Decision) -> dict[str, Any]:
    columns = (
        *("id", "usage_record_id", "account_id", "amount_fen", "status", "reason", "trace"),
        *("decided_at", "clawed_back_at"),
    )
    return {
        **{name: getattr(row, name) for name in columns},
        "session_id": row.usage_record.session_id,
        "instrument_code": row.usage_record.instrument.code,
        "rule_code": row.rule_set.code,
        "rule_version": row.rule_set.version,
    }


def _trial(decision: deciding.Decision) -> dict[str, Any]:
    return {
        "amount_fen": decision.amount_fen,
        "reason": decision.reason.value,
        "trace": deciding.trace_document(decision),
    }


def _fund(view: service.FundView) -> dict[str, Any]:
    names = ("id", "code", "name_zh", "name_en", "budget_fen_per_year")
    return {
        **{name: getattr(view.fund, name) for name in names},
        "year": view.year,
        "held_fen": view.held_fen,
        "granted_fen": view.granted_fen,
        "left_fen": view.left_fen,
    }


def _rule_set(row: RuleSet) -> dict[str, Any]:
    columns = ("id", "code", "version", "valid_from", "valid_to", "source", "body")
    return {**{name: getattr(row, name) for name in columns}, "fund_code": row.fund.code}

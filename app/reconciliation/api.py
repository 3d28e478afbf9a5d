"""JSON doors of reconciliation: verdicts and usage records for those they concern, exceptions for the staff."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock
from app.devices.api import parked_json
from app.devices.schemas import ParkedEventSchema
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.problems import refuses
from app.reconciliation import contests, parked, reading, schemas, service, totals
from app.reconciliation.models import BoxVerdict, Contest, Verdict
from app.security import principal, require
from app.web import database, settings

STAFF = (
    Role.SUB_CENTER_MANAGER,
    Role.GROUP_OPERATOR,
    Role.CLERK,
    Role.APPROVER,
    Role.FINANCE,
    Role.AUDITOR,
    Role.ADMIN,
)
REVIEWERS = (Role.SUB_CENTER_MANAGER, Role.CLERK, Role.APPROVER)
ANSWERERS = (Role.GROUP_OPERATOR, *REVIEWERS)

blueprint = flask_smorest.Blueprint(
    "reconciliation",
    __name__,
    url_prefix="/api/v1/reconciliation",
    description="What the collector boxes say of every charge, and the usage records that follow.",
)


@blueprint.post("/parked-events/settle")
@refuses(
    blueprint,
    Code.NOT_LOGGED_IN,
    Code.FORBIDDEN,
    Code.NOT_FOUND,
    Code.ALREADY_DECIDED,
    Code.EVENT_NOT_APPLICABLE,
    Code.ADJUSTMENT_NOT_POSTABLE,
)
@blueprint.arguments(schemas.SettlementSchema)
@blueprint.response(HTTPStatus.OK, ParkedEventSchema)
@require(*ANSWERERS)
def settle_parked(body: dict[str, Any]) -> dict[str, Any]:
    """Settle a parked event of an instrument you look after: apply, charge by hand, give back, or dismiss it."""
    resolver, at = principal().acting_as(*ANSWERERS), clock.now()
    return parked_json(database().run(lambda session: parked.settle(session, **body, resolver=resolver, at=at)))


@blueprint.get("/verdicts")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.VerdictsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.VerdictsSchema)
@require()
def list_verdicts(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the verdicts that hold now over your charges and over those of instruments you manage."""
    with database().reader() as session:
        found, total = reading.list_verdicts(session, reader=principal(), **query)
        return {"verdicts": [_verdict(row) for row in found], "total": total}


@blueprint.get("/verdicts/<uuid:session_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.VerdictsSchema)
@require()
def list_versions(session_id: UUID) -> dict[str, Any]:
    """Give every version of the verdict over one charge, oldest first."""
    with database().reader() as session:
        found = reading.versions_of(session, session_id=session_id, reader=principal())
        return {"verdicts": [_verdict(row) for row in found], "total": len(found)}


@blueprint.post("/verdicts/<uuid:session_id>/rerun")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.VerdictSchema)
@require(*REVIEWERS)
def rerun(session_id: UUID) -> dict[str, Any]:
    """Decide one charge again with what is known now. For the instrument's sub-center and the service center."""
    reader, zone = principal().acting_as(*REVIEWERS), settings().site_timezone
    return database().run(
        lambda session: _verdict(
            service.rerun(session, session_id=session_id, reader=reader, at=clock.now(), zone=zone)
        )
    )


@blueprint.post("/verdicts/<uuid:session_id>/review")
@refuses(
    blueprint,
    *(Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.NOT_REVIEWABLE),
    *(Code.ADJUSTMENT_TOO_LARGE, Code.ADJUSTMENT_NOT_POSTABLE),
)
@blueprint.arguments(schemas.ReviewSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.VerdictSchema)
@require(*REVIEWERS)
def review(body: dict[str, Any], session_id: UUID) -> dict[str, Any]:
    """Write your word on a charge that did not verify by itself, under your name. Never on your own use."""
    reader = principal().acting_as(*REVIEWERS)
    return database().run(
        lambda session: _verdict(service.review(session, session_id=session_id, **body, reader=reader, at=clock.now()))
    )


@blueprint.get("/exceptions")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.VerdictsSchema)
@require(*STAFF)
def list_exceptions(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the charges that wait for a person, on instruments you manage."""
    with database().reader() as session:
        found, total = reading.list_exceptions(session, reader=principal(), **query)
        return {"verdicts": [_verdict(row) for row in found], "total": total}


@blueprint.get("/unpaid-use")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.UnpaidUsesSchema)
@require(*STAFF)
def list_unpaid_use(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the runs nobody paid for, on instruments you manage."""
    with database().reader() as session:
        found, total = reading.list_unpaid_use(session, reader=principal(), **query)
        return {"unpaid_use": [_unpaid(row) for row in found], "total": total}


@blueprint.get("/contests")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.ContestsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.ContestsSchema)
@require()
def list_contests(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of your own contests and of those on instruments you manage, the answer that is due first on top."""
    with database().reader() as session:
        found = contests.list_contests(session, reader=principal(), at=clock.now(), **query)
        return {
            "contests": [_contest(row) for row in found.contests],
            "total": found.total,
            "overdue": found.overdue,
        }


@blueprint.post("/contests")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.NOT_CONTESTABLE)
@blueprint.arguments(schemas.NewContestSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.ContestSchema)
@require(Role.CARDHOLDER)
def make_contest(body: dict[str, Any]) -> dict[str, Any]:
    """Contest a charge of your card or account, within the window that its policy gives."""
    maker = principal()
    return database().run(lambda session: _contest(contests.contest(session, **body, maker=maker, at=clock.now())))


@blueprint.post("/contests/<int:contest_id>/answer")
@refuses(
    blueprint,
    *(Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.ALREADY_DECIDED),
    *(Code.ADJUSTMENT_TOO_LARGE, Code.ADJUSTMENT_NOT_POSTABLE),
)
@blueprint.arguments(schemas.AnswerSchema)
@blueprint.response(HTTPStatus.OK, schemas.ContestSchema)
@require(*ANSWERERS)
def answer_contest(body: dict[str, Any], contest_id: int) -> dict[str, Any]:
    """Answer a contest under your name: uphold the charge, or give back an amount. Never on your own use."""
    answerer = principal().acting_as(*ANSWERERS)
    return database().run(
        lambda session: _contest(
            contests.answer(
                session,
                contest_id=contest_id,
                amount_fen=body["amount_fen"],
                text=body["answer"],
                answerer=answerer,
                at=clock.now(),
            )
        )
    )


@blueprint.get("/control-totals")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.TotalsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.ControlTotalsSchema)
@require(*STAFF)
def control_totals(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the control totals by instrument and day, newest day first."""
    with database().reader() as session:
        found = totals.list_totals(session, reader=principal(), **query)
        lines = [
            {
                "instrument_code": line.instrument.code,
                "day": line.day,
                **{name: getattr(line, name) for name in totals.SUMS},
            }
            for line in found.lines
        ]
        return {"totals": lines, "sums": asdict(found.sums), "total": found.count}


def _verdict(row: Verdict) -> dict[str, Any]:
    given = {name: row.evidence[name] for name in ("idle_s", "unknown_s", "runs")}
    columns = (
        *("session_id", "version", "verdict", "tolerance_s", "overlap_s", "charge_only_s", "box_only_s"),
        *("algorithm_version", "decided_at", "superseded_at", "review", "review_note"),
    )
    return {
        **{name: getattr(row, name) for name in columns},
        **given,
        "verified": row.verifies,
        "instrument_code": row.session.instrument.code,
        "started_at": row.session.started_at,
        "ended_at": row.session.ended_at,
        "reviewed_by": None if row.reviewed_by is None else row.reviewed_by.name,
    }


def _unpaid(row: BoxVerdict) -> dict[str, Any]:
    return {
        "id": row.id,
        "collector_session_id": row.collector_session_id,
        "instrument_code": row.instrument.code,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "verdict": row.verdict,
        "unpaid_s": row.head_s + row.tail_s,
        "charges": row.evidence["charges"],
    }


def _contest(row: Contest) -> dict[str, Any]:
    columns = ("id", "session_id", "status", "reason", "made_at", "answer_due_at", "answer", "answered_at")
    return {name: getattr(row, name) for name in columns}

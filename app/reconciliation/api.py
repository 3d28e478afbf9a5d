"""JSON doors of reconciliation: verdicts and usage records for those they concern, exceptions for the staff."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.problems import refuses
from app.reconciliation import reading, schemas, service
from app.reconciliation.models import BoxVerdict, Verdict
from app.security import principal, require
from app.web import database

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

blueprint = flask_smorest.Blueprint(
    "reconciliation",
    __name__,
    url_prefix="/api/v1/reconciliation",
    description="What the collector boxes say of every charge, and the usage records that follow.",
)


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
    reader = principal()
    return database().run(
        lambda session: _verdict(service.rerun(session, session_id=session_id, reader=reader, at=clock.now()))
    )


@blueprint.post("/verdicts/<uuid:session_id>/review")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.NOT_REVIEWABLE)
@blueprint.arguments(schemas.ReviewSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.VerdictSchema)
@require(*REVIEWERS)
def review(body: dict[str, Any], session_id: UUID) -> dict[str, Any]:
    """Write your word on a charge that did not verify by itself, under your name. Never on your own use."""
    reader = principal()
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
        "collector_session_id": row.collector_session_id,
        "instrument_code": row.instrument.code,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "verdict": row.verdict,
        "unpaid_s": row.head_s + row.tail_s,
        "charges": row.evidence["charges"],
    }

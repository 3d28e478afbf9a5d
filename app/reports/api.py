"""JSON doors of reports: the documents that pages draw and people download."""

from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock, periods
from app.errors import Code, Refusal
from app.problems import refuses
from app.reports import evidence_schemas, schemas, service
from app.reports.service.evidence import Evidence
from app.reports.service.hours import MachineHours
from app.reports.service.ledger_view import LedgerView
from app.reports.service.statement import Statement
from app.reports.service.wall import Wall
from app.security import principal, require
from app.web import database, settings
from telemetry.vocabularies import NAMES

HOURS_SPAN_MAX = timedelta(days=400)

blueprint = flask_smorest.Blueprint(
    "reports", __name__, url_prefix="/api/v1/reports", description="Evidence, statements, the ledger view, the wall."
)


@blueprint.get("/evidence/<uuid:session_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, evidence_schemas.EvidenceSchema)
@require()
def get_evidence(session_id: UUID) -> Evidence:
    """Give the evidence of a charge: box, session, price, verdict, record, postings, subsidy, seal with proofs."""
    with database().reader() as session:
        return service.evidence(session, session_id=session_id, reader=principal(), at=clock.now(), with_proofs=True)


@blueprint.get("/evidence/<uuid:session_id>/proof")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND, Code.NOT_SEALED)
@blueprint.response(HTTPStatus.OK, evidence_schemas.ProofSchema(many=True))
@require()
def get_proof(session_id: UUID) -> list[dict[str, Any]]:
    """Give the proof that the postings and the usage record of a charge stand in the books as they were written."""
    with database().reader() as session:
        return service.proofs(session, session_id=session_id, reader=principal())


@blueprint.get("/statements/<int:account_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.arguments(schemas.PeriodQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.StatementSchema)
@require()
def get_statement(query: dict[str, Any], account_id: int) -> Statement:
    """Give the statement of an account that you may see."""
    since, until = _period(query)
    with database().reader() as session:
        return service.statement(session, account_id=account_id, reader=principal(), since=since, until=until)


@blueprint.get("/ledger-view")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.PeriodQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.LedgerViewSchema)
@require()
def get_ledger_view(query: dict[str, Any]) -> LedgerView:
    """Give income, what is owed, hours and subsidies of the units you look after, as a tree."""
    since, until = _period(query)
    with database().reader() as session:
        return service.ledger_view(session, reader=principal(), since=since, until=until)


@blueprint.get("/wall")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.response(HTTPStatus.OK, schemas.WallSchema)
@require()
def get_wall() -> Wall:
    """Give the live states of the instruments you look after."""
    with database().reader() as session:
        return service.wall(session, reader=principal(), at=clock.now())


@blueprint.get("/machine-hours")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.TIMES_REVERSED)
@blueprint.arguments(schemas.PeriodQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.MachineHoursSchema)
@require()
def get_machine_hours(query: dict[str, Any]) -> dict[str, Any]:
    """Give measured and verified hours of every instrument that you look after."""
    since, until = _rising(query)
    with database().reader() as session:
        found = service.machine_hours(session, reader=principal(), since=since, until=until, at=clock.now())
        return _hours(found)


@blueprint.get("/machine-hours/<int:instrument_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND, Code.TIMES_REVERSED)
@blueprint.arguments(schemas.InstrumentHoursQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.MachineHoursSchema)
@require()
def get_machine_hours_of(query: dict[str, Any], instrument_id: int) -> dict[str, Any]:
    """Give the hours of one instrument, by month or day of the site's calendar."""
    since, until = _rising(query)
    if until - since > HOURS_SPAN_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"until": [f"≤ {HOURS_SPAN_MAX.days} d"]})
    bounds = periods.bounds(since, until, by=query["by"], zone=settings().site_timezone)
    with database().reader() as session:
        found = service.machine_hours_of(
            session, instrument_id=instrument_id, reader=principal(), bounds=bounds, at=clock.now()
        )
        return _hours(found)


def _hours(found: MachineHours) -> dict[str, Any]:
    names = [{"state": state, **asdict(each)} for state, each in NAMES.items()]
    return {"since": found.since, "until": found.until, "lines": found.lines, "state_names": names}


def _rising(query: dict[str, Any]) -> tuple[datetime, datetime]:
    since, until = _period(query)
    if until - since < timedelta(seconds=1):
        raise Refusal(Code.TIMES_REVERSED)
    return since, until


def _period(query: dict[str, Any]) -> tuple[datetime, datetime]:
    """Give the period that was asked for; an end that is missing is that of the present month."""
    zone = settings().site_timezone
    month = periods.Month.of(clock.now(), zone=zone)
    return query["since"] or month.since(zone), query["until"] or month.until(zone)

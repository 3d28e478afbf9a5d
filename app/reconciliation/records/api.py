"""JSON doors of usage records: what is verified, for those it concerns and for systems that keep a copy."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

import ledger
from app.errors import Code, Refusal
from app.problems import refuses
from app.reconciliation.records import cursors, hours, reading, schemas
from app.reconciliation.records.reading import RecordProof, Totals, Wanted
from app.security import principal, require
from app.web import database

blueprint = flask_smorest.Blueprint(
    "usage_records",
    __name__,
    url_prefix="/api/v1/usage-records",
    description="Verified usage records: the one source of subsidies, hours, statistics; each sealed with the books.",
)


@blueprint.get("")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.RecordsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.UsageRecordsSchema)
@require()
def list_records(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the records of your accounts and of instruments you manage, newest use first."""
    after, limit = cursors.read_place(query.pop("after")), query.pop("limit")
    with database().reader() as session:
        page = reading.list_records(session, reader=principal(), wanted=Wanted(**query), after=after, limit=limit)
        return {
            "usage_records": [schemas.version_of(record) for record in page.records],
            "next": cursors.place_text(page.next),
        }


@blueprint.get("/totals")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.FilterQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.TotalsSchema)
@require()
def get_totals(query: dict[str, Any]) -> Totals:
    """Give what all records of a filter come to."""
    with database().reader() as session:
        return reading.totals(session, reader=principal(), wanted=Wanted(**query))


@blueprint.get("/changes")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.ChangesQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.ChangesSchema)
@require()
def list_changes(query: dict[str, Any]) -> dict[str, Any]:
    """Give versions written since a place, withdrawals too, in the order of the books: nothing is ever missed."""
    after = cursors.read_feed(query["after"])
    with database().reader() as session:
        page = reading.changes(session, reader=principal(), after=after, limit=query["limit"])
        return {
            "changes": [schemas.version_of(record) for record in page.records],
            "next": cursors.feed_text(page.next),
            "complete": page.complete,
        }


@blueprint.get("/hours")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.HoursQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.HoursSchema)
@require()
def get_hours(query: dict[str, Any]) -> dict[str, Any]:
    """Give charged, effective and external hours of verified use by instrument, of instruments you manage."""
    with database().reader() as session:
        found = hours.hours_of_managed(session, reader=principal(), **query)
        instruments = [
            {"instrument_id": each.instrument_id, "instrument_code": each.instrument_code, **each.hours._asdict()}
            for each in found
        ]
        return {"since": query["since"], "until": query["until"], "instruments": instruments}


@blueprint.get("/<uuid:session_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.UsageRecordSchema(many=True))
@require()
def list_versions(session_id: UUID) -> list[dict[str, Any]]:
    """Give every version of the record of one use, oldest first."""
    with database().reader() as session:
        found = reading.versions_of(session, session_id=session_id, reader=principal())
        return [schemas.version_of(record) for record in found]


@blueprint.get("/<uuid:session_id>/proof")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND, Code.NOT_SEALED)
@blueprint.response(HTTPStatus.OK, schemas.RecordProofSchema(many=True))
@require()
def get_proof(session_id: UUID) -> list[RecordProof]:
    """Give the proof that the books hold the hash of each version of one use's record."""
    with database().reader() as session:
        found = reading.versions_of(session, session_id=session_id, reader=principal())
        try:
            return [reading.proof_of(session, record) for record in found]
        except ledger.NotSealedError as error:
            raise Refusal(Code.NOT_SEALED) from error

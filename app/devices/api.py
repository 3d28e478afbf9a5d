"""JSON doors of devices: terminals and boxes for administrators, parked events for those who look after them."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock
from app.devices import parked, schemas, service
from app.devices.boxes import enrolment
from app.devices.models import BoxPlacement, Terminal
from app.devices.parked import ParkedEvent
from app.devices.service import EnrolmentCode
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.problems import refuses
from app.security import principal, require
from app.web import database

STAFF = (Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, Role.CLERK, Role.ADMIN)
KNOWN = (Code.NOT_LOGGED_IN, Code.FORBIDDEN)

blueprint = flask_smorest.Blueprint(
    "devices", __name__, url_prefix="/api/v1", description="Card terminals, collector boxes and parked events."
)


@blueprint.get("/terminals")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.TerminalsSchema)
@require(Role.ADMIN, Role.AUDITOR)
def list_terminals(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of terminals by code."""
    with database().reader() as session:
        found = service.terminals(session, **page(query))
        return {"terminals": [terminal_json(each) for each in found]}


@blueprint.post("/terminals")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.CODE_TAKEN)
@blueprint.arguments(schemas.NewTerminalSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.EnrolmentCodeSchema)
@require(Role.ADMIN)
def create_terminal(body: dict[str, Any]) -> dict[str, Any]:
    """Make a terminal, with the one-time code by which it may enrol within 15 minutes."""
    actor = principal().username
    made = database().run(lambda session: service.create_terminal(session, **body, actor=actor, at=clock.now()))
    return _code(made)


@blueprint.post("/terminals/<uuid:terminal_id>/codes")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.CREATED, schemas.EnrolmentCodeSchema)
@require(Role.ADMIN)
def new_code(terminal_id: UUID) -> dict[str, Any]:
    """Make a fresh code for a terminal that has not enrolled yet."""
    actor = principal().username
    made = database().run(
        lambda session: service.new_enrolment_code(session, terminal_id=terminal_id, actor=actor, at=clock.now())
    )
    return _code(made)


@blueprint.post("/terminals/<uuid:terminal_id>/revoke")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.TerminalSchema)
@require(Role.ADMIN)
def revoke(terminal_id: UUID) -> dict[str, Any]:
    """Stop trusting a terminal for good."""
    actor = principal().username
    return terminal_json(
        database().run(lambda session: service.revoke(session, terminal_id=terminal_id, actor=actor, at=clock.now()))
    )


@blueprint.get("/box-placements")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.PlacementsSchema)
@require(Role.ADMIN, Role.AUDITOR)
def list_placements(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of where boxes stand and stood."""
    with database().reader() as session:
        return {"placements": [_placement(each) for each in service.placements(session, **page(query))]}


@blueprint.post("/box-placements")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED, Code.BOX_REVOKED)
@blueprint.arguments(schemas.NewPlacementSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.PlacementSchema)
@require(Role.ADMIN)
def place_box(body: dict[str, Any]) -> dict[str, Any]:
    """Say which instrument a channel of a box meters from now on."""
    actor = principal().username
    return _placement(database().run(lambda session: enrolment.place_box(session, **body, actor=actor, at=clock.now())))


@blueprint.get("/parked-events")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(schemas.ParkedQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.ParkedEventsSchema)
@require(*STAFF, Role.AUDITOR)
def list_parked(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of parked events of the instruments that you look after, the oldest first."""
    with database().reader() as session:
        found = parked.parked_events(session, reader=principal(), resolved=query.pop("resolved"), **page(query))
        return {"events": [_parked(each) for each in found]}


@blueprint.post("/parked-events/resolve")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.arguments(schemas.ResolutionSchema)
@blueprint.response(HTTPStatus.OK, schemas.ParkedEventSchema)
@require(*STAFF)
def resolve_parked(body: dict[str, Any]) -> dict[str, Any]:
    """Say what became of a parked event."""
    resolver = principal()
    return _parked(database().run(lambda session: parked.resolve(session, **body, resolver=resolver, at=clock.now())))


def page(query: dict[str, Any]) -> dict[str, int]:
    """Give limit and offset of a page."""
    return {"limit": query["page_size"], "offset": (query["page"] - 1) * query["page_size"]}


def terminal_json(terminal: Terminal) -> dict[str, Any]:
    """Give a terminal as programs see it."""
    return {
        "id": terminal.id,
        "code": terminal.code,
        "instrument_id": terminal.instrument_id,
        "status": terminal.status,
        "fingerprint": service.fingerprint_of(terminal),
        "enrolled_at": terminal.enrolled_at,
        "last_seen_at": terminal.last_seen_at,
        "app_version": terminal.app_version,
        "reader": terminal.reader,
        "unsent": terminal.unsent,
        "last_seq": terminal.last_seq,
    }


def _code(made: EnrolmentCode) -> dict[str, Any]:
    return {"terminal": terminal_json(made.terminal), "code": made.code, "expires_at": made.expires_at}


def _placement(placement: BoxPlacement) -> dict[str, Any]:
    return {
        "id": placement.id,
        "box": placement.box,
        "channel": placement.channel,
        "instrument_id": placement.instrument_id,
        "valid_from": placement.valid_from,
        "valid_to": placement.valid_to,
    }


def _parked(found: ParkedEvent) -> dict[str, Any]:
    event = found.event
    return {
        "terminal_id": event.terminal_id,
        "terminal_code": found.terminal.code,
        "instrument_id": found.instrument.id,
        "seq": event.seq,
        "message_hash": event.message_hash,
        "kind": event.kind,
        "session_id": event.session_id,
        "reason": event.reason,
        "body": event.body,
        "received_at": event.received_at,
        "resolved_at": event.resolved_at,
        "resolved_by": event.resolved_by,
        "resolution": event.resolution,
    }

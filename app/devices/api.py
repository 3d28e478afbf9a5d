"""JSON doors of devices: terminals and boxes for administrators, parked events for those who look after them."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest
from sqlalchemy.orm import Session

from app import clock
from app.devices import parked, schemas, service
from app.devices.boxes import alarms, configuring, enrolment, listing
from app.devices.boxes.alarms import SeenAlarm
from app.devices.boxes.enrolment import BoxPassword
from app.devices.boxes.listing import BoxLine
from app.devices.boxes.visibility import box_of
from app.devices.models import BoxPlacement, Terminal
from app.devices.parked import ParkedEvent
from app.devices.service import EnrolmentCode
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.presentation import CENTER
from app.problems import refuses
from app.security import change, principal, require
from app.web import database
from telemetry import configurations
from telemetry.commands import Configuration, Threshold
from telemetry.models import Presence

STAFF = (Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, Role.CLERK, Role.ADMIN)
WATCHERS = (Role.SUB_CENTER_MANAGER, *CENTER)
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
    return _code(change(service.create_terminal, **body))


@blueprint.post("/terminals/<uuid:terminal_id>/codes")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.CREATED, schemas.EnrolmentCodeSchema)
@require(Role.ADMIN)
def new_code(terminal_id: UUID) -> dict[str, Any]:
    """Make a fresh code for a terminal that has not enrolled yet."""
    return _code(change(service.new_enrolment_code, terminal_id=terminal_id))


@blueprint.post("/terminals/<uuid:terminal_id>/revoke")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.RevocationSchema)
@blueprint.response(HTTPStatus.OK, schemas.TerminalSchema)
@require(Role.ADMIN)
def revoke(body: dict[str, Any], terminal_id: UUID) -> dict[str, Any]:
    """Stop trusting a terminal for good, and say why."""
    return terminal_json(change(service.revoke, terminal_id=terminal_id, **body))


@blueprint.get("/terminals/<uuid:terminal_id>")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.TerminalSchema)
@require(Role.ADMIN, Role.AUDITOR)
def get_terminal(terminal_id: UUID) -> dict[str, Any]:
    """Give one terminal."""
    with database().reader() as session:
        return terminal_json(service.terminal_of(session, terminal_id=terminal_id))


@blueprint.post("/terminals/<uuid:terminal_id>/approve")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED, Code.FINGERPRINT_DIFFERS)
@blueprint.arguments(schemas.FingerprintSchema)
@blueprint.response(HTTPStatus.OK, schemas.TerminalSchema)
@require(Role.ADMIN)
def approve(body: dict[str, Any], terminal_id: UUID) -> dict[str, Any]:
    """Take a terminal's word from now on, having compared the fingerprint on its screen."""
    return terminal_json(change(service.approve, terminal_id=terminal_id, **body))


@blueprint.post("/terminals/<uuid:terminal_id>/replace")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.CODE_TAKEN)
@blueprint.arguments(schemas.ReplacementSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.EnrolmentCodeSchema)
@require(Role.ADMIN)
def replace_key(body: dict[str, Any], terminal_id: UUID) -> dict[str, Any]:
    """Revoke a terminal and make a new one, with a key of its own, in its place."""
    return _code(change(service.replace_key, terminal_id=terminal_id, **body))


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
    return _placement(change(enrolment.place_box, **body))


@blueprint.get("/boxes")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(schemas.BoxQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.BoxesSchema)
@require(*WATCHERS)
def list_boxes(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the boxes at the instruments that you look after; the center sees all."""
    with database().reader() as session:
        found = listing.list_boxes(session, reader=principal(), at=clock.now(), **query)
        return {"boxes": [_box(line) for line in found.lines], "total": found.total}


@blueprint.post("/boxes")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.REQUEST_ID_USED)
@blueprint.arguments(schemas.NewBoxSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.BoxPasswordSchema)
@require(Role.ADMIN)
def enrol_box(body: dict[str, Any]) -> dict[str, Any]:
    """Enrol a box: code, shard, and its password this one time."""
    return _password(change(enrolment.enrol_box, **body))


@blueprint.post("/boxes/<string:code>/password")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.BOX_REVOKED)
@blueprint.response(HTTPStatus.CREATED, schemas.BoxPasswordSchema)
@require(Role.ADMIN)
def rotate_box_password(code: str) -> dict[str, Any]:
    """Give a box a new password, told this one time; the old one is out when the broker has read the new one."""
    return _password(change(enrolment.rotate_password, code=code))


@blueprint.post("/boxes/<string:code>/revoke")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.BoxSchema)
@require(Role.ADMIN)
def revoke_box(code: str) -> dict[str, Any]:
    """Take no more messages of a box, for good."""
    change(enrolment.revoke_box, code=code)
    with database().reader() as session:
        return _box(listing.lines_of(session, [box_of(session, code=code, reader=principal())], at=clock.now())[0])


@blueprint.get("/boxes/<string:code>/configuration")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.ConfigurationSchema)
@require(*WATCHERS)
def box_configuration(code: str) -> dict[str, Any]:
    """Say how a box is to measure, and whether it does."""
    with database().reader() as session:
        return _configuration(session, box_of(session, code=code, reader=principal()).code)


@blueprint.post("/boxes/<string:code>/configuration")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.BOX_REVOKED)
@blueprint.arguments(schemas.NewConfigurationSchema)
@blueprint.response(HTTPStatus.OK, schemas.ConfigurationSchema)
@require(Role.ADMIN)
def configure_box(body: dict[str, Any], code: str) -> dict[str, Any]:
    """Want a box to measure like this; it is told as soon as it listens, until it says that it does."""
    channels, thresholds = body.pop("channels"), body.pop("thresholds")
    change(
        configuring.configure_box,
        code=code,
        **body,
        channels=None if channels is None else tuple(channels),
        thresholds={each["channel"]: Threshold(run_w=each["run_w"], rest_w=each["rest_w"]) for each in thresholds},
    )
    with database().reader() as session:
        return _configuration(session, code)


@blueprint.get("/alarms")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(schemas.AlarmQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.AlarmsSchema)
@require(*WATCHERS)
def list_alarms(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of alarms: open ones with those first that nobody has acknowledged, or those that have passed."""
    is_open = query.pop("is_open")
    limits = page(query)
    with database().reader() as session:
        if is_open:
            found = alarms.open_alarms(session, reader=principal(), limit=limits["limit"], offset=limits["offset"])
        else:
            found = alarms.closed_alarms(session, reader=principal(), limit=limits["limit"], offset=limits["offset"])
        return {"alarms": [_alarm(each) for each in found]}


@blueprint.post("/alarms/<int:alarm_id>/acknowledge")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.arguments(schemas.AcknowledgementSchema)
@blueprint.response(HTTPStatus.OK, schemas.AlarmSchema)
@require(Role.SUB_CENTER_MANAGER, Role.CLERK, Role.ADMIN)
def acknowledge_alarm(body: dict[str, Any], alarm_id: int) -> dict[str, Any]:
    """Say that you take care of an alarm; it closes by itself when its trouble has passed."""
    reader, at = principal(), clock.now()
    alarm = database().run(
        lambda session: alarms.acknowledge(session, alarm_id=alarm_id, note=body["note"], reader=reader, at=at)
    )
    return _alarm(SeenAlarm(alarm=alarm, place=None))


@blueprint.get("/parked-events")
@refuses(blueprint, *KNOWN)
@blueprint.arguments(schemas.ParkedQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.ParkedEventsSchema)
@require(*STAFF, Role.AUDITOR)
def list_parked(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of parked events of the instruments that you look after, the oldest first."""
    with database().reader() as session:
        found = parked.parked_events(session, reader=principal(), resolved=query.pop("resolved"), **page(query))
        return {"events": [parked_json(each) for each in found]}


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
        "approved_at": terminal.approved_at,
        "approved_by": terminal.approved_by,
        "revoked_at": terminal.revoked_at,
        "revocation": terminal.revocation,
        "last_seen_at": terminal.last_seen_at,
        "app_version": terminal.app_version,
        "reader": terminal.reader,
        "unsent": terminal.unsent,
        "last_seq": terminal.last_seq,
        "clock_ahead_ms": terminal.clock_ahead_ms,
        "config_version": terminal.config_version,
        "shown_config_version": terminal.shown_config_version,
        "running_session_id": terminal.running_session_id,
    }


def _box(line: BoxLine) -> dict[str, Any]:
    return {
        "code": line.box.code,
        "shard": line.box.shard,
        "enrolled_at": line.box.enrolled_at,
        "revoked_at": line.box.revoked_at,
        "password_set_at": line.box.password_set_at,
        "heard_at": line.heard_at,
        "clock_behind_s": line.offset_s,
        "missing_messages": line.missing,
        "lost_messages": line.lost,
        "backlog_messages": line.backlog,
        "quality": line.quality,
        "dead_letters": line.dead_letters,
        "alarms": line.alarms,
        "is_clock_set": line.said.synced,
        "given_up_messages": line.said.lost,
        "boot_count_id": line.said.epoch,
        "is_boot_count_new": line.said.is_new_epoch,
        "channels": [
            {
                "channel": each.channel,
                "instrument_id": None if each.place is None else each.place.instrument_id,
                "state": each.live.state,
                "power_w": each.live.power_w,
                "newest_reading_at": each.live.last_live_at,
                "is_indicative": each.channel in line.said.indicative,
                "doubts": list(line.said.doubts.get(each.channel, ())),
            }
            for each in line.channels
        ],
    }


def _configuration(session: Session, code: str) -> dict[str, Any]:
    found, presence = configurations.wanted(session, code=code), session.get(Presence, code)
    row = None if found is None else found.row
    return {
        "box": code,
        "version": None if row is None else row.version,
        "standing": None if found is None else found.standing,
        "refused": "" if found is None else found.refused,
        "set_at": None if row is None else row.set_at,
        "set_by": None if row is None else row.set_by,
        "told_at": None if row is None else row.told_at,
        "wanted_hash": None if row is None else row.configuration_hash,
        "reported_hash": None if presence is None else presence.configuration_hash,
        "configuration": None if found is None else _measuring(found.configuration),
    }


def _measuring(wanted: Configuration) -> dict[str, Any]:
    return {
        "sample_s": wanted.sample_s,
        "batch": wanted.batch,
        "heartbeat_s": wanted.heartbeat_s,
        "channels": None if wanted.channels is None else list(wanted.channels),
        "thresholds": [
            {"channel": channel, "run_w": each.run_w, "rest_w": each.rest_w}
            for channel, each in wanted.thresholds.items()
        ],
    }


def _password(made: BoxPassword) -> dict[str, Any]:
    return {"code": made.box.code, "shard": made.box.shard, "password": made.password}


def _alarm(seen: SeenAlarm) -> dict[str, Any]:
    alarm = seen.alarm
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "subject": alarm.subject,
        "box": alarm.box,
        "channel": alarm.channel,
        "instrument_id": None if seen.place is None else seen.place.instrument_id,
        "detail": alarm.detail,
        "opened_at": alarm.opened_at,
        "closed_at": alarm.closed_at,
        "acknowledged_at": alarm.acknowledged_at,
        "acknowledged_by": alarm.acknowledged_by,
        "note": alarm.note,
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


def parked_json(found: ParkedEvent) -> dict[str, Any]:
    """Give a parked event as programs see it."""
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
        "settlement": event.settlement,
    }

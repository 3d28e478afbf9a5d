"""JSON doors of sessions: what a person may see of them, and the end of one that was forgotten."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest

from app import clock
from app.cards import numbers
from app.errors import Code
from app.fields import PageQuery
from app.people.models import Role
from app.presentation import CENTER
from app.problems import refuses
from app.security import change, principal, require
from app.sessions import ending, queries, schemas
from app.sessions.models import CardSession, Flag
from app.sessions.offline import switching
from app.sessions.offline.switching import OfflineLine
from app.sessions.queries import Filter
from app.web import database

blueprint = flask_smorest.Blueprint(
    "sessions", __name__, url_prefix="/api/v1/sessions", description="Card sessions, from swipe-in to swipe-out."
)


@blueprint.get("")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.SessionsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.SessionsSchema)
@require()
def list_sessions(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the sessions that you may see: your own, those of your instruments, or all."""
    page, page_size = query.pop("page"), query.pop("page_size")
    with database().reader() as session:
        found = queries.list_sessions(
            session, reader=principal(), wanted=Filter(**query), limit=page_size, offset=(page - 1) * page_size
        )
        return {"sessions": [_session(row) for row in found]}


@blueprint.get("/<uuid:session_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.SessionSchema)
@require()
def get_session(session_id: UUID) -> dict[str, Any]:
    """Give one session."""
    with database().reader() as session:
        return _session(queries.get_session(session, session_id=session_id, reader=principal()))


@blueprint.post("/<uuid:session_id>/close")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.OK, schemas.SessionSchema)
@require(Role.GROUP_OPERATOR)
def close_session(session_id: UUID) -> dict[str, Any]:
    """End a forgotten session of your group's instrument: the time until now is charged, as far as it is held for."""
    closer = principal()
    database().run(
        lambda session: ending.close_forgotten(session, session_id=session_id, closer=closer, at=clock.now())
    )
    with database().reader() as session:
        return _session(queries.get_session(session, session_id=session_id, reader=closer))


@blueprint.get("/offline-terminals")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.OfflineTerminalsSchema)
@require(*CENTER)
def offline_terminals(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the terminals in use: which may start alone, by which list, and what is held for it."""
    with database().reader() as session:
        offset = (query["page"] - 1) * query["page_size"]
        return {
            "terminals": [_offline(line) for line in switching.lines(session, limit=query["page_size"], offset=offset)]
        }


@blueprint.put("/offline-settings/<int:instrument_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.arguments(schemas.OfflineSettingSchema)
@blueprint.response(HTTPStatus.OK, schemas.OfflineSettingSchema)
@require(Role.ADMIN)
def switch_offline(body: dict[str, Any], instrument_id: int) -> dict[str, Any]:
    """Let the terminals of an instrument start sessions while the server is away, or no more."""
    setting = change(switching.switch, instrument_id=instrument_id, **body)
    return {"enabled": setting.enabled, "strict": setting.strict}


def _offline(line: OfflineLine) -> dict[str, Any]:
    return {
        "terminal_code": line.terminal.code,
        "instrument_id": line.instrument.id,
        "instrument_code": line.instrument.code,
        "enabled": line.enabled,
        "strict": line.strict,
        "list_version": line.content.version if line.content is not None else 0,
        "valid_until": line.content.valid_until if line.content is not None else None,
        "taken_at": line.content.taken_at if line.content is not None else None,
        "cards": line.cards,
        "allowed_fen": line.allowed_fen,
        "reserved_fen": line.reserved_fen,
    }


def _session(row: CardSession) -> dict[str, Any]:
    same_name = (
        "id",
        "status",
        "instrument_id",
        "account_id",
        "customer_class",
        "authorized_at",
        "latest_end_at",
        "started_at",
        "ended_at",
        "duration_s",
        "minutes",
        "samples",
        "held_fen",
        "amount_fen",
        "paid_principal_fen",
        "paid_subsidy_fen",
        "price_lines",
        "refusal",
    )
    return {
        **{name: getattr(row, name) for name in same_name},
        "instrument_code": row.instrument.code,
        "terminal_code": row.terminal.code,
        "card_masked": numbers.masked_number(row.card.face_number),
        "flags": [Flag(each) for each in row.flags],
    }

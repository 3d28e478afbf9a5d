"""Stations and master keys: who makes cards where, and what every key was opened for."""

import re
from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, url_for

from app import clock, web
from app.asking import asked_text, given_text, here, page_links, page_number
from app.cards import keys, patience, stations, works
from app.cards.pages.common import PAGE_SIZE, TEXT_LENGTH_MAX, blueprint
from app.cards.pages.counter import progress
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import change, require
from app.texts import _

KEY_READERS = (Role.ADMIN, Role.AUDITOR, Role.APPROVER)
CODE_FORM = re.compile(r"[0-9A-Za-z-]{1,20}")
UID_DIGITS = 14


@blueprint.get("/cards/stations")
@require(*CENTER)
def station_list() -> Any:
    """Show the stations, and what they have in hand."""
    return _stations_page()


@blueprint.post("/cards/stations")
@require(Role.ADMIN)
def new_station() -> Any:
    """Make a station, and show its code this one time."""
    code = given_text("code", length_max=TEXT_LENGTH_MAX)
    if CODE_FORM.fullmatch(code) is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={"code": ["A–Z, 0–9, -"]})
    return _stations_page(made=change(stations.create, code=code, place=given_text("place", required=False)))


@blueprint.post("/cards/stations/<uuid:station_id>/code")
@require(Role.ADMIN)
def station_code(station_id: UUID) -> Any:
    """Make a fresh code for a station that has not enrolled."""
    return _stations_page(made=change(stations.new_code, station_id=station_id))


@blueprint.post("/cards/stations/<uuid:station_id>/revoke")
@require(Role.ADMIN)
def revoke_station(station_id: UUID) -> Any:
    """Hear a station no more."""
    change(stations.revoke, station_id=station_id)
    flash(_("The station is revoked: nothing that it says is heard."), "good")
    return redirect(url_for("cards_pages.station_list"))


@blueprint.get("/cards/keys")
@require(*KEY_READERS)
def key_uses() -> Any:
    """Show the versions of the master keys, and what each was opened for."""
    page, typed = page_number(), asked_text("uid").upper().replace(" ", "")
    uid = bytes.fromhex(typed) if re.fullmatch(rf"[0-9A-F]{{{UID_DIGITS}}}", typed) else None
    with web.database().reader() as session:
        found = keys.uses(session, uid=uid, limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE)
        return render_template(
            "cards/keys.html",
            versions=keys.versions(session),
            uses=found[:PAGE_SIZE],
            uid=typed,
            here=here,
            links=page_links(page, has_more=len(found) > PAGE_SIZE),
        )


@blueprint.post("/cards/chips/<string:uid>/forgive")
@require(Role.ADMIN)
def forgive_chip(uid: str) -> Any:
    """Let a chip be tried again."""
    if re.fullmatch(rf"[0-9A-F]{{{UID_DIGITS}}}", uid) is None:
        raise Refusal(Code.NOT_FOUND)
    change(patience.forgive, uid=bytes.fromhex(uid))
    flash(_("The chip may be tried again."), "good")
    return redirect(url_for("cards_pages.station_list"))


def _stations_page(*, made: stations.StationCode | None = None) -> Any:
    with web.database().reader() as session:
        return render_template(
            "cards/stations.html",
            stations=stations.listed(session),
            works={work.station_id: work for work in works.open_works(session)},
            fingerprint_of=stations.fingerprint_of,
            silent_before=clock.now() - stations.SILENT_AFTER,
            made=made,
            tired=patience.tired_chips(session),
            server=web.settings().public_url,
            progress=progress,
        )

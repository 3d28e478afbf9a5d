"""The list of terminals, one terminal, and what an administrator does to it: make, compare its key, revoke, replace."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from app import clock, web
from app.asking import given_text, here, page_links, page_number
from app.devices import parked, service
from app.devices.models import Revocation, Terminal, TerminalStatus
from app.devices.pages.boxes import instrument_id_of, instruments
from app.devices.pages.common import blueprint
from app.devices.service import EnrolmentCode
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import change, principal, require
from app.texts import _
from card_terminal import protocol

PAGE_SIZE = 100
PARKED_COUNTED_MAX = 100
# A terminal says hello every minute; three that are missing are no accident.
SILENT_AFTER = timedelta(minutes=3)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A terminal as the list shows it."""

    terminal: Terminal
    is_silent: bool
    clock_off_s: int | None
    """Only if it is off by more than what a question may be."""

    @property
    def has_old_configuration(self) -> bool:
        """Whether it shows prices or texts that are not the newest."""
        shown = self.terminal.shown_config_version
        return shown is not None and shown < self.terminal.config_version


@blueprint.get("/devices")
@require(*CENTER)
def overview() -> Any:
    """Show every terminal as it was last heard, and how many events wait for a person."""
    page = page_number()
    with web.database().reader() as session:
        found = service.terminals(session, limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE)
        waiting = parked.parked_events(session, reader=principal(), limit=PARKED_COUNTED_MAX)
        return render_template(
            "devices/overview.html",
            lines=_lines(found[:PAGE_SIZE], at=clock.now()),
            parked=len(waiting),
            parked_max=PARKED_COUNTED_MAX,
            page=page,
            links=page_links(page, has_more=len(found) > PAGE_SIZE),
        )


@blueprint.get("/devices/terminals/live")
@require(*CENTER)
def terminals_live() -> Any:
    """Give the lines of one page of the list anew, for the page to morph into."""
    with web.database().reader() as session:
        found = service.terminals(session, limit=PAGE_SIZE, offset=(page_number() - 1) * PAGE_SIZE)
        return render_template("devices/terminals_live.html", lines=_lines(found, at=clock.now()))


@blueprint.get("/devices/terminals/<uuid:terminal_id>")
@require(*CENTER)
def terminal(terminal_id: UUID) -> Any:
    """Show one terminal."""
    with web.database().reader() as session:
        found = service.terminal_of(session, terminal_id=terminal_id)
        return render_template(
            "devices/terminal.html",
            line=_line(found, at=clock.now()),
            terminal=found,
            fingerprint=service.fingerprint_of(found),
        )


@blueprint.get("/devices/terminals/new")
@require(Role.ADMIN)
def new_terminal() -> Any:
    """Ask where a new terminal stands."""
    with web.database().reader() as session:
        return render_template("devices/new_terminal.html", instruments=instruments(session))


@blueprint.post("/devices/terminals/new")
@require(Role.ADMIN)
def make_terminal() -> Any:
    """Make a terminal, and show its one-time code this one time."""
    code, instrument_code = _given_code(), given_text("instrument")

    def work(session: Session, *, actor: str, at: datetime) -> EnrolmentCode:
        instrument_id = instrument_id_of(session, instrument_code)
        return service.create_terminal(session, code=code, instrument_id=instrument_id, actor=actor, at=at)

    return _code_page(change(work))


@blueprint.post("/devices/terminals/<uuid:terminal_id>/code")
@require(Role.ADMIN)
def new_code(terminal_id: UUID) -> Any:
    """Make a fresh one-time code, and show it this one time."""
    return _code_page(change(service.new_enrolment_code, terminal_id=terminal_id))


@blueprint.post("/devices/terminals/<uuid:terminal_id>/approve")
@require(Role.ADMIN)
def approve(terminal_id: UUID) -> Any:
    """Take a terminal whose screen shows the fingerprint of the key that came."""
    change(service.approve, terminal_id=terminal_id, fingerprint=given_text("fingerprint"))
    flash(_("The terminal is taken. It works within a minute."), "good")
    return redirect(url_for("devices_pages.terminal", terminal_id=terminal_id))


@blueprint.get("/devices/terminals/<uuid:terminal_id>/revoke")
@require(Role.ADMIN)
def ask_revoke_terminal(terminal_id: UUID) -> Any:
    """Say what revoking does before it is done, and offer a new terminal in the place of the old one."""
    with web.database().reader() as session:
        found = service.terminal_of(session, terminal_id=terminal_id)
        if found.status is TerminalStatus.REVOKED:
            raise Refusal(Code.ALREADY_DECIDED)
        return render_template("devices/terminal_revoke_ask.html", terminal=found, reasons=Revocation)


@blueprint.post("/devices/terminals/<uuid:terminal_id>/revoke")
@require(Role.ADMIN)
def revoke_terminal(terminal_id: UUID) -> Any:
    """Revoke a terminal; with a code for a new one, put that in its place."""
    why = request.form.get("why", "")
    if why not in set(Revocation):
        raise Refusal(Code.VALIDATION_FAILED, fields={"why": [", ".join(Revocation)]})
    if request.form.get("code", "").strip():
        code = _given_code()
        return _code_page(change(service.replace_key, terminal_id=terminal_id, code=code, why=Revocation(why)))
    change(service.revoke, terminal_id=terminal_id, why=Revocation(why))
    flash(_("The terminal is revoked. What it still reports is kept for a person."), "good")
    return redirect(url_for("devices_pages.terminal", terminal_id=terminal_id))


def _code_page(made: EnrolmentCode) -> Any:
    return render_template(
        "devices/terminal_code_shown.html", made=made, server=request.host_url.rstrip("/"), here=here
    )


def _given_code() -> str:
    code = given_text("code", length_max=32)
    if _CODE.fullmatch(code) is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={"code": [_("Up to 32 letters, digits, dots and dashes.")]})
    return code


def _lines(found: list[Terminal], *, at: datetime) -> list[Line]:
    return [_line(each, at=at) for each in found]


def _line(found: Terminal, *, at: datetime) -> Line:
    ahead_ms = found.clock_ahead_ms
    in_service = found.status is TerminalStatus.ENROLLED
    return Line(
        terminal=found,
        is_silent=in_service and (found.last_seen_at is None or at - found.last_seen_at > SILENT_AFTER),
        clock_off_s=None if ahead_ms is None or abs(ahead_ms) <= protocol.CLOCK_SKEW_MAX_MS else round(ahead_ms / 1000),
    )

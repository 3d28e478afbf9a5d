"""Terminals as they stand, and the terminal events that wait for a person."""

from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for

from app import clock, web
from app.devices import parked, service
from app.devices.pages.common import blueprint
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import principal, require
from app.texts import _

ROWS_MAX = 200
RESOLUTION_LENGTH_MAX = 500


@blueprint.get("/devices")
@require(*CENTER)
def overview() -> Any:
    """Show every terminal with when it was last heard, and what waits for a person."""
    with web.database().reader() as session:
        return render_template(
            "devices/overview.html",
            terminals=service.terminals(session, limit=ROWS_MAX),
            parked=parked.parked_events(session, reader=principal(), limit=ROWS_MAX),
        )


@blueprint.post("/devices/parked/<uuid:terminal_id>/<int:seq>")
@require(Role.CLERK, Role.FINANCE, Role.ADMIN)
def resolve(terminal_id: UUID, seq: int) -> Any:
    """Write down what became of a parked event; no money moves by this."""
    resolution = " ".join(request.form.get("resolution", "").split())
    if not 0 < len(resolution) <= RESOLUTION_LENGTH_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"resolution": [f"1–{RESOLUTION_LENGTH_MAX}"]})
    resolver, at, message_hash = principal(), clock.now(), request.form.get("message_hash", "")
    web.database().run(
        lambda session: parked.resolve(
            session,
            terminal_id=terminal_id,
            seq=seq,
            message_hash=message_hash,
            resolution=resolution,
            resolver=resolver,
            at=at,
        )
    )
    flash(_("The event is settled. No money moved by this."), "good")
    return redirect(url_for("devices_pages.overview"))

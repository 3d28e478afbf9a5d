"""Pages of sessions: ending one that somebody forgot, and who may start while the server is away."""

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import page_links, page_number
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER, plain_yuan
from app.security import change, principal, require
from app.sessions import ending
from app.sessions.offline import making, switching
from app.texts import _

blueprint = Blueprint("sessions_pages", __name__)

PAGE_SIZE = 50


@blueprint.get("/on-now/<uuid:session_id>/end")
@require(Role.GROUP_OPERATOR)
def confirm_close(session_id: UUID) -> Any:
    """Show what ending the session would charge and set free."""
    g.section = "reports_pages.on_now"
    with web.database().reader() as session:
        closing = ending.closing(session, session_id=session_id, closer=principal(), at=clock.now())
        return render_template("sessions/close.html", closing=closing)


@blueprint.post("/on-now/<uuid:session_id>/end")
@require(Role.GROUP_OPERATOR)
def close(session_id: UUID) -> Any:
    """End the session and charge the time until now."""
    closer, at = principal(), clock.now()
    row = web.database().run(
        lambda session: ending.close_forgotten(session, session_id=session_id, closer=closer, at=at)
    )
    flash(_("The session is ended; %(amount)s were charged.", amount=plain_yuan(row.amount_fen or 0)), "good")
    return redirect(url_for("reports_pages.on_now"))


@blueprint.get("/devices/offline")
@require(*CENTER)
def offline() -> Any:
    """Show which terminals may start alone, by which list, and what is held for it."""
    g.section = "devices_pages.overview"
    page = page_number()
    with web.database().reader() as session:
        found = switching.lines(session, limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE)
        return render_template(
            "sessions/offline.html",
            lines=found[:PAGE_SIZE],
            links=page_links(page, has_more=len(found) > PAGE_SIZE),
            now=clock.now(),
            renewed_after=making.RENEWED_AFTER,
        )


@blueprint.post("/devices/offline/<int:instrument_id>")
@require(Role.ADMIN)
def switch_offline(instrument_id: int) -> Any:
    """Switch offline use on, strictly or not, or off."""
    mode = request.form.get("mode", "")
    if mode not in {"off", "strict", "open"}:
        raise Refusal(Code.VALIDATION_FAILED, fields={"mode": ["off, strict, open"]})
    change(switching.switch, instrument_id=instrument_id, enabled=mode != "off", strict=mode != "open")
    flash(_("Saved. The terminals get their next list within a minute or two."), "good")
    return redirect(url_for("sessions_pages.offline"))

"""Ending a session that somebody forgot, for the staff of the instrument's group."""

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, url_for

from app import clock, web
from app.people.models import Role
from app.presentation import plain_yuan
from app.security import principal, require
from app.sessions import service
from app.texts import _

blueprint = Blueprint("sessions_pages", __name__)


@blueprint.get("/on-now/<uuid:session_id>/end")
@require(Role.GROUP_OPERATOR)
def confirm_close(session_id: UUID) -> Any:
    """Show what ending the session would charge and set free."""
    g.section = "reports_pages.on_now"
    with web.database().reader() as session:
        closing = service.closing(session, session_id=session_id, closer=principal(), at=clock.now())
        return render_template("sessions/close.html", closing=closing)


@blueprint.post("/on-now/<uuid:session_id>/end")
@require(Role.GROUP_OPERATOR)
def close(session_id: UUID) -> Any:
    """End the session and charge the time until now."""
    closer, at = principal(), clock.now()
    row = web.database().run(
        lambda session: service.close_forgotten(session, session_id=session_id, closer=closer, at=at)
    )
    flash(_("The session is ended; %(amount)s were charged.", amount=plain_yuan(row.amount_fen or 0)), "good")
    return redirect(url_for("reports_pages.on_now"))

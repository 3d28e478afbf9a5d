"""A person's word on a charge that its box did not confirm."""

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, request, url_for

from app import clock, web
from app.errors import Code, Refusal
from app.people.models import Role
from app.reconciliation import service
from app.reconciliation.models import Review
from app.security import principal, require
from app.texts import _

blueprint = Blueprint("reconciliation_pages", __name__)

NOTE_LENGTH_MIN, NOTE_LENGTH_MAX = 5, 1000


@blueprint.post("/charges/<uuid:session_id>/review")
@require(Role.SUB_CENTER_MANAGER, Role.CLERK, Role.APPROVER)
def review(session_id: UUID) -> Any:
    """Verify a charge by a person's word, or let it stand unverified; both under her name and with her reason."""
    note = " ".join(request.form.get("note", "").split())
    outcome = request.form.get("outcome", "")
    if not NOTE_LENGTH_MIN <= len(note) <= NOTE_LENGTH_MAX or outcome not in set(Review):
        raise Refusal(Code.VALIDATION_FAILED, fields={"note": [f"{NOTE_LENGTH_MIN}–{NOTE_LENGTH_MAX}"]})
    reader, at = principal(), clock.now()
    web.database().run(
        lambda session: service.review(
            session, session_id=session_id, outcome=Review(outcome), note=note, reader=reader, at=at
        )
    )
    flash(_("Your word stands beside the evidence; the box's verdict is kept."), "good")
    return redirect(url_for("reports_pages.evidence", session_id=session_id))

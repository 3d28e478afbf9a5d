"""A person's word on a charge that its box did not confirm, given from the charge's evidence."""

from typing import Any
from uuid import UUID

from flask import flash, redirect, request, url_for

from app import clock, web
from app.errors import Code, Refusal
from app.reconciliation import service
from app.reconciliation.models import ADJUSTING, Review
from app.reconciliation.pages.common import DECIDERS, blueprint, decider, given_note
from app.security import require
from app.texts import _


@blueprint.post("/charges/<uuid:session_id>/review")
@require(*DECIDERS)
def review(session_id: UUID) -> Any:
    """Verify a charge by a person's word, or let it stand unverified; both under her name and with her reason."""
    note, outcome = given_note(), request.form.get("outcome", "")
    if outcome not in set(Review) - ADJUSTING:
        raise Refusal(Code.VALIDATION_FAILED, fields={"outcome": [", ".join(set(Review) - ADJUSTING)]})
    reader, at = decider(), clock.now()
    web.database().run(
        lambda session: service.review(
            session, session_id=session_id, outcome=Review(outcome), note=note, reader=reader, at=at
        )
    )
    flash(_("Your word stands beside the evidence; the box's verdict is kept."), "good")
    return redirect(url_for("reports_pages.evidence", session_id=session_id))

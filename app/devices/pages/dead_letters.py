"""Dead letters: what arrived, why it was refused, and who has looked at it."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from app import web
from app.asking import given_text, given_whole, here, page_links, page_number
from app.devices.boxes import dead_letters as letters_service
from app.devices.boxes.dead_letters import Wanted, readable
from app.devices.pages.common import NOTE_LENGTH_MAX, PAGE_SIZE, TEXT_LENGTH_MAX, blueprint
from app.people.models import Role
from app.presentation import CENTER
from app.security import change, require
from app.texts import _n
from telemetry.errors import DeadReason


@blueprint.get("/devices/dead-letters")
@require(*CENTER)
def dead_letters() -> Any:
    """Show a page of dead letters; a box may not even be enrolled, so they are the center's alone."""
    wanted, page = _wanted(request.args), page_number()
    with web.database().reader() as session:
        found = letters_service.dead_letters(session, wanted=wanted, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
        return render_template(
            "devices/dead_letters.html",
            found=found,
            wanted=wanted,
            here=here,
            readable=readable,
            links=page_links(page, has_more=found.has_more),
        )


@blueprint.post("/devices/dead-letters/seen")
@require(Role.CLERK, Role.ADMIN)
def note_dead_letters() -> Any:
    """Note that somebody has looked at the dead letters of a filter, up to the newest that the page showed."""
    wanted = _wanted(request.form)
    noted = change(
        letters_service.note_seen,
        wanted=wanted,
        until_id=given_whole("until_id"),
        note=given_text("note", required=False, length_max=NOTE_LENGTH_MAX),
    )
    flash(_n("%(num)d dead letter is noted as seen.", "%(num)d dead letters are noted as seen.", noted), "good")
    return redirect(url_for("devices_pages.dead_letters", box=wanted.box or None))


def _wanted(values: Any) -> Wanted:
    reason = values.get("reason", "")
    return Wanted(
        box=values.get("box", "").strip()[:TEXT_LENGTH_MAX],
        reason=next((each for each in DeadReason if each.value == reason), None),
        seen=values.get("seen") == "1",
    )

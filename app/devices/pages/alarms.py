"""Alarms: what is wrong now, what was, and who takes care of it."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from app import clock, web
from app.asking import given_text, page_links, page_number
from app.devices.boxes import alarms as alarms_service
from app.devices.pages.common import ACKNOWLEDGERS, NOTE_LENGTH_MAX, PAGE_SIZE, READERS, blueprint
from app.devices.wording import alarm_words
from app.security import principal, require
from app.texts import _


@blueprint.get("/devices/alarms")
@require(*READERS)
def alarms() -> Any:
    """Show the open alarms, those that nobody has acknowledged first; below, those that have passed."""
    page = page_number()
    with web.database().reader() as session:
        closed = alarms_service.closed_alarms(
            session, reader=principal(), limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE
        )
        return render_template(
            "devices/alarms.html",
            found=alarms_service.open_alarms(session, reader=principal()),
            closed=closed[:PAGE_SIZE],
            alarm_words=alarm_words,
            acknowledgers=ACKNOWLEDGERS,
            links=page_links(page, has_more=len(closed) > PAGE_SIZE),
        )


@blueprint.post("/devices/alarms/<int:alarm_id>/acknowledge")
@require(*ACKNOWLEDGERS)
def acknowledge(alarm_id: int) -> Any:
    """Write down that somebody has seen an alarm and takes care of it; it stays open until its trouble has passed."""
    note, reader, at = given_text("note", required=False, length_max=NOTE_LENGTH_MAX), principal(), clock.now()
    web.database().run(
        lambda session: alarms_service.acknowledge(session, alarm_id=alarm_id, note=note, reader=reader, at=at)
    )
    flash(_("The alarm is acknowledged. It closes by itself when its trouble has passed."), "good")
    box = request.form.get("box", "")
    return redirect(url_for("devices_pages.box", code=box) if box else url_for("devices_pages.alarms"))

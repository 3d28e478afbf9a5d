"""Terminal events that fitted nowhere, and what a person does with each."""

from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for

from app import clock, web
from app.asking import given_whole, here, page_links, page_number
from app.devices.models import Settlement
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER, plain_yuan
from app.reconciliation import parked
from app.reconciliation.pages.common import ANSWERERS, blueprint, given_note
from app.security import principal, require
from app.texts import _

PAGE_SIZE = 50


@blueprint.get("/parked-events")
@require(Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, *CENTER)
def parked_queue() -> Any:
    """Show the events that wait for a person, or those that are settled."""
    resolved, page = request.args.get("show") == "settled", page_number()
    with web.database().reader() as session:
        found = parked.waiting_events(
            session,
            reader=principal(),
            resolved=resolved,
            limit=PAGE_SIZE + 1,
            offset=(page - 1) * PAGE_SIZE,
        )
        return render_template(
            "reconciliation/parked.html",
            found=found[:PAGE_SIZE],
            resolved=resolved,
            settlers=ANSWERERS,
            plain_yuan=plain_yuan,
            here=here,
            links=page_links(page, has_more=len(found) > PAGE_SIZE),
        )


@blueprint.post("/parked-events/<uuid:terminal_id>/<int:seq>")
@require(*ANSWERERS)
def settle_parked(terminal_id: UUID, seq: int) -> Any:
    """Settle one event in the way that was chosen, with a reason."""
    chosen, note = request.form.get("settlement", ""), given_note("resolution")
    if chosen not in set(Settlement):
        raise Refusal(Code.VALIDATION_FAILED, fields={"settlement": [", ".join(Settlement)]})
    settlement = Settlement(chosen)
    minutes = given_whole("minutes") if settlement is Settlement.CHARGED else None
    resolver, at, message_hash = principal().acting_as(*ANSWERERS), clock.now(), request.form.get("message_hash", "")
    web.database().run(
        lambda session: parked.settle(
            session,
            terminal_id=terminal_id,
            seq=seq,
            message_hash=message_hash,
            settlement=settlement,
            resolution=note,
            minutes=minutes,
            resolver=resolver,
            at=at,
        )
    )
    if settlement is Settlement.DISMISSED:
        flash(_("The event is settled. No money moved by this."), "good")
    else:
        flash(_("The event is settled; what it changed stands in the session's evidence."), "good")
    return redirect(url_for("reconciliation_pages.parked_queue"))

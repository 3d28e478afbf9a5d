"""Unpaid use: the list, what can be done about one run, and the invoice that was drafted for it."""

from typing import Any

from flask import flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import asked_whole, here, page_links, page_number
from app.exports.download import send_sheet, wanted_format
from app.reconciliation import unpaid
from app.reconciliation.pages.common import DECIDERS, SECTION, STAFF, blueprint, decider, given_note, zone
from app.reconciliation.sheets import invoice_sheet
from app.security import principal, require
from app.texts import _


@blueprint.get("/unpaid-use")
@require(*STAFF)
def unpaid_use() -> Any:
    """List what ran without a card, with hours and what it would have cost."""
    g.section = SECTION
    page, answered = page_number(), request.args.get("answered") == "1"
    with web.database().reader() as session:
        found = unpaid.list_uses(
            session,
            reader=principal(),
            zone=zone(),
            answered=answered,
            instrument_id=asked_whole("instrument") or None,
            page=page,
        )
        return render_template(
            "reconciliation/unpaid.html",
            found=found,
            answered=answered,
            here=here,
            links=page_links(page, has_more=found.has_more),
        )


@blueprint.get("/unpaid-use/<int:box_verdict_id>")
@require(*DECIDERS)
def unpaid_run(box_verdict_id: int) -> Any:
    """Show one run that nobody paid for and what can be done about it."""
    g.section = SECTION
    with web.database().reader() as session:
        use = unpaid.get_use(session, box_verdict_id=box_verdict_id, reader=decider(), zone=zone())
        return render_template("reconciliation/unpaid_run.html", use=use)


@blueprint.post("/unpaid-use/<int:box_verdict_id>/explain")
@require(*DECIDERS)
def explain(box_verdict_id: int) -> Any:
    """Write down why a run owes nothing."""
    note, maker, at = given_note(), decider(), clock.now()
    web.database().run(
        lambda session: unpaid.explain(session, box_verdict_id=box_verdict_id, note=note, maker=maker, at=at)
    )
    flash(_("Your explanation stands beside the run."), "good")
    return redirect(url_for("reconciliation_pages.unpaid_use"))


@blueprint.post("/unpaid-use/<int:box_verdict_id>/maintenance")
@require(*DECIDERS)
def mark_as_maintenance(box_verdict_id: int) -> Any:
    """Say that the run was maintenance."""
    note, maker, at = given_note(), decider(), clock.now()
    web.database().run(
        lambda session: unpaid.mark_as_maintenance(
            session, box_verdict_id=box_verdict_id, note=note, maker=maker, at=at
        )
    )
    flash(_("The time is marked as maintenance; the run's verdict follows within seconds."), "good")
    return redirect(url_for("reconciliation_pages.unpaid_use"))


@blueprint.post("/unpaid-use/<int:box_verdict_id>/invoice")
@require(*DECIDERS)
def draft_invoice(box_verdict_id: int) -> Any:
    """Draft an invoice to the account of whoever used the instrument."""
    note, maker, at, site = given_note(), decider(), clock.now(), zone()
    number = request.form.get("account", "").strip()
    made = web.database().run(
        lambda session: unpaid.draft_invoice(
            session, box_verdict_id=box_verdict_id, account_number=number, note=note, zone=site, maker=maker, at=at
        )
    )
    flash(_("The invoice is drafted; nothing was posted."), "good")
    return redirect(url_for("reconciliation_pages.invoice", answer_id=made.id))


@blueprint.get("/unpaid-use/invoices/<int:answer_id>")
@require(*STAFF)
def invoice(answer_id: int) -> Any:
    """Show an invoice that was drafted, or give it as a file."""
    g.section = SECTION
    form = wanted_format()
    with web.database().reader() as session:
        found = unpaid.get_invoice(session, answer_id=answer_id, reader=principal())
        if form is not None:
            return send_sheet(invoice_sheet(found), form)
        return render_template("reconciliation/invoice.html", invoice=found, file_url=here)

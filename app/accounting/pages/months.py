"""The close of months: finance closes and asks to reopen, an approver reopens or keeps closed."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from app import clock, web
from app.accounting import service
from app.accounting.pages.common import READERS, blueprint
from app.asking import given_text
from app.errors import Code, Refusal
from app.people.models import Role
from app.periods import Month
from app.security import change, require
from app.texts import _


@blueprint.get("/months")
@require(*READERS)
def months() -> Any:
    """Show every month with its state, what is still open in it, and what can be done next."""
    with web.database().reader() as session:
        found = service.list_months(session, zone=web.settings().site_timezone, at=clock.now())
    return render_template("accounting/months.html", months=found)


@blueprint.get("/months/<month>")
@require(*READERS)
def month(month: str) -> Any:
    """Show one month: what was done to it by whom, what waits in it, and the buttons that fit its state."""
    zone, asked = web.settings().site_timezone, _month(month)
    with web.database().reader() as session:
        view = service.month_view(session, month=asked, zone=zone, at=clock.now())
        drafts = service.waiting_in(session, since=asked.since(zone), until=asked.until(zone))
        balance = service.trial_balance(session, since=asked.since(zone), until=asked.until(zone))
    return render_template("accounting/month.html", view=view, drafts=drafts, balance=balance)


@blueprint.post("/months/<month>/close")
@require(Role.FINANCE)
def close_month(month: str) -> Any:
    """Close it."""
    change(service.close_month, month=_month(month), zone=web.settings().site_timezone)
    flash(_("%(month)s is closed; nothing more is posted into it.", month=month), "good")
    return _back(month)


@blueprint.post("/months/<month>/reopening")
@require(Role.FINANCE)
def ask_to_reopen(month: str) -> Any:
    """Ask to reopen it, with the reason."""
    reason = given_text("reason")
    change(service.ask_to_reopen, month=_month(month), reason=reason, zone=web.settings().site_timezone)
    flash(_("Another person must now agree to reopen %(month)s.", month=month), "good")
    return _back(month)


@blueprint.post("/months/<month>/reopening/decision")
@require(Role.APPROVER)
def decide_reopening(month: str) -> Any:
    """Reopen it, or keep it closed."""
    zone = web.settings().site_timezone
    if request.form.get("decision") == "reopen":
        change(service.reopen_month, month=_month(month), zone=zone)
        flash(_("%(month)s is open again.", month=month), "good")
    else:
        change(service.keep_closed, month=_month(month), zone=zone)
        flash(_("%(month)s stays closed.", month=month), "good")
    return _back(month)


def _month(text: str) -> Month:
    found = Month.parse(text)
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def _back(month: str) -> Any:
    return redirect(url_for("accounting_pages.month", month=month))

"""Control totals: charged and run hours of every instrument on every day, and that they add up."""

from datetime import timedelta
from typing import Any

from flask import g, render_template, request

from app import clock, periods, web
from app.asking import asked_whole, here, page_links, page_number
from app.exports.download import send_sheet, wanted_format
from app.reconciliation import totals
from app.reconciliation.pages.common import SECTION, STAFF, blueprint, zone
from app.reconciliation.sheets import control_sheet
from app.security import principal, require

ONE_DAY = timedelta(days=1)


@blueprint.get("/control-totals")
@require(*STAFF)
def control_totals() -> Any:
    """Show a month's control totals by instrument and day, or give them as a file."""
    g.section = SECTION
    site, form, page = zone(), wanted_format(), page_number()
    present = periods.Month.of(clock.now(), zone=site)
    month = periods.Month.parse(request.args.get("month", "")) or present
    with web.database().reader() as session:
        asked: dict[str, Any] = {
            "reader": principal(),
            "since": month.since(site).date(),
            "until": (month.until(site) - ONE_DAY).date(),
            "instrument_id": asked_whole("instrument") or None,
        }
        found = totals.list_totals(session, **asked, page=page)
        if form is not None:
            lines = totals.all_lines(session, **asked)
            return send_sheet(control_sheet(lines, sums=found.sums, month=str(month)), form)
        return render_template(
            "reconciliation/totals.html",
            found=found,
            month=month,
            earlier_url=here(month=str(month.previous)),
            later_url=here(month=str(month.next)) if month < present else "",
            file_url=here,
            links=page_links(page, has_more=found.has_more),
        )

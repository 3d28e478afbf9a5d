"""The page of usage records: what is verified, narrowed and exported as seen."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request
from sqlalchemy import select

from app import clock, web
from app.asking import asked_whole, here, month_links
from app.exports.download import send_sheet, wanted_format
from app.instruments.models import Instrument, SubCenter
from app.labels import find
from app.presentation import local_name
from app.reconciliation.records import cursors, reading, sheets
from app.reconciliation.records.reading import Wanted
from app.reconciliation.visibility import instruments_managed_by
from app.security import principal, require
from app.spans import read_span
from app.texts import _

blueprint = Blueprint("usage_pages", __name__)
blueprint.add_app_template_filter(sheets.verified_by, "verified_by")

PAGE_SIZE = 50
# What the address says, and what the list then holds.
SCOPES: dict[str, dict[str, Any]] = {
    "": {},
    "external": {"external": True},
    "internal": {"external": False},
    "by_person": {"by_person": True},
    "past": {"verified": False},
}


@blueprint.get("/usage-records")
@require()
def usage_records() -> Any:
    """List the usage records of a time on the reader's accounts and instruments, or give them as a file."""
    span = read_span(request.args, zone=web.settings().site_timezone, at=clock.now())
    scope = request.args.get("scope", "")
    scope = scope if scope in SCOPES else ""
    instrument_id, sub_center_id = _number("instrument"), _number("sub_center")
    wanted = Wanted(
        since=span.since,
        until=span.until,
        instrument_id=instrument_id,
        sub_center_id=sub_center_id,
        **SCOPES[scope],
    )
    form, reader = wanted_format(), principal()
    with web.database().reader() as session:
        totals = reading.totals(session, reader=reader, wanted=wanted)
        instruments = list(
            session.scalars(select(Instrument).where(instruments_managed_by(reader)).order_by(Instrument.code))
        )
        sub_centers = (
            list(session.scalars(select(SubCenter).order_by(SubCenter.code))) if reader.sees_everything else []
        )
        if form is not None:
            chosen: list[SubCenter | Instrument] = [each for each in sub_centers if each.id == sub_center_id]
            chosen += [each for each in instruments if each.id == instrument_id]
            found = reading.all_records(session, reader=reader, wanted=wanted)
            filters = _filters(scope=scope, chosen=chosen)
            return send_sheet(sheets.records_sheet(found, span=span, filters=filters, totals=totals), form)
        after = cursors.read_place(request.args.get("after", ""))
        page = reading.list_records(session, reader=reader, wanted=wanted, after=after, limit=PAGE_SIZE)
    return render_template(
        "reconciliation/usage_records.html",
        page=page,
        totals=totals,
        instruments=instruments,
        instrument_id=instrument_id,
        sub_centers=sub_centers,
        sub_center_id=sub_center_id,
        scope=scope,
        scopes=SCOPES,
        file_url=here,
        next_url=here(after=cursors.place_text(page.next)) if page.next else "",
        first_url=here() if after else "",
        span=span,
        links=month_links(span),
    )


def _filters(*, scope: str, chosen: Sequence[SubCenter | Instrument]) -> tuple[tuple[str, str], ...]:
    """Say in the file how the list was narrowed."""
    named = tuple(
        (_("Instrument") if isinstance(each, Instrument) else _("Sub-center"), local_name(each)) for each in chosen
    )
    return (*named, (_("Records"), str(find(scope, "record_scope").word))) if scope else named


def _number(name: str) -> int | None:
    return asked_whole(name) or None

"""The page of usage records: what is verified, narrowed and exported as seen."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request, url_for
from sqlalchemy import select

from app import clock, web
from app.exports.download import send_sheet, wanted_format
from app.fields import INTEGER_MAX
from app.instruments.models import Instrument, SubCenter
from app.labels import find
from app.periods import Month
from app.presentation import local_name
from app.reconciliation.records import cursors, reading, sheets
from app.reconciliation.records.reading import Wanted
from app.reconciliation.visibility import instruments_managed_by
from app.security import principal, require
from app.spans import Span, read_span
from app.texts import _

blueprint = Blueprint("usage_pages", __name__)
blueprint.add_app_template_filter(sheets.verified_by, "verified_by")

PAGE_SIZE = 50
DIGITS_MAX = len(str(INTEGER_MAX))
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
        file_url=_here,
        next_url=_here(after=cursors.place_text(page.next)) if page.next else "",
        first_url=_here() if after else "",
        **_days(span),
    )


def _filters(*, scope: str, chosen: Sequence[SubCenter | Instrument]) -> tuple[tuple[str, str], ...]:
    """Say in the file how the list was narrowed."""
    named = tuple(
        (_("Instrument") if isinstance(each, Instrument) else _("Sub-center"), local_name(each)) for each in chosen
    )
    return (*named, (_("Records"), str(find(scope, "record_scope").word))) if scope else named


def _days(span: Span) -> dict[str, Any]:
    links = {"previous_url": "", "next_url": ""}
    if span.month is not None:
        present = Month.of(clock.now(), zone=web.settings().site_timezone)
        links["next_url"] = _here(month=str(span.month.previous))
        links["previous_url"] = _here(month=str(span.month.next)) if span.month < present else ""
    return {"span": span, "links": links}


def _number(name: str) -> int | None:
    text = request.args.get(name, "")
    found = int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 0
    return found if 0 < found <= INTEGER_MAX else None


def _here(**changed: str) -> str:
    """Give the present address with some of its values changed; another list begins at its first page."""
    values: dict[str, str] = dict(request.args.items()) | changed
    values.pop("lang", None)
    if "month" in changed:
        values.pop("since", None)
        values.pop("until", None)
    if "after" not in changed:
        values.pop("after", None)
    return url_for("usage_pages.usage_records", **{name: value for name, value in values.items() if value})  # type: ignore[arg-type]

"""What people read: home, instruments, statement, charges with their evidence, ledger view, wall, today."""

import re
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, g, jsonify, redirect, render_template, request, url_for

from app import clock, labels, periods, web
from app.asking import Links, asked_whole, here, month_links, page_links, page_number
from app.books import Book, BookRole
from app.errors import Code, Refusal
from app.exports.download import send_sheet, wanted_format
from app.instruments import service as instruments
from app.people.models import Role
from app.presentation import CENTER
from app.reconciliation import service as reconciliation
from app.reports import evidence_schemas, hours_sheets, picture, service, sheets, wording
from app.security import change, principal, principal_or_none, require
from app.spans import read_span
from app.texts import _

blueprint = Blueprint("reports_pages", __name__)

SEARCH_LENGTH_MAX = 100
WATCHES_INSTRUMENTS = (Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, *CENTER)
HOMES = (
    (CENTER, "reports_pages.today"),
    ((Role.SUB_CENTER_MANAGER,), "reports_pages.ledger_view"),
    ((Role.GROUP_OPERATOR,), "reports_pages.on_now"),
    ((Role.CARDHOLDER,), "cards_pages.accounts"),
)


@blueprint.app_template_filter("posting_word")
def posting_word(posting: service.Posting) -> str:
    """Say what a posting is: of a hold its phase, of any other transfer its code."""
    return str(labels.find(str(posting.code) if posting.phase == "move" else posting.phase, "posting").word)


@blueprint.get("/")
def home() -> Any:
    """Lead everyone to the page of their work, strangers to the instruments."""
    person = principal_or_none()
    endpoints = [endpoint for roles, endpoint in HOMES if person is not None and person.has(*roles)]
    address = endpoints[0] if endpoints else "reports_pages.catalog"
    return redirect(url_for(address, lang=request.args.get("lang")))


@blueprint.get("/instruments")
def catalog() -> Any:
    """Show all instruments with what they do now; open to everyone."""
    search = request.args.get("search", "").strip()[:SEARCH_LENGTH_MAX]
    chosen_class = request.args.get("class", "")[:SEARCH_LENGTH_MAX]
    unit_id = asked_whole("unit", default=0)
    page = page_number()
    with web.database().reader() as session:
        listing = service.catalog(
            session, at=clock.now(), search=search, instrument_class=chosen_class, unit_id=unit_id or None, page=page
        )
        return render_template(
            "reports/catalog.html",
            listing=listing,
            search=search,
            chosen_class=chosen_class,
            classes=service.classes(session),
            unit_id=unit_id,
            units=service.units(session),
            links=page_links(page, has_more=listing.has_more),
        )


@blueprint.get("/instruments/<int:instrument_id>")
def instrument(instrument_id: int) -> Any:
    """Show one instrument: where it stands, what it does now, what it costs."""
    g.section = "reports_pages.catalog"
    now = clock.now()
    with web.database().reader() as session:
        place = service.place(session, instrument_id=instrument_id, at=now)
        return render_template(
            "reports/instrument.html", place=place, prices=service.prices(session, instrument_id=instrument_id, at=now)
        )


@blueprint.post("/instruments/<int:instrument_id>/allowances")
@require(Role.ADMIN)
def set_allowances(instrument_id: int) -> Any:
    """Change the warm-up and after-treatment that count as effective time at an instrument."""
    given = {name: request.form.get(name, "") for name in ("warm_up_min", "after_treatment_min")}
    # What is no whole number fails as one that is too large.
    minutes = {name: int(text) if re.fullmatch("[0-9]{1,5}", text) else -1 for name, text in given.items()}
    change(instruments.set_allowances, instrument_id=instrument_id, **minutes)
    flash(_("The allowances hold for what is decided from now on."), "good")
    return redirect(url_for("reports_pages.instrument", instrument_id=instrument_id))


@blueprint.get("/charges")
@require(Role.CARDHOLDER)
def charges() -> Any:
    """List the customer's card sessions, each leading to its evidence."""
    page = page_number()
    with web.database().reader() as session:
        found = service.charges_of_customer(session, reader=principal(), page=page)
        return render_template("reports/charges.html", found=found, links=page_links(page, has_more=found.has_more))


@blueprint.get("/charges/<uuid:session_id>")
@require()
def evidence(session_id: UUID) -> Any:
    """Show what speaks for a charge: our signature."""
    g.section = "reports_pages.charges" if principal().has(Role.CARDHOLDER) else "reports_pages.wall"
    with web.database().reader() as session:
        found = service.evidence(session, session_id=session_id, reader=principal(), at=clock.now())
        drawn, zone = evidence_schemas.document(found), web.settings().site_timezone
        return render_template(
            "reports/evidence.html",
            found=found,
            wording=wording,
            reviewable=found.verdict is not None and reconciliation.is_exception(found.verdict),
            wide=picture.draw(drawn, frame=picture.WIDE, site_timezone=zone),
            small=picture.draw(drawn, frame=picture.SMALL, site_timezone=zone),
        )


@blueprint.get("/charges/<uuid:session_id>/evidence.json")
@require()
def evidence_file(session_id: UUID) -> Any:
    """Give the document that the page is drawn from as a file, with the proofs in it."""
    with web.database().reader() as session:
        found = service.evidence(session, session_id=session_id, reader=principal(), at=clock.now(), with_proofs=True)
        response = jsonify(evidence_schemas.document(found))
    response.headers.set("Content-Disposition", "attachment", filename=f"evidence-{session_id}.json")
    return response


@blueprint.get("/charges/<uuid:session_id>/proof")
@require()
def proof(session_id: UUID) -> Any:
    """Give the proof of the charge's postings and its usage record as a file."""
    with web.database().reader() as session:
        found = service.proofs(session, session_id=session_id, reader=principal())
    response = jsonify(found)
    response.headers.set("Content-Disposition", "attachment", filename=f"proof-{session_id}.json")
    return response


@blueprint.get("/accounts/<int:account_id>/statement")
@require()
def statement(account_id: int) -> Any:
    """Show a month of a card account with the balance after every line, or give it as a file."""
    g.section = "cards_pages.accounts"
    month, zone, form = _month(), web.settings().site_timezone, wanted_format()
    with web.database().reader() as session:
        found = service.statement(
            session,
            account_id=account_id,
            reader=principal(),
            since=month.since(zone),
            until=month.until(zone),
            **({} if form is None else {"transfers_max": service.TRANSFERS_IN_FILE_MAX}),
        )
        if form is None:
            return render_template("reports/statement.html", found=found, file_url=here, **_months(month))
        if not found.complete:
            raise Refusal(Code.EXPORT_TOO_LARGE, maximum_lines=service.TRANSFERS_IN_FILE_MAX)
        return send_sheet(sheets.statement_sheet(found, days=str(month)), form)


@blueprint.get("/on-now")
@require(Role.GROUP_OPERATOR)
def on_now() -> Any:
    """Show who is on the group's instruments, the overdue ones first."""
    with web.database().reader() as session:
        wall = service.wall(session, reader=principal(), at=clock.now())
        return render_template(
            "reports/on_now.html", wall=wall, charges=service.open_charges(session, reader=principal())
        )


@blueprint.get("/wall")
@require(*WATCHES_INSTRUMENTS)
def wall() -> Any:
    """Show the live states; the page asks for the part below every two seconds."""
    return _wall("reports/wall.html")


@blueprint.get("/wall/live")
@require(*WATCHES_INSTRUMENTS)
def wall_live() -> Any:
    """Give the part of the wall that changes."""
    return _wall("reports/wall_live.html")


@blueprint.get("/ledger-view")
@require(Role.SUB_CENTER_MANAGER, *CENTER)
def ledger_view() -> Any:
    """Show income, debts, hours and subsidy from the sub-center down to the instrument."""
    month, zone = _month(), web.settings().site_timezone
    with web.database().reader() as session:
        view = service.ledger_view(session, reader=principal(), since=month.since(zone), until=month.until(zone))
        return render_template("reports/ledger_view.html", view=view, **_months(month))


@blueprint.get("/ledger-view/units/<int:unit_id>")
@require(Role.SUB_CENTER_MANAGER, *CENTER)
def unit_account(unit_id: int) -> Any:
    """Show the transfers that make up what is owed to a unit."""
    g.section = "reports_pages.ledger_view"
    page = page_number()
    with web.database().reader() as session:
        found = service.unit_account(session, unit_id=unit_id, reader=principal(), page=page)
        return render_template(
            "reports/unit_account.html",
            found=found,
            book_id=Book(BookRole.UNIT_PAYABLE, unit_id).id,
            links=page_links(page, has_more=found.has_more),
        )


@blueprint.get("/ledger-view/instruments/<int:instrument_id>")
@require(*WATCHES_INSTRUMENTS)
def instrument_charges(instrument_id: int) -> Any:
    """Show a month's charges on one instrument."""
    g.section = "reports_pages.ledger_view"
    month, zone, page = _month(), web.settings().site_timezone, page_number()
    with web.database().reader() as session:
        found = service.charges_of_instrument(
            session,
            instrument_id=instrument_id,
            reader=principal(),
            since=month.since(zone),
            until=month.until(zone),
            page=page,
        )
        return render_template(
            "reports/instrument_charges.html",
            instrument=found.instrument,
            found=found.charges,
            page_links=page_links(page, has_more=found.charges.has_more),
            **_months(month),
        )


@blueprint.get("/machine-hours")
@require(*WATCHES_INSTRUMENTS)
def machine_hours() -> Any:
    """Show the hours of every instrument in a month or any days, or give them as a file."""
    zone, form = web.settings().site_timezone, wanted_format()
    span = read_span(request.args, zone=zone, at=clock.now())
    with web.database().reader() as session:
        found = service.machine_hours(session, reader=principal(), since=span.since, until=span.until, at=clock.now())
        if form is not None:
            return send_sheet(hours_sheets.instruments_sheet(found, span=span), form)
        return render_template(
            "reports/machine_hours.html", found=found, file_url=here, span=span, links=month_links(span)
        )


@blueprint.get("/machine-hours/<int:instrument_id>")
@require(*WATCHES_INSTRUMENTS)
def machine_hours_of(instrument_id: int) -> Any:
    """Show the hours of one instrument month by month of a year, or give them as a file."""
    g.section = "reports_pages.machine_hours"
    zone, form = web.settings().site_timezone, wanted_format()
    present = periods.Month.of(clock.now(), zone=zone).year
    year = min(max(asked_whole("year", default=present), periods.FIRST_YEAR), present)
    bounds = [periods.Month(year, month).since(zone) for month in range(1, 13)]
    bounds.append(periods.Month(year, 12).until(zone))
    with web.database().reader() as session:
        found = service.machine_hours_of(
            session, instrument_id=instrument_id, reader=principal(), bounds=bounds, at=clock.now()
        )
        if not found.lines:  # the year begins at this very moment
            raise Refusal(Code.NOT_FOUND)
        if form is not None:
            return send_sheet(hours_sheets.months_sheet(found, year=year), form)
        return render_template(
            "reports/instrument_hours.html",
            found=found,
            instrument=found.lines[0].instrument,
            year=year,
            file_url=here,
            links=Links(
                previous_url=here(year=str(year + 1)) if year < present else "", next_url=here(year=str(year - 1))
            ),
        )


@blueprint.get("/today")
@require(*CENTER)
def today() -> Any:
    """Show the whole platform at a glance."""
    now = clock.now()
    since = periods.day_began(now, zone=web.settings().site_timezone)
    with web.database().reader() as session:
        return render_template(
            "reports/today.html", found=service.today(session, reader=principal(), since=since, at=now), since=since
        )


def _wall(template: str) -> Any:
    with web.database().reader() as session:
        return render_template(template, wall=service.wall(session, reader=principal(), at=clock.now()))


def _month() -> periods.Month:
    zone = web.settings().site_timezone
    asked = request.args.get("month", "")
    month = periods.Month.parse(asked) if asked else periods.Month.of(clock.now(), zone=zone)
    if month is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={"month": ["YYYY-MM"]})
    return month


def _months(month: periods.Month) -> dict[str, Any]:
    present = periods.Month.of(clock.now(), zone=web.settings().site_timezone)
    return {
        "month": month,
        "links": Links(
            previous_url=here(month=str(month.next)) if month < present else "",
            next_url=here(month=str(month.previous)),
        ),
    }

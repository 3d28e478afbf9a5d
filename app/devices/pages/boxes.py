"""The list of boxes, one box, and what an administrator does to it: enrol, place, renew the password, revoke."""

from typing import Any
from uuid import UUID, uuid4

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock, web
from app.asking import asked_choice, asked_text, given_text, given_whole, here, page_links, page_number
from app.devices.boxes import details, enrolment, listing
from app.devices.boxes.enrolment import BoxPassword
from app.devices.boxes.listing import Order, Show
from app.devices.boxes.visibility import box_of, present_places
from app.devices.pages.common import ACKNOWLEDGERS, PAGE_SIZE, READERS, TEXT_LENGTH_MAX, blueprint
from app.devices.pages.pictures import clock_picture
from app.devices.wording import alarm_words, offset_words
from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people.models import Role
from app.security import change, principal, require
from app.texts import _
from telemetry.models import CHANNELS_MAX, Box


@blueprint.get("/devices/boxes")
@require(*READERS)
def boxes() -> Any:
    """List the boxes with state, clock, holes, backlog, quality, dead letters and alarms."""
    show, order = asked_choice("show", Show, Show.IN_SERVICE), asked_choice("order", Order, Order.CODE)
    search, page = asked_text("search"), page_number()
    with web.database().reader() as session:
        found = listing.list_boxes(
            session,
            reader=principal(),
            show=show,
            search=search,
            order=order,
            page=page,
            page_size=PAGE_SIZE,
            at=clock.now(),
        )
        return render_template(
            "devices/boxes.html",
            found=found,
            show=show,
            shows=Show,
            order=order,
            search=search,
            here=here,
            links=page_links(page, has_more=page * PAGE_SIZE < found.total),
        )


@blueprint.get("/devices/boxes/<string:code>")
@require(*READERS)
def box(code: str) -> Any:
    """Show one box with its history."""
    zone = web.settings().site_timezone
    with web.database().reader() as session:
        found = details.details(session, code=code, reader=principal(), zone=zone, at=clock.now())
        return render_template(
            "devices/box.html",
            found=found,
            alarm_words=alarm_words,
            offset_words=offset_words,
            acknowledgers=ACKNOWLEDGERS,
            clock_picture=clock_picture(found.clock_days),
        )


@blueprint.get("/devices/boxes/new")
@require(Role.ADMIN)
def new_box() -> Any:
    """Ask what a new box has and where it stands."""
    with web.database().reader() as session:
        return render_template(
            "devices/new_box.html", request_id=uuid4(), channels_max=CHANNELS_MAX, instruments=instruments(session)
        )


@blueprint.post("/devices/boxes/new")
@require(Role.ADMIN)
def enrol_box() -> Any:
    """Enrol a box, and show its password this one time."""
    channels, instrument_code = given_whole("channels"), given_text("instrument", required=False)
    request_id = _request_id()

    def work(session: Session, *, actor: str, at: Any) -> BoxPassword:
        instrument_id = instrument_id_of(session, instrument_code) if instrument_code else None
        return enrolment.enrol_box(
            session, request_id=request_id, channels=channels, instrument_id=instrument_id, actor=actor, at=at
        )

    return _password_page(change(work), is_new=True)


@blueprint.get("/devices/boxes/<string:code>/password")
@require(Role.ADMIN)
def new_password(code: str) -> Any:
    """Say what a new password does before it is made."""
    return _ask("devices/password_ask.html", code)


@blueprint.post("/devices/boxes/<string:code>/password")
@require(Role.ADMIN)
def rotate_password(code: str) -> Any:
    """Make a new password, and show it this one time."""
    return _password_page(change(enrolment.rotate_password, code=code), is_new=False)


@blueprint.get("/devices/boxes/<string:code>/revoke")
@require(Role.ADMIN)
def ask_revoke(code: str) -> Any:
    """Say what revoking does before it is done."""
    return _ask("devices/revoke_ask.html", code)


@blueprint.post("/devices/boxes/<string:code>/revoke")
@require(Role.ADMIN)
def revoke_box(code: str) -> Any:
    """Revoke a box."""
    change(enrolment.revoke_box, code=code)
    flash(_("The box is revoked. What it has told stays evidence."), "good")
    return redirect(url_for("devices_pages.box", code=code))


@blueprint.get("/devices/boxes/<string:code>/channels/<int:channel>/place")
@require(Role.ADMIN)
def ask_place(code: str, channel: int) -> Any:
    """Ask where a channel stands from now on."""
    with web.database().reader() as session:
        found = _channel(session, code, channel)
        return render_template(
            "devices/place.html",
            box=found,
            channel=channel,
            place=present_places(session, [code]).get((code, channel)),
            instruments=instruments(session),
        )


@blueprint.post("/devices/boxes/<string:code>/channels/<int:channel>/place")
@require(Role.ADMIN)
def place(code: str, channel: int) -> Any:
    """Place a channel at an instrument, or take it away from where it stands."""
    if request.form.get("do") == "take_away":
        change(enrolment.take_away, box=code, channel=channel)
        flash(_("The channel meters nothing from now on."), "good")
    else:
        instrument_code = given_text("instrument", length_max=TEXT_LENGTH_MAX)

        def work(session: Session, *, actor: str, at: Any) -> None:
            instrument_id = instrument_id_of(session, instrument_code)
            enrolment.place_box(session, box=code, channel=channel, instrument_id=instrument_id, actor=actor, at=at)

        change(work)
        flash(_("The channel meters this instrument from now on; what it measured before stays where it was."), "good")
    return redirect(url_for("devices_pages.box", code=code))


def _ask(template: str, code: str) -> Any:
    with web.database().reader() as session:
        found = box_of(session, code=code, reader=principal())
        if found.revoked_at is not None:
            raise Refusal(Code.BOX_REVOKED)
        return render_template(template, box=found)


def _password_page(made: BoxPassword, *, is_new: bool) -> Any:
    settings = web.settings()
    return render_template(
        "devices/password_shown.html",
        box=made.box,
        password=made.password,
        is_new=is_new,
        server_host=settings.mqtt_host,
        server_port=settings.mqtt_port,
        has_tls=settings.mqtt_tls,
    )


def _channel(session: Session, code: str, channel: int) -> Box:
    found = box_of(session, code=code, reader=principal())
    if channel >= found.channels:
        raise Refusal(Code.NOT_FOUND)
    return found


def instruments(session: Session) -> list[Instrument]:
    """Give all instruments by code, for the browser to suggest from."""
    return list(session.scalars(select(Instrument).order_by(Instrument.code)))


def instrument_id_of(session: Session, code: str) -> int:
    """Give the instrument of a code that a person typed. Raises Refusal VALIDATION_FAILED."""
    found = session.scalar(select(Instrument.id).where(Instrument.code == code))
    if found is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={"instrument": [_("No instrument has this code.")]})
    return found


def _request_id() -> UUID:
    try:
        return UUID(request.form.get("request_id", ""))
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"request_id": ["UUID"]}) from error

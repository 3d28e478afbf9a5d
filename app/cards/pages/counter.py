"""The counter's pages: every card found and filtered, one card with its history, and all that is done to it."""

from io import BytesIO
from typing import Any
from uuid import UUID

from flask import Response, flash, redirect, render_template, request, send_file, url_for
from sqlalchemy.orm import Session

from app import web
from app.asking import asked_choice, asked_text, digits, given_text, here, page_links, page_number
from app.cards import life, listing, numbers, printing, service, stations, uids, works
from app.cards.life import Event
from app.cards.listing import Show
from app.cards.making import Stage, Trouble
from app.cards.models import Card, CardClass, CardStatus, CardWork, StationStatus, WorkPurpose
from app.cards.pages.common import (
    PAGE_SIZE,
    TEXT_LENGTH_MAX,
    blueprint,
    given_day,
    given_pin,
    today,
    usual_last_day,
)
from app.cards.wording import STAGE_PERCENT, WAITING, WAITING_RENEWAL, stage_words, trouble_words
from app.errors import Code, Refusal
from app.people.models import Person, Role
from app.presentation import CENTER, chinese
from app.security import change, require
from app.texts import _

EVENTS = {Event.BLOCK: life.block, Event.UNBLOCK: life.unblock, Event.LOST: life.lost, Event.FOUND: life.found}


@blueprint.get("/cards/all")
@require(*CENTER)
def center() -> Any:
    """List the cards: by number, name or account, and by what is the matter with them."""
    show, search, page = asked_choice("show", Show, Show.ALL), asked_text("search"), page_number()
    with web.database().reader() as session:
        found = listing.list_cards(session, show=show, search=search, today=today(), page=page, page_size=PAGE_SIZE)
        return render_template(
            "cards/center.html",
            found=found,
            show=show,
            shows=Show,
            search=search,
            here=here,
            today=today(),
            links=page_links(page, has_more=page * PAGE_SIZE < found.total),
            works=works.open_works(session),
            progress=progress,
        )


@blueprint.get("/cards/<int:card_id>")
@require(*CENTER)
def card(card_id: int) -> Any:
    """Show one card, what may be done with it, and what was."""
    with web.database().reader() as session:
        found = listing.get_card(session, card_id=card_id)
        before, after = listing.neighbours(session, card=found)
        work = works.open_work_of(session, card_id=card_id)
        return render_template(
            "cards/card.html",
            card=found,
            uid_card_fen_per_day_max=web.settings().uid_card_fen_per_day_max,
            before=before,
            after=after,
            work=work,
            works=works.works_of(session, card_id=card_id),
            progress=progress,
            history=life.history(session, card=found),
            stations=_free_stations(session),
            balances=service.account_balances(session, [found.account_id])[found.account_id],
            may={event for (status, event) in life.STATES if status is found.status},
            events=Event,
            today=today(),
            last_day=usual_last_day(),
        )


@blueprint.post("/cards/<int:card_id>/<any(block, unblock, lost, found):event>")
@require(Role.CLERK)
def do_event(card_id: int, event: str) -> Any:
    """Block, unblock, report lost or take back as found, with a reason."""
    done = change(EVENTS[Event(event)], card_id=card_id, reason=given_text("reason"))
    flash(_("Card %(number)s: done and written down.", number=numbers.masked_number(done.face_number)), "good")
    return redirect(url_for("cards_pages.card", card_id=card_id))


@blueprint.post("/cards/<int:card_id>/replace")
@require(Role.CLERK)
def replace(card_id: int) -> Any:
    """Make the holder a new card of the same account; the old one is dead."""
    new = change(
        life.replace, card_id=card_id, pin=given_pin(), expires_on=given_day("expires_on"), reason=given_text("reason")
    )
    flash(_("The old card is dead. This is the new one; balance and project are those of the account."), "good")
    return redirect(url_for("cards_pages.card", card_id=new.id))


@blueprint.post("/cards/<int:card_id>/renew")
@require(Role.CLERK)
def renew(card_id: int) -> Any:
    """Let a card be used longer; a chip gets fresh keys on a station."""
    work = change(
        life.renew, card_id=card_id, expires_on=given_day("expires_on"), station_id=_station_id(required=False)
    )
    flash(_("Put the card on the station.") if work else _("The card is renewed."), "good")
    return redirect(url_for("cards_pages.card", card_id=card_id))


@blueprint.post("/cards/<int:card_id>/set-pin")
@require(Role.CLERK)
def set_pin(card_id: int) -> Any:
    """Give a card a new PIN that its holder typed at the counter."""
    change(service.set_pin, card_id=card_id, pin=given_pin())
    flash(_("The card has its new PIN from now on."), "good")
    return redirect(url_for("cards_pages.card", card_id=card_id))


@blueprint.post("/cards/<int:card_id>/unlock-pin")
@require(Role.CLERK)
def unlock_pin(card_id: int) -> Any:
    """Give the PIN its five tries back."""
    change(life.unlock_pin, card_id=card_id)
    flash(_("The PIN may be tried five times again."), "good")
    return redirect(url_for("cards_pages.card", card_id=card_id))


@blueprint.get("/cards/new")
@require(Role.CLERK)
def new_card() -> Any:
    """Ask for account, holder, kind and PIN of a new card."""
    with web.database().reader() as session:
        return render_template(
            "cards/new.html",
            stations=_free_stations(session),
            last_day=usual_last_day(),
            number=asked_text("account"),
            takes_uid_cards=web.settings().takes_uid_cards,
        )


@blueprint.post("/cards/new")
@require(Role.CLERK)
def issue() -> Any:
    """Issue a card; one with a chip waits for a station."""
    account_number, username = given_text("account", length_max=TEXT_LENGTH_MAX), given_text("holder", required=False)
    chosen = request.form.get("card_class", "")
    card_class = CardClass(chosen) if chosen in (CardClass.EV2, CardClass.UID) else CardClass.TYPED
    uid = _given_uid() if card_class is CardClass.UID else None
    pin, expires_on, station_id = given_pin(), given_day("expires_on"), _station_id(required=False)

    def work(session: Session, *, actor: str, at: Any) -> Card:
        account = service.find_account(session, number=numbers.plain(account_number)).account
        made = service.issue_card(
            session,
            account_id=account.id,
            holder_id=_holder_id(session, username, default=account.person_id),
            card_class=card_class,
            pin=pin,
            expires_on=expires_on,
            uid=uid,
            takes_uid_cards=web.settings().takes_uid_cards,
            actor=actor,
            at=at,
        )
        if card_class is CardClass.EV2 and station_id is not None:
            values: dict[str, Any] = {"purpose": WorkPurpose.ISSUE, "expires_on": expires_on}
            works.order(session, card_id=made.id, station_id=station_id, **values, actor=actor, at=at)
        return made

    made = change(work)
    waiting = made.status is CardStatus.PREPARING
    flash(_("The card is ordered: a station makes its chip.") if waiting else _("The card is issued."), "good")
    return redirect(url_for("cards_pages.card", card_id=made.id))


@blueprint.post("/cards/<int:card_id>/make")
@require(Role.CLERK)
def make(card_id: int) -> Any:
    """Let a station make this card's chip."""
    station_id = _station_id(required=True)

    def work(session: Session, *, actor: str, at: Any) -> CardWork:
        found = listing.get_card(session, card_id=card_id)
        purpose = WorkPurpose.ISSUE if found.uid is None else WorkPurpose.RENEW
        values: dict[str, Any] = {"purpose": purpose, "expires_on": found.expires_on, "actor": actor, "at": at}
        return works.order(session, card_id=card_id, station_id=station_id, **values)

    change(work)
    flash(_("Put a blank card on the station."), "good")
    return redirect(url_for("cards_pages.card", card_id=card_id))


@blueprint.post("/cards/works/<uuid:work_id>/cancel")
@require(Role.CLERK)
def cancel(work_id: UUID) -> Any:
    """Stop a station's work on a card."""
    work = change(works.cancel, work_id=work_id)
    flash(_("The work is cancelled. What was written to the chip is taken up by the next work."), "good")
    return redirect(url_for("cards_pages.card", card_id=work.card_id))


@blueprint.get("/cards/<int:card_id>/progress")
@require(*CENTER)
def live(card_id: int) -> Any:
    """Give the part of a card's page that changes while a station works."""
    with web.database().reader() as session:
        work = works.open_work_of(session, card_id=card_id)
        if work is None and "HX-Request" in request.headers:
            return Response(headers={"HX-Redirect": url_for("cards_pages.card", card_id=card_id)})
        return render_template("cards/progress.html", work=work, progress=progress)


@blueprint.post("/cards/print")
@require(Role.CLERK)
def print_cards() -> Any:
    """Give the faces of the chosen cards as a PDF: ten to a page, or as labels for cards that are printed already."""
    typed = request.form.getlist("card")
    chosen = [number for number in map(digits, typed) if number is not None]
    if not 0 < len(chosen) <= printing.CARDS_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"card": [f"1–{printing.CARDS_MAX}"]})
    form = printing.Form.LABELS if request.form.get("form") == printing.Form.LABELS else printing.Form.FACES
    cards = change(life.printed, card_ids=chosen)
    with web.database().reader() as session:
        faces = [printing.face_of(listing.get_card(session, card_id=each.id)) for each in cards]
    out = BytesIO()
    printing.write_pdf(faces, out, form=form, title=_("Analysis-test card"))
    out.seek(0)
    name = f"cards-{today()}.pdf"
    return send_file(out, mimetype="application/pdf", as_attachment=True, download_name=name, max_age=0)


@blueprint.get("/cards/hot-list")
@require(*CENTER)
def hot_list() -> Any:
    """Show the chips that no terminal takes."""
    with web.database().reader() as session:
        return render_template("cards/hot_list.html", found=life.hot_list(session))


def progress(work: CardWork) -> dict[str, Any]:
    """Say how far a work is, in the reader's language."""
    words = WAITING if work.purpose is WorkPurpose.ISSUE else WAITING_RENEWAL
    if work.trouble:
        words = trouble_words(Trouble(work.trouble))
    elif work.stage:
        words = stage_words(Stage(work.stage))
    return {
        "percent": STAGE_PERCENT.get(work.stage, 0),
        "words": words.zh if chinese() else words.en,
        "tone": "warn" if work.trouble else "",
    }


def _free_stations(session: Session) -> list[Any]:
    busy = {work.station_id for work in works.open_works(session)}
    return [each for each in stations.listed(session) if each.status is StationStatus.ENROLLED and each.id not in busy]


def _station_id(*, required: bool) -> Any:
    """Give the station that was chosen; None where none need be."""
    text = request.form.get("station", "")
    try:
        return UUID(text) if text or required else None
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"station": [_("Choose a station.")]}) from error


def _given_uid() -> bytes:
    """Give the UID that a reader typed, or a hand with blanks, colons or hyphens between the bytes."""
    uid = uids.read(request.form.get("uid", ""))
    if uid is None:
        wrong = _("8 or 14 hexadecimal digits, the first byte first; never the decimal number that is printed.")
        raise Refusal(Code.VALIDATION_FAILED, fields={"uid": [wrong]})
    return uid


def _holder_id(session: Session, username: str, *, default: int | None) -> int:
    if not username and default is not None:
        return default
    found = session.query(Person.id).filter(Person.username == username).scalar()
    if found is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={"holder": [_("There is no person with this user name.")]})
    return int(found)

"""The cardholder's accounts and cards: balances, what is reserved, a lost card stopped in two taps, a new PIN."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from app import clock, web
from app.cards import life, service
from app.cards.pages.common import blueprint, given_pin
from app.errors import Refusal
from app.people.models import Role
from app.presentation import masked_number
from app.security import principal, require
from app.texts import _


@blueprint.get("/cards")
@require(Role.CARDHOLDER)
def accounts() -> Any:
    """Show both purses of every account, and the cards."""
    with web.database().reader() as session:
        return render_template("cards/accounts.html", views=service.accounts_of(session, reader=principal()))


@blueprint.post("/cards/<int:card_id>/report-lost")
@require()
def report_lost(card_id: int) -> Any:
    """Stop a card at once; doing it again changes nothing."""
    reader, at = principal(), clock.now()
    card = web.database().run(lambda session: service.report_lost(session, card_id=card_id, reader=reader, at=at))
    flash(
        _(
            "Card %(number)s is stopped: no new session begins with it. The money stays on the account. The service"
            " center makes you a new card.",
            number=masked_number(card.face_number),
        ),
        "good",
    )
    return redirect(url_for("cards_pages.accounts"))


@blueprint.post("/cards/<int:card_id>/change-pin")
@require(Role.CARDHOLDER)
def change_pin(card_id: int) -> Any:
    """Give an own card another PIN; the present one must be known."""
    reader, at, new_pin = principal(), clock.now(), given_pin()
    old_pin = request.form.get("old_pin", "")
    wrong = web.database().run(
        lambda session: life.change_pin(
            session, card_id=card_id, old_pin=old_pin, new_pin=new_pin, reader=reader, at=at
        )
    )
    if wrong is not None:
        raise Refusal(wrong)
    flash(_("The card has its new PIN from now on."), "good")
    return redirect(url_for("cards_pages.accounts"))

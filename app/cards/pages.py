"""The cardholder's accounts and cards: balances, what is reserved, and a lost card stopped in two taps."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for

from app import clock, web
from app.cards import service
from app.people.models import Role
from app.presentation import masked_number
from app.security import principal, require
from app.texts import _

blueprint = Blueprint("cards_pages", __name__)


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

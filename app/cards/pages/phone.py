"""What a phone shows that read a card: its balance, and the way to stop it; every reading counts once."""

from datetime import datetime, timedelta
from typing import Any

from flask import flash, make_response, redirect, render_template, request, url_for
from flask import session as cookie
from sqlalchemy.orm import Session

from app import clock, web
from app.cards import proof, service
from app.cards.keys import KeyRing
from app.cards.listing import get_card
from app.cards.models import Card, CardStatus, KeyReason
from app.cards.pages.common import blueprint, today
from app.errors import Code, Refusal
from app.presentation import chinese
from app.texts import _
from card_terminal.protocol import ProtocolError, RefusalCode, refusal

# So long what a phone has proved may be looked at, and the card be stopped.
SHOWN_FOR = timedelta(minutes=5)
URI_LENGTH_MAX = 500
ACTOR = "phone"
_COOKIE = "tapped_card"


@blueprint.get("/c")
def tapped() -> Any:
    """Take a card's message; a page of its own shows what it proves, so that looking again proves nothing again."""
    at, uri = clock.now(), request.full_path[:URI_LENGTH_MAX]

    def work(session: Session) -> Card | RefusalCode:
        ring = KeyRing(
            session=session,
            key_encryption_key=web.settings().key_encryption_key,
            actor=ACTOR,
            reason=KeyReason.SUN_PROOF,
            at=at,
        )
        try:
            return proof.prove_message(session, uri=uri, ring=ring)
        except ProtocolError as error:
            return error.code

    found = web.database().run(work)
    if isinstance(found, RefusalCode):
        said = refusal(found)
        pair = (said.message.zh, said.advice.zh) if chinese() else (said.message.en, said.advice.en)
        if found is RefusalCode.CARD_AUTH_FAILED:
            pair = (
                _("This reading has been used, or was not made by the card."),
                _("Hold the card to the phone again."),
            )
        return _private(render_template("cards/phone_refused.html", message=pair[0], advice=pair[1]), status=403)
    cookie[_COOKIE] = {"card_id": found.id, "until": (at + SHOWN_FOR).isoformat()}
    return _private(redirect(url_for("cards_pages.tapped_card")))


@blueprint.get("/c/card")
def tapped_card() -> Any:
    """Show the card that this phone has just read."""
    card_id = _tapped_id()
    with web.database().reader() as session:
        found = get_card(session, card_id=card_id)
        money = service.account_balances(session, [found.account_id])[found.account_id]
        refused = proof.refusal_of(found, today=today())
        said = refusal(refused) if refused else None
        return _private(
            render_template(
                "cards/phone.html",
                card=found,
                money=money,
                refused=None if said is None else (said.message.zh if chinese() else said.message.en),
                may_stop=found.status is CardStatus.ISSUED,
            )
        )


@blueprint.post("/c/report-lost")
def tapped_lost() -> Any:
    """Stop the card that this phone has just read: whoever holds it may, for that only protects its owner."""
    card_id, at = _tapped_id(), clock.now()
    web.database().run(lambda session: service.stop_tapped(session, card_id=card_id, at=at))
    flash(_("The card is stopped. The money stays on the account."), "good")
    return redirect(url_for("cards_pages.tapped_card"))


def _tapped_id() -> int:
    kept = cookie.get(_COOKIE)
    if not isinstance(kept, dict) or datetime.fromisoformat(kept["until"]) < clock.now():
        raise Refusal(Code.CARD_TAP_EXPIRED)
    return int(kept["card_id"])


def _private(page: Any, *, status: int = 200) -> Any:
    answer = make_response(page)
    answer.status_code = answer.status_code if answer.status_code != 200 else status  # noqa: PLR2004 - a redirect stays one
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Robots-Tag"] = "noindex"
    return answer

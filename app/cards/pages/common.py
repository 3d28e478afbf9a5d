"""What the pages of cards share: their blueprint, and how addresses and forms are read."""

import re
from datetime import date

from flask import Blueprint, g, request

from app import clock, web
from app.errors import Code, Refusal
from app.texts import _

REASON_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 100
PAGE_SIZE = 50
CARD_LIFE_YEARS = 5

blueprint = Blueprint("cards_pages", __name__)


@blueprint.before_request
def mark_section() -> None:
    """The center's pages stand under one entry of the navigation, a holder's own under another."""
    endpoint = request.endpoint or ""
    own = endpoint in {"cards_pages.accounts", "cards_pages.report_lost", "cards_pages.change_pin"}
    g.section = "cards_pages.accounts" if own else "cards_pages.center"


def given_pin(name: str = "pin") -> str:
    """Give a PIN that was typed twice. Raises Refusal VALIDATION_FAILED when the two differ."""
    pin = request.form.get(name, "")
    if pin != request.form.get(f"{name}_again", ""):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [_("The two PINs differ.")]})
    return pin


def given_day(name: str) -> date:
    """Give a day of the form, not before today. Raises Refusal VALIDATION_FAILED."""
    text = request.form.get(name, "")
    try:
        found = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except ValueError:
        found = None
    if found is None or found < today():
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"≥ {today().isoformat()}"]})
    return found


def today() -> date:
    """Give the site's day."""
    return clock.now().astimezone(web.settings().site_timezone).date()


def usual_last_day() -> date:
    """Give the last day that a new card mostly gets."""
    return date(today().year + CARD_LIFE_YEARS, 12, 31)

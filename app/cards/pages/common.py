"""What the pages of cards share: their blueprint, and how addresses and forms are read."""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from flask import Blueprint, g, request, url_for

from app import clock, web
from app.errors import Code, Refusal
from app.texts import _

REASON_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 100
PAGE_MAX, DIGITS_MAX = 10_000, 9
PAGE_SIZE = 50
CARD_LIFE_YEARS = 5
E = TypeVar("E", bound=StrEnum)

blueprint = Blueprint("cards_pages", __name__)


@blueprint.before_request
def mark_section() -> None:
    """The center's pages stand under one entry of the navigation, a holder's own under another."""
    endpoint = request.endpoint or ""
    own = endpoint in {"cards_pages.accounts", "cards_pages.report_lost", "cards_pages.change_pin"}
    g.section = "cards_pages.accounts" if own else "cards_pages.center"


@dataclass(frozen=True, slots=True)
class Links:
    """Where the pages before and after this one are; empty: there is none."""

    previous_url: str = ""
    next_url: str = ""


def here(**changed: str) -> str:
    """Give the present address with some of its values changed; an empty one is left out."""
    values: dict[str, Any] = dict(request.args.items()) | dict(request.view_args or {}) | changed
    values.pop("lang", None)
    if "page" not in changed:
        values.pop("page", None)
    kept = {name: value for name, value in values.items() if value != ""}
    return url_for(request.endpoint or "cards_pages.center", **kept)


def page_number() -> int:
    """Give the page that is asked for; the first for anything that is no number."""
    text = request.args.get("page", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 1
    return min(max(1, number), PAGE_MAX)


def page_links(page: int, *, has_more: bool) -> Links:
    """Give where the numbered pages before and after this one are."""
    return Links(
        previous_url=here(page=str(page - 1)) if page > 1 else "", next_url=here(page=str(page + 1)) if has_more else ""
    )


def asked_text(name: str) -> str:
    """Give a text of the address without surrounding blanks."""
    return " ".join(request.args.get(name, "").split())[:TEXT_LENGTH_MAX]


def asked_choice(name: str, choices: type[E], default: E) -> E:
    """Give a value of a closed list from the address; the default for anything else."""
    text = request.args.get(name, "")
    return choices(text) if text in set(choices) else default


def given_text(name: str, *, required: bool = True, length_max: int = REASON_LENGTH_MAX) -> str:
    """Give a text of the form. Raises Refusal VALIDATION_FAILED for one that is missing or too long."""
    text = " ".join(request.form.get(name, "").split())
    if len(text) > length_max or (required and not text):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{int(required)}–{length_max}"]})
    return text


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

"""What the pages of reconciliation share: their blueprint, who may open them, and how forms are read."""

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, request, url_for

from app import money, web
from app.errors import Code, Refusal
from app.people.models import Role
from app.people.principals import Principal
from app.presentation import CENTER
from app.security import principal
from app.spans import read_day

STAFF = (Role.SUB_CENTER_MANAGER, *CENTER)
DECIDERS = (Role.SUB_CENTER_MANAGER, Role.CLERK, Role.APPROVER)
ANSWERERS = (Role.GROUP_OPERATOR, *DECIDERS)
SECTION = "reconciliation_pages.exceptions"
NOTE_LENGTH_MIN, NOTE_LENGTH_MAX = 5, 1000
PAGE_MAX, DIGITS_MAX = 10_000, 10

blueprint = Blueprint("reconciliation_pages", __name__)


@dataclass(frozen=True, slots=True)
class Links:
    """Where the pages before and after this one are; empty: there is none."""

    previous_url: str = ""
    next_url: str = ""


def decider() -> Principal:
    """Give the person as one who decides: what she sees by another role is not hers to decide."""
    return principal().acting_as(*DECIDERS)


def given_note(name: str = "note") -> str:
    """Give the reason that a form must name. Raises Refusal VALIDATION_FAILED."""
    note = " ".join(request.form.get(name, "").split())
    if not NOTE_LENGTH_MIN <= len(note) <= NOTE_LENGTH_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{NOTE_LENGTH_MIN}–{NOTE_LENGTH_MAX}"]})
    return note


def read_amount(text: str, *, name: str = "amount") -> int:
    """Read yuan from a form; nothing is 0. Raises Refusal VALIDATION_FAILED."""
    if not text.strip():
        return 0
    try:
        amount_fen = money.parse_yuan(text)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["1,234.50"]}) from error
    if amount_fen < 0:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["≥ 0"]})
    return amount_fen


def asked_whole(name: str, *, default: int = 0) -> int:
    """Give a whole number of the address; the default for anything else."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS_MAX else default


def asked_page() -> int:
    """Give the page that is asked for."""
    return min(max(1, asked_whole("page", default=1)), PAGE_MAX)


def given_whole(name: str) -> int:
    """Give a whole number of the form. Raises Refusal VALIDATION_FAILED."""
    text = request.form.get(name, "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < DIGITS_MAX):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["0–999999999"]})
    return int(text)


def given_day(name: str, *, zone: ZoneInfo, required: bool = True) -> datetime | None:
    """Give the midnight that begins a day of the form. Raises Refusal VALIDATION_FAILED."""
    text = request.form.get(name, "").strip()
    if not text and not required:
        return None
    return datetime.combine(read_day(name, text), time(), tzinfo=zone)


def page_links(page: int, *, has_more: bool) -> Links:
    """Give where the pages before and after this one are."""
    return Links(
        previous_url=here(page=str(page - 1)) if page > 1 else "", next_url=here(page=str(page + 1)) if has_more else ""
    )


def here(**changed: str) -> str:
    """Give the present address with some of its values changed; an empty one is left out."""
    values: dict[str, Any] = dict(request.args.items()) | dict(request.view_args or {}) | changed
    values.pop("lang", None)
    if "page" not in changed and changed.keys() - {"format"}:
        values.pop("page", None)
    return url_for(request.endpoint or SECTION, **{name: value for name, value in values.items() if value != ""})


def zone() -> ZoneInfo:
    """Give the site's zone."""
    return web.settings().site_timezone

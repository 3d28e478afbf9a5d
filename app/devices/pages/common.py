"""What the pages of devices share: their blueprint, who may open them, how addresses and forms are read."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, TypeVar

from flask import Blueprint, g, request, url_for

from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import principal_or_none

READERS = (Role.SUB_CENTER_MANAGER, *CENTER)
ACKNOWLEDGERS = (Role.SUB_CENTER_MANAGER, Role.CLERK, Role.ADMIN)
NOTE_LENGTH_MAX = 500
TEXT_LENGTH_MAX = 100
PAGE_MAX, DIGITS_MAX = 10_000, 9
PAGE_SIZE = 50
POWER_W_MAX = 1_000_000.0
E = TypeVar("E", bound=StrEnum)

blueprint = Blueprint("devices_pages", __name__)


@blueprint.before_request
def mark_section() -> None:
    """All of these pages stand under one entry of the navigation: the center's, or the sub-center's."""
    g.section = "devices_pages.overview"
    if request.endpoint != "devices_pages.overview" and not principal_sees_everything():
        g.section = "devices_pages.boxes"


def principal_sees_everything() -> bool:
    """Say whether the person who asks works at the center."""
    person = principal_or_none()
    return person is not None and person.sees_everything


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
    return url_for(
        request.endpoint or "devices_pages.boxes", **{name: value for name, value in values.items() if value != ""}
    )


def page_number() -> int:
    """Give the page that is asked for; the first for anything that is no number."""
    number = _digits(request.args.get("page", ""))
    return min(max(1, 1 if number is None else number), PAGE_MAX)


def page_links(page: int, *, has_more: bool) -> Links:
    """Give where the numbered pages before and after this one are."""
    return Links(
        previous_url=here(page=str(page - 1)) if page > 1 else "",
        next_url=here(page=str(page + 1)) if has_more else "",
    )


def asked_text(name: str) -> str:
    """Give a text of the address without surrounding blanks."""
    return " ".join(request.args.get(name, "").split())[:TEXT_LENGTH_MAX]


def asked_choice(name: str, choices: type[E], default: E) -> E:
    """Give a value of a closed list from the address; the default for anything else."""
    text = request.args.get(name, "")
    return choices(text) if text in set(choices) else default


def given_text(name: str, *, required: bool = True, length_max: int = NOTE_LENGTH_MAX) -> str:
    """Give a text of the form. Raises Refusal VALIDATION_FAILED for one that is missing or too long."""
    text = " ".join(request.form.get(name, "").split())
    if len(text) > length_max or (required and not text):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{int(required)}–{length_max}"]})
    return text


def given_whole(name: str) -> int:
    """Give a whole number of the form. Raises Refusal VALIDATION_FAILED."""
    number = _digits(request.form.get(name, ""))
    if number is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["0–"]})
    return number


def power_w(text: str, *, name: str) -> float | None:
    """Read watts as a person types them; None for nothing. Raises Refusal VALIDATION_FAILED."""
    typed = text.strip().replace(",", ".")
    if not typed:
        return None
    try:
        value = float(typed)
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0 < value <= POWER_W_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"0–{POWER_W_MAX:,.0f}"]})
    return value


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None

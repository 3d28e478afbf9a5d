"""How pages read their addresses and forms, and where the pages beside a page are."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from flask import request, url_for

from app import clock
from app.errors import Code, Refusal
from app.spans import Span

ASKED_LENGTH_MAX, GIVEN_LENGTH_MAX = 100, 200
PAGE_MAX, DIGITS_MAX = 10_000, 9
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Links:
    """Where the pages before and after this one are; empty: there is none."""

    previous_url: str = ""
    next_url: str = ""


def here(**changed: str) -> str:
    """Give the present address with some of its values changed; an empty one is left out.

    Where something else than the file's form changes, a list begins anew; another month leaves out single days.
    """
    values: dict[str, Any] = dict(request.args.items()) | dict(request.view_args or {}) | changed
    dropped = {"lang", "after"} | ({"page"} if changed.keys() - {"format"} else set())
    dropped |= {"since", "until"} if "month" in changed else set()
    kept = {name: value for name, value in values.items() if value != "" and (name in changed or name not in dropped)}
    return url_for(str(request.endpoint), **kept)


def page_number() -> int:
    """Give the page that is asked for; the first for anything that is no number."""
    return min(max(1, asked_whole("page", default=1)), PAGE_MAX)


def page_links(page: int, *, has_more: bool) -> Links:
    """Give where the numbered pages before and after this one are."""
    return Links(
        previous_url=here(page=str(page - 1)) if page > 1 else "", next_url=here(page=str(page + 1)) if has_more else ""
    )


def month_links(span: Span) -> Links:
    """Give where the months after and before a month are; other days have no neighbours, and no month lies ahead."""
    if span.month is None:
        return Links()
    later = here(month=str(span.month.next)) if span.until <= clock.now() else ""
    return Links(previous_url=later, next_url=here(month=str(span.month.previous)))


def asked_text(name: str, *, length_max: int = ASKED_LENGTH_MAX) -> str:
    """Give a text of the address without surrounding blanks."""
    return " ".join(request.args.get(name, "").split())[:length_max]


def asked_whole(name: str, *, default: int = 0) -> int:
    """Give a whole number of the address; the default for anything else."""
    number = digits(request.args.get(name, ""))
    return default if number is None else number


def asked_choice(name: str, choices: type[E], default: E) -> E:
    """Give a value of a closed list from the address; the default for anything else."""
    text = request.args.get(name, "")
    return choices(text) if text in set(choices) else default


def given_text(name: str, *, required: bool = True, length_max: int = GIVEN_LENGTH_MAX) -> str:
    """Give a text of the form. Raises Refusal VALIDATION_FAILED for one that is missing or too long."""
    text = " ".join(request.form.get(name, "").split())
    if len(text) > length_max or (required and not text):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{int(required)}–{length_max}"]})
    return text


def given_whole(name: str) -> int:
    """Give a whole number of the form. Raises Refusal VALIDATION_FAILED."""
    number = digits(request.form.get(name, "").strip())
    if number is None:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["0–999999999"]})
    return number


def digits(text: str) -> int | None:
    """Read a whole number that a person or a program typed; None for anything else, and for one that is too long."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None

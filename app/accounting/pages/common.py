"""What the accountant's pages share: their blueprint, who may open them, and how their addresses are read."""

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, request, url_for

from app import clock, web
from app.accounting.sheets import kind_word, owner_word, voucher_word
from app.errors import Code, Refusal
from app.people.models import Role
from app.spans import Span, read_span

READERS = (Role.FINANCE, Role.APPROVER, Role.AUDITOR)
TEXT_LENGTH_MAX = 200
PAGE_MAX, DIGITS_MAX = 10_000, 6
SECTION = "accounting_pages.trial_balance"

blueprint = Blueprint("accounting_pages", __name__, url_prefix="/books")
blueprint.add_app_template_filter(voucher_word, "voucher_word")
blueprint.add_app_template_filter(kind_word, "kind_word")
blueprint.add_app_template_filter(owner_word, "owner_word")


@blueprint.before_request
def mark_section() -> None:
    """All of these pages stand under one entry of the navigation."""
    g.section = SECTION


@dataclass(frozen=True, slots=True)
class Links:
    """Where the pages before and after this one are; empty: there is none."""

    previous_url: str = ""
    next_url: str = ""


def asked_span() -> Span:
    """Give the days that the address asks for; the present month without any."""
    return read_span(request.args, zone=web.settings().site_timezone, at=clock.now())


def span_links(span: Span) -> dict[str, Any]:
    """Give what a page shows to choose its days: the months before and after, and the files of what it shows."""
    links = Links()
    if span.month is not None:
        later = here(month=str(span.month.next)) if span.until <= clock.now() else ""
        links = Links(previous_url=later, next_url=here(month=str(span.month.previous)))
    return {"span": span, "month": span.month, "links": links, "file_url": here}


def here(**changed: str) -> str:
    """Give the present address with some of its values changed; an empty one is left out."""
    values: dict[str, Any] = dict(request.args.items()) | dict(request.view_args or {}) | changed
    values.pop("lang", None)
    if "month" in changed:
        values.pop("since", None)
        values.pop("until", None)
    values.pop("after", None) if "after" not in changed else None
    return url_for(request.endpoint or SECTION, **{name: value for name, value in values.items() if value != ""})


def page_number() -> int:
    """Give the page that is asked for; the first for anything that is no number."""
    text = request.args.get("page", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 1
    return min(max(1, number), PAGE_MAX)


def page_links(page: int, *, has_more: bool) -> Links:
    """Give where the numbered pages before and after this one are."""
    return Links(
        previous_url=here(page=str(page - 1)) if page > 1 else "",
        next_url=here(page=str(page + 1)) if has_more else "",
    )


def asked_text(name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Give a text of the address without surrounding blanks."""
    return " ".join(request.args.get(name, "").split())[:length_max]


def given_text(name: str, *, required: bool = True, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Give a text of the form. Raises Refusal VALIDATION_FAILED for one that is missing or too long."""
    text = " ".join(request.form.get(name, "").split())
    if len(text) > length_max or (required and not text):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{int(required)}–{length_max}"]})
    return text

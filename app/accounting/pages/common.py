"""What the accountant's pages share: their blueprint, who may open them, and how their addresses are read."""

from typing import Any

from flask import Blueprint, g, request

from app import clock, web
from app.accounting.sheets import kind_word, owner_word, voucher_word
from app.asking import here, month_links
from app.people.models import Role
from app.spans import Span, read_span

READERS = (Role.FINANCE, Role.APPROVER, Role.AUDITOR)
TEXT_LENGTH_MAX = 200
SECTION = "accounting_pages.trial_balance"

blueprint = Blueprint("accounting_pages", __name__, url_prefix="/books")
blueprint.add_app_template_filter(voucher_word, "voucher_word")
blueprint.add_app_template_filter(kind_word, "kind_word")
blueprint.add_app_template_filter(owner_word, "owner_word")


@blueprint.before_request
def mark_section() -> None:
    """All of these pages stand under one entry of the navigation."""
    g.section = SECTION


def asked_span() -> Span:
    """Give the days that the address asks for; the present month without any."""
    return read_span(request.args, zone=web.settings().site_timezone, at=clock.now())


def span_links(span: Span) -> dict[str, Any]:
    """Give what a page shows to choose its days: the months before and after, and the files of what it shows."""
    return {"span": span, "month": span.month, "links": month_links(span), "file_url": here}

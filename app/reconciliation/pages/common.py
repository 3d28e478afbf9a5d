"""What the pages of reconciliation share: their blueprint, who may open them, and how forms are read."""

from datetime import datetime, time
from zoneinfo import ZoneInfo

from flask import Blueprint, request

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

blueprint = Blueprint("reconciliation_pages", __name__)


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


def given_day(name: str, *, zone: ZoneInfo, required: bool = True) -> datetime | None:
    """Give the midnight that begins a day of the form. Raises Refusal VALIDATION_FAILED."""
    text = request.form.get(name, "").strip()
    if not text and not required:
        return None
    return datetime.combine(read_day(name, text), time(), tzinfo=zone)


def zone() -> ZoneInfo:
    """Give the site's zone."""
    return web.settings().site_timezone

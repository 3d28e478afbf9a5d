"""What the pages of devices share: their blueprint, who may open them, how addresses and forms are read."""

from math import isfinite

from flask import Blueprint, g, request

from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import principal_or_none

READERS = (Role.SUB_CENTER_MANAGER, *CENTER)
ACKNOWLEDGERS = (Role.SUB_CENTER_MANAGER, Role.CLERK, Role.ADMIN)
NOTE_LENGTH_MAX = 500
TEXT_LENGTH_MAX = 100
PAGE_SIZE = 50
POWER_W_MAX = 1_000_000.0

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

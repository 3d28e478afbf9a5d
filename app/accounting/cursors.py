"""A place in the books as a text that fits an address, and back."""

from datetime import datetime
from uuid import UUID

import ledger
from app.errors import Code, Refusal
from app.fields import YEAR_MAX, YEAR_MIN

FORM = "2026-10-03T09:00:00+00:00~018f2e3c-7a4b-7c1d-9e2f-3a4b5c6d7e8f"


def cursor_text(place: ledger.BookPlace | None) -> str:
    """Write a place in the books; nothing where there is no further page."""
    return "" if place is None else f"{place.value_at.isoformat()}~{place.id}"


def read_cursor(text: str) -> ledger.BookPlace | None:
    """Read what `cursor_text` wrote; nothing is the beginning. Raises Refusal VALIDATION_FAILED."""
    if not text:
        return None
    moment, _, place_id = text.partition("~")
    try:
        place = ledger.BookPlace(datetime.fromisoformat(moment), UUID(place_id))
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"after": [FORM]}) from error
    if place.value_at.tzinfo is None or not YEAR_MIN <= place.value_at.year <= YEAR_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"after": [FORM]})
    return place

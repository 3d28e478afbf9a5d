"""Places in the list and in the feed of usage records as texts that fit an address, and back."""

from datetime import datetime
from uuid import UUID

import ledger
from app.errors import Code, Refusal
from app.fields import INTEGER_MAX, YEAR_MAX, YEAR_MIN
from app.reconciliation.records.reading import Place

XID_MAX = 2**63 - 1


def place_text(place: Place | None) -> str:
    """Write a place of the list; nothing where there is no further page."""
    return "" if place is None else f"{place.ended_at.isoformat()}~{place.id}"


def read_place(text: str) -> Place | None:
    """Read what `place_text` wrote; nothing is the beginning. Raises Refusal VALIDATION_FAILED."""
    if not text:
        return None
    moment, _, number = text.partition("~")
    try:
        place = Place(datetime.fromisoformat(moment), int(number))
    except ValueError as error:
        raise _refusal() from error
    if place.ended_at.tzinfo is None or not YEAR_MIN <= place.ended_at.year <= YEAR_MAX or place.id > INTEGER_MAX:
        raise _refusal()
    return place


def feed_text(place: ledger.DocumentPlace) -> str:
    """Write a place of the feed."""
    return f"{place.xid}~{place.id}"


def read_feed(text: str) -> ledger.DocumentPlace | None:
    """Read what `feed_text` wrote; nothing is the beginning. Raises Refusal VALIDATION_FAILED."""
    if not text:
        return None
    number, _, id_ = text.partition("~")
    try:
        place = ledger.DocumentPlace(int(number), UUID(id_))
    except ValueError as error:
        raise _refusal() from error
    if not 0 <= place.xid <= XID_MAX:
        raise _refusal()
    return place


def _refusal() -> Refusal:
    return Refusal(Code.VALIDATION_FAILED, fields={"after": ["the `next` of a page before"]})

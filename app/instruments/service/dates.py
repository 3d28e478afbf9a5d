"""What holds from a moment to a moment, or without end, as conditions of a query."""

from datetime import datetime

from sqlalchemy import ColumnElement

from app.instruments.models import CollaborativeListing, Tariff


def holds_at(dated: type[Tariff] | type[CollaborativeListing], at: datetime) -> ColumnElement[bool]:
    """Select what holds at a moment: from its first moment on, but no longer at its last."""
    return (dated.valid_from <= at) & (dated.valid_to.is_(None) | (dated.valid_to > at))


def overlaps(
    dated: type[Tariff] | type[CollaborativeListing], *, valid_from: datetime, valid_to: datetime | None
) -> ColumnElement[bool]:
    """Select what holds at any moment of a time; without `valid_to` the time has no end."""
    ends_after = dated.valid_to.is_(None) | (dated.valid_to > valid_from)
    return ends_after if valid_to is None else ends_after & (dated.valid_from < valid_to)

"""The list of collaborative instruments: only their use earns a subsidy."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Code, Refusal
from app.instruments.models import CollaborativeListing
from app.instruments.service.dates import holds_at, overlaps
from app.instruments.service.homes import lock_instrument
from app.people.service import audit


def list_as_collaborative(
    session: Session,
    *,
    instrument_id: int,
    valid_from: datetime,
    valid_to: datetime | None = None,
    actor: str,
    at: datetime,
) -> CollaborativeListing:
    """Put an instrument on the list whose use earns a subsidy.

    Refuses TIMES_REVERSED, NOT_FOUND, and ALREADY_DECIDED if it is on the list at any moment of that time.
    """
    if valid_to is not None and valid_to <= valid_from:
        raise Refusal(Code.TIMES_REVERSED)
    lock_instrument(session, instrument_id=instrument_id)
    if session.scalar(
        select(CollaborativeListing.id).where(
            CollaborativeListing.instrument_id == instrument_id,
            overlaps(CollaborativeListing, valid_from=valid_from, valid_to=valid_to),
        )
    ):
        raise Refusal(Code.ALREADY_DECIDED, instrument_id=instrument_id)
    listing = CollaborativeListing(instrument_id=instrument_id, valid_from=valid_from, valid_to=valid_to)
    session.add(listing)
    session.flush()
    audit(
        session,
        actor=actor,
        action="list_as_collaborative",
        subject=f"instrument:{instrument_id}",
        detail={"valid_from": valid_from.isoformat()},
        at=at,
    )
    return listing


def collaborative_ids(session: Session, *, at: datetime, among: list[int] | None = None) -> frozenset[int]:
    """Give the ids of the instruments that were on the collaborative list at a moment, of all or of some."""
    wanted = select(CollaborativeListing.instrument_id).where(holds_at(CollaborativeListing, at))
    if among is not None:
        wanted = wanted.where(CollaborativeListing.instrument_id.in_(among))
    return frozenset(session.scalars(wanted))

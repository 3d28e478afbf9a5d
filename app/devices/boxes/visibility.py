"""Which boxes a person may see: the center all, a sub-center those that stand at its instruments."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import errors
from app.devices.models import BoxPlacement
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from telemetry.models import Box


def seen_by(
    reader: Principal, *, box: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
) -> ColumnElement[bool]:
    """Condition on a column that names a box: the reader may see this one."""
    if reader.sees_everything:
        return true()
    return box.in_(
        select(BoxPlacement.box)
        .join(Instrument, Instrument.id == BoxPlacement.instrument_id)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .where(
            BoxPlacement.valid_to.is_(None),
            or_(Unit.sub_center_id.in_(reader.sub_center_ids), InstrumentGroup.id.in_(reader.group_ids)),
        )
    )


def box_of(session: Session, *, code: str, reader: Principal) -> Box:
    """Give one box that the reader may see. Raises Refusal NOT_FOUND, also for boxes of others."""
    found = session.scalar(select(Box).where(Box.code == code, seen_by(reader, box=Box.code)))
    if found is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return found


def present_places(session: Session, codes: Iterable[str]) -> dict[tuple[str, int], BoxPlacement]:
    """Give where the channels of these boxes stand now, by box and channel, with their instruments."""
    rows = session.scalars(
        select(BoxPlacement)
        .join(BoxPlacement.instrument)
        .where(BoxPlacement.box.in_(list(codes)), BoxPlacement.valid_to.is_(None))
        .order_by(BoxPlacement.box, BoxPlacement.channel)
    )
    return {(each.box, each.channel): each for each in rows}

"""Machine-hours by instrument and any period: what the boxes measured, beside what is verified and external."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.devices.models import BoxPlacement
from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation.records.hours import Hours as VerifiedHours
from app.reconciliation.records.hours import machine_hours as verified_hours
from app.reports.service.places import instruments_with_homes, managed_by
from telemetry.hours import Allowance, Hours, Place, Seat, hours_of

MINUTE_S = 60
FOR_EVER = datetime.fromisoformat("9999-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursLine:
    """One instrument in one time: measured by its boxes, and verified with its cards."""

    instrument: Instrument
    since: datetime
    until: datetime
    measured: Hours
    verified: VerifiedHours


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineHours:
    """Lines over [since, until), or up to now where that is earlier, and their sum."""

    since: datetime
    until: datetime
    lines: tuple[HoursLine, ...]

    @property
    def measured(self) -> Hours:
        """All lines together."""
        total = Hours()
        for line in self.lines:
            total = total.plus(line.measured)
        return total

    @property
    def verified(self) -> VerifiedHours:
        """All lines together."""
        total = VerifiedHours()
        for line in self.lines:
            total = total.plus(line.verified)
        return total


def machine_hours(
    session: Session, *, reader: Principal, since: datetime, until: datetime, at: datetime
) -> MachineHours:
    """Give the hours of each instrument that the reader manages, by unit, group and code.

    Raises Refusal FORBIDDEN for who manages none. What is still to come counts as nothing, and not as unknown.
    """
    if not (reader.sees_everything or reader.sub_center_ids or reader.group_ids):
        raise Refusal(Code.FORBIDDEN)
    found = session.scalars(
        instruments_with_homes().where(managed_by(reader)).order_by(Unit.code, InstrumentGroup.id, Instrument.code)
    ).all()
    return _measure(session, found, bounds=(since, until), at=at)


def machine_hours_of(
    session: Session, *, instrument_id: int, reader: Principal, bounds: Sequence[datetime], at: datetime
) -> MachineHours:
    """Give the hours of one instrument for each time between two neighbours of `bounds`, which rise.

    Raises Refusal NOT_FOUND, also for an instrument that others manage.
    """
    wanted = instruments_with_homes().where(Instrument.id == instrument_id, managed_by(reader))
    found = session.scalar(wanted)
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return _measure(session, [found], bounds=bounds, at=at)


def _measure(
    session: Session, instruments: Sequence[Instrument], *, bounds: Sequence[datetime], at: datetime
) -> MachineHours:
    told = sorted({min(bound, at) for bound in bounds})
    if len(told) == 1 or not instruments:
        return MachineHours(since=bounds[0], until=bounds[-1], lines=())
    ids = [instrument.id for instrument in instruments]
    seats = _seats(session, ids, since=told[0], until=told[-1])
    places = {each.id: Place(seats=seats[each.id], allowance=_allowance(each)) for each in instruments}
    measured = hours_of(session, places=places, bounds=told)
    lines: list[HoursLine] = []
    for index, (since, until) in enumerate(pairwise(told)):
        verified = verified_hours(session, since=since, until=until, instrument_ids=ids)
        lines += [
            HoursLine(
                instrument=instrument,
                since=since,
                until=until,
                measured=measured[instrument.id][index],
                verified=verified.get(instrument.id, VerifiedHours()),
            )
            for instrument in instruments
        ]
    return MachineHours(since=told[0], until=told[-1], lines=tuple(lines))


def _allowance(instrument: Instrument) -> Allowance:
    return Allowance(
        warm_up_s=instrument.warm_up_min * MINUTE_S, after_treatment_s=instrument.after_treatment_min * MINUTE_S
    )


def _seats(session: Session, ids: list[int], *, since: datetime, until: datetime) -> dict[int, list[Seat]]:
    """Give which channels stood at the instruments, and when."""
    seats: dict[int, list[Seat]] = defaultdict(list)
    rows = session.scalars(
        select(BoxPlacement)
        .where(
            BoxPlacement.instrument_id.in_(ids),
            BoxPlacement.valid_from < until,
            or_(BoxPlacement.valid_to.is_(None), BoxPlacement.valid_to > since),
        )
        .order_by(BoxPlacement.id)
    )
    for row in rows:
        seats[row.instrument_id].append(Seat(row.box, row.channel, row.valid_from, row.valid_to or FOR_EVER))
    return seats

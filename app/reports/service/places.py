"""Instruments where they stand, with what their collector boxes say of them now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, false, or_, select, true
from sqlalchemy.orm import Session, contains_eager

from app.devices.models import BoxPlacement
from app.instruments import service as instruments
from app.instruments.models import Instrument, InstrumentGroup, Tariff, Unit
from app.instruments.price_texts import Words, describe
from app.instruments.pricing import parse_rules
from app.people.principals import Principal
from telemetry import queries as telemetry
from telemetry.queries import NOTHING_KNOWN, LiveState


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One instrument now; `box` is None where none meters it, and then nothing is known of its state."""

    instrument: Instrument
    live: LiveState
    box: str | None
    channel: int
    earns_subsidy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of places and how long the whole list is."""

    items: tuple[Place, ...]
    total: int
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether more follow."""
        return self.page * self.page_size < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A tariff in words; `announced` ones do not hold yet."""

    tariff: Tariff
    words: Words
    announced: bool


def instruments_with_homes() -> Select[Instrument]:
    """Select instruments with their group, unit and sub-center loaded."""
    return (
        select(Instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .outerjoin(Unit.sub_center)
        .options(contains_eager(Instrument.group).contains_eager(InstrumentGroup.unit).contains_eager(Unit.sub_center))
    )


def managed_by(reader: Principal) -> ColumnElement[bool]:
    """Say which instruments' money and people this person may see: all, those of her sub-centers, of her groups.

    To be used where Instrument, InstrumentGroup and Unit are joined.
    """
    if reader.sees_everything:
        return true()
    return or_(
        Unit.sub_center_id.in_(reader.sub_center_ids) if reader.sub_center_ids else false(),
        InstrumentGroup.id.in_(reader.group_ids) if reader.group_ids else false(),
    )


def catalog(
    session: Session,
    *,
    at: datetime,
    search: str = "",
    instrument_class: str = "",
    unit_id: int | None = None,
    page: int = 1,
    page_size: int = 60,
) -> Listing:
    """Give a page of all instruments by code, narrowed by a word of name, code or unit, by class and by unit."""
    rows, total = instruments.list_instruments(
        session,
        search=search,
        instrument_class=instrument_class or None,
        unit_id=unit_id,
        page=page,
        page_size=page_size,
    )
    return Listing(items=tuple(places_of(session, rows, at=at)), total=total, page=page, page_size=page_size)


def place(session: Session, *, instrument_id: int, at: datetime) -> Place:
    """Give one instrument. Raises Refusal NOT_FOUND."""
    found = instruments.get_instrument(session, instrument_id=instrument_id)
    return places_of(session, [found], at=at)[0]


def prices(session: Session, *, instrument_id: int, at: datetime) -> list[Price]:
    """Give what an instrument costs now in words, and what was announced for later."""
    tariffs = instruments.tariffs_of(session, instrument_id=instrument_id)
    return [
        Price(tariff=tariff, words=describe(parse_rules(tariff.rules)), announced=tariff.valid_from > at)
        for tariff in sorted(tariffs, key=lambda each: (each.valid_from, str(each.customer_class or "~")))
        if tariff.valid_to is None or tariff.valid_to > at
    ]


def classes(session: Session) -> list[str]:
    """Give the classes that instruments have, in order."""
    return list(session.scalars(select(Instrument.instrument_class).distinct().order_by(Instrument.instrument_class)))


def units(session: Session) -> list[Unit]:
    """Give all units in order of their codes."""
    return list(session.scalars(select(Unit).order_by(Unit.code)))


def places_of(session: Session, wanted: Iterable[Instrument], *, at: datetime) -> list[Place]:
    """Give instruments with their boxes' states; of several boxes on one instrument, the one placed last speaks."""
    found = list(wanted)
    ids = [instrument.id for instrument in found]
    placements = {
        placement.instrument_id: placement
        for placement in session.scalars(
            select(BoxPlacement)
            .where(BoxPlacement.instrument_id.in_(ids), BoxPlacement.valid_to.is_(None))
            .order_by(BoxPlacement.valid_from, BoxPlacement.id)
        )
    }
    states = telemetry.live_states(session, boxes={placement.box for placement in placements.values()}, now=at)
    listed = instruments.collaborative_ids(session, at=at, among=ids)
    return [
        Place(
            instrument=instrument,
            live=states.get((placement.box, placement.channel), NOTHING_KNOWN) if placement else NOTHING_KNOWN,
            box=placement.box if placement else None,
            channel=placement.channel if placement else 0,
            earns_subsidy=instrument.id in listed,
        )
        for instrument in found
        for placement in [placements.get(instrument.id)]
    ]

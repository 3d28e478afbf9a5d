"""Instruments: where they belong, what they cost whom and since when, and which of them earn a subsidy."""

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.books import Book, BookRole, open_books
from app.db import Base, violated
from app.errors import Code, Refusal
from app.instruments.models import (
    CollaborativeListing,
    CustomerClass,
    Instrument,
    InstrumentGroup,
    SubCenter,
    Tariff,
    Unit,
)
from app.instruments.price_rules import RulesError, parse_rules
from app.people.models import Organisation, OrganisationKind
from app.people.service import audit

PAGE_SIZE_MAX = 200
Row = TypeVar("Row", bound=Base)


def create_sub_center(
    session: Session, *, code: str, name_zh: str, name_en: str, actor: str, at: datetime
) -> SubCenter:
    """Record a sub-center. Refuses CODE_TAKEN."""
    found = _add(session, SubCenter(code=code, name_zh=name_zh, name_en=name_en), code=code)
    audit(
        session, actor=actor, action="create_sub_center", subject=f"sub_center:{found.id}", detail={"code": code}, at=at
    )
    return found


def create_unit(
    session: Session,
    *,
    code: str,
    name_zh: str,
    name_en: str,
    organisation_id: int,
    sub_center_id: int | None = None,
    service_fee_basis_points: int = 0,
    vat_basis_points: int = 0,
    actor: str,
    at: datetime,
) -> Unit:
    """Record a member unit and open the ledger account of what is owed to it.

    Without a sub-center it is under the center itself. Refuses CODE_TAKEN, also for an organisation that is a unit
    already, and NOT_FOUND.
    """
    if session.get(Organisation, organisation_id) is None:
        raise Refusal(Code.NOT_FOUND, organisation_id=organisation_id)
    if sub_center_id is not None and session.get(SubCenter, sub_center_id) is None:
        raise Refusal(Code.NOT_FOUND, sub_center_id=sub_center_id)
    unit = Unit(
        code=code,
        name_zh=name_zh,
        name_en=name_en,
        organisation_id=organisation_id,
        sub_center_id=sub_center_id,
        service_fee_basis_points=service_fee_basis_points,
        vat_basis_points=vat_basis_points,
    )
    _add(session, unit, code=code)
    open_books(session, [Book(BookRole.UNIT_PAYABLE, unit.id)])
    audit(session, actor=actor, action="create_unit", subject=f"unit:{unit.id}", detail={"code": code}, at=at)
    return unit


def create_group(
    session: Session, *, unit_id: int, name_zh: str, name_en: str, actor: str, at: datetime
) -> InstrumentGroup:
    """Record an instrument group of a unit. Refuses NOT_FOUND."""
    if session.get(Unit, unit_id) is None:
        raise Refusal(Code.NOT_FOUND, unit_id=unit_id)
    group = _add(session, InstrumentGroup(unit_id=unit_id, name_zh=name_zh, name_en=name_en))
    audit(session, actor=actor, action="create_group", subject=f"group:{group.id}", detail={"unit_id": unit_id}, at=at)
    return group


def create_instrument(
    session: Session,
    *,
    code: str,
    name_zh: str,
    name_en: str,
    group_id: int,
    instrument_class: str,
    place: str = "",
    value_fen: int = 0,
    special: bool = False,
    typical_session_min: int = 60,
    actor: str,
    at: datetime,
) -> Instrument:
    """Record an instrument of a group. Refuses CODE_TAKEN and NOT_FOUND."""
    if session.get(InstrumentGroup, group_id) is None:
        raise Refusal(Code.NOT_FOUND, group_id=group_id)
    instrument = Instrument(
        code=code,
        name_zh=name_zh,
        name_en=name_en,
        group_id=group_id,
        instrument_class=instrument_class,
        place=place,
        value_fen=value_fen,
        special=special,
        typical_session_min=typical_session_min,
    )
    _add(session, instrument, code=code)
    audit(
        session,
        actor=actor,
        action="create_instrument",
        subject=f"instrument:{instrument.id}",
        detail={"code": code, "group_id": group_id},
        at=at,
    )
    return instrument


def set_tariff(
    session: Session,
    *,
    instrument_id: int,
    customer_class: CustomerClass | None = None,
    valid_from: datetime,
    valid_to: datetime | None = None,
    rules: dict[str, Any],
    split_at_change: bool = False,
    source: str = "",
    actor: str,
    at: datetime,
) -> Tariff:
    """Announce price rules for an instrument and a customer class, None for everyone who has no rules of their own.

    Refuses TARIFF_INVALID (with the path of the mistake), TARIFF_OVERLAP and NOT_FOUND.
    """
    try:
        parse_rules(rules)
    except RulesError as error:
        raise Refusal(Code.TARIFF_INVALID, path=error.path, reason=error.reason) from error
    if valid_to is not None and valid_to <= valid_from:
        raise Refusal(Code.TARIFF_INVALID, path="valid_to", reason="must be after valid_from")
    # The embedded server cannot exclude overlapping ranges by itself; under the instrument's lock nobody else can.
    _lock_instrument(session, instrument_id)
    other = session.scalar(_overlapping(instrument_id, customer_class, valid_from=valid_from, valid_to=valid_to))
    if other is not None:
        raise Refusal(Code.TARIFF_OVERLAP, tariff_id=other.id, valid_from=other.valid_from.isoformat())
    tariff = Tariff(
        instrument_id=instrument_id,
        customer_class=customer_class,
        valid_from=valid_from,
        valid_to=valid_to,
        rules=rules,
        split_at_change=split_at_change,
        source=source,
    )
    _add(session, tariff)
    audit(
        session,
        actor=actor,
        action="set_tariff",
        subject=f"instrument:{instrument_id}",
        detail={"tariff_id": tariff.id, "customer_class": customer_class, "valid_from": valid_from.isoformat()},
        at=at,
    )
    return tariff


def end_tariff(session: Session, *, tariff_id: int, valid_to: datetime, actor: str, at: datetime) -> Tariff:
    """Let a tariff hold only until `valid_to`, which is not in the past: what was charged by it stays explained.

    Refuses NOT_FOUND, and TARIFF_INVALID for a moment that is past, before its beginning or after its end.
    """
    tariff = session.get(Tariff, tariff_id)
    if tariff is None:
        raise Refusal(Code.NOT_FOUND, tariff_id=tariff_id)
    _lock_instrument(session, tariff.instrument_id)
    session.refresh(tariff)
    if valid_to < at or valid_to <= tariff.valid_from or (tariff.valid_to is not None and valid_to > tariff.valid_to):
        raise Refusal(Code.TARIFF_INVALID, path="valid_to", reason="must lie ahead, within the tariff's own time")
    tariff.valid_to = valid_to
    audit(
        session,
        actor=actor,
        action="end_tariff",
        subject=f"instrument:{tariff.instrument_id}",
        detail={"tariff_id": tariff.id, "valid_to": valid_to.isoformat()},
        at=at,
    )
    return tariff


def tariff_at(
    session: Session, *, instrument_id: int, customer_class: CustomerClass, at: datetime
) -> dict[str, Any] | None:
    """Give the tariff that holds for a customer class at a moment as a snapshot to keep, or None.

    A tariff for the class goes before one for everyone. `customer_class` in it is the customer's, for the percentages
    of the rules; `rules` is what `pricing.parse_rules` reads.
    """
    tariff = session.scalar(
        select(Tariff)
        .where(Tariff.instrument_id == instrument_id, _holds_at(Tariff, at))
        .where(or_(Tariff.customer_class == customer_class, Tariff.customer_class.is_(None)))
        .order_by(Tariff.customer_class.is_(None))
        .limit(1)
    )
    return None if tariff is None else snapshot(tariff, customer_class=customer_class)


def snapshot(tariff: Tariff, *, customer_class: CustomerClass | None) -> dict[str, Any]:
    """Give a tariff as the JSON that is copied to a session: later changes of the tariff do not reach it."""
    return {
        "tariff_id": tariff.id,
        "instrument_id": tariff.instrument_id,
        "customer_class": customer_class,
        "valid_from": tariff.valid_from.isoformat(),
        "valid_to": None if tariff.valid_to is None else tariff.valid_to.isoformat(),
        "split_at_change": tariff.split_at_change,
        "source": tariff.source,
        "rules": tariff.rules,
    }


def tariffs_of(session: Session, *, instrument_id: int) -> list[Tariff]:
    """Give all tariffs of an instrument, past, present and announced, the newest first. Refuses NOT_FOUND."""
    if session.get(Instrument, instrument_id) is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)
    return list(
        session.scalars(
            select(Tariff).where(Tariff.instrument_id == instrument_id).order_by(Tariff.valid_from.desc(), Tariff.id)
        )
    )


def tariffs_at(session: Session, *, instrument_ids: list[int], at: datetime) -> dict[int, list[Tariff]]:
    """Give the tariffs that hold at a moment by instrument, the one for everyone last."""
    found: dict[int, list[Tariff]] = {instrument_id: [] for instrument_id in instrument_ids}
    for tariff in session.scalars(
        select(Tariff)
        .where(Tariff.instrument_id.in_(instrument_ids), _holds_at(Tariff, at))
        .order_by(Tariff.customer_class.nulls_last())
    ):
        found[tariff.instrument_id].append(tariff)
    return found


def customer_class_of(session: Session, *, organisation_id: int | None, instrument_id: int) -> CustomerClass:
    """Say as what kind of customer an organisation uses an instrument; a person without one counts as a company.

    The own unit goes before the region, the region before the kind; public bodies pay as companies do.
    Refuses NOT_FOUND for an unknown instrument.
    """
    instrument = get_instrument(session, instrument_id=instrument_id)
    owner = instrument.group.unit.organisation
    customer = None if organisation_id is None else session.get(Organisation, organisation_id)
    if customer is None:
        return CustomerClass.COMPANY
    if customer.id == owner.id:
        return CustomerClass.OWN_UNIT
    if customer.region != owner.region:
        return CustomerClass.OUTSIDE_REGION
    return CustomerClass.ACADEMIC if customer.kind is OrganisationKind.ACADEMIC else CustomerClass.COMPANY


def get_instrument(session: Session, *, instrument_id: int) -> Instrument:
    """Give an instrument with its group, unit and sub-center. Refuses NOT_FOUND."""
    instrument = session.scalar(_with_homes().where(Instrument.id == instrument_id))
    if instrument is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)
    return instrument


def list_instruments(
    session: Session,
    *,
    search: str = "",
    instrument_class: str | None = None,
    unit_id: int | None = None,
    place: str = "",
    page: int = 1,
    page_size: int = 50,
) -> tuple[list[Instrument], int]:
    """Give a page of instruments by code, and how many there are; `search` looks into code, names and unit."""
    conditions: list[ColumnElement[bool]] = []
    if search:
        columns = (Instrument.code, Instrument.name_zh, Instrument.name_en, Unit.name_zh, Unit.name_en)
        conditions.append(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if instrument_class is not None:
        conditions.append(Instrument.instrument_class == instrument_class)
    if unit_id is not None:
        conditions.append(Unit.id == unit_id)
    if place:
        conditions.append(Instrument.place.icontains(place, autoescape=True))
    size = min(page_size, PAGE_SIZE_MAX)
    joined = select(func.count()).select_from(Instrument).join(Instrument.group).join(InstrumentGroup.unit)
    total = session.scalar(joined.where(*conditions)) or 0
    rows = session.scalars(
        _with_homes().where(*conditions).order_by(Instrument.code).limit(size).offset((page - 1) * size)
    )
    return list(rows), total


def list_as_collaborative(
    session: Session,
    *,
    instrument_id: int,
    valid_from: datetime,
    valid_to: datetime | None = None,
    actor: str,
    at: datetime,
) -> CollaborativeListing:
    """Put an instrument on the list whose use earns a subsidy. Refuses ALREADY_DECIDED if it is on it, and NOT_FOUND."""
    _lock_instrument(session, instrument_id)
    if session.scalar(
        select(CollaborativeListing.id).where(
            CollaborativeListing.instrument_id == instrument_id,
            _overlaps(CollaborativeListing, valid_from=valid_from, valid_to=valid_to),
        )
    ):
        raise Refusal(Code.ALREADY_DECIDED, instrument_id=instrument_id)
    listing = CollaborativeListing(instrument_id=instrument_id, valid_from=valid_from, valid_to=valid_to)
    _add(session, listing)
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
    wanted = select(CollaborativeListing.instrument_id).where(_holds_at(CollaborativeListing, at))
    if among is not None:
        wanted = wanted.where(CollaborativeListing.instrument_id.in_(among))
    return frozenset(session.scalars(wanted))


def _with_homes() -> Select[Instrument]:
    return (
        select(Instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .options(
            joinedload(Instrument.group).joinedload(InstrumentGroup.unit).joinedload(Unit.sub_center),
            joinedload(Instrument.group).joinedload(InstrumentGroup.unit).joinedload(Unit.organisation),
        )
    )


def _lock_instrument(session: Session, instrument_id: int) -> None:
    if session.scalar(select(Instrument.id).where(Instrument.id == instrument_id).with_for_update()) is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)


def _overlapping(
    instrument_id: int, customer_class: CustomerClass | None, *, valid_from: datetime, valid_to: datetime | None
) -> Select[Tariff]:
    return (
        select(Tariff)
        .where(
            Tariff.instrument_id == instrument_id,
            Tariff.customer_class.is_not_distinct_from(customer_class),
            _overlaps(Tariff, valid_from=valid_from, valid_to=valid_to),
        )
        .order_by(Tariff.valid_from)
        .limit(1)
    )


def _holds_at(dated: type[Tariff] | type[CollaborativeListing], at: datetime) -> ColumnElement[bool]:
    """From its first moment on, but no longer at its last."""
    return (dated.valid_from <= at) & (dated.valid_to.is_(None) | (dated.valid_to > at))


def _overlaps(
    dated: type[Tariff] | type[CollaborativeListing], *, valid_from: datetime, valid_to: datetime | None
) -> ColumnElement[bool]:
    ends_after = dated.valid_to.is_(None) | (dated.valid_to > valid_from)
    return ends_after if valid_to is None else ends_after & (dated.valid_from < valid_to)


def _add(session: Session, row: Row, *, code: str | None = None) -> Row:
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        if code is not None and (violated(error) or "").startswith("uq_"):
            raise Refusal(Code.CODE_TAKEN, taken=code) from error
        raise
    return row

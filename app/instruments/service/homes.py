"""Sub-centers, member units, groups and instruments: recording and finding them."""

from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.books import open_books, unit_books
from app.db import Base, violated
from app.errors import Code, Refusal
from app.instruments.models import CustomerClass, Instrument, InstrumentGroup, SubCenter, Unit
from app.people.models import Organisation, OrganisationKind
from app.people.service import audit

PAGE_SIZE_MAX = 200
ALLOWANCE_MIN_MAX = 24 * 60
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
    """Record a member unit and open its ledger accounts: what is owed to it, and the fee and tax on what it earned.

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
    open_books(session, unit_books(unit.id))
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
    warm_up_min: int = 15,
    after_treatment_min: int = 15,
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
        warm_up_min=warm_up_min,
        after_treatment_min=after_treatment_min,
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


def set_allowances(
    session: Session, *, instrument_id: int, warm_up_min: int, after_treatment_min: int, actor: str, at: datetime
) -> Instrument:
    """Say how many minutes before and after the runs of a use count as effective time at an instrument, at most.

    What is decided from now on goes by it; what was decided keeps its figures until something opens it again. Refuses
    NOT_FOUND, and VALIDATION_FAILED for more than a day.
    """
    wanted = {"warm_up_min": warm_up_min, "after_treatment_min": after_treatment_min}
    wrong = {name: [f"0–{ALLOWANCE_MIN_MAX}"] for name, value in wanted.items() if not 0 <= value <= ALLOWANCE_MIN_MAX}
    if wrong:
        raise Refusal(Code.VALIDATION_FAILED, fields=wrong)
    instrument = session.get(Instrument, instrument_id, with_for_update=True)
    if instrument is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)
    before = {name: getattr(instrument, name) for name in wanted}
    if before == wanted:
        return instrument
    instrument.warm_up_min, instrument.after_treatment_min = warm_up_min, after_treatment_min
    session.flush()
    audit(
        session,
        actor=actor,
        action="set_allowances",
        subject=f"instrument:{instrument_id}",
        detail={"before": before, "after": wanted},
        at=at,
    )
    return instrument


def get_instrument(session: Session, *, instrument_id: int, lock: bool = False) -> Instrument:
    """Give an instrument with its group, unit and sub-center, on request with its row locked. Refuses NOT_FOUND."""
    query = _with_homes().where(Instrument.id == instrument_id)
    instrument = session.scalar(query.with_for_update(key_share=True, of=Instrument) if lock else query)
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


def lock_instrument(session: Session, *, instrument_id: int) -> None:
    """Let nobody else change the instrument's tariffs and listings until this transaction ends. Refuses NOT_FOUND."""
    if session.scalar(select(Instrument.id).where(Instrument.id == instrument_id).with_for_update()) is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)


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


def _add(session: Session, row: Row, *, code: str | None = None) -> Row:
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        if code is not None and (violated(error) or "").startswith("uq_"):
            raise Refusal(Code.CODE_TAKEN, taken=code) from error
        raise
    return row

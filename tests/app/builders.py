"""What many tests need first: people, sub-centers, units, groups, instruments and tariffs, in one line each."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app import clock
from app.books import open_books, unit_books
from app.instruments.models import CustomerClass, Instrument, InstrumentGroup, SubCenter, Tariff, Unit
from app.people.models import Organisation, OrganisationKind, Person, Role, RoleGrant

PASSWORD = "a long sentence for tests"
# The cheapest parameters: a test person's password protects nothing.
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
T = TypeVar("T")
_number = itertools.count(1)


def organisation(
    session: Session, *, kind: OrganisationKind = OrganisationKind.COMPANY, region: str = "重庆", **values: Any
) -> Organisation:
    """An organisation of Chongqing, a company unless told otherwise."""
    number = next(_number)
    return _added(
        session,
        Organisation(name_zh=f"单位{number}", name_en=f"Organisation {number}", kind=kind, region=region, **values),
    )


def person(
    session: Session,
    *,
    role: Role | None = None,
    username: str | None = None,
    organisation_id: int | None = None,
    sub_center_id: int | None = None,
    group_id: int | None = None,
) -> Person:
    """A person who logs in with PASSWORD, with one role or none."""
    name = username or f"person{next(_number)}"
    found = _added(
        session,
        Person(username=name, name=name, password_hash=_HASH, organisation_id=organisation_id, created_at=clock.now()),
    )
    if role is not None:
        _added(session, RoleGrant(person_id=found.id, role=role, sub_center_id=sub_center_id, group_id=group_id))
    return found


def sub_center(session: Session) -> SubCenter:
    number = next(_number)
    return _added(session, SubCenter(code=f"SC{number}", name_zh=f"分中心{number}", name_en=f"Sub-center {number}"))


def unit(session: Session, *, in_sub_center: SubCenter | None = None, **values: Any) -> Unit:
    """A member unit with its own organisation and its ledger books."""
    owner = organisation(session, kind=OrganisationKind.ACADEMIC, network_member=True)
    number = next(_number)
    found = _added(
        session,
        Unit(
            code=f"U{number}",
            name_zh=owner.name_zh,
            name_en=owner.name_en,
            sub_center_id=None if in_sub_center is None else in_sub_center.id,
            organisation_id=owner.id,
            **values,
        ),
    )
    open_books(session, unit_books(found.id))
    return found


def group(session: Session, *, of_unit: Unit | None = None) -> InstrumentGroup:
    owner = of_unit or unit(session)
    return _added(session, InstrumentGroup(unit_id=owner.id, name_zh="质谱机组", name_en="Mass spectrometry group"))


def instrument(session: Session, *, in_group: InstrumentGroup | None = None, **values: Any) -> Instrument:
    owner = in_group or group(session)
    number = next(_number)
    return _added(
        session,
        Instrument(
            **{
                "code": f"I{number}",
                "name_zh": f"液相色谱仪{number}",
                "name_en": f"Liquid chromatograph {number}",
                "group_id": owner.id,
                "instrument_class": "chromatography",
                **values,
            }
        ),
    )


def tariff(
    session: Session,
    *,
    of_instrument: Instrument,
    rules: dict[str, Any] | None = None,
    customer_class: CustomerClass | None = None,
    valid_from: datetime = LONG_AGO,
    valid_to: datetime | None = None,
) -> Tariff:
    """A tariff of 30 yuan an hour by the minute, unless told otherwise."""
    return _added(
        session,
        Tariff(
            instrument_id=of_instrument.id,
            customer_class=customer_class,
            valid_from=valid_from,
            valid_to=valid_to,
            rules=rules or {"per_hour": {"price_fen": 30_00}},
        ),
    )


def bearer(client: FlaskClient, username: str) -> dict[str, str]:
    """Log a test person in over the API and give the header that proves it."""
    answer = client.post("/api/v1/log-in", json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return {"Authorization": f"Bearer {answer.get_json()['token']}"}


def in_days(days: float) -> datetime:
    return clock.now() + timedelta(days=days)


def _added(session: Session, row: T) -> T:
    session.add(row)
    session.flush()
    return row

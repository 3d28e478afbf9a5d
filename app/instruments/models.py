"""Sub-centers, member units, groups, instruments and their tariffs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.people.models import Moment, Organisation


class CustomerClass(StrEnum):
    """Who pays which price (domain.md, Tariff rules)."""

    OWN_UNIT = "own_unit"
    ACADEMIC = "academic"
    COMPANY = "company"
    OUTSIDE_REGION = "outside_region"


class SubCenter(Base):
    __tablename__ = "sub_center"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]


class Unit(Base):
    """A member unit (入网单位); without a sub-center it is under the center itself."""

    __tablename__ = "unit"
    __table_args__ = (
        CheckConstraint("service_fee_basis_points BETWEEN 0 AND 10000", name="service_fee_range"),
        CheckConstraint("vat_basis_points BETWEEN 0 AND 10000", name="vat_range"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    sub_center_id: Mapped[int | None] = mapped_column(ForeignKey(SubCenter.id), index=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey(Organisation.id), unique=True)
    service_fee_basis_points: Mapped[int] = mapped_column(server_default=text("0"))
    """The platform's share of each captured charge, in 1/10,000."""
    vat_basis_points: Mapped[int] = mapped_column(server_default=text("0"))

    sub_center: Mapped[SubCenter | None] = relationship()
    organisation: Mapped[Organisation] = relationship()


class InstrumentGroup(Base):
    __tablename__ = "instrument_group"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    unit_id: Mapped[int] = mapped_column(ForeignKey(Unit.id), index=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]

    unit: Mapped[Unit] = relationship()


class Instrument(Base):
    __tablename__ = "instrument"
    __table_args__ = (
        CheckConstraint("warm_up_min BETWEEN 0 AND 1440", name="warm_up_range"),
        CheckConstraint("after_treatment_min BETWEEN 0 AND 1440", name="after_treatment_range"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    group_id: Mapped[int] = mapped_column(ForeignKey(InstrumentGroup.id), index=True)
    instrument_class: Mapped[str]
    place: Mapped[str] = mapped_column(server_default="")
    value_fen: Mapped[int] = mapped_column(server_default=text("0"))
    special: Mapped[bool] = mapped_column(server_default=text("false"))
    """专用仪器: rated 800 h a year instead of 1,400."""
    typical_session_min: Mapped[int] = mapped_column(server_default=text("60"))
    """How many minutes a tap asks for when the person chose none."""
    warm_up_min: Mapped[int] = mapped_column(server_default=text("15"))
    """How much warm-up before a use counts as effective time (有效机时), at most."""
    after_treatment_min: Mapped[int] = mapped_column(server_default=text("15"))
    """The same for after-treatment."""

    group: Mapped[InstrumentGroup] = relationship()


class CollaborativeListing(Base):
    """The list of collaborative instruments (协作共用仪器), versioned by date: only their use earns a subsidy."""

    __tablename__ = "collaborative_listing"
    __table_args__ = (CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="order"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)


class Tariff(Base):
    """Price rules of an instrument for a customer class (None: for all), from a moment to a moment.

    Two tariffs of the same instrument and class never overlap; the service refuses them under the instrument's lock.
    """

    __tablename__ = "tariff"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="order"),
        Index(None, "instrument_id", "customer_class", "valid_from"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id))
    customer_class: Mapped[CustomerClass | None]
    valid_from: Mapped[datetime] = mapped_column(Moment)
    valid_to: Mapped[datetime | None] = mapped_column(Moment)
    rules: Mapped[dict[str, Any]] = mapped_column(JSONB)
    split_at_change: Mapped[bool] = mapped_column(server_default=text("false"))
    source: Mapped[str] = mapped_column(server_default="")

"""People, their organisations and roles, log-ins, and the audit trail."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base

Moment = TIMESTAMP(timezone=True)


class Role(StrEnum):
    """What a person may do; the scope is on the grant (domain.md, People and what they may do)."""

    CARDHOLDER = "cardholder"
    GROUP_OPERATOR = "group_operator"
    SUB_CENTER_MANAGER = "sub_center_manager"
    CLERK = "clerk"
    APPROVER = "approver"
    FINANCE = "finance"
    AUDITOR = "auditor"
    ADMIN = "admin"


class OrganisationKind(StrEnum):
    COMPANY = "company"
    ACADEMIC = "academic"
    GOVERNMENT = "government"


class Organisation(Base):
    __tablename__ = "organisation"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    kind: Mapped[OrganisationKind]
    region: Mapped[str] = mapped_column(server_default="重庆")
    legal_person: Mapped[bool] = mapped_column(server_default=text("true"))
    network_member: Mapped[bool] = mapped_column(server_default=text("false"))
    """入网单位: a member unit of the platform."""


class Person(Base):
    __tablename__ = "person"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    organisation_id: Mapped[int | None] = mapped_column(ForeignKey(Organisation.id))
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    failed_log_ins: Mapped[int] = mapped_column(server_default=text("0"))
    locked_until: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)

    organisation: Mapped[Organisation | None] = relationship()
    grants: Mapped[list["RoleGrant"]] = relationship(order_by="RoleGrant.id")


class RoleGrant(Base):
    """A role and where it holds: a sub-center for its manager, a group for its operator, everything for the rest."""

    __tablename__ = "role_grant"
    __table_args__ = (
        CheckConstraint("(role = 'sub_center_manager') = (sub_center_id IS NOT NULL)", name="sub_center_scope"),
        CheckConstraint("(role = 'group_operator') = (group_id IS NOT NULL)", name="group_scope"),
        Index(None, "person_id", "role", "sub_center_id", "group_id", unique=True, postgresql_nulls_not_distinct=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey(Person.id))
    role: Mapped[Role]
    sub_center_id: Mapped[int | None] = mapped_column(ForeignKey("app.sub_center.id"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("app.instrument_group.id"))


class LogIn(Base):
    """One log-in, by cookie or by bearer token; only the token's hash is kept."""

    __tablename__ = "log_in"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey(Person.id), index=True)
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)


class AuditEntry(Base):
    """Who did what to which thing; append-only by trigger."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)

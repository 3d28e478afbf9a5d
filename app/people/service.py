"""People: who they are, how they log in, what they may do, and the trail of what they changed."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from app.db import violated
from app.errors import Code, Refusal
from app.people import passwords
from app.people.models import AuditEntry, LogIn, Organisation, OrganisationKind, Person, Role, RoleGrant
from app.people.principals import Grant, Principal

FAILED_LOG_INS_MAX = 5
LOCK_DURATION = timedelta(minutes=15)
TOKEN_BYTES = 32
PAGE_SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInDecision:
    """The outcome of one attempt: a token, shown once, or the code of the refusal. Commit it either way."""

    token: str | None = None
    expires_at: datetime | None = None
    refusal: Code | None = None


def log_in(session: Session, *, username: str, password: str, at: datetime, lifetime: timedelta) -> LogInDecision:
    """Check a password and open a log-in.

    Refuses with LOG_IN_FAILED, and for 15 minutes after five failures in a row with LOG_IN_LOCKED. The refusal is a
    value, because the count of failures must be committed. An unknown user name takes as long as a wrong password.
    """
    # The row's lock makes parallel guesses queue, so that none escapes the count.
    person = session.scalar(select(Person).where(Person.username == username).with_for_update())
    matches = passwords.verify(person.password_hash if person is not None else None, password)
    if person is None or not person.active:
        return LogInDecision(refusal=Code.LOG_IN_FAILED)
    if person.locked_until is not None and at < person.locked_until:
        return LogInDecision(refusal=Code.LOG_IN_LOCKED)
    if not matches:
        _count_failure(session, person, at=at)
        return LogInDecision(refusal=Code.LOG_IN_FAILED)
    person.failed_log_ins = 0
    person.locked_until = None
    if passwords.needs_rehash(person.password_hash):
        person.password_hash = passwords.hash_password(password)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.add(LogIn(token_hash=_token_hash(token), person_id=person.id, created_at=at, expires_at=at + lifetime))
    return LogInDecision(token=token, expires_at=at + lifetime)


def log_out(session: Session, *, token: str, at: datetime) -> None:
    """End a log-in; a token that is unknown or already ended is none any more, so nothing else happens."""
    session.execute(
        update(LogIn).where(LogIn.token_hash == _token_hash(token), LogIn.revoked_at.is_(None)).values(revoked_at=at)
    )


def principal_of_token(session: Session, *, token: str, at: datetime) -> Principal | None:
    """Give the person whose valid log-in this token is, or None."""
    person = session.scalar(
        select(Person)
        .join(LogIn, LogIn.person_id == Person.id)
        .where(LogIn.token_hash == _token_hash(token), LogIn.revoked_at.is_(None), LogIn.expires_at > at)
        .where(Person.active)
        .options(selectinload(Person.grants))
    )
    return None if person is None else principal_of(person)


def principal_of(person: Person) -> Principal:
    """Give the person as doors and services see her."""
    return Principal(
        person_id=person.id,
        username=person.username,
        name=person.name,
        organisation_id=person.organisation_id,
        grants=tuple(
            Grant(role=grant.role, sub_center_id=grant.sub_center_id, group_id=grant.group_id)
            for grant in person.grants
        ),
    )


def change_password(session: Session, *, person_id: int, current: str, new: str, keep_token: str, at: datetime) -> None:
    """Exchange a person's password and end her other log-ins, whoever made them.

    Refuses LOG_IN_FAILED for a wrong current password and PASSWORD_TOO_WEAK.
    """
    person = session.scalars(select(Person).where(Person.id == person_id).with_for_update()).one()
    if not passwords.verify(person.password_hash, current):
        raise Refusal(Code.LOG_IN_FAILED)
    if passwords.is_weak(new, username=person.username):
        raise Refusal(Code.PASSWORD_TOO_WEAK)
    person.password_hash = passwords.hash_password(new)
    _end_log_ins(session, person_id=person_id, at=at, but=keep_token)
    audit(session, actor=person.username, action="change_password", subject=f"person:{person_id}", at=at)


def deactivate(session: Session, *, person_id: int, actor: str, at: datetime) -> Principal:
    """Let a person log in no more and end her log-ins; what she did stays hers. Refuses NOT_FOUND."""
    person = session.scalar(select(Person).where(Person.id == person_id).with_for_update())
    if person is None:
        raise Refusal(Code.NOT_FOUND, person_id=person_id)
    person.active = False
    _end_log_ins(session, person_id=person_id, at=at)
    audit(session, actor=actor, action="deactivate_person", subject=f"person:{person_id}", at=at)
    return principal_of(person)


def list_organisations(session: Session, *, search: str = "", page: int = 1, page_size: int = 50) -> list[Organisation]:
    """Give a page of organisations by id; `search` looks into both names."""
    return list(
        session.scalars(
            select(Organisation)
            .where(
                or_(
                    Organisation.name_zh.icontains(search, autoescape=True),
                    Organisation.name_en.icontains(search, autoescape=True),
                )
            )
            .order_by(Organisation.id)
            .limit(min(page_size, PAGE_SIZE_MAX))
            .offset((page - 1) * page_size)
        )
    )


def create_organisation(
    session: Session,
    *,
    name_zh: str,
    name_en: str,
    kind: OrganisationKind,
    region: str = "重庆",
    legal_person: bool = True,
    network_member: bool = False,
    actor: str,
    at: datetime,
) -> Organisation:
    """Record an organisation: a customer, or the legal person of a member unit."""
    organisation = Organisation(
        name_zh=name_zh,
        name_en=name_en,
        kind=kind,
        region=region,
        legal_person=legal_person,
        network_member=network_member,
    )
    session.add(organisation)
    session.flush()
    audit(
        session,
        actor=actor,
        action="create_organisation",
        subject=f"organisation:{organisation.id}",
        detail={"name_zh": name_zh, "kind": kind.value},
        at=at,
    )
    return organisation


def create_person(
    session: Session,
    *,
    username: str,
    name: str,
    password: str,
    organisation_id: int | None = None,
    actor: str,
    at: datetime,
) -> Person:
    """Record a person who may log in; roles are granted separately.

    Refuses USERNAME_TAKEN, PASSWORD_TOO_WEAK, and NOT_FOUND for an unknown organisation.
    """
    if passwords.is_weak(password, username=username):
        raise Refusal(Code.PASSWORD_TOO_WEAK)
    if organisation_id is not None and session.get(Organisation, organisation_id) is None:
        raise Refusal(Code.NOT_FOUND, organisation_id=organisation_id)
    person = Person(
        username=username,
        name=name,
        password_hash=passwords.hash_password(password),
        organisation_id=organisation_id,
        created_at=at,
    )
    session.add(person)
    try:
        session.flush()
    except IntegrityError as error:
        if violated(error) == "uq_person_username":
            raise Refusal(Code.USERNAME_TAKEN) from error
        raise
    audit(
        session,
        actor=actor,
        action="create_person",
        subject=f"person:{person.id}",
        detail={"username": username, "organisation_id": organisation_id},
        at=at,
    )
    return person


def create_person_with_roles(
    session: Session, *, grants: list[dict[str, Any]], actor: str, at: datetime, **person_values: Any
) -> Principal:
    """Record a person and her first roles, all or nothing; see `create_person` and `grant_role`."""
    person = create_person(session, **person_values, actor=actor, at=at)
    for grant in grants:
        grant_role(session, person_id=person.id, **grant, actor=actor, at=at)
    session.refresh(person, ["grants"])
    return principal_of(person)


def grant_role(
    session: Session,
    *,
    person_id: int,
    role: Role,
    sub_center_id: int | None = None,
    group_id: int | None = None,
    actor: str,
    at: datetime,
) -> RoleGrant:
    """Give a person a role: of a sub-center for its manager, of a group for its operator, else everywhere.

    Granting again changes nothing. Refuses SCOPE_WRONG for a role without its scope, NOT_FOUND for unknown ids.
    """
    if (role is Role.SUB_CENTER_MANAGER) != (sub_center_id is not None) or (role is Role.GROUP_OPERATOR) != (
        group_id is not None
    ):
        raise Refusal(Code.SCOPE_WRONG, role=role.value)
    # Two grants at once queue here, so the second one sees the first.
    if session.scalar(select(Person.id).where(Person.id == person_id).with_for_update()) is None:
        raise Refusal(Code.NOT_FOUND, person_id=person_id)
    grant = session.scalar(
        select(RoleGrant).where(
            RoleGrant.person_id == person_id,
            RoleGrant.role == role,
            RoleGrant.sub_center_id.is_not_distinct_from(sub_center_id),
            RoleGrant.group_id.is_not_distinct_from(group_id),
        )
    )
    if grant is not None:
        return grant
    grant = RoleGrant(person_id=person_id, role=role, sub_center_id=sub_center_id, group_id=group_id)
    session.add(grant)
    try:
        session.flush()
    except IntegrityError as error:
        if violated(error) in {"fk_role_grant_sub_center_id", "fk_role_grant_group_id"}:
            raise Refusal(Code.NOT_FOUND, sub_center_id=sub_center_id, group_id=group_id) from error
        raise
    audit(
        session,
        actor=actor,
        action="grant_role",
        subject=f"person:{person_id}",
        detail={"role": role.value, "sub_center_id": sub_center_id, "group_id": group_id},
        at=at,
    )
    return grant


def list_people(session: Session, *, search: str = "", page: int = 1, page_size: int = 50) -> list[Person]:
    """Give a page of people by user name, with their roles; `search` looks into user names and names."""
    return list(
        session.scalars(
            select(Person)
            .where(
                or_(Person.username.icontains(search, autoescape=True), Person.name.icontains(search, autoescape=True))
            )
            .order_by(Person.username)
            .limit(min(page_size, PAGE_SIZE_MAX))
            .offset((page - 1) * page_size)
            .options(selectinload(Person.grants))
        )
    )


def audit(
    session: Session, *, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None, at: datetime
) -> None:
    """Write down who did what to which thing; the database lets nobody change it afterwards.

    `actor` is a user name, `terminal:<id>` or `system:<job>`; `subject` is `<kind>:<id>`.
    """
    session.add(AuditEntry(actor=actor, action=action, subject=subject, detail=detail or {}, at=at))


def audit_trail(
    session: Session, *, subject: str = "", actor: str = "", before_id: int | None = None, page_size: int = 50
) -> list[AuditEntry]:
    """Give a page of the audit trail, the newest first, of one subject, of one actor, or all; go on by `before_id`."""
    wanted = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(min(page_size, PAGE_SIZE_MAX))
    if subject:
        wanted = wanted.where(AuditEntry.subject == subject)
    if actor:
        wanted = wanted.where(AuditEntry.actor == actor)
    if before_id is not None:
        wanted = wanted.where(AuditEntry.id < before_id)
    return list(session.scalars(wanted))


def _end_log_ins(session: Session, *, person_id: int, at: datetime, but: str | None = None) -> None:
    kept = b"" if but is None else _token_hash(but)
    session.execute(
        update(LogIn)
        .where(LogIn.person_id == person_id, LogIn.revoked_at.is_(None), LogIn.token_hash != kept)
        .values(revoked_at=at)
    )


def _count_failure(session: Session, person: Person, *, at: datetime) -> None:
    person.failed_log_ins += 1
    if person.failed_log_ins >= FAILED_LOG_INS_MAX:
        person.failed_log_ins = 0
        person.locked_until = at + LOCK_DURATION
        audit(session, actor=person.username, action="log_in_locked", subject=f"person:{person.id}", at=at)


def _token_hash(token: str) -> bytes:
    """Only the hash is kept: who reads the database can log in as nobody. The token itself is random, so no salt."""
    return hashlib.sha256(token.encode()).digest()

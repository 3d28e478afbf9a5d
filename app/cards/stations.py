"""Personalisation stations: made by an administrator, enrolled by a one-time code, heard by their signatures."""

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock, errors
from app.cards.models import Station, StationStatus
from app.devices import messages
from app.people import service as people
from card_terminal import protocol
from card_terminal.protocol import ProtocolError, RefusalCode

ENROLMENT_CODE_LIFETIME = timedelta(minutes=15)
ENROLMENT_CODE_BYTES = 10
# A station that has not been heard for so long is not at work; it says so itself every half minute.
SILENT_AFTER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationCode:
    """The one time that a code is seen: the database keeps its hash."""

    station: Station
    code: str = field(repr=False)
    expires_at: datetime


def create(session: Session, *, code: str, place: str, actor: str, at: datetime) -> StationCode:
    """Make a station, with the code that lets it enrol within 15 minutes. Raises Refusal CODE_TAKEN."""
    made = session.scalar(
        insert(Station)
        .values(
            id=UUID(bytes=secrets.token_bytes(16), version=4),
            code=code,
            place=place,
            status=StationStatus.PENDING,
            created_at=at,
        )
        .on_conflict_do_nothing(index_elements=[Station.code])
        .returning(Station.id)
    )
    if made is None:
        raise errors.Refusal(errors.Code.CODE_TAKEN, station=code)
    people.audit(
        session, actor=actor, action="station.create", subject=f"station:{code}", detail={"place": place}, at=at
    )
    return new_code(session, station_id=made, actor=actor, at=at)


def new_code(session: Session, *, station_id: UUID, actor: str, at: datetime) -> StationCode:
    """Make a fresh code for a station that has not enrolled. Raises Refusal: NOT_FOUND, ALREADY_DECIDED."""
    station = _locked(session, station_id)
    if station.status is not StationStatus.PENDING:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    code = base64.b32encode(os.urandom(ENROLMENT_CODE_BYTES)).decode()
    station.enrolment_code_hash = _hash(code)
    station.enrolment_expires_at = at + clock.allowing(ENROLMENT_CODE_LIFETIME)
    people.audit(session, actor=actor, action="station.code", subject=f"station:{station.code}", at=at)
    return StationCode(station=station, code=code, expires_at=station.enrolment_expires_at)


def revoke(session: Session, *, station_id: UUID, actor: str, at: datetime) -> Station:
    """Hear a station no more. Raises Refusal NOT_FOUND."""
    station = _locked(session, station_id)
    if station.status is not StationStatus.REVOKED:
        station.status = StationStatus.REVOKED
        station.enrolment_code_hash = station.enrolment_expires_at = None
        people.audit(session, actor=actor, action="station.revoke", subject=f"station:{station.code}", at=at)
    return station


def enrol(session: Session, *, message: str, at: datetime) -> Station:
    """Bind the key that a station brings to the station that its code was made for; twice the same is once.

    Raises ProtocolError: SIG_INVALID, MESSAGE_INVALID, ENROLMENT_CODE_INVALID.
    """
    enrolment = protocol.read_enrolment(message)
    public_key = protocol.decode_public_key(enrolment.public_key).public_bytes_raw()
    station = session.scalar(
        select(Station).where(Station.enrolment_code_hash == _hash(enrolment.code)).with_for_update(key_share=True)
    )
    if station is None or station.enrolment_expires_at is None or at > station.enrolment_expires_at:
        raise ProtocolError(RefusalCode.ENROLMENT_CODE_INVALID, "no such code, or too old")
    if station.status is StationStatus.ENROLLED and station.public_key == public_key:
        return station
    if station.status is not StationStatus.PENDING:
        raise ProtocolError(RefusalCode.ENROLMENT_CODE_INVALID, "used with another key")
    station.public_key = public_key
    station.status = StationStatus.ENROLLED
    station.last_seen_at = at
    people.audit(
        session,
        actor=f"station:{station.code}",
        action="station.enrol",
        subject=f"station:{station.code}",
        detail={"fingerprint": fingerprint_of(station)},
        at=at,
    )
    return station


def fingerprint_of(station: Station) -> str:
    """Give the fingerprint that an administrator compares with the station's screen; empty before enrolment."""
    if station.public_key is None:
        return ""
    return protocol.fingerprint(Ed25519PublicKey.from_public_bytes(station.public_key))


def listed(session: Session) -> list[Station]:
    """Give the stations by code, those in service first."""
    return list(session.scalars(select(Station).order_by(Station.status == StationStatus.REVOKED, Station.code)))


def hear(session: Session, *, message: str, name: str, at: datetime) -> tuple[Station, protocol.Query]:
    """Give the station that signed a message, locked, and what it says.

    Raises ProtocolError: SIG_INVALID, DEVICE_REVOKED, MESSAGE_INVALID, CLOCK_SKEW.
    """
    header = protocol.read_header(message)
    try:
        station = session.get(Station, UUID(header.key_id), with_for_update={"key_share": True}, populate_existing=True)
    except ValueError as error:
        raise protocol.SignatureError("the kid is no device id") from error
    if station is None or station.public_key is None or header.message_type is not protocol.MessageType.QUERY:
        raise protocol.SignatureError("not signed by an enrolled station for this use")
    query = protocol.read_query(message, key=Ed25519PublicKey.from_public_bytes(station.public_key), name=name)
    if station.status is StationStatus.REVOKED:
        raise ProtocolError(RefusalCode.DEVICE_REVOKED, station.code)
    messages.check_clock(query, at=at)
    station.last_seen_at = at
    return station, query


def _locked(session: Session, station_id: UUID) -> Station:
    station = session.get(Station, station_id, with_for_update={"key_share": True}, populate_existing=True)
    if station is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return station


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()

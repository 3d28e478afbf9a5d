"""Terminals and boxes as an administrator sees them: created, enrolled, revoked, placed; and the server's own key."""

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from app import clock, crypto_box, errors
from app.devices.models import BoxPlacement, Revocation, ServerKey, Terminal, TerminalStatus
from app.instruments.models import Instrument
from app.people import service as people
from card_terminal import protocol

ENROLMENT_CODE_LIFETIME = timedelta(minutes=15)
ENROLMENT_CODE_BYTES = 10
FIRST_SERVER_KEY = "server-1"
# So much of a fingerprint, at least its last three groups, a person must have read off the screen: keys that agree in
# four characters are found in a second, in twelve not while a code is good.
FINGERPRINT_CHARACTERS_MIN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """The one time that a code is seen: the database keeps its hash."""

    terminal: Terminal
    code: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSigner:
    """The key with which the server signs, and the name under which terminals know it."""

    key_id: str
    private_key: Ed25519PrivateKey = field(repr=False)


def create_terminal(session: Session, *, code: str, instrument_id: int, actor: str, at: datetime) -> EnrolmentCode:
    """Make a terminal for an instrument, with the code that lets it enrol within 15 minutes.

    Raises Refusal: NOT_FOUND for the instrument, CODE_TAKEN.
    """
    if session.get(Instrument, instrument_id) is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    made = session.scalar(
        insert(Terminal)
        .values(
            id=_new_terminal_id(), code=code, instrument_id=instrument_id, status=TerminalStatus.PENDING, created_at=at
        )
        .on_conflict_do_nothing(index_elements=[Terminal.code])
        .returning(Terminal.id)
    )
    if made is None:
        raise errors.Refusal(errors.Code.CODE_TAKEN, terminal=code)
    terminal = session.get_one(Terminal, made)
    _audit(session, terminal, "create", detail={"instrument_id": instrument_id}, actor=actor, at=at)
    return new_enrolment_code(session, terminal_id=made, actor=actor, at=at)


def new_enrolment_code(session: Session, *, terminal_id: UUID, actor: str, at: datetime) -> EnrolmentCode:
    """Make a fresh code for a terminal that has not enrolled yet; the one before is void.

    Replaced hardware is a new terminal: a key and its chain of events belong together. Raises Refusal: NOT_FOUND,
    ALREADY_DECIDED.
    """
    terminal = _locked(session, terminal_id)
    if terminal.status is not TerminalStatus.PENDING:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    code = base64.b32encode(os.urandom(ENROLMENT_CODE_BYTES)).decode()
    terminal.enrolment_code_hash = _code_hash(code)
    terminal.enrolment_expires_at = at + clock.allowing(ENROLMENT_CODE_LIFETIME)
    _audit(session, terminal, "code", detail={}, actor=actor, at=at)
    return EnrolmentCode(terminal=terminal, code=code, expires_at=terminal.enrolment_expires_at)


def enrol(session: Session, *, message: str, at: datetime) -> Terminal:
    """Bind the key that a terminal brings to the terminal that its code was made for.

    Nothing is taken of it until `approve`. The same key with the same code again is the same enrolment: the answer may
    have been lost. Raises ProtocolError: SIG_INVALID, MESSAGE_INVALID, ENROLMENT_CODE_INVALID.
    """
    enrolment = protocol.read_enrolment(message)
    public_key = protocol.decode_public_key(enrolment.public_key).public_bytes_raw()
    terminal = session.scalar(
        select(Terminal)
        .where(Terminal.enrolment_code_hash == _code_hash(enrolment.code))
        .with_for_update(key_share=True)
    )
    if terminal is None or terminal.enrolment_expires_at is None or at > terminal.enrolment_expires_at:
        raise protocol.ProtocolError(protocol.RefusalCode.ENROLMENT_CODE_INVALID, "no such code, or too old")
    if terminal.status in _WITH_KEY and terminal.public_key == public_key:
        return terminal
    if terminal.status is not TerminalStatus.PENDING:
        raise protocol.ProtocolError(protocol.RefusalCode.ENROLMENT_CODE_INVALID, "used with another key")
    terminal.public_key = public_key
    terminal.status = TerminalStatus.COMPARING
    terminal.enrolled_at = terminal.last_seen_at = at
    terminal.app_version = enrolment.app_version
    detail = {"fingerprint": fingerprint_of(terminal)}
    _audit(session, terminal, "enrol", detail=detail, actor=f"terminal:{terminal.code}", at=at)
    return terminal


_WITH_KEY = frozenset({TerminalStatus.COMPARING, TerminalStatus.ENROLLED})


def approve(session: Session, *, terminal_id: UUID, fingerprint: str, actor: str, at: datetime) -> Terminal:
    """Take a terminal's word from now on; `fingerprint`, or its end, is what a person read off the terminal's screen.

    Raises Refusal: NOT_FOUND; ALREADY_DECIDED if none waits; FINGERPRINT_DIFFERS.
    """
    terminal = _locked(session, terminal_id)
    if terminal.status is not TerminalStatus.COMPARING:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    read = "".join(each for each in fingerprint.upper() if each.isalnum())
    if len(read) < FINGERPRINT_CHARACTERS_MIN or not fingerprint_of(terminal).replace("-", "").endswith(read):
        raise errors.Refusal(errors.Code.FINGERPRINT_DIFFERS)
    terminal.status = TerminalStatus.ENROLLED
    terminal.approved_at, terminal.approved_by = at, actor
    _audit(session, terminal, "approve", detail={"fingerprint": fingerprint_of(terminal)}, actor=actor, at=at)
    return terminal


def revoke(
    session: Session, *, terminal_id: UUID, actor: str, at: datetime, why: Revocation = Revocation.RETIRED
) -> Terminal:
    """Stop trusting a terminal: its questions are refused, its events are kept for staff. Raises Refusal NOT_FOUND."""
    terminal = _locked(session, terminal_id)
    if terminal.status is not TerminalStatus.REVOKED:
        terminal.status = TerminalStatus.REVOKED
        terminal.revoked_at, terminal.revocation = at, why
        terminal.enrolment_code_hash = terminal.enrolment_expires_at = None
        _audit(session, terminal, "revoke", detail={"why": str(why)}, actor=actor, at=at)
    return terminal


def replace_key(
    session: Session, *, terminal_id: UUID, code: str, why: Revocation = Revocation.REPLACED, actor: str, at: datetime
) -> EnrolmentCode:
    """Put a new terminal, with a key of its own, in the place of one that is revoked by it.

    A key and its chain of events belong together, so the old row stays with what it signed. Raises Refusal: NOT_FOUND;
    CODE_TAKEN.
    """
    old = revoke(session, terminal_id=terminal_id, actor=actor, at=at, why=why)
    return create_terminal(session, code=code, instrument_id=old.instrument_id, actor=actor, at=at)


def terminal_of(session: Session, *, terminal_id: UUID) -> Terminal:
    """Give one terminal. Raises Refusal NOT_FOUND."""
    terminal = session.get(Terminal, terminal_id, options=[joinedload(Terminal.instrument)])
    if terminal is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return terminal


def fingerprint_of(terminal: Terminal) -> str:
    """Give the fingerprint that an administrator compares with the terminal's screen; empty before enrolment."""
    if terminal.public_key is None:
        return ""
    return protocol.fingerprint(Ed25519PublicKey.from_public_bytes(terminal.public_key))


def terminals(session: Session, *, limit: int, offset: int = 0) -> list[Terminal]:
    """Give terminals with their instruments, by code."""
    query = select(Terminal).options(joinedload(Terminal.instrument)).order_by(Terminal.code)
    return list(session.scalars(query.limit(limit).offset(offset)))


def placements(session: Session, *, limit: int, offset: int = 0) -> list[BoxPlacement]:
    """Give where boxes stand and stood, the present ones first."""
    query = (
        select(BoxPlacement)
        .options(joinedload(BoxPlacement.instrument))
        .order_by(BoxPlacement.valid_to.is_not(None), BoxPlacement.box, BoxPlacement.channel, BoxPlacement.id)
    )
    return list(session.scalars(query.limit(limit).offset(offset)))


def server_signer(session: Session, *, key_encryption_key: bytes, at: datetime) -> ServerSigner:
    """Give the server's signing key, made when it is first needed; two processes that need it agree on one."""
    newest = select(ServerKey).order_by(ServerKey.created_at.desc(), ServerKey.key_id).limit(1)
    stored = session.scalar(newest)
    if stored is None:
        fresh = Ed25519PrivateKey.generate()
        session.execute(
            insert(ServerKey)
            .values(
                key_id=FIRST_SERVER_KEY,
                public_key=fresh.public_key().public_bytes_raw(),
                wrapped_private_key=crypto_box.wrap(
                    fresh.private_bytes_raw(), key=key_encryption_key, purpose=f"server key {FIRST_SERVER_KEY}"
                ),
                created_at=at,
            )
            .on_conflict_do_nothing()
        )
        stored = session.scalars(newest).one()
    raw = crypto_box.unwrap(stored.wrapped_private_key, key=key_encryption_key, purpose=f"server key {stored.key_id}")
    return ServerSigner(key_id=stored.key_id, private_key=Ed25519PrivateKey.from_private_bytes(raw))


def heard_from(session: Session, *, terminal_id: UUID, hello: protocol.Hello, at: datetime) -> None:
    """Keep what a terminal says of itself; it says so every minute, and no lock is worth waiting for."""
    session.execute(
        update(Terminal)
        .where(Terminal.id == terminal_id)
        .values(
            last_seen_at=at,
            boot=hello.boot,
            app_version=hello.app_version,
            reader=hello.reader.value,
            unsent=hello.unsent,
            shown_config_version=hello.config_version,
            running_session_id=hello.session_id,
            clock_ahead_ms=None if hello.wall_ms is None else hello.wall_ms - int(at.timestamp() * 1000),
        )
    )


def _audit(
    session: Session, terminal: Terminal, action: str, *, detail: dict[str, Any], actor: str, at: datetime
) -> None:
    people.audit(
        session, actor=actor, action=f"terminal.{action}", subject=f"terminal:{terminal.code}", detail=detail, at=at
    )


def _locked(session: Session, terminal_id: UUID) -> Terminal:
    terminal = session.get(Terminal, terminal_id, with_for_update={"key_share": True}, populate_existing=True)
    if terminal is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return terminal


def _code_hash(code: str) -> bytes:
    return hashlib.sha256(code.upper().encode()).digest()


def _new_terminal_id() -> UUID:
    return UUID(bytes=secrets.token_bytes(16), version=4)

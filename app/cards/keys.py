"""Master keys: made in versions, kept wrapped, given out only as keys of one chip, and every use written down."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import crypto_box, errors
from app.cards.models import ChipKeys, KeyReason, KeyUse, MasterKey
from app.people import service as people
from card_terminal.crypto.keys import KeySlot, card_key

MASTER_KEY_BYTES = 16
FIRST_VERSION = 1
# One byte in the chip; 0 is what the maker leaves.
KEY_VERSION_MAX = 255
FACTORY_KEY = bytes(MASTER_KEY_BYTES)
# Part of every card's key: cards of another site with the same master keys would still be strangers here.
SYSTEM_ID = b"TESTCARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The master keys in one person's or device's hand, for one reason: what it opens, it writes down."""

    session: Session
    key_encryption_key: bytes = field(repr=False)
    actor: str
    reason: KeyReason
    at: datetime

    def card_key(self, slot: KeySlot, *, uid: bytes, key_version: int) -> bytes | None:
        """Give a chip's key under a key version; None if we never made keys of that version for this chip."""
        made = self.session.get(ChipKeys, (uid, key_version))
        if made is None:
            return None
        master = self._open(slot, made.master_version)
        self._write_down(slot, made.master_version, uid=uid)
        return card_key(slot, master_key=master, uid=uid, key_version=key_version, system_id=SYSTEM_ID)

    def card_keys(self, slot: KeySlot, chips: Sequence[tuple[bytes, int]]) -> list[bytes | None]:
        """Give the keys of many chips, each a UID and a key version, as `card_key` gives them one by one."""
        uids = [uid for uid, _version in chips]
        rows = self.session.scalars(select(ChipKeys).where(ChipKeys.uid.in_(uids)))
        made = {(row.uid, row.key_version): row.master_version for row in rows}
        masters = {version: self._open(slot, version) for version in {made[chip] for chip in chips if chip in made}}
        found: list[bytes | None] = []
        for uid, version in chips:
            master_version = made.get((uid, version))
            if master_version is None:
                found.append(None)
                continue
            self._write_down(slot, master_version, uid=uid)
            master = masters[master_version]
            found.append(card_key(slot, master_key=master, uid=uid, key_version=version, system_id=SYSTEM_ID))
        return found

    def meta_read_keys(self) -> Iterator[tuple[int, bytes]]:
        """Give each version's K1, the newest first: it opens a UID that is not known before.

        What is opened so is written down by `note`, once it is known for which chip: the first key mostly fits.
        """
        _ensure_first(self.session, key_encryption_key=self.key_encryption_key, at=self.at)
        for version in range(newest_version(self.session), 0, -1):
            yield version, self._open(KeySlot.META_READ, version)

    def note(self, slot: KeySlot, version: int, *, uid: bytes | None) -> None:
        """Write down that a master key has served."""
        self._write_down(slot, version, uid=uid)

    def _open(self, slot: KeySlot, version: int) -> bytes:
        wrapped = self.session.scalars(
            select(MasterKey.wrapped_key).where(MasterKey.slot == slot, MasterKey.version == version)
        ).one()
        return crypto_box.unwrap(wrapped, key=self.key_encryption_key, purpose=_purpose(slot, version))

    def _write_down(self, slot: KeySlot, version: int, *, uid: bytes | None) -> None:
        self.session.add(
            KeyUse(at=self.at, actor=self.actor, reason=self.reason, slot=int(slot), master_version=version, uid=uid)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLine:
    """One version of the master keys, and how many chips have keys of it."""

    version: int
    created_at: datetime
    chips: int


def newest_version(session: Session) -> int:
    """Give the version that new cards get; 0 before the first."""
    return session.scalar(select(func.max(MasterKey.version))) or 0


def key_versions_of(session: Session, uid: bytes) -> list[int]:
    """Give the key versions that we ever made for a chip."""
    return list(session.scalars(select(ChipKeys.key_version).where(ChipKeys.uid == uid).order_by(ChipKeys.key_version)))


def assign(session: Session, *, uid: bytes, key_encryption_key: bytes, at: datetime, key_version: int = 0) -> int:
    """Promise a chip keys of the newest master keys, before anything is written to it; give their version.

    Without `key_version` it is the next that this chip has not had. Raises Refusal KEY_VERSIONS_USED_UP.
    """
    _ensure_first(session, key_encryption_key=key_encryption_key, at=at)
    version = key_version or max(key_versions_of(session, uid), default=0) + 1
    if version > KEY_VERSION_MAX:
        raise errors.Refusal(errors.Code.KEY_VERSIONS_USED_UP)
    session.execute(
        insert(ChipKeys)
        .values(uid=uid, key_version=version, master_version=newest_version(session), created_at=at)
        .on_conflict_do_nothing()
    )
    return version


def rotate(session: Session, *, key_encryption_key: bytes, actor: str, at: datetime) -> int:
    """Make the next version of all five master keys; new and renewed cards get it, the others keep theirs."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("master keys"))))
    version = newest_version(session) + 1
    _make(session, version, key_encryption_key=key_encryption_key, actor=actor, at=at)
    people.audit(session, actor=actor, action="keys.rotate", subject=f"master_keys:{version}", at=at)
    return version


def rewrap(
    session: Session, *, old_key_encryption_key: bytes, key_encryption_key: bytes, actor: str, at: datetime
) -> int:
    """Wrap every master key with a new key-encryption key; give how many. Those that have it already are left alone.

    Raises crypto_box.WrongKeyError, and changes nothing, if one can be opened with neither.
    """
    changed = 0
    for row in session.scalars(select(MasterKey).order_by(MasterKey.id).with_for_update()):
        purpose = _purpose(KeySlot(row.slot), row.version)
        found = crypto_box.rewrap(
            row.wrapped_key, old_key=old_key_encryption_key, key=key_encryption_key, purpose=purpose
        )
        if found is None:
            continue
        row.wrapped_key = found
        changed += 1
        session.add(
            KeyUse(at=at, actor=actor, reason=KeyReason.REWRAPPED, slot=row.slot, master_version=row.version, uid=None)
        )
    if changed:
        people.audit(session, actor=actor, action="keys.rewrap", subject="master_keys", detail={"keys": changed}, at=at)
    return changed


def versions(session: Session) -> list[VersionLine]:
    """Give the versions of the master keys, the newest first."""
    made = (
        select(MasterKey.version, func.min(MasterKey.created_at).label("created_at"))
        .group_by(MasterKey.version)
        .subquery()
    )
    newest = select(ChipKeys.uid, func.max(ChipKeys.key_version).label("key_version")).group_by(ChipKeys.uid).subquery()
    held = (
        select(ChipKeys.master_version, func.count().label("chips"))
        .join(newest, (newest.c.uid == ChipKeys.uid) & (newest.c.key_version == ChipKeys.key_version))
        .group_by(ChipKeys.master_version)
        .subquery()
    )
    query = (
        select(made.c.version, made.c.created_at, func.coalesce(held.c.chips, 0))
        .outerjoin(held, held.c.master_version == made.c.version)
        .order_by(made.c.version.desc())
    )
    return [VersionLine(version=row[0], created_at=row[1], chips=row[2]) for row in session.execute(query)]


def uses(session: Session, *, uid: bytes | None = None, limit: int, offset: int = 0) -> list[KeyUse]:
    """Give what the master keys were opened for, the newest first; for one chip, if it is named."""
    query = select(KeyUse).order_by(KeyUse.id.desc()).limit(limit).offset(offset)
    return list(session.scalars(query if uid is None else query.where(KeyUse.uid == uid)))


def _ensure_first(session: Session, *, key_encryption_key: bytes, at: datetime) -> None:
    if newest_version(session) == 0:
        _make(session, FIRST_VERSION, key_encryption_key=key_encryption_key, actor="system:keys", at=at)


def _make(session: Session, version: int, *, key_encryption_key: bytes, actor: str, at: datetime) -> None:
    """Make the five keys of a version; two processes that need the first one agree on it."""
    for slot in KeySlot:
        wrapped = crypto_box.wrap(os.urandom(MASTER_KEY_BYTES), key=key_encryption_key, purpose=_purpose(slot, version))
        made = session.scalar(
            insert(MasterKey)
            .values(slot=int(slot), version=version, wrapped_key=wrapped, created_at=at)
            .on_conflict_do_nothing()
            .returning(MasterKey.id)
        )
        if made is not None:
            session.add(
                KeyUse(at=at, actor=actor, reason=KeyReason.CREATED, slot=int(slot), master_version=version, uid=None)
            )


def _purpose(slot: KeySlot, version: int) -> str:
    return f"master key {slot:d}.{version}"

"""Master keys: made when first needed, kept wrapped, and never given out but as the keys of one card."""

import os
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import crypto_box
from app.cards.models import MasterKey
from card_terminal.crypto.keys import KeySlot, card_key

MASTER_KEY_BYTES = 16
MASTER_KEY_VERSION = 1
# Part of every card's key: cards of another site with the same master keys would still be strangers here.
SYSTEM_ID = b"TESTCARD"


def master_key(session: Session, slot: KeySlot, *, key_encryption_key: bytes, at: datetime) -> bytes:
    """Give a slot's master key, made when it is first needed; two processes that need it agree on one.

    Raises crypto_box.WrongKeyError when the key-encryption key is not the one it was wrapped with.
    """
    purpose = f"master key {slot:d}.{MASTER_KEY_VERSION}"
    query = select(MasterKey.wrapped_key).where(MasterKey.slot == slot, MasterKey.version == MASTER_KEY_VERSION)
    wrapped = session.scalar(query)
    if wrapped is None:
        session.execute(
            insert(MasterKey)
            .values(
                slot=slot,
                version=MASTER_KEY_VERSION,
                wrapped_key=crypto_box.wrap(os.urandom(MASTER_KEY_BYTES), key=key_encryption_key, purpose=purpose),
                created_at=at,
            )
            .on_conflict_do_nothing()
        )
        wrapped = session.scalars(query).one()
    return crypto_box.unwrap(wrapped, key=key_encryption_key, purpose=purpose)


def meta_read_key(session: Session, *, key_encryption_key: bytes, at: datetime) -> bytes:
    """Give K1, which opens every card's encrypted UID: the master key itself, as the UID is not known yet."""
    return master_key(session, KeySlot.META_READ, key_encryption_key=key_encryption_key, at=at)


def sun_mac_key(session: Session, *, uid: bytes, key_version: int, key_encryption_key: bytes, at: datetime) -> bytes:
    """Give K2 of one card, which proves its secure dynamic messages (terminal.md, Keys)."""
    return card_key(
        KeySlot.SUN_MAC,
        master_key=master_key(session, KeySlot.SUN_MAC, key_encryption_key=key_encryption_key, at=at),
        uid=uid,
        key_version=key_version,
        system_id=SYSTEM_ID,
    )

"""The proof of a card: what a tap, a typed number, a PIN and a one-use token are worth."""

import hashlib
import secrets
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.cards import numbers
from app.cards.keys import KeyRing
from app.cards.models import AccountStatus, Card, CardClass, CardStatus, CardToken, KeyReason
from app.devices.models import Terminal
from app.people import passwords
from card_terminal import protocol
from card_terminal.crypto import sun
from card_terminal.crypto.keys import KeySlot
from card_terminal.protocol import ProtocolError, RefusalCode

PIN_TRIES = 5
TOKEN_BYTES = 32

_STATUS_REFUSALS = {
    CardStatus.PREPARING: RefusalCode.CARD_BLOCKED,
    CardStatus.LOST: RefusalCode.CARD_LOST,
    CardStatus.BLOCKED: RefusalCode.CARD_BLOCKED,
    CardStatus.REPLACED: RefusalCode.CARD_BLOCKED,
}


def prove(
    session: Session,
    *,
    shown: protocol.SunCard | protocol.TypedCard | protocol.UidCard,
    key_encryption_key: bytes,
    actor: str,
    at: datetime,
) -> Card:
    """Give the card that was shown, if it is that card; `actor` is who asks, for the record of key uses.

    A secure dynamic message proves itself by its MAC and by a counter that was never seen before; a typed number and a
    bare UID prove nothing yet, the PIN must follow. A chip that proves itself now takes `exchanges` instead.
    Raises ProtocolError: CARD_UNKNOWN, CARD_AUTH_FAILED.
    """
    if isinstance(shown, protocol.TypedCard):
        return _typed(session, shown)
    if isinstance(shown, protocol.UidCard):
        return _bare(session, shown)
    ring = KeyRing(
        session=session, key_encryption_key=key_encryption_key, actor=actor, reason=KeyReason.SUN_PROOF, at=at
    )
    return prove_message(session, uri=shown.uri, ring=ring)


def prove_message(session: Session, *, uri: str, ring: KeyRing) -> Card:
    """Give the card that wrote a secure dynamic message, and use the message up.

    Raises ProtocolError: CARD_UNKNOWN, CARD_AUTH_FAILED; before the second, what was opened has been written down.
    """
    try:
        message = sun.parse_sun_uri(uri)
    except sun.SunError as error:
        raise ProtocolError(RefusalCode.CARD_UNKNOWN, str(error)) from error
    card, picc = _writer(session, message.encrypted, ring=ring)
    k_file = ring.card_key(KeySlot.SUN_MAC, uid=picc.uid, key_version=card.key_version)
    if k_file is None or not sun.verify_sun_mac(message.mac, picc=picc, k_file=k_file):
        raise ProtocolError(RefusalCode.CARD_AUTH_FAILED, "wrong MAC")
    # One statement compares and moves the counter, so that of two copies of one message only the first is a proof.
    moved = session.scalar(
        update(Card)
        .where(Card.id == card.id, Card.read_counter < picc.counter)
        .values(read_counter=picc.counter)
        .returning(Card.read_counter)
        .execution_options(synchronize_session=False)
    )
    if moved is None:
        raise ProtocolError(RefusalCode.CARD_AUTH_FAILED, "replay: the counter was seen before")
    return card


def refusal_of(card: Card, *, today: date) -> RefusalCode | None:
    """Give the reason why this card may not be used today, or None. `today` is the site's."""
    if card.status in _STATUS_REFUSALS:
        return _STATUS_REFUSALS[card.status]
    if today > card.expires_on:
        return RefusalCode.CARD_EXPIRED
    if card.account.status is not AccountStatus.ACTIVE:
        return RefusalCode.CARD_BLOCKED
    if card.pin_failures >= PIN_TRIES:
        return RefusalCode.PIN_LOCKED
    return None


def make_token(session: Session, *, card: Card, by_chip: bool, terminal: Terminal, at: datetime) -> str:
    """Give the one-use proof of this tap, good for 60 s at this terminal."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.add(
        CardToken(
            token_hash=_token_hash(token),
            card_id=card.id,
            terminal_id=terminal.id,
            by_chip=by_chip,
            expires_at=at + clock.allowing(timedelta(milliseconds=protocol.TOKEN_LIFETIME_MS)),
        )
    )
    return token


def redeem(session: Session, *, token: str, terminal: Terminal, at: datetime) -> tuple[Card, CardToken]:
    """Give the card behind a token, both locked; the caller sets `used_at` once the token has served.

    Raises ProtocolError CARD_AUTH_EXPIRED: unknown, of another terminal, too old or used.
    """
    found = session.scalar(
        select(CardToken).where(CardToken.token_hash == _token_hash(token)).with_for_update(key_share=True)
    )
    if found is None or found.terminal_id != terminal.id or found.used_at is not None or at > found.expires_at:
        raise ProtocolError(RefusalCode.CARD_AUTH_EXPIRED, "no such token here and now")
    card = session.scalars(
        select(Card)
        .where(Card.id == found.card_id)
        .options(joinedload(Card.account), joinedload(Card.holder))
        .with_for_update(key_share=True, of=Card)
        .execution_options(populate_existing=True)
    ).one()
    return card, found


def forget_tokens(session: Session, *, before: datetime, limit: int) -> int:
    """Drop tokens that expired before a moment; give how many."""
    old = select(CardToken.token_hash).where(CardToken.expires_at < before).limit(limit)
    gone = session.scalars(
        delete(CardToken).where(CardToken.token_hash.in_(old.scalar_subquery())).returning(CardToken.token_hash)
    )
    return len(gone.all())


def check_pin(card: Card, pin: str | None) -> RefusalCode | None:
    """Give PIN_WRONG or PIN_LOCKED, or None when the PIN is right; the card must be locked, failures are counted on it.

    A PIN that was not given is wrong, but uses up no try.
    """
    if card.pin_failures >= PIN_TRIES:
        return RefusalCode.PIN_LOCKED
    if pin is None:
        return RefusalCode.PIN_WRONG
    if passwords.verify(card.pin_hash or None, pin):
        card.pin_failures = 0
        return None
    card.pin_failures += 1
    return RefusalCode.PIN_LOCKED if card.pin_failures >= PIN_TRIES else RefusalCode.PIN_WRONG


def _typed(session: Session, shown: protocol.TypedCard) -> Card:
    number = numbers.plain(shown.number)
    card = find(session, Card.face_number == number) if numbers.is_valid(number) else None
    if card is None:
        raise ProtocolError(RefusalCode.CARD_UNKNOWN, "no card has this number")
    return card


def _bare(session: Session, shown: protocol.UidCard) -> Card:
    # The UID of a chip of ours is no name for it: it would turn every such card into one that anybody can copy.
    card = find(session, (Card.uid == bytes.fromhex(shown.uid)) & (Card.card_class == CardClass.UID))
    if card is None:
        raise ProtocolError(RefusalCode.CARD_UNKNOWN, "no card is bound by this UID")
    return card


def _writer(session: Session, encrypted: bytes, *, ring: KeyRing) -> tuple[Card, sun.PiccData]:
    """Find whose UID the message holds. A key that does not fit opens noise, in which no card of ours has its UID."""
    for version, k_meta in ring.meta_read_keys():
        try:
            picc = sun.read_picc_data(encrypted, k_meta=k_meta)
        except sun.SunError:
            continue
        card = find(session, Card.uid == picc.uid)
        if card is not None:
            ring.note(KeySlot.META_READ, version, uid=picc.uid)
            return card, picc
    raise ProtocolError(RefusalCode.CARD_UNKNOWN, "no key opens it, or no card has this UID")


def find(session: Session, criterion: ColumnElement[bool]) -> Card | None:
    """Give the one card that fits, with its account and holder, as it stands now."""
    return session.scalar(
        select(Card)
        .where(criterion)
        .options(joinedload(Card.account), joinedload(Card.holder))
        .execution_options(populate_existing=True)
    )


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

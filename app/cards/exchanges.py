"""A chip proves itself now, through a terminal that relays: the server makes every APDU, and no key leaves it.

The key in slot 3 is made from the chip's UID, so a chip that knows it is the chip with this UID: to ask it for the UID
under that key, too, would prove nothing more (ADR 0453).
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import clock, crypto_box
from app.cards import patience, proof
from app.cards.keys import KeyRing
from app.cards.models import Card, CardClass, CardExchange, CardStatus, KeyReason
from app.devices.models import Terminal
from card_terminal import protocol
from card_terminal.crypto import ev2
from card_terminal.crypto.ev2 import Challenge, Ev2Error
from card_terminal.crypto.keys import APPLICATION_NAME, KeySlot
from card_terminal.protocol import ProtocolError, RefusalCode

# Three tries of a terminal for one message take 8 s at most, and there are two.
LIFETIME = timedelta(seconds=30)
ISO_OK = b"\x90\x00"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the chip is to be asked next, and under which name its answers are awaited."""

    exchange_id: UUID
    step: int
    apdus: tuple[bytes, ...]


def begin(session: Session, *, terminal: Terminal, shown: protocol.Ev2Card, at: datetime) -> Asking:
    """Ask a chip to prove that it is the card with its UID; an earlier exchange of this terminal is over.

    Raises ProtocolError: CARD_UNKNOWN, CARD_UNSUPPORTED for a card of another class, CARD_BLOCKED while its keys are
    being changed and when too many authentications of it came to nothing.
    """
    uid = bytes.fromhex(shown.uid)
    card = proof.find(session, Card.uid == uid)
    if card is None:
        raise ProtocolError(RefusalCode.CARD_UNKNOWN, "no card has this UID")
    if card.card_class is not CardClass.EV2:
        raise ProtocolError(RefusalCode.CARD_UNSUPPORTED, f"a card of class {card.card_class}")
    if card.status is CardStatus.PREPARING:
        raise ProtocolError(RefusalCode.CARD_BLOCKED, "its keys may be half changed")
    try:
        patience.spend(session, uid=uid, at=at)
    except patience.ImpatientError as error:
        raise ProtocolError(RefusalCode.CARD_BLOCKED, str(error)) from error
    session.execute(delete(CardExchange).where(CardExchange.terminal_id == terminal.id))
    exchange = CardExchange(
        id=uuid4(),
        terminal_id=terminal.id,
        card_id=card.id,
        uid=uid,
        key_version=card.key_version,
        step=0,
        expires_at=at + clock.allowing(LIFETIME),
    )
    session.add(exchange)
    apdus = (ev2.select_application(APPLICATION_NAME), ev2.authenticate_first(int(KeySlot.ONLINE)))
    return Asking(exchange_id=exchange.id, step=0, apdus=apdus)


def go_on(
    session: Session, *, terminal: Terminal, said: protocol.CardStep, key_encryption_key: bytes, at: datetime
) -> Asking | Card | RefusalCode:
    """Read a chip's answers; give what to ask next, at the end the card, or why it is none, with traces to commit.

    Raises ProtocolError CARD_AUTH_EXPIRED: no such exchange, another terminal's, another step's, too old, or used.
    """
    exchange = session.get(CardExchange, said.exchange_id, with_for_update=True, populate_existing=True)
    if exchange is None or exchange.terminal_id != terminal.id:
        raise ProtocolError(RefusalCode.CARD_AUTH_EXPIRED, "no such exchange at this terminal")
    if said.step != exchange.step or at > exchange.expires_at:
        raise ProtocolError(RefusalCode.CARD_AUTH_EXPIRED, f"step {said.step}, wanted is {exchange.step}")
    if said.gone:
        session.delete(exchange)
        return RefusalCode.CARD_GONE
    ring = KeyRing(
        session=session,
        key_encryption_key=key_encryption_key,
        actor=f"terminal:{terminal.code}",
        reason=KeyReason.ONLINE_PROOF,
        at=at,
    )
    try:
        asking = _next(exchange, said, ring=ring)
    except Ev2Error as error:
        log.warning("card_not_proved", terminal=terminal.code, card=exchange.card_id, detail=str(error))
        session.delete(exchange)
        return RefusalCode.CARD_AUTH_FAILED
    if asking is not None:
        return asking
    patience.proved(session, uid=exchange.uid)
    session.delete(exchange)
    card = proof.find(session, Card.id == exchange.card_id)
    return card or RefusalCode.CARD_UNKNOWN


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Drop exchanges that expired before a moment; give how many."""
    old = select(CardExchange.id).where(CardExchange.expires_at < before).limit(limit)
    gone = session.scalars(
        delete(CardExchange).where(CardExchange.id.in_(old.scalar_subquery())).returning(CardExchange.id)
    )
    return len(gone.all())


def _next(exchange: CardExchange, said: protocol.CardStep, *, ring: KeyRing) -> Asking | None:
    """Give what to ask next, or None when the chip has proved itself. Raises Ev2Error."""
    answers = [bytes.fromhex(each) for each in said.answers]
    if exchange.step > 0:
        _expect(answers, 1)
        ev2.finish_authentication(answers[0], challenge=_remembered(exchange, ring=ring))
        return None
    key = ring.card_key(KeySlot.ONLINE, uid=exchange.uid, key_version=exchange.key_version)
    if key is None:
        raise Ev2Error(f"no keys of version {exchange.key_version} were made for this chip")
    _expect(answers, 2)
    if answers[0] != ISO_OK:
        raise Ev2Error("without our application")
    rnd_a = os.urandom(ev2.KEY_BYTES)
    apdu, challenge = ev2.answer_challenge(answers[1], key=key, key_no=int(KeySlot.ONLINE), rnd_a=rnd_a)
    exchange.step += 1
    exchange.state = crypto_box.wrap(
        key + rnd_a + challenge.rnd_b, key=ring.key_encryption_key, purpose=_purpose(exchange)
    )
    return Asking(exchange_id=exchange.id, step=exchange.step, apdus=(apdu,))


def _remembered(exchange: CardExchange, *, ring: KeyRing) -> Challenge:
    """Give the authentication that waits for the chip's proof, so that one tap opens the master key once."""
    state = crypto_box.unwrap(exchange.state, key=ring.key_encryption_key, purpose=_purpose(exchange))
    key, rnd_a, rnd_b = (state[place : place + ev2.KEY_BYTES] for place in range(0, 3 * ev2.KEY_BYTES, ev2.KEY_BYTES))
    return Challenge(key=key, key_no=int(KeySlot.ONLINE), rnd_a=rnd_a, rnd_b=rnd_b)


def _expect(answers: list[bytes], count: int) -> None:
    if len(answers) != count:
        raise Ev2Error(f"{len(answers)} of {count} answers: the chip refused the last one")


def _purpose(exchange: CardExchange) -> str:
    return f"exchange {exchange.id}"

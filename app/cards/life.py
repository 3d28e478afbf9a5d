"""A card's life once it is issued: blocked, found again, replaced, renewed, and its PIN; each step is written down."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import errors
from app.cards import numbers, proof, service, works
from app.cards.models import AccountStatus, Card, CardAccount, CardClass, CardStatus, CardWork, WorkPurpose
from app.cards.service import audit_card, locked_card
from app.people.models import AuditEntry
from app.people.principals import Principal
from card_terminal.protocol import RefusalCode


class Event(StrEnum):
    """What happens to a card that is issued."""

    LOST = "lost"
    FOUND = "found"
    BLOCK = "block"
    UNBLOCK = "unblock"
    REPLACE = "replace"


STATES = {
    (CardStatus.ISSUED, Event.LOST): CardStatus.LOST,
    (CardStatus.LOST, Event.FOUND): CardStatus.ISSUED,
    (CardStatus.ISSUED, Event.BLOCK): CardStatus.BLOCKED,
    (CardStatus.LOST, Event.BLOCK): CardStatus.BLOCKED,
    (CardStatus.BLOCKED, Event.UNBLOCK): CardStatus.ISSUED,
    (CardStatus.ISSUED, Event.REPLACE): CardStatus.REPLACED,
    (CardStatus.LOST, Event.REPLACE): CardStatus.REPLACED,
    (CardStatus.BLOCKED, Event.REPLACE): CardStatus.REPLACED,
    (CardStatus.PREPARING, Event.REPLACE): CardStatus.REPLACED,
}
# A card that may not be used, whoever shows it: the stop list of every terminal.
DEAD = (CardStatus.LOST, CardStatus.BLOCKED, CardStatus.REPLACED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HotCard:
    """A chip on the stop list; its number only as it may be shown."""

    uid: bytes
    number_masked: str
    status: CardStatus
    since: datetime


def block(session: Session, *, card_id: int, reason: str, actor: str, at: datetime) -> Card:
    """Stop a card. A session that runs goes on and can end. Raises Refusal: NOT_FOUND, CARD_STATE_WRONG."""
    return _step(session, card_id, Event.BLOCK, reason=reason, actor=actor, at=at)


def unblock(session: Session, *, card_id: int, reason: str, actor: str, at: datetime) -> Card:
    """Let a blocked card be used again. Raises Refusal: NOT_FOUND, CARD_STATE_WRONG."""
    return _step(session, card_id, Event.UNBLOCK, reason=reason, actor=actor, at=at)


def lost(session: Session, *, card_id: int, reason: str, actor: str, at: datetime) -> Card:
    """Report a card lost at the counter. Raises Refusal: NOT_FOUND, CARD_STATE_WRONG."""
    return _step(session, card_id, Event.LOST, reason=reason, actor=actor, at=at)


def found(session: Session, *, card_id: int, reason: str, actor: str, at: datetime) -> Card:
    """Let a lost card be used again that lies on the counter. Raises Refusal: NOT_FOUND, CARD_STATE_WRONG."""
    return _step(session, card_id, Event.FOUND, reason=reason, actor=actor, at=at)


def replace(
    session: Session,
    *,
    card_id: int,
    pin: str,
    expires_on: date,
    reason: str,
    actor: str,
    at: datetime,
) -> Card:
    """Give the holder a new card on the same account; the old one is dead for good. Money stays where it is.

    A chip card is ordered: a station makes it. Raises Refusal: NOT_FOUND, CARD_STATE_WRONG, VALIDATION_FAILED (PIN),
    ACCOUNT_NOT_ACTIVE.
    """
    old = locked_card(session, card_id)
    work = works.open_work_of(session, card_id=card_id)
    if work is not None:
        works.cancel(session, work_id=work.id, actor=actor, at=at)
    _move(old, Event.REPLACE, reason=reason, at=at)
    new = service.issue_card(
        session,
        account_id=old.account_id,
        holder_id=old.holder_id,
        # A chip that only writes messages is followed by one that also authenticates.
        card_class=CardClass.TYPED if old.card_class is CardClass.TYPED else CardClass.EV2,
        pin=pin,
        expires_on=expires_on,
        project_id=old.project_id,
        actor=actor,
        at=at,
    )
    new.replaces_id = old.id
    detail = {"reason": reason, "new": numbers.masked_number(new.face_number), "new_card_id": new.id}
    audit_card(session, old, action="card.replace", actor=actor, at=at, detail=detail)
    session.flush()
    return new


def renew(
    session: Session, *, card_id: int, expires_on: date, station_id: UUID | None, actor: str, at: datetime
) -> CardWork | None:
    """Let a card be used up to a later day. A chip gets fresh keys on a station, and its counter begins anew.

    Gives the station's work; None for a card without a chip of ours, which is renewed at once. Raises Refusal:
    NOT_FOUND, CARD_STATE_WRONG, VALIDATION_FAILED, and what `works.order` raises.
    """
    if expires_on <= at.date():
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields={"expires_on": [f"> {at.date()}"]})
    card = session.get(Card, card_id)
    if card is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if card.card_class is CardClass.EV2:
        if station_id is None:
            raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields={"station_id": ["1"]})
        return works.order(
            session,
            card_id=card_id,
            station_id=station_id,
            purpose=WorkPurpose.RENEW,
            expires_on=expires_on,
            actor=actor,
            at=at,
        )
    card = locked_card(session, card_id)
    if card.status is not CardStatus.ISSUED:
        raise errors.Refusal(errors.Code.CARD_STATE_WRONG)
    detail = {"from": card.expires_on.isoformat(), "to": expires_on.isoformat()}
    card.expires_on = expires_on
    audit_card(session, card, action="card.renew", actor=actor, at=at, detail=detail)
    return None


def unlock_pin(session: Session, *, card_id: int, actor: str, at: datetime) -> Card:
    """Give a PIN its five tries back, with the holder present; it stays the same. Raises Refusal NOT_FOUND."""
    card = locked_card(session, card_id)
    tries = card.pin_failures
    card.pin_failures = 0
    audit_card(session, card, action="card.unlock_pin", actor=actor, at=at, detail={"failures": tries})
    return card


def change_pin(
    session: Session, *, card_id: int, old_pin: str, new_pin: str, reader: Principal, at: datetime
) -> errors.Code | None:
    """Let a holder change the PIN of her card; give why not, for a wrong PIN is counted and must be kept.

    Raises Refusal: NOT_FOUND, also for others' cards, VALIDATION_FAILED for the new PIN.
    """
    card = locked_card(session, card_id)
    if card.holder_id != reader.person_id or card.status in (CardStatus.REPLACED, CardStatus.BLOCKED):
        raise errors.Refusal(errors.Code.NOT_FOUND)
    new_hash = service.pin_hash(new_pin)
    wrong = proof.check_pin(card, old_pin)
    if wrong is not None:
        audit_card(session, card, action="card.pin_wrong", actor=reader.username, at=at)
        return errors.Code.PIN_LOCKED if wrong is RefusalCode.PIN_LOCKED else errors.Code.PIN_WRONG
    card.pin_hash = new_hash
    audit_card(session, card, action="card.change_pin", actor=reader.username, at=at)
    return None


def printed(session: Session, *, card_ids: list[int], actor: str, at: datetime) -> list[Card]:
    """Give cards for printing, and write down that their numbers were printed. Raises Refusal NOT_FOUND."""
    cards = [locked_card(session, card_id) for card_id in sorted(set(card_ids))]
    for card in cards:
        card.printed_at = at
        audit_card(session, card, action="card.print", actor=actor, at=at)
    return cards


def hot_list(session: Session, *, limit: int = 100_000) -> list[HotCard]:
    """Give the chips that no terminal may take, also offline: lost, blocked, replaced, or of a frozen account."""
    query = (
        select(Card)
        .join(CardAccount, CardAccount.id == Card.account_id)
        .where(Card.uid.is_not(None))
        .where(Card.status.in_(DEAD) | (CardAccount.status != AccountStatus.ACTIVE))
        .order_by(Card.id)
        .limit(limit)
    )
    return [
        HotCard(
            uid=card.uid or b"",
            number_masked=numbers.masked_number(card.face_number),
            status=card.status,
            since=card.status_at or card.issued_at,
        )
        for card in session.scalars(query)
    ]


def history(session: Session, *, card: Card, limit: int = 200) -> list[AuditEntry]:
    """Give what was done to a card and by whom, the newest first."""
    query = (
        select(AuditEntry)
        .where(
            AuditEntry.subject == f"card:{numbers.masked_number(card.face_number)}",
            AuditEntry.detail["card_id"].as_integer() == card.id,
        )
        .order_by(AuditEntry.id.desc())
    )
    return list(session.scalars(query.limit(limit)))


def _step(session: Session, card_id: int, event: Event, *, reason: str, actor: str, at: datetime) -> Card:
    card = locked_card(session, card_id)
    _move(card, event, reason=reason, at=at)
    audit_card(session, card, action=f"card.{event}", actor=actor, at=at, detail={"reason": reason})
    return card


def _move(card: Card, event: Event, *, reason: str, at: datetime) -> None:
    after = STATES.get((card.status, event))
    if after is None:
        raise errors.Refusal(errors.Code.CARD_STATE_WRONG)
    card.status, card.status_reason, card.status_at = after, reason, at

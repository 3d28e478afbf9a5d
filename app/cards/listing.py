"""The center's list of cards: found by number, holder or account, filtered by state, page by page."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app import errors
from app.cards import numbers
from app.cards.models import AccountStatus, Card, CardAccount, CardStatus
from app.cards.proof import PIN_TRIES
from app.people.models import Organisation, Person

T = TypeVar("T")


class Show(StrEnum):
    """Which cards."""

    ALL = "all"
    IN_USE = "in_use"
    PREPARING = "preparing"
    STOPPED = "stopped"
    EXPIRING = "expiring"
    PIN_LOCKED = "pin_locked"


EXPIRING_DAYS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CardList:
    """A page of cards, and how many there are of each kind."""

    cards: tuple[Card, ...]
    total: int
    counts: dict[Show, int]


def list_cards(session: Session, *, show: Show, search: str, today: date, page: int, page_size: int) -> CardList:
    """Give a page of cards, the newest first; `search` is a number, its last four digits, a name or an account."""
    found = _found(search)
    counts = {
        each: session.scalar(_joined(select(func.count(Card.id))).where(found, _criterion(each, today=today))) or 0
        for each in Show
    }
    query = (
        _joined(select(Card))
        .where(found, _criterion(show, today=today))
        .options(
            joinedload(Card.holder),
            joinedload(Card.account).joinedload(CardAccount.organisation),
            joinedload(Card.account).joinedload(CardAccount.person),
        )
        .order_by(Card.id.desc())
    )
    cards = session.scalars(query.limit(page_size).offset((page - 1) * page_size)).all()
    return CardList(cards=tuple(cards), total=counts[show], counts=counts)


def get_card(session: Session, *, card_id: int) -> Card:
    """Give a card with holder, account and project. Raises Refusal NOT_FOUND."""
    card = session.scalar(
        select(Card)
        .where(Card.id == card_id)
        .options(
            joinedload(Card.holder),
            joinedload(Card.project),
            joinedload(Card.account).joinedload(CardAccount.organisation),
            joinedload(Card.account).joinedload(CardAccount.person),
        )
    )
    if card is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return card


def neighbours(session: Session, *, card: Card) -> tuple[Card | None, Card | None]:
    """Give the card that this one replaced, and the one that replaced it."""
    before = None if card.replaces_id is None else session.get(Card, card.replaces_id)
    return before, session.scalar(select(Card).where(Card.replaces_id == card.id))


def is_expired(card: Card, *, today: date) -> bool:
    """Say whether the last day of a card has passed; `today` is the site's."""
    return today > card.expires_on


def _joined(query: Select[T]) -> Select[T]:
    return (
        query.join(Person, Person.id == Card.holder_id)
        .join(CardAccount, CardAccount.id == Card.account_id)
        .outerjoin(Organisation, Organisation.id == CardAccount.organisation_id)
    )


def _found(search: str) -> ColumnElement[bool]:
    if not search:
        return Card.id.is_not(None)
    number = numbers.plain(search)
    if number.isascii() and number.isdigit():
        return or_(Card.face_number == number, Card.face_number.endswith(number), CardAccount.number == number)
    return or_(
        Person.name.icontains(search, autoescape=True),
        Person.username == search,
        Organisation.name_zh.icontains(search, autoescape=True),
        Organisation.name_en.icontains(search, autoescape=True),
    )


def _criterion(show: Show, *, today: date) -> ColumnElement[bool]:
    issued = Card.status == CardStatus.ISSUED
    return {
        Show.ALL: Card.id.is_not(None),
        Show.IN_USE: issued & (Card.expires_on >= today) & (CardAccount.status == AccountStatus.ACTIVE),
        Show.PREPARING: Card.status == CardStatus.PREPARING,
        Show.STOPPED: Card.status.in_((CardStatus.LOST, CardStatus.BLOCKED)),
        Show.EXPIRING: issued & (Card.expires_on < today + timedelta(days=EXPIRING_DAYS)),
        Show.PIN_LOCKED: Card.pin_failures >= PIN_TRIES,
    }[show]

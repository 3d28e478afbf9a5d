"""The offline lists of terminals are made ahead: whose cards may start alone, for how much, and what is held for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload

from app.cards import life, proof
from app.cards.models import AccountStatus, Card, CardAccount, CardClass, CardStatus
from app.db import Database, apart
from app.devices.models import Terminal, TerminalStatus
from app.instruments import service as instruments
from app.instruments.models import CustomerClass, Instrument
from app.sessions import charging, money
from app.sessions.models import (
    CardSession,
    OfflineAllowance,
    OfflineList,
    OfflineReserve,
    OfflineSetting,
    SessionStatus,
)
from app.sessions.offline import prices, reserves
from app.sessions.offline.lists import allowances_of, newest
from app.sessions.service import HOLD_WITHOUT_PIN_FEN_MAX
from app.settings import Settings
from card_terminal import protocol
from card_terminal.crypto.keys import UID_BYTES
from card_terminal.protocol.shapes import to_dict

VALID_FOR = timedelta(milliseconds=protocol.OFFLINE_VALID_MS)
# Often enough that a day without the server begins with a list of today, rarely enough for the record of key uses.
RENEWED_AFTER = timedelta(hours=4)
# Who used the instrument here within this time may use it alone (terminal.md, Offline).
USED_WITHIN = timedelta(days=30)
TERMINALS_PER_CARD_MAX = 3
# Cards whose purses are locked in one transaction.
CARDS_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """A list while it is made."""

    session: Session
    terminal: Terminal
    instrument: Instrument
    settings: Settings
    strict: bool
    version: int
    at: datetime
    tariffs: dict[CustomerClass, int] = field(default_factory=dict)
    terms: list[tuple[charging.Terms, protocol.TariffSnapshot]] = field(default_factory=list)
    promised_fen: dict[int, int] = field(default_factory=dict)
    """By account: what the cards of this list may spend without a hold."""

    @property
    def valid_until(self) -> datetime:
        return self.at + VALID_FOR


def prepare_due(database: Database, *, settings: Settings, at: datetime, limit: int) -> int:
    """Make the lists that are due, each apart from the others; give how many were made.

    Due is a terminal of an instrument where offline use is on and whose newest list is four hours old or has a card
    that was stopped since, and one where it is off and the newest list still has cards. What a list allows is held
    before, in short transactions of a few cards: who taps meanwhile must not wait for all of them.
    """
    made = 0
    for terminal_id in database.run(partial(due, at=at, limit=limit)):
        cards = database.run(partial(_cards_to_reserve, terminal_id=terminal_id, settings=settings, at=at))
        for first in range(0, len(cards), CARDS_AT_ONCE):
            chunk = cards[first : first + CARDS_AT_ONCE]
            database.run(partial(_reserve, terminal_id=terminal_id, card_ids=chunk, settings=settings, at=at))
        made += database.run(partial(_prepare_apart, terminal_id=terminal_id, settings=settings, at=at))
    return made


def due(session: Session, *, at: datetime, limit: int) -> list[UUID]:
    """Give the terminals whose next list is to be made."""
    found: list[UUID] = []
    for terminal in _candidates(session):
        if len(found) < limit and _is_due(session, terminal, at=at):
            found.append(terminal.id)
    return found


def prepare(session: Session, *, terminal_id: UUID, settings: Settings, at: datetime) -> OfflineList | None:
    """Make a terminal's next list if it is due, with what is held for it; give it, or None."""
    terminal = session.get_one(Terminal, terminal_id)
    if not _is_due(session, terminal, at=at):
        return None
    making = _making(session, terminal, settings=settings, at=at)
    allowances = _allowances(making) if _is_on(session, terminal) else []
    made = OfflineList(
        terminal_id=terminal_id,
        version=making.version,
        valid_from=at,
        valid_until=making.valid_until,
        strict=making.strict,
        tariffs=[{"terms": terms.snapshot, "shown": to_dict(shown)} for terms, shown in making.terms],
        hot_uids=_hot_uids(session),
    )
    session.add(made)
    session.flush()
    session.add_all(allowances)
    session.flush()
    return made


def _prepare_apart(session: Session, *, terminal_id: UUID, settings: Settings, at: datetime) -> int:
    work = partial(prepare, session, terminal_id=terminal_id, settings=settings, at=at)
    return int(apart(session, work, terminal=str(terminal_id)) is not None)


def _cards_to_reserve(session: Session, *, terminal_id: UUID, settings: Settings, at: datetime) -> list[int]:
    """Give the cards of the next list in the order of their accounts, in which purses are locked."""
    terminal = session.get_one(Terminal, terminal_id)
    making = _making(session, terminal, settings=settings, at=at)
    return [card.id for card in _in_order(_known_cards(making))] if making.strict else []


def _reserve(session: Session, *, terminal_id: UUID, card_ids: Sequence[int], settings: Settings, at: datetime) -> None:
    """Hold what these cards may spend by the next list, each apart from the others."""
    making = _making(session, session.get_one(Terminal, terminal_id), settings=settings, at=at)
    for card in _in_order(making.session.scalars(_with_holder(select(Card).where(Card.id.in_(card_ids))))):
        apart(session, partial(_allowance, making, card), card=card.id)


def _making(session: Session, terminal: Terminal, *, settings: Settings, at: datetime) -> _Making:
    setting = session.get(OfflineSetting, terminal.instrument_id)
    last = newest(session, terminal.id)
    return _Making(
        session=session,
        terminal=terminal,
        instrument=instruments.get_instrument(session, instrument_id=terminal.instrument_id),
        settings=settings,
        strict=setting is not None and setting.enabled and setting.strict,
        version=last.version + 1 if last else 1,
        at=at,
    )


def _is_on(session: Session, terminal: Terminal) -> bool:
    setting = session.get(OfflineSetting, terminal.instrument_id)
    return setting is not None and setting.enabled and terminal.status is TerminalStatus.ENROLLED


def _is_due(session: Session, terminal: Terminal, *, at: datetime) -> bool:
    last = newest(session, terminal.id)
    if not _is_on(session, terminal):
        return _is_to_be_emptied(session, last)
    return _renewal_is_due(session, last, session.get(OfflineSetting, terminal.instrument_id), at=at)


def _candidates(session: Session) -> Sequence[Terminal]:
    """Give the terminals that have, or may have, a list: those of instruments with a setting."""
    return session.scalars(
        select(Terminal)
        .join(OfflineSetting, OfflineSetting.instrument_id == Terminal.instrument_id)
        .where(Terminal.status == TerminalStatus.ENROLLED)
        .order_by(Terminal.id)
    ).all()


def _renewal_is_due(
    session: Session, last: OfflineList | None, setting: OfflineSetting | None, *, at: datetime
) -> bool:
    if last is None or last.valid_from <= at - RENEWED_AFTER:
        return True
    if setting is not None and setting.changed_at > last.valid_from:
        return True
    stopped = (
        select(func.count())
        .select_from(OfflineAllowance)
        .join(Card, Card.id == OfflineAllowance.card_id)
        .join(CardAccount, CardAccount.id == Card.account_id)
        .where(OfflineAllowance.terminal_id == last.terminal_id, OfflineAllowance.version == last.version)
        .where((Card.status != CardStatus.ISSUED) | (CardAccount.status != AccountStatus.ACTIVE))
    )
    return bool(session.scalar(stopped))


def _is_to_be_emptied(session: Session, last: OfflineList | None) -> bool:
    return last is not None and bool(allowances_of(session, last))


def _allowances(making: _Making) -> list[OfflineAllowance]:
    """Give who may start alone here, in the order of accounts, in which their purses are locked."""
    found = [_allowance(making, card) for card in _in_order(_known_cards(making))]
    return [each for each in found if each is not None]


def _known_cards(making: _Making) -> Sequence[Card]:
    """Give the cards that paid for a use here lately, and so are no strangers; the latest first, if there are many.

    There are no bookings in this service, so nobody is listed for having one.
    """
    last_use = func.max(CardSession.ended_at).label("last_use")
    used = (
        select(CardSession.card_id, last_use)
        .where(CardSession.instrument_id == making.instrument.id)
        .where(CardSession.status.in_((SessionStatus.CAPTURED, SessionStatus.AUTO_ENDED)))
        .where(CardSession.ended_at >= making.at - USED_WITHIN)
        .group_by(CardSession.card_id)
        .subquery()
    )
    return making.session.scalars(
        _with_holder(select(Card))
        .join(used, used.c.card_id == Card.id)
        .where(Card.card_class == CardClass.EV2, Card.status == CardStatus.ISSUED, Card.uid.is_not(None))
        .order_by(used.c.last_use.desc(), Card.id)
        .limit(protocol.OFFLINE_CARDS_MAX)
    ).all()


def _with_holder(query: Select[Card]) -> Select[Card]:
    return query.options(joinedload(Card.account), joinedload(Card.holder))


def _in_order(cards: Iterable[Card]) -> list[Card]:
    return sorted(cards, key=lambda card: (card.account_id, card.id))


def _allowance(making: _Making, card: Card) -> OfflineAllowance | None:
    today = making.at.astimezone(making.settings.site_timezone).date()
    if proof.refusal_of(card, today=today) is not None or _stands_elsewhere(making, card):
        return None
    tariff = _tariff(making, card)
    limit_fen = 0 if tariff is None else _limit_fen(making, card, shown=making.terms[tariff][1])
    if tariff is None or not limit_fen:
        return None
    return OfflineAllowance(
        terminal_id=making.terminal.id,
        version=making.version,
        card_id=card.id,
        uid=card.uid,
        key_version=card.key_version,
        tariff=tariff,
        limit_fen=limit_fen,
    )


def _stands_elsewhere(making: _Making, card: Card) -> bool:
    """Tell whether three other terminals may let this card start already."""
    count = select(func.count(OfflineAllowance.terminal_id.distinct())).join(
        OfflineList,
        (OfflineList.terminal_id == OfflineAllowance.terminal_id) & (OfflineList.version == OfflineAllowance.version),
    )
    others = making.session.scalar(
        count.where(
            OfflineAllowance.card_id == card.id,
            OfflineAllowance.terminal_id != making.terminal.id,
            OfflineList.valid_until > making.at,
        )
    )
    return (others or 0) >= TERMINALS_PER_CARD_MAX


def _tariff(making: _Making, card: Card) -> int | None:
    """Give the place of the card's price among those of the list; None without a price, or where a PIN is asked for."""
    terms = charging.terms_for(
        making.session,
        instrument=making.instrument,
        account=card.account,
        zone=making.settings.site_timezone,
        at=making.at,
    )
    minutes = making.instrument.typical_session_min
    if terms is None or terms.hold_fen(minutes=minutes, at=making.at) > HOLD_WITHOUT_PIN_FEN_MAX:
        return None
    known = making.tariffs.get(terms.customer_class)
    if known is None:
        known = making.tariffs[terms.customer_class] = len(making.terms)
        making.terms.append((terms, prices.dearest(terms, since=making.at, until=making.valid_until)))
    return known


def _limit_fen(making: _Making, card: Card, *, shown: protocol.TariffSnapshot) -> int:
    """Give how much the card may spend by this list, 0 where that pays for no minute; in strict mode it is then held.

    What is held already never shrinks here: the terminal may still go by the list before this one.
    """
    if making.strict:
        held = making.session.get(OfflineReserve, (making.terminal.id, card.id))
        if held is not None and held.last_version == making.version:
            return held.held_fen if protocol.minutes_payable(shown, held.held_fen) else 0
    purses = money.lock_purses(making.session, card.account_id)
    reserve = reserves.reserve_of(making.session, terminal_id=making.terminal.id, card_id=card.id)
    held_fen = reserve.held_fen if reserve else 0
    free_fen = sum(purses.values()) - making.promised_fen.get(card.account_id, 0)
    share_fen = max(0, free_fen + held_fen) // TERMINALS_PER_CARD_MAX
    limit_fen = max(held_fen, min(protocol.OFFLINE_CARD_FEN_MAX, share_fen))
    if not protocol.minutes_payable(shown, limit_fen):
        return 0
    if not making.strict:
        making.promised_fen[card.account_id] = making.promised_fen.get(card.account_id, 0) + limit_fen
        return limit_fen
    reserve = reserve or _new_reserve(making, card)
    if limit_fen > held_fen or reserve.held_at <= making.at - reserves.RENEWED_AFTER:
        unit_id = making.instrument.group.unit_id
        limit_fen = reserves.change(
            making.session, reserve, to_fen=limit_fen, purses=purses, unit_id=unit_id, at=making.at
        )
    reserve.last_version = making.version
    reserve.keep_until = making.valid_until + reserves.KEPT_AFTER_LIST
    return limit_fen


def _new_reserve(making: _Making, card: Card) -> OfflineReserve:
    made = OfflineReserve(
        terminal_id=making.terminal.id,
        card_id=card.id,
        account_id=card.account_id,
        held_fen=0,
        generation=0,
        held_at=making.at,
        last_version=making.version,
        keep_until=making.valid_until + reserves.KEPT_AFTER_LIST,
    )
    making.session.add(made)
    making.session.flush()
    return made


def _hot_uids(session: Session) -> list[str]:
    """Give the chips that were stopped last; older ones are on no list anyway, and are told apart only in words."""
    # A card that is no chip of ours begins nothing alone, and its UID may be shorter than a list can say.
    chips = [card for card in life.hot_list(session) if len(card.uid) == UID_BYTES]
    hot = sorted(chips, key=lambda card: card.since, reverse=True)
    return [card.uid.hex().upper() for card in hot[: protocol.OFFLINE_HOT_CARDS_MAX]]

"""Card sessions: a tap answered, money held, a hold made bigger."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cards import proof
from app.cards.models import Card, CardClass
from app.devices.models import Terminal
from app.instruments import service as instruments
from app.instruments.models import Instrument
from app.sessions import bare, charging, lifecycle, money
from app.sessions.charging import Terms
from app.sessions.models import OPEN_STATUSES, CardSession, SessionStatus, SessionTombstone, Step
from app.settings import Settings
from card_terminal import protocol
from card_terminal.protocol import ProtocolError, RefusalCode

# A chip proves that it was there, not who holds it: above this, the PIN must say so (terminal.md, Cards).
HOLD_WITHOUT_PIN_FEN_MAX = 1_000_00
MINUTES_MAX = 7 * 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A proven tap, and what the person may do with it."""

    token: str
    card: Card
    pin_required: bool
    actions: tuple[protocol.Action, ...]
    available_fen: int
    minutes_max: int | None
    hold_minutes: int | None
    """The usual length, as far as the card can pay it, and what that will hold."""
    hold_fen: int | None
    terms: Terms | None
    open_session_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The money is held: for `row.minutes`, which are fewer than asked for when the purses pay no more."""

    row: CardSession
    terms: Terms
    available_fen: int


def begin(
    session: Session,
    *,
    terminal: Terminal,
    shown: protocol.SunCard | protocol.TypedCard | protocol.UidCard,
    settings: Settings,
    at: datetime,
) -> Begun:
    """Answer a card at a terminal with a one-use token and what it may do here.

    A number that was typed, or a bare UID, proves nothing, so nothing about its money is told. Raises ProtocolError:
    CARD_UNKNOWN, CARD_AUTH_FAILED, and why no session may start; a card whose session runs here may always end it.
    """
    card = proof.prove(
        session,
        shown=shown,
        key_encryption_key=settings.key_encryption_key,
        actor=f"terminal:{terminal.code}",
        at=at,
    )
    by_chip = isinstance(shown, protocol.SunCard) and card.card_class is not CardClass.UID
    return welcome(session, terminal=terminal, card=card, by_chip=by_chip, settings=settings, at=at)


def welcome(
    session: Session, *, terminal: Terminal, card: Card, by_chip: bool, settings: Settings, at: datetime
) -> Begun:
    """Give the one-use token of a card that was proved, `by_chip` or only named, and what it may do here.

    Raises ProtocolError: why no session may start; a card whose session runs here may always end it.
    """
    here, elsewhere = _open_sessions(session, terminal.instrument_id, card_id=card.id)
    own = here is not None and here.card_id == card.id
    if not own:
        _check_card(card, settings=settings, at=at)
        if elsewhere is not None:
            raise ProtocolError(RefusalCode.CARD_IN_USE_ELSEWHERE, f"session {elsewhere.id}")
    instrument = instruments.get_instrument(session, instrument_id=terminal.instrument_id)
    terms = charging.terms_for(session, instrument=instrument, account=card.account, zone=settings.site_timezone, at=at)
    if terms is None and not own:
        raise ProtocolError(RefusalCode.NOT_QUALIFIED, "no tariff for this customer")
    available_fen = 0 if not by_chip else max(0, money.available_fen(session, card.account_id))
    usual_fen = terms.hold_fen(minutes=instrument.typical_session_min, at=at) if terms else 0
    minutes_max = None if not by_chip or terms is None else _minutes_payable(terms, available_fen, at=at)
    hold_minutes = _hold_minutes(instrument.typical_session_min, minutes_max)
    return Begun(
        token=proof.make_token(session, card=card, by_chip=by_chip, terminal=terminal, at=at),
        card=card,
        pin_required=not by_chip or usual_fen > HOLD_WITHOUT_PIN_FEN_MAX,
        actions=_actions(here, own=own, can_pay=bool(minutes_max)),
        available_fen=available_fen,
        minutes_max=minutes_max,
        hold_minutes=hold_minutes,
        hold_fen=terms.hold_fen(minutes=hold_minutes, at=at) if terms and hold_minutes else None,
        terms=terms,
        open_session_id=here.id if here is not None and own else None,
    )


def authorize(
    session: Session, *, terminal: Terminal, asked: protocol.SessionAuthorize, settings: Settings, at: datetime
) -> Held | RefusalCode:
    """Hold the price of the minutes asked for, or of as many as the purses pay; or say why not.

    A refusal is a value because it has traces to commit: a used token, a counted PIN, burnt ledger ids.
    Raises ProtocolError where there are none: SESSION_REVERSED, IDEMPOTENCY_CONFLICT, CARD_AUTH_EXPIRED.
    """
    if lifecycle.lock(session, asked.session_id) is not None:
        raise ProtocolError(RefusalCode.IDEMPOTENCY_CONFLICT, "this session was authorized by another message")
    if session.get(SessionTombstone, asked.session_id) is not None:
        raise ProtocolError(RefusalCode.SESSION_REVERSED, "reversed before it was authorized")
    card, token = proof.redeem(session, token=asked.token, terminal=terminal, at=at)
    refusal = _refusal_of_person(card, by_chip=token.by_chip, pin=asked.pin, settings=settings, at=at)
    decision = refusal or _decide(session, terminal, card, asked=asked, settings=settings, at=at)
    if decision is not RefusalCode.PIN_WRONG:
        token.used_at = at
    session.flush()
    return decision


def extend(
    session: Session, *, terminal: Terminal, asked: protocol.SessionExtend, settings: Settings, at: datetime
) -> Held | RefusalCode:
    """Make the hold cover the minutes asked for in total, or as many of them as the purses and a missing PIN allow.

    Raises ProtocolError: SESSION_UNKNOWN, SESSION_REVERSED, and why the card may not go on.
    """
    row = lifecycle.lock(session, asked.session_id)
    if row is None or row.terminal_id != terminal.id:
        gone = session.get(SessionTombstone, asked.session_id) is not None
        raise ProtocolError(RefusalCode.SESSION_REVERSED if gone else RefusalCode.SESSION_UNKNOWN, "extend")
    if row.status in (SessionStatus.VOID, SessionStatus.REFUSED):
        raise ProtocolError(RefusalCode.SESSION_REVERSED, "extend of what holds nothing")
    if row.status not in OPEN_STATUSES:
        raise ProtocolError(RefusalCode.SESSION_UNKNOWN, "extend of what has ended")
    terms = charging.terms_of(row)
    if asked.minutes_total <= row.minutes:
        return Held(row=row, terms=terms, available_fen=money.available_fen(session, row.account_id))
    _check_card(row.card, settings=settings, at=at)
    purses = money.lock_purses(session, row.account_id)
    held_since = row.started_at or row.authorized_at
    has_fen = row.held_fen + sum(purses.values())
    may_fen = row.held_fen + bare.within_day(session, row.card, sum(purses.values()), settings=settings, at=at)
    # What begins small must not grow past the limit bit by bit.
    may_fen = may_fen if row.pin_verified else min(may_fen, HOLD_WITHOUT_PIN_FEN_MAX)
    minutes = terms.minutes_payable(may_fen, at_most=asked.minutes_total, at_least=row.minutes + 1, at=held_since)
    if minutes is None:
        limit = RefusalCode.CARD_DAY_LIMIT if row.pin_verified else RefusalCode.PIN_NEEDED
        return RefusalCode.INSUFFICIENT_FUNDS if may_fen == has_fen else limit
    extra_fen = max(0, terms.hold_fen(minutes=minutes, at=held_since) - row.held_fen)
    unit_id = row.instrument.group.unit_id
    holds = money.hold(session, row, amount_fen=extra_fen, purses=purses, unit_id=unit_id, at=at)
    if holds is None:
        return RefusalCode.INSUFFICIENT_FUNDS
    session.add_all(holds)
    lifecycle.step(row, Step.EXTENDED)
    row.alive_at = at
    row.held_fen += extra_fen
    row.minutes = minutes
    row.latest_end_at = held_since + timedelta(minutes=minutes)
    session.flush()
    return Held(row=row, terms=terms, available_fen=sum(purses.values()) - extra_fen)


def state_of(session: Session, *, session_id: UUID, terminal: Terminal) -> protocol.SessionState:
    """Say what the server holds for a session that this terminal believes to be running."""
    row = session.get(CardSession, session_id)
    if row is not None and row.terminal_id == terminal.id:
        return _STATES[row.status]
    gone = row is None and session.get(SessionTombstone, session_id) is not None
    return protocol.SessionState.REVERSED if gone else protocol.SessionState.UNKNOWN


_STATES = {
    SessionStatus.HELD: protocol.SessionState.HELD,
    SessionStatus.ACTIVE: protocol.SessionState.ACTIVE,
    SessionStatus.STALE: protocol.SessionState.ACTIVE,
    SessionStatus.CAPTURED: protocol.SessionState.ENDED,
    SessionStatus.AUTO_ENDED: protocol.SessionState.ENDED,
    SessionStatus.VOID: protocol.SessionState.REVERSED,
    SessionStatus.REFUSED: protocol.SessionState.REVERSED,
}


def _decide(
    session: Session,
    terminal: Terminal,
    card: Card,
    *,
    asked: protocol.SessionAuthorize,
    settings: Settings,
    at: datetime,
) -> Held | RefusalCode:
    """Check in the order in which a person would be told, then hold the money."""
    instrument = instruments.get_instrument(session, instrument_id=terminal.instrument_id, lock=True)
    here, elsewhere = _open_sessions(session, instrument.id, card_id=card.id)
    if here is not None or elsewhere is not None:
        return RefusalCode.INSTRUMENT_BUSY if here is not None else RefusalCode.CARD_IN_USE_ELSEWHERE
    terms = charging.terms_for(session, instrument=instrument, account=card.account, zone=settings.site_timezone, at=at)
    if terms is None:
        return RefusalCode.NOT_QUALIFIED
    return _hold(session, terminal, card, instrument, asked=asked, terms=terms, settings=settings, at=at)


def _refusal_of_person(
    card: Card, *, by_chip: bool, pin: str | None, settings: Settings, at: datetime
) -> RefusalCode | None:
    refusal = bare.refusal_of(card, settings=settings, at=at)
    if refusal is None and (not by_chip or pin is not None):
        return proof.check_pin(card, pin)
    return refusal


def _hold(
    session: Session,
    terminal: Terminal,
    card: Card,
    instrument: Instrument,
    *,
    asked: protocol.SessionAuthorize,
    terms: Terms,
    settings: Settings,
    at: datetime,
) -> Held | RefusalCode:
    purses = money.lock_purses(session, card.account_id)
    has_fen = sum(purses.values())
    may_fen = bare.within_day(session, card, has_fen, settings=settings, at=at)
    minutes = terms.minutes_payable(may_fen, at_most=asked.minutes, at_least=1, at=at)
    row = _new_row(terminal, card, instrument, asked=asked, terms=terms, minutes=minutes or asked.minutes, at=at)
    if minutes is None:
        limit = RefusalCode.INSUFFICIENT_FUNDS if may_fen == has_fen else RefusalCode.CARD_DAY_LIMIT
        return _refuse(session, row, limit)
    if row.held_fen > HOLD_WITHOUT_PIN_FEN_MAX and not row.pin_verified:
        return RefusalCode.PIN_WRONG
    unit_id = instrument.group.unit_id
    holds = money.hold(session, row, amount_fen=row.held_fen, purses=purses, unit_id=unit_id, at=at)
    if holds is None:
        return _refuse(session, row, RefusalCode.INSUFFICIENT_FUNDS)
    session.add(row)
    session.flush()
    session.add_all(holds)
    return Held(row=row, terms=terms, available_fen=sum(purses.values()) - row.held_fen)


def _new_row(
    terminal: Terminal,
    card: Card,
    instrument: Instrument,
    *,
    asked: protocol.SessionAuthorize,
    terms: Terms,
    minutes: int,
    at: datetime,
) -> CardSession:
    return CardSession(
        id=asked.session_id,
        terminal_id=terminal.id,
        instrument_id=instrument.id,
        card_id=card.id,
        account_id=card.account_id,
        project_id=card.project_id,
        customer_class=terms.customer_class,
        status=SessionStatus.HELD,
        tariff_snapshot=terms.snapshot,
        minutes=minutes,
        held_fen=terms.hold_fen(minutes=minutes, at=at),
        authorized_at=at,
        latest_end_at=at + timedelta(minutes=minutes),
        pin_verified=asked.pin is not None,
        flags=[],
    )


def _refuse(session: Session, row: CardSession, code: RefusalCode) -> RefusalCode:
    """Keep what was refused for its money: people ask why, and the session's id may never hold anything later."""
    row.status = SessionStatus.REFUSED
    row.refusal = str(code)
    row.held_fen = 0
    session.add(row)
    return code


def _check_card(card: Card, *, settings: Settings, at: datetime) -> None:
    refusal = bare.refusal_of(card, settings=settings, at=at)
    if refusal is not None:
        raise ProtocolError(refusal, "the card may not be used")


def _minutes_payable(terms: Terms, available_fen: int, *, at: datetime) -> int:
    return terms.minutes_payable(available_fen, at_most=MINUTES_MAX, at_least=1, at=at) or 0


def _hold_minutes(usual: int, minutes_max: int | None) -> int | None:
    return usual if minutes_max is None else min(usual, minutes_max) or None


def _actions(here: CardSession | None, *, own: bool, can_pay: bool) -> tuple[protocol.Action, ...]:
    """Give what the card may do here. Who can start nothing of her own must not be able to end another's."""
    if here is None:
        return (protocol.Action.START,)
    if own:
        return (protocol.Action.END,)
    return (protocol.Action.OTHER, protocol.Action.TAKE_OVER) if can_pay else (protocol.Action.OTHER,)


def _open_sessions(
    session: Session, instrument_id: int, *, card_id: int
) -> tuple[CardSession | None, CardSession | None]:
    """Give the open session on this instrument, whosoever's, and the card's own on any other."""
    found = session.scalars(
        select(CardSession)
        .where(CardSession.status.in_(OPEN_STATUSES))
        .where((CardSession.instrument_id == instrument_id) | (CardSession.card_id == card_id))
    ).all()
    here = next((row for row in found if row.instrument_id == instrument_id), None)
    elsewhere = next((row for row in found if row.instrument_id != instrument_id), None)
    return here, elsewhere

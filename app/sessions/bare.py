"""Cards that have nothing to show but a UID, where a site takes them: how much each may cost in a day."""

from datetime import datetime, time

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from app.cards import proof
from app.cards.models import Card, CardClass
from app.devices.models import TerminalEvent
from app.sessions.models import OPEN_STATUSES, CardSession, Flag, SessionStatus
from app.settings import Settings
from card_terminal import protocol
from card_terminal.protocol import RefusalCode


def refusal_of(card: Card, *, settings: Settings, at: datetime) -> RefusalCode | None:
    """Give the reason why this card may not be used at this site today, or None."""
    if card.card_class is CardClass.UID and not settings.takes_uid_cards:
        return RefusalCode.CARD_UNSUPPORTED
    return proof.refusal_of(card, today=at.astimezone(settings.site_timezone).date())


def within_day(session: Session, card: Card, amount_fen: int, *, settings: Settings, at: datetime) -> int:
    """Give how much of an amount the card may hold on top of what it holds and was charged today.

    For a card of class `uid` that is what the site's daily cap leaves (terminal.md, Cards), for any other all of it.
    The caller has locked the card, or its only open session.
    """
    if card.card_class is not CardClass.UID:
        return amount_fen
    return max(0, min(amount_fen, settings.uid_card_fen_per_day_max - _today_fen(session, card, settings, at=at)))


def _today_fen(session: Session, card: Card, settings: Settings, *, at: datetime) -> int:
    today = at.astimezone(settings.site_timezone).date()
    midnight = datetime.combine(today, time.min, settings.site_timezone)
    counted = or_(
        # Also one that began yesterday: what it holds may be charged today.
        CardSession.status.in_(OPEN_STATUSES),
        CardSession.ended_at >= midnight,
        _may_still_be_told(since=midnight),
    )
    fen = case((CardSession.amount_fen.is_not(None), CardSession.amount_fen), else_=CardSession.held_fen)
    query = select(func.coalesce(func.sum(fen), 0)).where(CardSession.card_id == card.id, counted)
    return int(session.scalar(query) or 0)


def _may_still_be_told(*, since: datetime) -> ColumnElement[bool]:
    """Select what was given back as never started: a terminal that was cut off may yet tell that it was used."""
    reversals = exists().where(
        TerminalEvent.session_id == CardSession.id, TerminalEvent.kind == protocol.EventKind.REVERSAL
    )
    return and_(
        CardSession.status == SessionStatus.VOID,
        CardSession.authorized_at >= since,
        ~CardSession.flags.contains([Flag.CLOSED_BY_STAFF.value]),
        ~reversals,
    )

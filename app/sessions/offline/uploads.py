"""What terminals did alone comes back: taken in whatever it is, charged whole, and flagged where it broke a rule.

The session has happened; refusing its report would only lose it. So nothing here refuses, but what cannot be told
apart (a list or a card that this server never gave) is parked.
"""

from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.cards import proof
from app.cards.models import Card
from app.devices.messages import ACCEPTED, Effect, from_epoch_ms, parked
from app.devices.models import EventOutcome, Terminal
from app.sessions import lifecycle, money
from app.sessions.charging import Terms
from app.sessions.models import (
    OPEN_STATUSES,
    CardSession,
    Flag,
    OfflineAllowance,
    OfflineList,
    SessionStatus,
    SessionTombstone,
)
from app.sessions.offline import reserves
from card_terminal import protocol

# By so much the clocks of two honest machines may differ (the protocol's CLOCK_SKEW_MAX_MS).
CLOCK_TOLERANCE = timedelta(milliseconds=protocol.CLOCK_SKEW_MAX_MS)


def apply_event(session: Session, terminal: Terminal, event: protocol.Event, *, at: datetime) -> Effect:
    """Let an event have its effect, also on sessions that the terminal began alone; see `lifecycle.apply_event`."""
    body = event.body
    if isinstance(body, protocol.Started) and body.offline is not None:
        if lifecycle.lock(session, body.session_id) is None:
            return _begin(session, terminal, session_id=body.session_id, grant=body.offline, at=at)
        return parked("STARTED_TWICE")
    if isinstance(body, protocol.Ended):
        _make_room(session, terminal, body, at=at)
    effect = lifecycle.apply_event(session, terminal, event, at=at)
    if isinstance(body, protocol.Ended) and effect.outcome is EventOutcome.ACCEPTED:
        look_after(session, session.get_one(CardSession, body.session_id), at=at)
    return effect


def look_after(session: Session, row: CardSession, *, at: datetime) -> None:
    """After the end, however it came, of a session that began offline: find out what could not be told before.

    What it did not use is reserved again for the list by which it began.
    """
    if row.offline_version is None:
        return
    allowance = session.get_one(OfflineAllowance, (row.terminal_id, row.offline_version, row.card_id))
    charged = select(func.coalesce(func.sum(CardSession.amount_fen), 0)).where(*_by_the_same_list(row))
    if (session.scalar(charged) or 0) > allowance.limit_fen:
        lifecycle.flag(row, Flag.OFFLINE_OVER_LIMIT)
    if row.ended_at is not None and _overlaps(session, row, until=row.ended_at):
        lifecycle.flag(row, Flag.OFFLINE_OVERLAP)
    _refill(session, row, limit_fen=allowance.limit_fen, at=at)
    session.flush()


def _begin(
    session: Session, terminal: Terminal, *, session_id: UUID, grant: protocol.OfflineGrant, at: datetime
) -> Effect:
    if session.get(SessionTombstone, session_id) is not None:
        return parked("SESSION_REVERSED")
    found = session.execute(
        select(OfflineAllowance, OfflineList)
        .join(
            OfflineList,
            (OfflineList.terminal_id == OfflineAllowance.terminal_id)
            & (OfflineList.version == OfflineAllowance.version),
        )
        .where(
            OfflineAllowance.terminal_id == terminal.id,
            OfflineAllowance.version == grant.version,
            OfflineAllowance.card_id == grant.card,
        )
        .options(joinedload(OfflineAllowance.card).joinedload(Card.account))
    ).one_or_none()
    if found is None:
        return parked("OFFLINE_LIST_UNKNOWN")
    allowance, content = found
    row = _new_row(session, terminal, session_id=session_id, allowance=allowance, content=content, grant=grant, at=at)
    lifecycle.flag(row, *_broken_rules(session, row, allowance=allowance, content=content, grant=grant))
    _hold(session, row, terminal=terminal, wanted_fen=grant.limit_fen, at=at)
    return ACCEPTED


def _make_room(session: Session, terminal: Terminal, body: protocol.Ended, *, at: datetime) -> None:
    """Let a session have begun early enough for the time it took: that was counted by a clock nobody can set."""
    row = lifecycle.lock(session, body.session_id)
    if row is None or row.offline_version is None or row.terminal_id != terminal.id or row.status not in OPEN_STATUSES:
        return
    content = session.get_one(OfflineList, (terminal.id, row.offline_version))
    latest = max(content.valid_from, at - timedelta(milliseconds=body.elapsed_ms))
    if row.authorized_at - latest > CLOCK_TOLERANCE:
        lifecycle.flag(row, Flag.CLOCK_DOUBTFUL)
    row.authorized_at = row.started_at = min(row.authorized_at, latest)


def _new_row(
    session: Session,
    terminal: Terminal,
    *,
    session_id: UUID,
    allowance: OfflineAllowance,
    content: OfflineList,
    grant: protocol.OfflineGrant,
    at: datetime,
) -> CardSession:
    told = from_epoch_ms(grant.at_ms)
    # It cannot have begun before its list was made, nor after its report came.
    began_at = min(max(told, content.valid_from), at)
    terms = Terms(snapshot=content.tariffs[allowance.tariff]["terms"])
    row = CardSession(
        id=session_id,
        terminal_id=terminal.id,
        instrument_id=terminal.instrument_id,
        card_id=allowance.card_id,
        account_id=allowance.card.account_id,
        project_id=allowance.card.project_id,
        customer_class=terms.customer_class,
        status=SessionStatus.ACTIVE,
        tariff_snapshot=terms.snapshot,
        minutes=grant.minutes,
        held_fen=0,
        authorized_at=began_at,
        started_at=began_at,
        # Its end may be in the same journal, only later: from now on it is waited for as for any other.
        latest_end_at=max(began_at + timedelta(minutes=grant.minutes), at),
        offline_version=content.version,
        flags=[str(Flag.OFFLINE)],
    )
    if abs(told - began_at) > CLOCK_TOLERANCE:
        lifecycle.flag(row, Flag.CLOCK_DOUBTFUL)
    row.alive_at = at
    session.add(row)
    session.flush()
    return row


def _broken_rules(
    session: Session,
    row: CardSession,
    *,
    allowance: OfflineAllowance,
    content: OfflineList,
    grant: protocol.OfflineGrant,
) -> list[Flag]:
    began_at = row.authorized_at
    broken = []
    if began_at >= content.valid_until or _is_superseded(session, row):
        broken.append(Flag.OFFLINE_LATE)
    today = began_at.astimezone(ZoneInfo(row.tariff_snapshot["timezone"])).date()
    if proof.refusal_of(allowance.card, today=today) is not None:
        broken.append(Flag.OFFLINE_HOT)
    earlier = select(func.count()).where(*_by_the_same_list(row), CardSession.id != row.id)
    too_many = (session.scalar(earlier) or 0) >= protocol.OFFLINE_SESSIONS_PER_CARD
    if too_many or grant.limit_fen > allowance.limit_fen:
        broken.append(Flag.OFFLINE_OVER_LIMIT)
    if _overlaps(session, row, until=began_at):
        broken.append(Flag.OFFLINE_OVERLAP)
    return broken


def _hold(session: Session, row: CardSession, *, terminal: Terminal, wanted_fen: int, at: datetime) -> None:
    """Hold what the session may cost: from the reserve first, and else from what the purses still have.

    What neither covers is found out at the end, when the whole cost is known.
    """
    purses = money.lock_purses(session, row.account_id)
    unit_id = reserves.unit_of(session, terminal)
    reserve = reserves.reserve_of(session, terminal_id=terminal.id, card_id=row.card_id)
    reserved_fen = reserve.held_fen if reserve else 0
    if reserve is not None:
        for purse, amount_fen in reserves.give_back(session, reserve).items():
            purses[purse] += amount_fen
    amount_fen = min(wanted_fen, sum(purses.values()))
    holds = money.hold(session, row, amount_fen=amount_fen, purses=purses, unit_id=unit_id, at=at)
    if holds is None:
        raise AssertionError("the purses are locked, and yet the ledger refused")
    session.add_all(holds)
    row.held_fen = amount_fen
    session.flush()
    if reserve is not None and reserved_fen > wanted_fen:
        # The second session of the same list finds the rest.
        left = money.lock_purses(session, row.account_id)
        reserves.change(session, reserve, to_fen=reserved_fen - wanted_fen, purses=left, unit_id=unit_id, at=at)


def _refill(session: Session, row: CardSession, *, limit_fen: int, at: datetime) -> None:
    """Reserve again what this session did not use of its list's limit: the terminal may still go by that list."""
    purses = money.lock_purses(session, row.account_id)
    reserve = reserves.reserve_of(session, terminal_id=row.terminal_id, card_id=row.card_id)
    if reserve is None or reserve.keep_until <= at or _is_superseded(session, row):
        return
    used = select(func.coalesce(func.sum(func.coalesce(CardSession.amount_fen, CardSession.held_fen)), 0))
    left_fen = limit_fen - int(session.scalar(used.where(*_by_the_same_list(row))) or 0)
    if left_fen > reserve.held_fen:
        unit_id = row.instrument.group.unit_id
        reserves.change(session, reserve, to_fen=left_fen, purses=purses, unit_id=unit_id, at=at)


def _by_the_same_list(row: CardSession) -> tuple[ColumnElement[bool], ...]:
    return (
        CardSession.terminal_id == row.terminal_id,
        CardSession.offline_version == row.offline_version,
        CardSession.card_id == row.card_id,
    )


def _is_superseded(session: Session, row: CardSession) -> bool:
    """Tell whether the terminal had said that it goes by a newer list, when this session is told of."""
    newer = select(func.count()).where(
        OfflineList.terminal_id == row.terminal_id,
        OfflineList.version > row.offline_version,
        OfflineList.taken_at.is_not(None),
    )
    return bool(session.scalar(newer))


def _overlaps(session: Session, row: CardSession, *, until: datetime) -> bool:
    """Tell whether the card or the instrument was in use by another session at some moment of this one."""
    other = select(func.count()).where(
        CardSession.id != row.id,
        or_(CardSession.card_id == row.card_id, CardSession.instrument_id == row.instrument_id),
        CardSession.authorized_at <= until,
        CardSession.status.in_(OPEN_STATUSES) | (CardSession.ended_at > row.authorized_at),
    )
    return bool(session.scalar(other))

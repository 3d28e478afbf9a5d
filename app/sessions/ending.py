"""The end of sessions that nobody ended: by the worker when their time is over, or by the hand of staff."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import errors
from app.db import apart
from app.people import service as people
from app.people.models import Role
from app.people.principals import Principal
from app.sessions import charging, lifecycle, money
from app.sessions.models import OPEN_STATUSES, CardSession, Flag, SessionStatus, Step
from app.sessions.offline import uploads

# How long after the paid time an `ended` may still come before the whole paid time is charged.
FORGOTTEN_AFTER = timedelta(hours=2)
# A terminal tells of a running session every five minutes; six that are missing are more than a bad minute.
SILENT_AFTER = timedelta(minutes=30)
# Captures in one transaction: each locks a customer's and a unit's account until the commit.
ENDS_AT_ONCE = 20


def end_forgotten(session: Session, *, at: datetime, limit: int) -> int:
    """End what nobody ended; give how many sessions moved.

    Past its paid time, or without a sign of life for half an hour, an active session is stale. Two hours past its paid
    time the whole paid time is charged and a person should look. A hold that never started is given back when its time
    is over.
    """
    silent = (CardSession.status == SessionStatus.ACTIVE) & (CardSession.alive_at <= at - SILENT_AFTER)
    due = session.scalars(
        select(CardSession.id)
        .where(CardSession.status.in_(OPEN_STATUSES), (CardSession.latest_end_at <= at) | silent)
        .where((CardSession.status != SessionStatus.STALE) | (CardSession.latest_end_at <= at - FORGOTTEN_AFTER))
        .order_by(CardSession.latest_end_at)
        .limit(limit)
    ).all()
    moved = 0
    for session_id in due:
        if moved == ENDS_AT_ONCE:
            break
        # One session that cannot be ended must not keep the others open.
        moved += apart(session, partial(_end_overdue, session, session_id, at=at), session_id=str(session_id)) or 0
    return moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What ending a session by hand would charge now; `set_free_fen` of the hold goes back to the card."""

    row: CardSession
    end_at: datetime
    charged_fen: int

    @property
    def set_free_fen(self) -> int:
        """What is no longer reserved afterwards; a use without the network may cost more than could be held."""
        return max(0, self.row.held_fen - self.charged_fen)


def closing(session: Session, *, session_id: UUID, closer: Principal, at: datetime) -> Closing:
    """Give what `close_forgotten` would do now, to be read before. Raises Refusal: NOT_FOUND, ALREADY_DECIDED."""
    row = session.get(CardSession, session_id)
    if row is None or not _may_close(row, closer):
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if row.status not in OPEN_STATUSES:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    end_at = min(at, row.latest_end_at)
    if row.started_at is None:
        return Closing(row=row, end_at=end_at, charged_fen=0)
    # As `lifecycle.capture` reckons, in whole seconds: parts of one must not promise one more minute than is charged.
    duration = timedelta(seconds=int(_time_until(row, end_at).total_seconds()))
    terms = charging.terms_of(row)
    charge = terms.price(duration=duration, samples=int(terms.counts_samples), at=row.started_at)
    charged_fen = charge.amount_fen if row.offline_version is not None else min(charge.amount_fen, row.held_fen)
    return Closing(row=row, end_at=end_at, charged_fen=charged_fen)


def close_forgotten(session: Session, *, session_id: UUID, closer: Principal, at: datetime) -> CardSession:
    """End a session by hand, for the staff of the instrument's group: the time until now is charged, as far as paid.

    Raises Refusal: NOT_FOUND, also for another group's; ALREADY_DECIDED when it is not open.
    """
    row = lifecycle.lock(session, session_id)
    if row is None or not _may_close(row, closer):
        raise errors.Refusal(errors.Code.NOT_FOUND)
    was_held = row.status is SessionStatus.HELD
    if not lifecycle.step(row, Step.CLOSED):
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    lifecycle.flag(row, Flag.CLOSED_BY_STAFF)
    if was_held:
        money.release(session, row, at=at)
    else:
        _charge_until(session, row, end_at=min(at, row.latest_end_at), at=at)
    people.audit(
        session,
        actor=closer.username,
        action="session.close",
        subject=f"session:{row.id}",
        detail={"amount_fen": row.amount_fen},
        at=at,
    )
    return row


def _may_close(row: CardSession, closer: Principal) -> bool:
    return closer.has(Role.GROUP_OPERATOR) and row.instrument.group_id in closer.group_ids


def _end_overdue(session: Session, session_id: UUID, *, at: datetime) -> int:
    row = lifecycle.lock(session, session_id)
    if row is None:
        return 0
    if row.latest_end_at > at:
        is_silent = row.alive_at is not None and row.alive_at <= at - SILENT_AFTER
        return int(is_silent and lifecycle.step(row, Step.SILENT))
    if lifecycle.step(row, Step.NEVER_STARTED):
        money.release(session, row, at=at)
        return 1
    if lifecycle.step(row, Step.OVERDUE):
        return 1
    if row.latest_end_at <= at - FORGOTTEN_AFTER and lifecycle.step(row, Step.FORGOTTEN):
        lifecycle.flag(row, Flag.AUTO_ENDED)
        _charge_until(session, row, end_at=row.latest_end_at, at=at)
        return 1
    return 0


def _charge_until(session: Session, row: CardSession, *, end_at: datetime, at: datetime) -> None:
    lifecycle.capture(session, row, duration=_time_until(row, end_at), samples=0, at=at)
    uploads.look_after(session, row, at=at)


def _time_until(row: CardSession, end_at: datetime) -> timedelta:
    # What began offline is waited for from its report on, so its last moment may lie beyond what was allowed.
    return min(max(timedelta(0), end_at - (row.started_at or end_at)), timedelta(minutes=row.minutes))

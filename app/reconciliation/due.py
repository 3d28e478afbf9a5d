"""What is due to be reconciled: pulled from new charges and telemetry's feed, worked off by any number of workers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

import telemetry.queries
from app.devices.models import BoxPlacement
from app.reconciliation.evidence import CHARGED, span_of
from app.reconciliation.models import Adjustment, DueStretch, FeedCursor, UsageRecord, Verdict
from app.reconciliation.times import from_s, to_s
from app.sessions.models import CardSession
from telemetry.models import CollectorSession

FEED = "collector_sessions"
OVERLOOKED = "overlooked"
OVERLOOKED_EVERY_S = 60
# A hold ends after eight days, so a charge is hardly ever older when it comes.
CHARGED_WITHIN = timedelta(days=10)
# A full re-run reaches further back.
LOOKED_BACK = timedelta(days=400)
PAUSE = timedelta(seconds=60)
PAUSE_MAX = timedelta(minutes=15)
PIECE = timedelta(days=7)
# A charge may still be corrected this long after its use was verified.
CORRECTED_WITHIN = timedelta(days=35)


class Stretch(NamedTuple):
    """A stretch of an instrument's time that is to be decided, by its key."""

    key: str
    instrument_id: int
    from_at: datetime
    until_at: datetime


def notice(session: Session, *, at: datetime, limit: int) -> None:
    """Put what is new since the last time among what is due; one worker at a time, the others pass by."""
    cursor = hold_cursor(session, FEED)
    if cursor is None:
        return
    changed = telemetry.queries.changed_since(session, after=cursor.position, limit=limit)
    _add(session, [_stretch_of_run(row, instrument_id) for row, instrument_id in _places(session, changed)], at=at)
    if changed:
        cursor.position = changed[-1].change
    found = _without_verdict(session, since=at - CHARGED_WITHIN, limit=limit)
    charges = {each.id: each for each in (*found, *_overlooked(session, at=at, limit=limit))}
    _add(session, [_stretch_of_charge(each) for each in charges.values()], at=at)


def hold_cursor(session: Session, feed: str) -> FeedCursor | None:
    """Give how far a feed was read, held until the transaction ends; None: another worker reads it now."""
    session.execute(insert(FeedCursor).values(feed=feed, position=0).on_conflict_do_nothing())
    return session.scalar(select(FeedCursor).where(FeedCursor.feed == feed).with_for_update(skip_locked=True))


def take(session: Session, *, at: datetime, limit: int) -> list[DueStretch]:
    """Give what is due, longest waiting first, locked until the end of the transaction; others take other rows."""
    return list(
        session.scalars(
            select(DueStretch)
            .where(DueStretch.due_at <= at)
            .order_by(DueStretch.due_at, DueStretch.key)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )


def is_any(session: Session, *, at: datetime) -> bool:
    """Say whether a stretch is due."""
    return bool(session.scalar(select(exists().where(DueStretch.due_at <= at))))


def finish(session: Session, done: Sequence[DueStretch]) -> None:
    """Strike off what is decided for good."""
    if done:
        session.execute(delete(DueStretch).where(DueStretch.key.in_([each.key for each in done])))


def postpone(due: DueStretch, *, ready_at: datetime, at: datetime) -> None:
    """Look again when its box can have told enough, then less and less often: a silent box may stay silent for days."""
    if ready_at > at:
        due.due_at = ready_at
        return
    due.due_at = at + min(PAUSE * 2 ** min(due.attempts, 10), PAUSE_MAX)
    due.attempts += 1


def add_charge(session: Session, charge: CardSession, *, at: datetime) -> None:
    """Make the stretch of one charge due now."""
    _add(session, [_stretch_of_charge(charge)], at=at)


def add_weeks(
    session: Session, *, name: str, instrument_id: int, from_at: datetime, until_at: datetime, at: datetime
) -> None:
    """Make a long stretch of an instrument due in pieces of a week, so that none keeps a transaction long."""
    begins, wanted = from_at, list[Stretch]()
    while begins < until_at:
        ends = min(begins + PIECE, until_at)
        wanted.append(Stretch(f"{name}:{len(wanted)}", instrument_id, begins, ends))
        begins = ends
    _add(session, wanted, at=at)


def _places(session: Session, changed: Sequence[CollectorSession]) -> list[tuple[CollectorSession, int]]:
    """Give each changed or vanished run with every instrument its box stood at meanwhile."""
    rows = {row.id: row for row in changed}
    found = session.execute(
        select(CollectorSession.id, BoxPlacement.instrument_id)
        .join(
            BoxPlacement,
            (BoxPlacement.box == CollectorSession.box)
            & (BoxPlacement.channel == CollectorSession.channel)
            & (BoxPlacement.valid_from < CollectorSession.last_run_at)
            & (func.coalesce(BoxPlacement.valid_to, CollectorSession.last_run_at) > CollectorSession.first_run_at),
        )
        .where(CollectorSession.id.in_(rows))
        .distinct()
    ).all()
    return [(rows[run_id], instrument_id) for run_id, instrument_id in sorted(map(tuple, found))]


def _stretch_of_run(row: CollectorSession, instrument_id: int) -> Stretch:
    return Stretch(f"run:{row.id}:{instrument_id}", instrument_id, row.first_run_at, row.last_run_at)


def _stretch_of_charge(charge: CardSession) -> Stretch:
    span = span_of(charge)
    return Stretch(f"charge:{charge.id}", charge.instrument_id, from_s(span.start_s), from_s(span.end_s))


def _add(session: Session, wanted: Sequence[Stretch], *, at: datetime) -> None:
    """Make stretches due in one statement; one that is due already grows. Their keys differ."""
    if not wanted:
        return
    fresh = insert(DueStretch).values([{**each._asdict(), "due_at": at, "attempts": 0} for each in wanted])
    session.execute(
        fresh.on_conflict_do_update(
            index_elements=[DueStretch.key],
            set_={
                "from_at": func.least(DueStretch.from_at, fresh.excluded.from_at),
                "until_at": func.greatest(DueStretch.until_at, fresh.excluded.until_at),
                "due_at": fresh.excluded.due_at,
            },
        )
    )


def _overlooked(session: Session, *, at: datetime, limit: int) -> list[CardSession]:
    """Find once a minute what a look at every second would cost too much: charges of long ago, and corrected ones."""
    cursor = hold_cursor(session, OVERLOOKED)
    now_s = to_s(at)
    if cursor is None or abs(now_s - cursor.position) < OVERLOOKED_EVERY_S:
        return []
    old = _without_verdict(session, since=at - LOOKED_BACK, limit=limit)
    if len(old) < limit:
        cursor.position = now_s
    return [*old, *_corrected(session, at=at, limit=limit)]


def _without_verdict(session: Session, *, since: datetime, limit: int) -> Sequence[CardSession]:
    """Find charges nobody has looked at yet; a provisional verdict keeps its charge due by itself."""
    return session.scalars(
        select(CardSession)
        .where(
            CardSession.status.in_(CHARGED),
            CardSession.started_at.is_not(None),
            CardSession.ended_at > since,
            ~exists().where(Verdict.session_id == CardSession.id, Verdict.superseded_at.is_(None)),
            ~exists().where(DueStretch.key == func.concat("charge:", CardSession.id)),
        )
        .order_by(CardSession.ended_at)
        .limit(limit)
    ).all()


def _corrected(session: Session, *, at: datetime, limit: int) -> Sequence[CardSession]:
    """Find charges whose money or times are no longer those of their usage record."""
    return session.scalars(
        select(CardSession)
        .join(UsageRecord, UsageRecord.session_id == CardSession.id)
        .where(
            UsageRecord.superseded_at.is_(None),
            UsageRecord.verified_at > at - CORRECTED_WITHIN,
            (UsageRecord.paid_principal_fen != CardSession.paid_principal_fen - _given_back(Adjustment.principal_fen))
            | (UsageRecord.paid_subsidy_fen != CardSession.paid_subsidy_fen - _given_back(Adjustment.subsidy_fen))
            | (UsageRecord.ended_at != CardSession.ended_at),
        )
        .limit(limit)
    ).all()


def _given_back(column: Any) -> ColumnElement[int]:
    """What adjustments gave back of a charge, by purse."""
    given = select(func.coalesce(func.sum(column), 0)).where(Adjustment.session_id == CardSession.id)
    return given.correlate(CardSession).scalar_subquery()

"""How often something may be asked: counted in the database, so that all processes count together."""

from datetime import datetime, timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.devices.models import RequestCount

MINUTE = timedelta(minutes=1)
TEN_MINUTES = timedelta(minutes=10)
# No window is longer, so older counts say nothing any more.
KEPT = timedelta(hours=1)


def count(session: Session, key: str, *, window: timedelta, at: datetime) -> int:
    """Count once more, and give how often it was since the window began; a window that is over begins anew."""
    new = insert(RequestCount).values(key=key, since=at, count=1)
    is_over = RequestCount.since <= at - window
    return session.scalars(
        new.on_conflict_do_update(
            index_elements=[RequestCount.key],
            set_={
                "since": case((is_over, at), else_=RequestCount.since),
                "count": case((is_over, 1), else_=RequestCount.count + 1),
            },
        ).returning(RequestCount.count)
    ).one()


def reached(session: Session, key: str, *, limit: int, window: timedelta, at: datetime) -> bool:
    """Say whether it was counted as often as it may be, without counting."""
    found = session.execute(select(RequestCount.since, RequestCount.count).where(RequestCount.key == key)).one_or_none()
    if found is None:
        return False
    since, times = found
    return bool(since > at - window and times >= limit)


def forget(session: Session, *, at: datetime, limit: int) -> int:
    """Drop counts of windows that are over; give how many."""
    old = select(RequestCount.key).where(RequestCount.since < at - KEPT).limit(limit)
    gone = session.scalars(
        delete(RequestCount).where(RequestCount.key.in_(old.scalar_subquery())).returning(RequestCount.key)
    )
    return len(gone.all())

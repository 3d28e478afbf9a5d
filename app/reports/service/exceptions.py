"""The exception queue: charges whose box says something else, and sessions nobody ended."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.people.principals import Principal
from app.reconciliation.models import VERIFYING, ChargeVerdict, Verdict
from app.reconciliation.visibility import NO_EXCEPTION
from app.reports.service.wall import charges_of
from app.sessions.models import CardSession, SessionStatus

PAGE_SIZE_MAX = 200
# What is verified needs nobody, and what is provisional only needs time.
QUIET = VERIFYING | NO_EXCEPTION


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionLine:
    """A charge for a person to look at."""

    charge: CardSession
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceptions:
    """One page of the queue, newest first, how long it is, and the sessions that are overdue now."""

    lines: tuple[ExceptionLine, ...]
    total: int
    overdue: tuple[CardSession, ...]


def exceptions(
    session: Session, *, reader: Principal, verdict: ChargeVerdict | None = None, page: int = 1, page_size: int = 50
) -> Exceptions:
    """Give the exceptions on a person's instruments, of one verdict if one is named."""
    wanted = _open(reader)
    if verdict is not None:
        wanted = wanted.where(Verdict.verdict == verdict)
    size = min(page_size, PAGE_SIZE_MAX)
    rows = session.execute(wanted.order_by(Verdict.decided_at.desc(), Verdict.id).limit(size).offset((page - 1) * size))
    overdue = session.scalars(
        charges_of(reader)
        .where(CardSession.status == SessionStatus.STALE)
        .order_by(CardSession.latest_end_at)
        .limit(PAGE_SIZE_MAX)
    )
    return Exceptions(
        lines=tuple(ExceptionLine(charge=charge, verdict=found) for charge, found in rows),
        total=_count(session, wanted),
        overdue=tuple(overdue),
    )


def count_exceptions(session: Session, *, reader: Principal) -> int:
    """Say how many charges wait for a person."""
    return _count(session, _open(reader))


def oldest_exception_at(session: Session, *, reader: Principal) -> datetime | None:
    """Give when the oldest open exception was decided: the queue ages visibly."""
    return session.scalar(_open(reader).with_only_columns(func.min(Verdict.decided_at)).order_by(None))


def _open(reader: Principal) -> Select[CardSession, Verdict]:
    return (
        charges_of(reader)
        .add_columns(Verdict)
        .join(Verdict, Verdict.session_id == CardSession.id)
        .where(Verdict.superseded_at.is_(None), Verdict.verdict.not_in(QUIET), Verdict.review.is_(None))
    )


def _count(session: Session, wanted: Select[CardSession, Verdict]) -> int:
    return session.scalar(select(func.count()).select_from(wanted.with_only_columns(Verdict.id).subquery())) or 0

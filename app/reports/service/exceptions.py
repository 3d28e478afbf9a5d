"""The exception queue: charges whose box says something else, runs nobody paid for, and sessions nobody ended."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.people.principals import Principal
from app.reconciliation import reading
from app.reconciliation.models import BoxVerdict, ChargeVerdict, Verdict
from app.reports.service.wall import charges_of
from app.sessions.models import CardSession, SessionStatus

PAGE_SIZE_MAX = 200


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
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether older ones follow."""
        return self.page * self.page_size < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpaidRun:
    """An instrument ran and nobody paid, or not for all of it; `session_id` is the last charge beside it, if any."""

    run: BoxVerdict
    unpaid_s: int
    session_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpaidUse:
    """One page of the runs nobody paid for, newest first, and how many there are."""

    runs: tuple[UnpaidRun, ...]
    total: int
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether older ones follow."""
        return self.page * self.page_size < self.total


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
        page=page,
        page_size=size,
    )


def unpaid_use(session: Session, *, reader: Principal, page: int = 1, page_size: int = 20) -> UnpaidUse:
    """Give the runs on a person's instruments that no card paid for, in whole or in part."""
    size = min(page_size, PAGE_SIZE_MAX)
    found, total = reading.list_unpaid_use(session, reader=reader, page=page, page_size=size)
    return UnpaidUse(runs=tuple(_unpaid_run(run) for run in found), total=total, page=page, page_size=size)


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
        .where(Verdict.superseded_at.is_(None), reading.open_exception())
    )


def _unpaid_run(run: BoxVerdict) -> UnpaidRun:
    charges = run.evidence["charges"]
    return UnpaidRun(run=run, unpaid_s=run.head_s + run.tail_s, session_id=UUID(charges[-1]) if charges else None)


def _count(session: Session, wanted: Select[CardSession, Verdict]) -> int:
    return session.scalar(select(func.count()).select_from(wanted.with_only_columns(Verdict.id).subquery())) or 0

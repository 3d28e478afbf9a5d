"""The exception queue (异常队列): what waits for a person, filtered and sorted, with what a policy would give back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, exists, func, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from app.cards.models import Card, CardAccount
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation import adjusting
from app.reconciliation.adjusting import GivenBack
from app.reconciliation.models import Adjustment, ChargeVerdict, Contest, ContestStatus, Verdict
from app.reconciliation.reading import open_exception
from app.reconciliation.visibility import managed_by
from app.sessions.models import CardSession, SessionStatus

PAGE_SIZE_MAX = 200
# A contest that is open for so long is no longer answered in time by itself.
OLD_AFTER = timedelta(days=7)


class Order(StrEnum):
    """How the queue is sorted."""

    OLDEST = "oldest"
    NEWEST = "newest"
    AMOUNT = "amount"
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which exceptions somebody wants to see."""

    verdict: ChargeVerdict | None = None
    instrument_id: int | None = None
    sub_center_id: int | None = None
    contested: bool = False
    adjusted: bool = False
    order: Order = Order.OLDEST
    page: int = 1
    page_size: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A charge for a person to look at; `suggested_fen` is what its evidence says was charged too much."""

    charge: CardSession
    verdict: Verdict
    age: timedelta
    contest: Contest | None
    given_back_fen: int
    suggested_fen: int

    @property
    def is_old(self) -> bool:
        """Say whether it has waited for longer than a week."""
        return self.age > OLD_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One page of the queue, how long it is, how long it has waited, and the sessions that are overdue now."""

    lines: tuple[Line, ...]
    total: int
    oldest_at: datetime | None
    overdue: tuple[CardSession, ...]
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether more follow."""
        return self.page * self.page_size < self.total


def queue(session: Session, *, reader: Principal, wanted: Wanted, at: datetime) -> Queue:
    """Give what waits for a person on the instruments she manages."""
    query = _open(reader, wanted)
    size = min(wanted.page_size, PAGE_SIZE_MAX)
    rows = session.execute(
        query.options(*_WHOLE).order_by(*_ordering(wanted.order)).limit(size).offset((wanted.page - 1) * size)
    ).all()
    ids = [charge.id for charge, _ in rows]
    contests = {each.session_id: each for each in session.scalars(_contests().where(Contest.session_id.in_(ids)))}
    backs = adjusting.given_back_of(session, ids)
    total, oldest_at = session.execute(query.with_only_columns(func.count(), func.min(Verdict.decided_at))).one()
    overdue = session.scalars(
        select(CardSession)
        .where(CardSession.status == SessionStatus.STALE, managed_by(reader))
        .options(joinedload(CardSession.instrument), joinedload(CardSession.card).joinedload(Card.holder))
        .order_by(CardSession.latest_end_at)
        .limit(PAGE_SIZE_MAX)
    )
    return Queue(
        lines=tuple(
            _line(charge, verdict, contest=contests.get(charge.id), back=backs[charge.id], at=at)
            for charge, verdict in rows
        ),
        total=int(total),
        oldest_at=oldest_at,
        overdue=tuple(overdue),
        page=wanted.page,
        page_size=size,
    )


def count_waiting(session: Session, *, reader: Principal) -> int:
    """Say how many charges wait for a person on the instruments she manages."""
    return int(session.execute(_open(reader, Wanted()).with_only_columns(func.count())).scalar_one())


def _line(charge: CardSession, verdict: Verdict, *, contest: Contest | None, back: GivenBack, at: datetime) -> Line:
    return Line(
        charge=charge,
        verdict=verdict,
        age=at - verdict.decided_at,
        contest=contest,
        given_back_fen=back.amount_fen,
        suggested_fen=adjusting.due_fen(charge, verdict, back=back),
    )


def _contests() -> Select[Contest]:
    return select(Contest).where(Contest.status != ContestStatus.WITHDRAWN)


_WHOLE = (
    contains_eager(CardSession.instrument).contains_eager(Instrument.group).contains_eager(InstrumentGroup.unit),
    joinedload(CardSession.card).joinedload(Card.holder),
    joinedload(CardSession.account).joinedload(CardAccount.person),
    joinedload(CardSession.account).joinedload(CardAccount.organisation),
)


def _open(reader: Principal, wanted: Wanted) -> Select[CardSession, Verdict]:
    query = (
        select(CardSession, Verdict)
        .join(Verdict, Verdict.session_id == CardSession.id)
        .join(CardSession.instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .where(Verdict.superseded_at.is_(None), or_(open_exception(), _is_contested()), managed_by(reader))
    )
    if wanted.verdict is not None:
        query = query.where(Verdict.verdict == wanted.verdict)
    if wanted.instrument_id is not None:
        query = query.where(CardSession.instrument_id == wanted.instrument_id)
    if wanted.sub_center_id is not None:
        query = query.where(Unit.sub_center_id == wanted.sub_center_id)
    if wanted.contested:
        query = query.where(_is_contested())
    if wanted.adjusted:
        query = query.where(exists().where(Adjustment.session_id == CardSession.id, Adjustment.amount_fen > 0))
    return query


def _is_contested() -> ColumnElement[bool]:
    return exists().where(Contest.session_id == CardSession.id, Contest.status == ContestStatus.CONTESTED)


def _ordering(order: Order) -> tuple[ColumnElement[Any], ...]:
    first: dict[Order, ColumnElement[Any]] = {
        Order.OLDEST: Verdict.decided_at.asc(),
        Order.NEWEST: Verdict.decided_at.desc(),
        Order.AMOUNT: func.coalesce(CardSession.amount_fen, 0).desc(),
        Order.IDLE: Verdict.evidence["idle_s"].astext.cast(Integer).desc(),
    }
    return first[order], Verdict.id.asc()

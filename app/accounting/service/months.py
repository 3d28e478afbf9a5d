"""The close of months (结账): where each month stands, what is still open in it, and the two people who reopen one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import ledger
from app.accounting.models import DraftStatus, VoucherDraft
from app.errors import Code, Refusal
from app.people.models import Person
from app.people.service import audit
from app.periods import Month
from app.topups.models import TopUp, TopUpStatus
from ledger import PeriodState, PeriodStatus
from ledger.models import Journal

MONTHS_MAX = 240
_NOT_CLOSABLE = (Code.PERIOD_NOT_CLOSABLE, {PeriodStatus.POSTINGS_IN_FLIGHT: Code.TRY_AGAIN})
_NOT_REOPENABLE = (Code.PERIOD_NOT_REOPENABLE, {PeriodStatus.NEEDS_ANOTHER_PERSON: Code.SAME_PERSON})


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthStep:
    """Who did what to a month, and when; the reason is empty but for the wish to reopen it."""

    action: ledger.PeriodAction
    actor: str
    actor_name: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthView:
    """One month. `closable`, `askable` and `reopenable` say what can be done to it next, whoever does it.

    `drafts` are vouchers that wait for a decision with a value date in it, `top_ups` money at the counter that was
    entered in it and waits for approval: the first must be decided before it is closed, the others should.
    """

    month: Month
    state: PeriodState
    is_over: bool
    steps: tuple[MonthStep, ...]
    drafts: int
    top_ups: int
    closable: bool
    askable: bool
    reopenable: bool

    @property
    def asked_by(self) -> str:
        """The user name of who asked to reopen it; empty when nobody did."""
        return self.steps[-1].actor if self.state is PeriodState.REOPENING_ASKED else ""


def list_months(session: Session, *, zone: ZoneInfo, at: datetime) -> list[MonthView]:
    """Give every month from the first voucher's to the present one, newest first; at most twenty years."""
    known = {(each.starts_at, each.ends_at): each for each in ledger.periods(session)}
    line = ledger.closed_until(session)
    names = _names(session, list(known.values()))
    months = _months(session, zone=zone, at=at)
    drafts = _waiting(session, VoucherDraft.value_at, VoucherDraft.status == DraftStatus.WAITING, zone=zone)
    top_ups = _waiting(session, TopUp.created_at, TopUp.status == TopUpStatus.AWAITING_APPROVAL, zone=zone)
    return [
        _view(
            month,
            period=known.get((month.since(zone), month.until(zone))),
            is_first=month == months[-1],
            line=line,
            zone=zone,
            at=at,
            names=names,
            drafts=drafts.get(str(month), 0),
            top_ups=top_ups.get(str(month), 0),
        )
        for month in months
    ]


def month_view(session: Session, *, month: Month, zone: ZoneInfo, at: datetime) -> MonthView:
    """Give one month. Raises Refusal NOT_FOUND for one before the first voucher or after the present."""
    found = next((each for each in list_months(session, zone=zone, at=at) if each.month == month), None)
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def close_month(session: Session, *, month: Month, zone: ZoneInfo, actor: str, at: datetime) -> MonthView:
    """Close a month that is over: from then on nothing is posted with a value date in it.

    Raises Refusal: NOT_FOUND, PERIOD_NOT_CLOSABLE (with the ledger's status, or the number of waiting drafts), and
    TRY_AGAIN while something that began in it is still being written.
    """
    if waiting := month_view(session, month=month, zone=zone, at=at).drafts:
        raise Refusal(Code.PERIOD_NOT_CLOSABLE, status="drafts_waiting", drafts=waiting)
    result = ledger.close_period(session, starts_at=month.since(zone), ends_at=month.until(zone), actor=actor)
    return _done(session, result, _NOT_CLOSABLE, month=month, zone=zone, actor=actor, at=at, action="month.close")


def ask_to_reopen(
    session: Session, *, month: Month, reason: str, zone: ZoneInfo, actor: str, at: datetime
) -> MonthView:
    """Note that a person wants a closed month open again, and why. Refuses NOT_FOUND and PERIOD_NOT_REOPENABLE."""
    result = ledger.ask_to_reopen(
        session, starts_at=month.since(zone), ends_at=month.until(zone), actor=actor, reason=reason
    )
    return _done(session, result, _NOT_REOPENABLE, month=month, zone=zone, actor=actor, at=at, action="month.ask")


def reopen_month(session: Session, *, month: Month, zone: ZoneInfo, actor: str, at: datetime) -> MonthView:
    """Open a month again, by another person than the one who asked.

    Raises Refusal NOT_FOUND, SAME_PERSON, PERIOD_NOT_REOPENABLE.
    """
    result = ledger.reopen_period(session, starts_at=month.since(zone), ends_at=month.until(zone), actor=actor)
    return _done(session, result, _NOT_REOPENABLE, month=month, zone=zone, actor=actor, at=at, action="month.reopen")


def keep_closed(session: Session, *, month: Month, zone: ZoneInfo, actor: str, at: datetime) -> MonthView:
    """Refuse the wish to reopen a month. Raises Refusal NOT_FOUND, PERIOD_NOT_REOPENABLE where nobody asked."""
    if month_view(session, month=month, zone=zone, at=at).state is not PeriodState.REOPENING_ASKED:
        raise Refusal(Code.PERIOD_NOT_REOPENABLE, status="reopening_not_asked")
    result = ledger.close_period(session, starts_at=month.since(zone), ends_at=month.until(zone), actor=actor)
    return _done(session, result, _NOT_REOPENABLE, month=month, zone=zone, actor=actor, at=at, action="month.keep")


def _done(
    session: Session,
    result: ledger.PeriodResult,
    refusals: tuple[Code, dict[PeriodStatus, Code]],
    *,
    month: Month,
    zone: ZoneInfo,
    actor: str,
    at: datetime,
    action: str,
) -> MonthView:
    if not result.ok:
        general, by_status = refusals
        raise Refusal(by_status.get(result.status, general), status=result.status.value)
    detail = {"status": result.status.value}
    audit(session, actor=actor, action=action, subject=f"month:{month}", detail=detail, at=at)
    return month_view(session, month=month, zone=zone, at=at)


def _view(
    month: Month,
    *,
    period: ledger.Period | None,
    is_first: bool,
    line: datetime | None,
    zone: ZoneInfo,
    at: datetime,
    names: dict[str, str],
    drafts: int,
    top_ups: int,
) -> MonthView:
    state = PeriodState.OPEN if period is None else period.state
    is_over = month.until(zone) <= at
    is_next = is_first if line is None else month.since(zone) == line
    is_last_closed = line is not None and month.until(zone) == line
    steps = () if period is None else period.steps
    return MonthView(
        month=month,
        state=state,
        is_over=is_over,
        steps=tuple(
            MonthStep(
                action=step.action,
                actor=step.actor,
                actor_name=names.get(step.actor, step.actor),
                reason=step.reason,
                at=step.at,
            )
            for step in steps
        ),
        drafts=drafts,
        top_ups=top_ups,
        closable=state is PeriodState.OPEN and is_over and is_next and not drafts,
        askable=state is PeriodState.CLOSED and is_last_closed,
        reopenable=state is PeriodState.REOPENING_ASKED and is_last_closed,
    )


def _months(session: Session, *, zone: ZoneInfo, at: datetime) -> list[Month]:
    """Give the months from the present back to the first voucher's or the first closed one's."""
    firsts = [session.scalar(select(func.min(Journal.value_at))), *(each.starts_at for each in ledger.periods(session))]
    first = Month.of(min((each for each in firsts if each is not None), default=at), zone=zone)
    months = [Month.of(at, zone=zone)]
    while months[-1] > first and len(months) < MONTHS_MAX:
        months.append(months[-1].previous)
    return months


def _waiting(session: Session, moment: object, criterion: object, *, zone: ZoneInfo) -> dict[str, int]:
    """Count rows by the site's month of a moment."""
    month = func.to_char(func.timezone(zone.key, moment), "YYYY-MM")
    return dict(session.execute(select(month, func.count()).where(criterion).group_by(month)).all())  # type: ignore[arg-type]


def _names(session: Session, periods: Sequence[ledger.Period]) -> dict[str, str]:
    actors = {step.actor for period in periods for step in period.steps}
    return dict(session.execute(select(Person.username, Person.name).where(Person.username.in_(actors))).all())

"""The service center's day at a glance, and the standing checks of the books."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

import ledger
from app.accounting.models import DraftStatus, VoucherDraft
from app.accounting.service import credited_by_hand_fen
from app.books import Book, BookRole, chart
from app.devices.boxes import alarms, dead_letters
from app.devices.boxes.alarms import SeenAlarm
from app.devices.models import BoxPlacement, EventOutcome, TerminalEvent
from app.instruments.models import Instrument
from app.people.principals import Principal
from app.reconciliation import adjusting
from app.reconciliation.models import UsageRecord
from app.reconciliation.queue import count_waiting
from app.reports.service.ledger_view import CHARGED
from app.reports.service.places import Place, instruments_with_homes, places_of
from app.sessions.models import OPEN_STATUSES, CardSession
from app.subsidies.models import Fund
from app.topups.models import TopUp, TopUpStatus
from ledger.models import Account, Balance
from telemetry.states import State

VERIFIED_SHARE_DAYS = 30
UNSEALED_S_MAX = 300
ALARMS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What was charged in a time, and how much of it is verified by now."""

    charges: int
    amount_fen: int
    duration_s: int
    verified_s: int
    customers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundState:
    """A subsidy fund with what is left in it."""

    fund: Fund
    left_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookCheck:
    """Two numbers that must be the same, found on two ways."""

    name: str
    left_fen: int
    right_fen: int

    @property
    def holds(self) -> bool:
        """Say whether they are."""
        return self.left_fen == self.right_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class SealState:
    """How far the books are sealed: up to which block, and what waits."""

    block: int
    waiting: int
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """One day of the whole platform."""

    day: Use
    month: Use
    on_now: int
    topped_up_fen: int
    waiting_approvals: int
    waiting_vouchers: int
    parked_events: int
    exceptions: int
    owed_to_units_fen: int
    funds: tuple[FundState, ...]
    alarms: tuple[SeenAlarm, ...]
    alarms_open: int
    dead_letters: int
    silent: tuple[Place, ...]
    boxes: int
    checks: tuple[BookCheck, ...]
    seals: SealState


def today(session: Session, *, reader: Principal, since: datetime, at: datetime) -> Today:
    """Give the day that began at `since`; the page asks only for people of the center."""
    sums = _sums_by_role(session)
    metered = _metered(session, at=at)
    return Today(
        day=_use(session, since=since, until=at),
        month=_use(session, since=at - timedelta(days=VERIFIED_SHARE_DAYS), until=at),
        on_now=_count(session, select(CardSession).where(CardSession.status.in_(OPEN_STATUSES))),
        topped_up_fen=_topped_up_fen(session, since=since),
        waiting_approvals=_count(session, select(TopUp).where(TopUp.status == TopUpStatus.AWAITING_APPROVAL)),
        waiting_vouchers=_count(session, select(VoucherDraft).where(VoucherDraft.status == DraftStatus.WAITING)),
        parked_events=_count(session, parked()),
        exceptions=count_waiting(session, reader=reader),
        owed_to_units_fen=sums[BookRole.UNIT_PAYABLE],
        funds=tuple(_funds(session)),
        alarms=tuple(alarms.open_alarms(session, reader=reader, limit=ALARMS_SHOWN)),
        alarms_open=sum(alarms.count_open(session, reader=reader).values()),
        dead_letters=sum(dead_letters.unseen_by_reason(session).values()),
        silent=tuple(place for place in metered if place.live.state is State.UNKNOWN),
        boxes=len(metered),
        checks=book_checks(session, sums=sums),
        seals=seal_state(session),
    )


def parked() -> Select[TerminalEvent]:
    """Select terminal events that wait for a person."""
    return select(TerminalEvent).where(
        TerminalEvent.outcome == EventOutcome.PARKED, TerminalEvent.resolved_at.is_(None)
    )


def book_checks(session: Session, *, sums: dict[BookRole, int] | None = None) -> tuple[BookCheck, ...]:
    """Give the standing checks (docs: the ledger explained). Each number comes from another place than its twin."""
    by_role = sums if sums is not None else _sums_by_role(session)
    posted = session.execute(
        select(
            func.coalesce(func.sum(Balance.debits_posted_fen), 0),
            func.coalesce(func.sum(Balance.credits_posted_fen), 0),
        )
    ).one()
    charged = session.execute(
        select(
            func.coalesce(func.sum(CardSession.amount_fen), 0), func.coalesce(func.sum(CardSession.paid_subsidy_fen), 0)
        ).where(CardSession.status.in_(CHARGED))
    ).one()
    earned_fen = session.scalar(
        select(func.coalesce(func.sum(Balance.credits_posted_fen), 0))
        .join(Account, Account.id == Balance.id)
        .where(Account.code == lines_number(BookRole.UNIT_PAYABLE))
    )
    back = adjusting.all_given_back(session)
    fiscal = (BookRole.SUBSIDY_FUND, BookRole.REWARD_FUND, BookRole.SUBSIDY_PURSE, BookRole.REWARD_PAYABLE)
    return (
        BookCheck(name="zero_sum", left_fen=int(posted[0] or 0), right_fen=int(posted[1] or 0)),
        BookCheck(
            name="charges",
            left_fen=int(charged[0] or 0),
            # What the accountant booked by hand, such as an opening balance, came from no charge.
            # Nor did the fee and the tax that came back with an adjustment.
            right_fen=int(earned_fen or 0) - credited_by_hand_fen(session, BookRole.UNIT_PAYABLE) - back.shares_fen,
        ),
        BookCheck(
            name="fiscal",
            left_fen=by_role[BookRole.FISCAL_BANK],
            right_fen=sum(by_role[role] for role in fiscal) + int(charged[1] or 0) - back.subsidy_fen,
        ),
    )


def seal_state(session: Session) -> SealState:
    """Say how far the books are sealed; it holds while no row waits for longer than five minutes."""
    newest, waiting = ledger.newest_seal(session), ledger.unsealed(session)
    return SealState(
        block=newest.number if newest is not None else 0,
        waiting=waiting.rows,
        holds=waiting.oldest_s <= UNSEALED_S_MAX,
    )


def lines_number(role: BookRole) -> int:
    """Give the code that the ledger keeps for a role's accounts."""
    return chart()[role].number


def _sums_by_role(session: Session) -> dict[BookRole, int]:
    """Give what all accounts of each role hold together, on the side on which the role grows."""
    net = dict(
        session.execute(
            select(Account.code, func.sum(Balance.debits_posted_fen - Balance.credits_posted_fen))
            .join(Balance, Balance.id == Account.id)
            .group_by(Account.code)
        ).all()
    )
    return {role: int(net.get(line.number) or 0) * (1 if line.grows_by_debit else -1) for role, line in chart().items()}


def _use(session: Session, *, since: datetime, until: datetime) -> Use:
    row = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(adjusting.net_fen()), 0),
            func.coalesce(func.sum(func.coalesce(UsageRecord.charged_s, CardSession.duration_s)), 0),
            func.coalesce(func.sum(UsageRecord.charged_s), 0),
            func.count(CardSession.account_id.distinct()),
        )
        .select_from(CardSession)
        .outerjoin(UsageRecord, (UsageRecord.session_id == CardSession.id) & UsageRecord.superseded_at.is_(None))
        .where(CardSession.status.in_(CHARGED), CardSession.ended_at >= since, CardSession.ended_at <= until)
    ).one()
    charges, amount_fen, duration_s, verified_s, customers = (int(value or 0) for value in row)
    return Use(
        charges=charges, amount_fen=amount_fen, duration_s=duration_s, verified_s=verified_s, customers=customers
    )


def _topped_up_fen(session: Session, *, since: datetime) -> int:
    wanted = select(func.coalesce(func.sum(TopUp.amount_fen), 0)).where(
        TopUp.status == TopUpStatus.CREDITED, TopUp.decided_at >= since
    )
    return int(session.scalar(wanted) or 0)


def _funds(session: Session) -> list[FundState]:
    funds = session.scalars(select(Fund).order_by(Fund.code)).all()
    found = ledger.balances(session, [Book(BookRole.SUBSIDY_FUND, fund.id).id for fund in funds])
    return [
        FundState(fund=fund, left_fen=sums.available_credit_fen)
        for fund in funds
        if (sums := found.get(Book(BookRole.SUBSIDY_FUND, fund.id).id)) is not None
    ]


def _metered(session: Session, *, at: datetime) -> list[Place]:
    placed = select(BoxPlacement.instrument_id).where(BoxPlacement.valid_to.is_(None))
    instruments = session.scalars(instruments_with_homes().where(Instrument.id.in_(placed)).order_by(Instrument.code))
    return places_of(session, instruments, at=at)


def _count(session: Session, wanted: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(wanted.subquery())) or 0

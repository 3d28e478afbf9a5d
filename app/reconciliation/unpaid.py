"""Unpaid use (未付机时): what a box saw and no card paid for, what it would have cost, and what people make of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy.exc
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, joinedload

from app.cards.models import CardAccount
from app.db import violated
from app.errors import Code, Refusal
from app.instruments import service as instruments
from app.instruments.charges import Charge
from app.instruments.models import CustomerClass
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation import ruling
from app.reconciliation.models import (
    UNPAID_USE,
    BoxVerdict,
    BoxVerdictKind,
    RuleKind,
    UnpaidAction,
    UnpaidAnswer,
)
from app.reconciliation.visibility import managed_by
from app.sessions.charging import Terms

PAGE_SIZE_MAX = 200
# Who an unknown user most likely is, for an estimate before anybody is named.
LIKELY_CLASS = CustomerClass.COMPANY


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpaidUse:
    """A run nobody paid for, in whole or in part: when it was not paid, and what that time costs by the tariff.

    `estimate_fen` is None where no tariff held. `answer` is what a person made of it.
    """

    run: BoxVerdict
    since: datetime
    until: datetime
    unpaid_s: int
    estimate_fen: int | None
    answer: UnpaidAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of unpaid use, newest first; how many there are, their seconds, and the estimate of this page."""

    uses: tuple[UnpaidUse, ...]
    total: int
    unpaid_s: int
    page: int
    page_size: int

    @property
    def estimate_fen(self) -> int:
        """What the uses of this page would have cost together."""
        return sum(use.estimate_fen or 0 for use in self.uses)

    @property
    def has_more(self) -> bool:
        """Say whether older ones follow."""
        return self.page * self.page_size < self.total


def list_uses(
    session: Session,
    *,
    reader: Principal,
    zone: ZoneInfo,
    answered: bool = False,
    instrument_id: int | None = None,
    page: int = 1,
    page_size: int = 20,
) -> Found:
    """Give a page of the unpaid use on the instruments a person manages; what was answered only when asked for."""
    wanted = _unpaid(reader, answered=answered)
    if instrument_id is not None:
        wanted = wanted.where(BoxVerdict.instrument_id == instrument_id)
    size = min(page_size, PAGE_SIZE_MAX)
    rows = session.scalars(
        wanted.options(joinedload(BoxVerdict.instrument))
        .order_by(BoxVerdict.started_at.desc(), BoxVerdict.id)
        .limit(size)
        .offset((page - 1) * size)
    ).all()
    answers = {
        each.box_verdict_id: each
        for each in session.scalars(
            select(UnpaidAnswer)
            .where(UnpaidAnswer.box_verdict_id.in_([row.id for row in rows]))
            .options(joinedload(UnpaidAnswer.made_by))
        )
    }
    count, unpaid_s = session.execute(
        wanted.with_only_columns(func.count(), func.coalesce(func.sum(BoxVerdict.head_s + BoxVerdict.tail_s), 0))
    ).one()
    return Found(
        uses=tuple(_use(session, row, answer=answers.get(row.id), zone=zone) for row in rows),
        total=int(count),
        unpaid_s=int(unpaid_s),
        page=page,
        page_size=size,
    )


def get_use(session: Session, *, box_verdict_id: int, reader: Principal, zone: ZoneInfo) -> UnpaidUse:
    """Give one unpaid use. Raises Refusal NOT_FOUND, also for others' instruments and for what no longer holds."""
    row = _get(session, box_verdict_id, reader)
    answer = session.scalar(select(UnpaidAnswer).where(UnpaidAnswer.box_verdict_id == row.id))
    return _use(session, row, answer=answer, zone=zone)


def explain(session: Session, *, box_verdict_id: int, note: str, maker: Principal, at: datetime) -> UnpaidAnswer:
    """Write down why a run owes nothing. Raises Refusal: NOT_FOUND; ALREADY_DECIDED."""
    row = _get(session, box_verdict_id, maker)
    return _answer(session, row, action=UnpaidAction.EXPLAINED, note=note, maker=maker, at=at)


def mark_as_maintenance(
    session: Session, *, box_verdict_id: int, note: str, maker: Principal, at: datetime
) -> UnpaidAnswer:
    """Say that a run was maintenance: a silence rule for just its time, which makes its verdict anew.

    Raises Refusal: NOT_FOUND; ALREADY_DECIDED; VALIDATION_FAILED for a run of long ago.
    """
    row = _get(session, box_verdict_id, maker)
    wish = ruling.Wish(
        instrument_id=row.instrument_id,
        kind=RuleKind.MAINTENANCE,
        valid_from=row.started_at,
        valid_to=row.ended_at,
        week=None,
        run_s_max=None,
        note=note,
    )
    rule = ruling.make(session, wish, maker=maker, at=at)
    return _answer(session, row, action=UnpaidAction.MAINTENANCE, note=note, maker=maker, at=at, rule_id=rule.id)


def draft_invoice(
    session: Session,
    *,
    box_verdict_id: int,
    account_number: str,
    note: str,
    zone: ZoneInfo,
    maker: Principal,
    at: datetime,
) -> UnpaidAnswer:
    """Draft an invoice for a run to the customer who used it, by the tariff of her class; nothing is posted.

    Raises Refusal: NOT_FOUND, also for the account; TARIFF_INVALID where no tariff held; ALREADY_DECIDED.
    """
    row = _get(session, box_verdict_id, maker)
    account = session.scalar(select(CardAccount).where(CardAccount.number == account_number))
    if account is None:
        raise Refusal(Code.NOT_FOUND)
    since, until = unpaid_span(row)
    customer_class = instruments.customer_class_of(
        session, organisation_id=account.organisation_id, instrument_id=row.instrument_id
    )
    charge = price(
        session,
        instrument_id=row.instrument_id,
        since=since,
        until=until,
        customer_class=customer_class,
        zone=zone,
    )
    if charge is None:
        raise Refusal(Code.TARIFF_INVALID)
    lines = [{"zh": line.zh, "en": line.en, "amount_fen": line.amount_fen} for line in charge.lines]
    return _answer(
        session,
        row,
        action=UnpaidAction.INVOICE,
        note=note,
        maker=maker,
        at=at,
        account_id=account.id,
        amount_fen=charge.amount_fen,
        price_lines=lines,
    )


def get_invoice(session: Session, *, answer_id: int, reader: Principal) -> UnpaidAnswer:
    """Give an invoice that was drafted. Raises Refusal NOT_FOUND."""
    found = session.scalar(
        select(UnpaidAnswer)
        .join(BoxVerdict, BoxVerdict.id == UnpaidAnswer.box_verdict_id)
        .where(
            UnpaidAnswer.id == answer_id,
            UnpaidAnswer.action == UnpaidAction.INVOICE,
            managed_by(reader, instrument_id=BoxVerdict.instrument_id),
        )
        .options(joinedload(UnpaidAnswer.run), joinedload(UnpaidAnswer.account), joinedload(UnpaidAnswer.made_by))
    )
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def unpaid_span(row: BoxVerdict) -> tuple[datetime, datetime]:
    """Give the time of a run that nobody paid: its head, its tail, or all of it."""
    if row.verdict is BoxVerdictKind.UNPAID_HEAD:
        return row.started_at, row.started_at + timedelta(seconds=row.head_s)
    if row.verdict is BoxVerdictKind.UNPAID_TAIL:
        return row.ended_at - timedelta(seconds=row.tail_s), row.ended_at
    return row.started_at, row.ended_at


def price(
    session: Session,
    *,
    instrument_id: int,
    since: datetime,
    until: datetime,
    customer_class: CustomerClass,
    zone: ZoneInfo,
) -> Charge | None:
    """Give what a time would have cost by the tariff that held when it began; None: no tariff held."""
    snapshot = instruments.tariff_at(session, instrument_id=instrument_id, customer_class=customer_class, at=since)
    if snapshot is None:
        return None
    terms = Terms(snapshot={**snapshot, "timezone": str(zone)})
    return terms.price(duration=until - since, samples=0, at=since)


def _use(session: Session, row: BoxVerdict, *, answer: UnpaidAnswer | None, zone: ZoneInfo) -> UnpaidUse:
    since, until = unpaid_span(row)
    charge = price(
        session, instrument_id=row.instrument_id, since=since, until=until, customer_class=LIKELY_CLASS, zone=zone
    )
    return UnpaidUse(
        run=row,
        since=since,
        until=until,
        unpaid_s=row.head_s + row.tail_s,
        estimate_fen=None if charge is None else charge.amount_fen,
        answer=answer,
    )


def _unpaid(reader: Principal, *, answered: bool) -> Select[BoxVerdict]:
    has_answer = exists().where(UnpaidAnswer.box_verdict_id == BoxVerdict.id)
    return select(BoxVerdict).where(
        BoxVerdict.superseded_at.is_(None),
        BoxVerdict.verdict.in_(UNPAID_USE),
        managed_by(reader, instrument_id=BoxVerdict.instrument_id),
        has_answer if answered else ~has_answer,
    )


def _get(session: Session, box_verdict_id: int, reader: Principal) -> BoxVerdict:
    row = session.scalar(
        select(BoxVerdict).where(
            BoxVerdict.id == box_verdict_id,
            BoxVerdict.superseded_at.is_(None),
            BoxVerdict.verdict.in_(UNPAID_USE),
            managed_by(reader, instrument_id=BoxVerdict.instrument_id),
        )
    )
    if row is None:
        raise Refusal(Code.NOT_FOUND)
    return row


def _answer(
    session: Session,
    row: BoxVerdict,
    *,
    action: UnpaidAction,
    note: str,
    maker: Principal,
    at: datetime,
    **columns: Any,
) -> UnpaidAnswer:
    made = UnpaidAnswer(
        box_verdict_id=row.id, action=action, note=note, made_by_id=maker.person_id, made_at=at, **columns
    )
    session.add(made)
    try:
        session.flush()
    except sqlalchemy.exc.IntegrityError as error:
        if violated(error) == "uq_unpaid_answer_box_verdict_id":
            raise Refusal(Code.ALREADY_DECIDED) from error
        raise
    people.audit(
        session,
        actor=maker.username,
        action=f"unpaid_use.{action}",
        subject=f"box_verdict:{row.id}",
        detail={"note": note, "amount_fen": made.amount_fen},
        at=at,
    )
    return made

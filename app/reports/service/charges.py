"""Lists of charges with what came of them: verdict and subsidy."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.cards.models import Card, CardAccount
from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord, Verdict
from app.reports.service.places import instruments_with_homes, managed_by
from app.reports.service.wall import charges_of
from app.sessions.models import CardSession, SessionStatus
from app.subsidies.models import Decision

PAGE_SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """A charge with the verdict that holds and the subsidy it earned, if there are any."""

    charge: CardSession
    verdict: Verdict | None
    decision: Decision | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeList:
    """One page of charges, newest first, and how long the list is."""

    lines: tuple[ChargeLine, ...]
    total: int
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether older ones follow."""
        return self.page * self.page_size < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentCharges:
    """What was charged on one instrument in a time."""

    instrument: Instrument
    charges: ChargeList


def charges_of_customer(session: Session, *, reader: Principal, page: int = 1, page_size: int = 50) -> ChargeList:
    """Give the card sessions that a customer may see: of the own accounts, the own organisation's, the own cards."""
    wanted = (
        select(CardSession)
        .join(CardSession.account)
        .join(CardSession.card)
        .where(_own(reader), CardSession.status != SessionStatus.REFUSED)
        .options(
            joinedload(CardSession.instrument),
            joinedload(CardSession.card).joinedload(Card.holder),
            joinedload(CardSession.account).joinedload(CardAccount.organisation),
            joinedload(CardSession.account).joinedload(CardAccount.person),
        )
    )
    return _page(session, wanted, page=page, page_size=page_size)


def charges_of_instrument(
    session: Session,
    *,
    instrument_id: int,
    reader: Principal,
    since: datetime,
    until: datetime,
    page: int = 1,
    page_size: int = 50,
) -> InstrumentCharges:
    """Give what ended on an instrument in [since, until). Raises Refusal NOT_FOUND, also for others' instruments."""
    instrument = session.scalar(instruments_with_homes().where(Instrument.id == instrument_id, managed_by(reader)))
    if instrument is None:
        raise Refusal(Code.NOT_FOUND)
    wanted = charges_of(reader).where(
        CardSession.instrument_id == instrument_id, CardSession.ended_at >= since, CardSession.ended_at < until
    )
    return InstrumentCharges(instrument=instrument, charges=_page(session, wanted, page=page, page_size=page_size))


def _own(reader: Principal) -> ColumnElement[bool]:
    own = or_(CardAccount.person_id == reader.person_id, Card.holder_id == reader.person_id)
    if reader.organisation_id is None:
        return own
    return or_(own, CardAccount.organisation_id == reader.organisation_id)


def _page(session: Session, wanted: Select[CardSession], *, page: int, page_size: int) -> ChargeList:
    size = min(page_size, PAGE_SIZE_MAX)
    total = session.scalar(select(func.count()).select_from(wanted.with_only_columns(CardSession.id).subquery())) or 0
    rows = session.scalars(
        wanted.order_by(CardSession.authorized_at.desc(), CardSession.id).limit(size).offset((page - 1) * size)
    ).all()
    return ChargeList(lines=tuple(_with_outcomes(session, rows)), total=total, page=page, page_size=size)


def _with_outcomes(session: Session, rows: Iterable[CardSession]) -> list[ChargeLine]:
    charges = list(rows)
    ids = [charge.id for charge in charges]
    verdicts = {
        verdict.session_id: verdict
        for verdict in session.scalars(
            select(Verdict).where(Verdict.session_id.in_(ids), Verdict.superseded_at.is_(None))
        )
    }
    decisions = dict(
        session.execute(
            select(UsageRecord.session_id, Decision)
            .join(Decision, Decision.usage_record_id == UsageRecord.id)
            .where(UsageRecord.session_id.in_(ids), UsageRecord.superseded_at.is_(None))
        ).all()
    )
    return [
        ChargeLine(charge=charge, verdict=verdicts.get(charge.id), decision=decisions.get(charge.id))
        for charge in charges
    ]

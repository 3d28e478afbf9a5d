"""Sessions as people may see them: their own, those of their instruments, or all."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, cast, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, contains_eager, joinedload

from app import errors
from app.cards.models import Card, CardAccount
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.sessions.models import CardSession, Flag, SessionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which of the visible sessions; None means any."""

    status: SessionStatus | None = None
    account_id: int | None = None
    instrument_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    to_review: bool = False


def list_sessions(
    session: Session, *, reader: Principal, wanted: Filter, limit: int, offset: int = 0
) -> list[CardSession]:
    """Give the sessions that this person may see, the newest first."""
    query = _with_all().where(visible_to(reader), *_conditions(wanted))
    return list(
        session.scalars(query.order_by(CardSession.authorized_at.desc(), CardSession.id).limit(limit).offset(offset))
    )


def get_session(session: Session, *, session_id: UUID, reader: Principal) -> CardSession:
    """Give one session. Raises Refusal NOT_FOUND, also when it is not this person's to see."""
    row = session.scalar(_with_all().where(CardSession.id == session_id, visible_to(reader)))
    if row is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return row


def visible_to(reader: Principal) -> ColumnElement[bool]:
    """Give the wall between sub-centers, groups and customers, for a query that joins account, group and unit."""
    if reader.sees_everything:
        return true()
    return or_(
        CardAccount.person_id == reader.person_id,
        CardAccount.organisation_id.is_not(None) & (CardAccount.organisation_id == reader.organisation_id),
        InstrumentGroup.id.in_(reader.group_ids),
        Unit.sub_center_id.in_(reader.sub_center_ids),
    )


def _with_all() -> Select[CardSession]:
    return (
        select(CardSession)
        .join(CardSession.account)
        .join(CardSession.instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .options(
            contains_eager(CardSession.account).joinedload(CardAccount.person),
            contains_eager(CardSession.account).joinedload(CardAccount.organisation),
            contains_eager(CardSession.instrument)
            .contains_eager(Instrument.group)
            .contains_eager(InstrumentGroup.unit),
            joinedload(CardSession.card).joinedload(Card.holder),
            joinedload(CardSession.terminal),
        )
    )


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(CardSession.status == wanted.status)
    if wanted.account_id is not None:
        conditions.append(CardSession.account_id == wanted.account_id)
    if wanted.instrument_id is not None:
        conditions.append(CardSession.instrument_id == wanted.instrument_id)
    if wanted.since is not None:
        conditions.append(CardSession.authorized_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(CardSession.authorized_at < wanted.until)
    if wanted.to_review:
        # That a session began offline is news, and by itself no reason to look.
        conditions.append(CardSession.flags.op("-")(literal(str(Flag.OFFLINE), String)) != cast([], JSONB))
    return conditions

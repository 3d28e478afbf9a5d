"""Contests (异议): a customer's word against a charge, and the answer of those who run the instrument."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy.exc
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.books import PostingError
from app.cards.models import Card
from app.db import violated
from app.errors import Code, Refusal
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation import adjusting, policies, recording
from app.reconciliation.evidence import CHARGED
from app.reconciliation.models import (
    CONTEST_TRANSITIONS,
    Cause,
    Contest,
    ContestStatus,
    ContestStep,
)
from app.reconciliation.visibility import managed_by, owned_by
from app.sessions.models import CardSession

PAGE_SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of contests, the one that is due first on top, how many there are, and how many are overdue."""

    contests: tuple[Contest, ...]
    total: int
    overdue: int
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether more follow."""
        return self.page * self.page_size < self.total


def contestable_until(session: Session, row: CardSession) -> datetime | None:
    """Give the end of the window in which a charge may be contested; None: it costs nothing or is still on."""
    if row.status not in CHARGED or row.ended_at is None or not row.amount_fen:
        return None
    return row.ended_at + timedelta(days=policies.held_for(session, row).terms.contest_days)


def own_charge(session: Session, *, session_id: UUID, maker: Principal) -> CardSession:
    """Give a charge of a person's own card or account. Raises Refusal NOT_FOUND."""
    own = or_(owned_by(maker), _held_by(maker))
    row = session.scalar(select(CardSession).where(CardSession.id == session_id, own))
    if row is None:
        raise Refusal(Code.NOT_FOUND)
    return row


def contest(session: Session, *, session_id: UUID, reason: str, maker: Principal, at: datetime) -> Contest:
    """Contest a charge of one's own card or account.

    Raises Refusal: NOT_FOUND for others' charges; NOT_CONTESTABLE after the window, a second time, for nothing charged.
    """
    own = own_charge(session, session_id=session_id, maker=maker)
    # So that no policy gives money back while the customer's word is written down.
    row = adjusting.lock_charge(session, own.id)
    until = contestable_until(session, row)
    if until is None or at > until:
        raise Refusal(Code.NOT_CONTESTABLE)
    answer_days = policies.held_for(session, row).terms.answer_days
    made = Contest(
        session_id=row.id,
        reason=reason,
        made_by_id=maker.person_id,
        made_at=at,
        answer_due_at=at + timedelta(days=answer_days),
        status=ContestStatus.CONTESTED,
    )
    session.add(made)
    try:
        session.flush()
    except sqlalchemy.exc.IntegrityError as error:
        if violated(error) == "uq_contest_session_id":
            raise Refusal(Code.NOT_CONTESTABLE) from error
        raise
    _audit(session, made, action="contest.make", actor=maker, at=at)
    return made


def take_back(session: Session, *, contest_id: int, maker: Principal, at: datetime) -> Contest:
    """Take one's own contest back before it is answered. Raises Refusal: NOT_FOUND; ALREADY_DECIDED."""
    found = _locked(session, contest_id)
    if found.made_by_id != maker.person_id:
        raise Refusal(Code.NOT_FOUND)
    _step(found, ContestStep.TAKE_BACK)
    session.flush()
    _audit(session, found, action="contest.take_back", actor=maker, at=at)
    return found


def answer(
    session: Session, *, contest_id: int, amount_fen: int, text: str, answerer: Principal, at: datetime
) -> Contest:
    """Answer a contest: with 0 the charge is upheld, else so much goes back to the card.

    Raises Refusal: NOT_FOUND for what the answerer does not manage; FORBIDDEN on her own use; ALREADY_DECIDED;
    ADJUSTMENT_TOO_LARGE; ADJUSTMENT_NOT_POSTABLE.
    """
    # The charge first, as everybody who changes what hangs on it.
    session_id = session.scalar(select(Contest.session_id).where(Contest.id == contest_id))
    if session_id is None:
        raise Refusal(Code.NOT_FOUND)
    row = adjusting.lock_charge(session, session_id)
    found = _locked(session, contest_id)
    if session.scalar(select(CardSession.id).where(CardSession.id == row.id, managed_by(answerer))) is None:
        raise Refusal(Code.NOT_FOUND)
    if answerer.person_id in (row.card.holder_id, row.account.person_id, found.made_by_id):
        raise Refusal(Code.FORBIDDEN)
    _step(found, ContestStep.ADJUST if amount_fen else ContestStep.UPHOLD)
    found.answer, found.answered_by_id, found.answered_at = text, answerer.person_id, at
    session.flush()
    if amount_fen:
        verdict = recording.current_verdict(session, row)
        reason = adjusting.Reason(
            key=f"contest:{found.id}:adjustment",
            cause=Cause.CONTEST,
            note=text,
            actor=answerer.username,
            verdict_id=None if verdict is None else verdict.id,
            person_id=answerer.person_id,
            contest_id=found.id,
        )
        try:
            adjusting.give_back(session, row, amount_fen=amount_fen, reason=reason, at=at)
        except PostingError as error:
            raise Refusal(Code.ADJUSTMENT_NOT_POSTABLE) from error
    _audit(session, found, action="contest.answer", actor=answerer, at=at, amount_fen=amount_fen)
    return found


def contest_of(session: Session, session_id: UUID) -> Contest | None:
    """Give the contest of a charge, one that was taken back only if there is no other."""
    return session.scalar(
        select(Contest)
        .where(Contest.session_id == session_id)
        .options(joinedload(Contest.made_by), joinedload(Contest.answered_by))
        .order_by(Contest.status == ContestStatus.WITHDRAWN, Contest.id.desc())
        .limit(1)
    )


def get_contest(session: Session, *, contest_id: int, reader: Principal) -> Contest:
    """Give a contest to whom it concerns. Raises Refusal NOT_FOUND."""
    found = session.scalar(_visible(reader).where(Contest.id == contest_id).options(*_WHOLE))
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def list_contests(
    session: Session,
    *,
    reader: Principal,
    at: datetime,
    status: ContestStatus | None = None,
    page: int = 1,
    page_size: int = 50,
) -> Found:
    """Give a page of the contests on the instruments a person manages and of her own, open ones due first on top."""
    query = _visible(reader)
    if status is not None:
        query = query.where(Contest.status == status)
    size = min(page_size, PAGE_SIZE_MAX)
    ordered = query.order_by(Contest.status != ContestStatus.CONTESTED, Contest.answer_due_at, Contest.id)
    overdue = query.where(Contest.status == ContestStatus.CONTESTED, Contest.answer_due_at < at)
    return Found(
        contests=tuple(session.scalars(ordered.options(*_WHOLE).limit(size).offset((page - 1) * size))),
        total=session.scalar(select(func.count()).select_from(query.subquery())) or 0,
        overdue=session.scalar(select(func.count()).select_from(overdue.subquery())) or 0,
        page=page,
        page_size=size,
    )


_WHOLE = (
    joinedload(Contest.session).joinedload(CardSession.instrument),
    joinedload(Contest.session).joinedload(CardSession.card).joinedload(Card.holder),
    joinedload(Contest.made_by),
    joinedload(Contest.answered_by),
)


def _visible(reader: Principal) -> Select[Contest]:
    concerns = or_(managed_by(reader), owned_by(reader), _held_by(reader))
    return select(Contest).join(CardSession, CardSession.id == Contest.session_id).where(concerns)


def _held_by(person: Principal) -> ColumnElement[bool]:
    return CardSession.card_id.in_(select(Card.id).where(Card.holder_id == person.person_id))


def _locked(session: Session, contest_id: int) -> Contest:
    found = session.scalar(
        select(Contest).where(Contest.id == contest_id).with_for_update().execution_options(populate_existing=True)
    )
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def _step(found: Contest, step: ContestStep) -> None:
    after = CONTEST_TRANSITIONS.get((found.status, step))
    if after is None:
        raise Refusal(Code.ALREADY_DECIDED, status=found.status.value)
    found.status = after


def _audit(session: Session, found: Contest, *, action: str, actor: Principal, at: datetime, **more: int) -> None:
    detail = {"session_id": str(found.session_id), "status": found.status.value, **more}
    people.audit(session, actor=actor.username, action=action, subject=f"contest:{found.id}", detail=detail, at=at)

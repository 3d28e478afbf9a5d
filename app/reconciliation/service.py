"""Reconciliation (对账): every charge gets a verdict, every verified use a record, and what changed is decided anew."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from itertools import groupby
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.books import PostingError
from app.db import apart
from app.errors import Code, Refusal
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation import adjusting, due, evidence, reading, recording, records, visibility
from app.reconciliation.deciding import DEFAULT_ZONE, Decided, decide_stretch, lock_instrument
from app.reconciliation.known import Known
from app.reconciliation.models import ADJUSTING, Cause, DueStretch, Review, Verdict
from app.reconciliation.spans import Span
from app.reconciliation.times import to_s
from app.sessions.models import CardSession


def reconcile(session: Session, *, at: datetime, limit: int, zone: ZoneInfo = DEFAULT_ZONE) -> int:
    """Decide what is due of at most `limit` stretches; gives how many verdicts are new. Safe to kill and to repeat.

    A charge gets its verdict at once, provisional until its box has told everything; a run gets one when it is final.
    """
    due.notice(session, at=at, limit=limit)
    taken = due.take(session, at=at, limit=limit)
    # In order of instruments, so that two workers never wait for each other crosswise.
    taken.sort(key=lambda stretch: (stretch.instrument_id, stretch.from_at, stretch.key))
    written = 0
    for instrument_id, stretches in groupby(taken, key=lambda stretch: stretch.instrument_id):
        lock_instrument(session, instrument_id)
        written += _work_off(session, stretches, instrument_id=instrument_id, zone=zone, at=at)
    session.flush()
    return written


def rerun(
    session: Session, *, session_id: UUID, reader: Principal, at: datetime, zone: ZoneInfo = DEFAULT_ZONE
) -> Verdict:
    """Decide one charge again with what is known now, and give the verdict that then holds.

    Raises Refusal NOT_FOUND, also for what the reader may not see.
    """
    row = charge_of(session, session_id=session_id, reader=reader)
    lock_instrument(session, row.instrument_id)
    decide_stretch(session, instrument_id=row.instrument_id, stretch=evidence.span_of(row), zone=zone, at=at)
    verdict = recording.current_verdict(session, row)
    if verdict is None:
        raise AssertionError("a charge that was decided has a verdict")
    people.audit(
        session,
        actor=reader.username,
        action="verdict.rerun",
        subject=f"session:{session_id}",
        detail={"verdict": verdict.verdict.value, "version": verdict.version},
        at=at,
    )
    return verdict


def review(
    session: Session,
    *,
    session_id: UUID,
    outcome: Review,
    note: str,
    reader: Principal,
    at: datetime,
    amount_fen: int = 0,
) -> Verdict:
    """Write a person's word on a charge that did not verify by itself: a new version with the same evidence.

    With an adjusting outcome, and only with one, so much of the charge goes back to the card. Raises Refusal:
    NOT_FOUND; FORBIDDEN for the person's own use; NOT_REVIEWABLE while provisional, when it verified by itself, or when
    it was reviewed already; ADJUSTMENT_TOO_LARGE; ADJUSTMENT_NOT_POSTABLE.
    """
    if (outcome in ADJUSTING) != (amount_fen > 0):
        raise Refusal(Code.ADJUSTMENT_TOO_LARGE)
    row = charge_of(session, session_id=session_id, reader=reader)
    if reader.person_id in (row.card.holder_id, row.account.person_id):
        raise Refusal(Code.FORBIDDEN)
    lock_instrument(session, row.instrument_id)
    adjusting.lock_charge(session, row.id)
    current = recording.current_verdict(session, row)
    if current is None or not needs_person(session, current):
        raise Refusal(Code.NOT_REVIEWABLE)
    made = recording.supersede(
        session,
        current,
        session_id=row.id,
        at=at,
        verdict=current.verdict,
        evidence=current.evidence,
        algorithm_version=current.algorithm_version,
        tolerance_s=current.tolerance_s,
        overlap_s=current.overlap_s,
        charge_only_s=current.charge_only_s,
        box_only_s=current.box_only_s,
        review=outcome,
        reviewed_by_id=reader.person_id,
        review_note=note,
    )
    if amount_fen:
        _give_back(session, row, made, amount_fen=amount_fen, reader=reader, at=at)
    if made.verifies:
        records.keep_usage_record(session, row, made, effective_s=made.evidence["effective_s"], at=at)
    people.audit(
        session,
        actor=reader.username,
        action="verdict.review",
        subject=f"session:{session_id}",
        detail={"outcome": outcome.value, "note": note, "version": made.version, "amount_fen": amount_fen},
        at=at,
    )
    return made


def needs_person(session: Session, verdict: Verdict) -> bool:
    """Say whether a person should look: an exception, money that went back in error, or the session's flags."""
    if is_exception(verdict):
        return True
    otherwise = (
        select(Verdict.id)
        .join(CardSession, CardSession.id == Verdict.session_id)
        .where(Verdict.id == verdict.id, Verdict.review.is_(None))
        .where(or_(reading.refunded_in_error(), reading.called_for_by_its_session()))
    )
    return session.scalar(otherwise) is not None


def is_exception(verdict: Verdict) -> bool:
    """Say whether a person should look: it does not verify, is not waiting for the box, and nobody looked yet."""
    return not verdict.verifies and verdict.review is None and verdict.verdict not in visibility.NO_EXCEPTION


def _give_back(
    session: Session, row: CardSession, verdict: Verdict, *, amount_fen: int, reader: Principal, at: datetime
) -> None:
    reason = adjusting.Reason(
        key=f"verdict:{verdict.id}:adjustment",
        cause=Cause.REVIEW,
        note=verdict.review_note or "",
        actor=reader.username,
        verdict_id=verdict.id,
        person_id=reader.person_id,
    )
    try:
        adjusting.give_back(session, row, amount_fen=amount_fen, reason=reason, at=at)
    except PostingError as error:
        raise Refusal(Code.ADJUSTMENT_NOT_POSTABLE) from error


def _work_off(
    session: Session, stretches: Iterable[DueStretch], *, instrument_id: int, zone: ZoneInfo, at: datetime
) -> int:
    known = Known(session, instrument_id)
    decided: Decided | None = None
    written = 0
    done: list[DueStretch] = []
    for stretch in stretches:
        span = Span(to_s(stretch.from_at), to_s(stretch.until_at))
        if decided is None or not (decided.hull.start_s <= span.start_s and span.end_s <= decided.hull.end_s):
            work = partial(
                decide_stretch, session, instrument_id=instrument_id, stretch=span, zone=zone, at=at, known=known
            )
            decided = apart(session, work, stretch=stretch.key)
            written += 0 if decided is None else len(decided.changes)
        if decided is None:
            # What cannot be decided is tried less and less often, and keeps no other stretch waiting.
            due.postpone(stretch, ready_at=at, at=at)
        elif decided.ready_at is None:
            done.append(stretch)
        else:
            due.postpone(stretch, ready_at=decided.ready_at, at=at)
    due.finish(session, done)
    return written


def charge_of(session: Session, *, session_id: UUID, reader: Principal) -> CardSession:
    """Give a charge of an instrument that the reader manages. Raises Refusal NOT_FOUND."""
    row = session.scalar(
        select(CardSession).where(
            CardSession.id == session_id,
            CardSession.status.in_(evidence.CHARGED),
            visibility.managed_by(reader),
        )
    )
    if row is None:
        raise Refusal(Code.NOT_FOUND)
    return row

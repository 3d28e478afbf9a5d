"""Reconciliation (对账): every charge gets a verdict, every verified use a record, and what changed is decided anew."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db import apart
from app.errors import Code, Refusal
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation import due, evidence, matching, recording, visibility
from app.reconciliation.cases import Settings
from app.reconciliation.models import ChargeVerdict, DueStretch, Review, Verdict
from app.reconciliation.spans import Span
from app.sessions.models import CardSession

SETTINGS = Settings()
# One instrument's time is decided by one worker at a time; the lock ends with the transaction.
_LOCK_INSTRUMENT = text("SELECT pg_advisory_xact_lock(hashtextextended('app.reconciliation:' || :instrument_id, 0))")


def reconcile(session: Session, *, at: datetime, limit: int) -> int:
    """Decide what is due of at most `limit` stretches; gives how many verdicts are new. Safe to kill and to repeat.

    A charge gets its verdict at once, provisional until its box has told everything; a run gets one when it is final.
    """
    due.notice(session, at=at, limit=limit)
    taken = due.take(session, at=at, limit=limit)
    # In order of instruments, so that two workers never wait for each other crosswise.
    taken.sort(key=lambda stretch: (stretch.instrument_id, stretch.from_at, stretch.key))
    written = 0
    for instrument_id, stretches in groupby(taken, key=lambda stretch: stretch.instrument_id):
        session.execute(_LOCK_INSTRUMENT, {"instrument_id": str(instrument_id)})
        written += _work_off(session, stretches, instrument_id=instrument_id, at=at)
    session.flush()
    return written


def rerun(session: Session, *, session_id: UUID, reader: Principal, at: datetime) -> Verdict:
    """Decide one charge again with what is known now, and give the verdict that then holds.

    Raises Refusal NOT_FOUND, also for what the reader may not see.
    """
    row = _charge(session, session_id=session_id, reader=reader)
    session.execute(_LOCK_INSTRUMENT, {"instrument_id": str(row.instrument_id)})
    _decide(session, instrument_id=row.instrument_id, stretch=evidence.span_of(row), at=at)
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
    session: Session, *, session_id: UUID, outcome: Review, note: str, reader: Principal, at: datetime
) -> Verdict:
    """Write a person's word on a charge that did not verify by itself: a new version with the same evidence.

    Raises Refusal: NOT_FOUND; FORBIDDEN for the person's own use; NOT_REVIEWABLE while provisional, when it verified by
    itself, or when it was reviewed already.
    """
    row = _charge(session, session_id=session_id, reader=reader)
    if reader.person_id in (row.card.holder_id, row.account.person_id):
        raise Refusal(Code.FORBIDDEN)
    session.execute(_LOCK_INSTRUMENT, {"instrument_id": str(row.instrument_id)})
    current = recording.current_verdict(session, row)
    if current is None or not is_exception(current):
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
    if made.verifies:
        recording.keep_usage_record(session, row, made, effective_s=made.evidence["effective_s"], at=at)
    people.audit(
        session,
        actor=reader.username,
        action="verdict.review",
        subject=f"session:{session_id}",
        detail={"outcome": outcome.value, "note": note, "version": made.version},
        at=at,
    )
    return made


def is_exception(verdict: Verdict) -> bool:
    """Say whether a person should look: it does not verify, is not waiting for the box, and nobody looked yet."""
    return not verdict.verifies and verdict.review is None and verdict.verdict not in visibility.NO_EXCEPTION


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What became of a stretch: what it grew to, from when a charge in it that waits may be final, what is new."""

    hull: Span
    ready_at: datetime | None
    written: int


def _work_off(session: Session, stretches: Iterable[DueStretch], *, instrument_id: int, at: datetime) -> int:
    decided: _Decided | None = None
    written = 0
    for stretch in stretches:
        span = Span(evidence.to_s(stretch.from_at), evidence.to_s(stretch.until_at))
        if decided is None or not (decided.hull.start_s <= span.start_s and span.end_s <= decided.hull.end_s):
            work = partial(_decide, session, instrument_id=instrument_id, stretch=span, at=at)
            decided = apart(session, work, stretch=stretch.key)
            written += 0 if decided is None else decided.written
        if decided is None:
            # What cannot be decided is tried less and less often, and keeps no other stretch waiting.
            due.postpone(stretch, ready_at=at, at=at)
        elif decided.ready_at is None:
            due.finish(session, stretch)
        else:
            due.postpone(stretch, ready_at=decided.ready_at, at=at)
    return written


def _decide(session: Session, *, instrument_id: int, stretch: Span, at: datetime) -> _Decided:
    gathered = evidence.gather(session, instrument_id=instrument_id, stretch=stretch, at=at)
    outcome = matching.decide(gathered.case, settings=SETTINGS)
    matching.control_totals(outcome)
    written = recording.record(session, gathered=gathered, outcome=outcome, settings=SETTINGS, at=at)
    # An open session makes itself heard when it is charged; only a charge has to be looked at again.
    ends_s = {charge.id: charge.end_s for charge in gathered.case.charges if not charge.open}
    waiting_s = [
        ends_s[decision.charge_id] + SETTINGS.settling_s
        for decision in outcome.charges
        if decision.verdict is ChargeVerdict.PROVISIONAL and decision.charge_id in ends_s
    ]
    ready_at = evidence.from_s(max(waiting_s)) if waiting_s else None
    return _Decided(hull=gathered.hull, ready_at=ready_at, written=written)


def _charge(session: Session, *, session_id: UUID, reader: Principal) -> CardSession:
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

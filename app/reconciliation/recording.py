"""Writes down what reconciliation decided: a new version where something changed, and nothing where nothing did."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.instruments.models import CustomerClass
from app.reconciliation import cases, matching
from app.reconciliation.cases import ChargeDecision, Outcome, RunDecision, Settings
from app.reconciliation.evidence import CHARGED, Gathered, from_s, to_s
from app.reconciliation.models import BoxVerdict, BoxVerdictKind, ChargeVerdict, UsageRecord, Verdict
from app.reconciliation.spans import Span, clip
from app.sessions.models import CardSession


def record(session: Session, *, gathered: Gathered, outcome: Outcome, settings: Settings, at: datetime) -> int:
    """Write verdicts, box verdicts and usage records; gives how many verdicts are new. Call it under the lock."""
    written = 0
    for decision in outcome.charges:
        row = gathered.sessions[decision.charge_id]
        if row.status in CHARGED:
            written += _record_charge(session, row, decision, gathered=gathered, settings=settings, at=at)
    written += _record_runs(session, outcome.runs, gathered=gathered, at=at)
    _drop_vanished(session, gathered=gathered, at=at)
    return written


def drop_usage_record(session: Session, row: CardSession, *, at: datetime) -> None:
    """Supersede the usage record of a charge, if it has one: what follows from it is pulled back by later rooms."""
    current = _current_record(session, row)
    if current is not None:
        current.superseded_at = at
        session.flush()


def keep_usage_record(
    session: Session, row: CardSession, verdict: Verdict, *, effective_s: int, at: datetime
) -> UsageRecord:
    """Make sure that the current usage record of a charge says what its verdict and its money say now."""
    sums = _sums(row, effective_s=effective_s)
    current = _current_record(session, row)
    if current is not None:
        if all(getattr(current, name) == value for name, value in sums.items()):
            return current
        current.superseded_at = at
        session.flush()
    made = UsageRecord(session_id=row.id, verdict_id=verdict.id, verified_at=at, **sums)
    session.add(made)
    session.flush()
    return made


def current_verdict(session: Session, row: CardSession) -> Verdict | None:
    """Give the version that holds now."""
    return session.scalar(select(Verdict).where(Verdict.session_id == row.id, Verdict.superseded_at.is_(None)))


def supersede(session: Session, current: Verdict | None, *, session_id: Any, at: datetime, **columns: Any) -> Verdict:
    """Write the next version of a verdict."""
    if current is not None:
        current.superseded_at = at
        # The old row must be out of the unique index before the new one comes in.
        session.flush()
    newest = session.scalar(select(func.max(Verdict.version)).where(Verdict.session_id == session_id))
    made = Verdict(session_id=session_id, version=(newest or 0) + 1, decided_at=at, **columns)
    session.add(made)
    session.flush()
    return made


def _record_charge(
    session: Session,
    row: CardSession,
    decision: ChargeDecision,
    *,
    gathered: Gathered,
    settings: Settings,
    at: datetime,
) -> int:
    current = current_verdict(session, row)
    if decision.verdict is ChargeVerdict.PROVISIONAL and current is not None:
        # A verdict holds until the new one is final: late data re-open it, but do not take it back meanwhile.
        return 0
    document = _document(decision, gathered=gathered, settings=settings)
    verdict, written = current, 0
    if verdict is None or not _says_the_same(verdict, decision, document):
        verdict = supersede(session, current, session_id=row.id, at=at, **_columns(decision, document))
        written = 1
    if verdict.verifies:
        keep_usage_record(session, row, verdict, effective_s=decision.effective_s, at=at)
    else:
        drop_usage_record(session, row, at=at)
    return written


def _document(decision: ChargeDecision, *, gathered: Gathered, settings: Settings) -> dict[str, Any]:
    """Give the evidence: enough to decide again, and the same bytes as long as nothing changed."""
    row = gathered.sessions[decision.charge_id]
    whole = Span(to_s(row.started_at or row.authorized_at), to_s(row.ended_at or row.latest_end_at))
    return {
        **cases.evidence(decision),
        "charge": list(whole),
        "unknown": [list(span) for span in clip(gathered.case.unknown, to=whole)],
        "boxes": [list(box) for box in gathered.boxes],
        "settings": asdict(settings),
    }


def _says_the_same(current: Verdict, decision: ChargeDecision, document: dict[str, Any]) -> bool:
    return (
        current.verdict is decision.verdict
        and current.evidence == document
        and current.algorithm_version == matching.ALGORITHM_VERSION
    )


def _columns(decision: ChargeDecision, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdict": decision.verdict,
        "evidence": document,
        "algorithm_version": matching.ALGORITHM_VERSION,
        "tolerance_s": decision.tolerance_s,
        "overlap_s": decision.overlap_s,
        "charge_only_s": decision.charge_only_s,
        "box_only_s": decision.box_only_s,
    }


def _current_record(session: Session, row: CardSession) -> UsageRecord | None:
    return session.scalar(
        select(UsageRecord).where(UsageRecord.session_id == row.id, UsageRecord.superseded_at.is_(None))
    )


def _sums(row: CardSession, *, effective_s: int) -> dict[str, Any]:
    started_at, ended_at = row.started_at, row.ended_at
    if started_at is None or ended_at is None or row.amount_fen is None:
        raise AssertionError("a captured session has its times and its amount")
    return {
        "instrument_id": row.instrument_id,
        "account_id": row.account_id,
        "customer_class": row.customer_class,
        "external": row.customer_class is not CustomerClass.OWN_UNIT,
        "started_at": started_at,
        "ended_at": ended_at,
        "charged_s": to_s(ended_at) - to_s(started_at),
        "effective_s": effective_s,
        "amount_fen": row.amount_fen,
        "paid_principal_fen": row.paid_principal_fen,
        "paid_subsidy_fen": row.paid_subsidy_fen,
    }


def _record_runs(session: Session, runs: Sequence[RunDecision], *, gathered: Gathered, at: datetime) -> int:
    current = {row.collector_session_id: row for row in _box_verdicts(session, gathered)}
    spans = {run.id: (run.start_s, run.end_s) for run in gathered.case.runs}
    written = 0
    for decision in runs:
        if decision.verdict is BoxVerdictKind.PROVISIONAL:
            continue
        columns = _box_columns(decision, span=spans[decision.run_id])
        before = current.get(decision.run_id)
        if before is not None:
            if all(getattr(before, name) == value for name, value in columns.items()):
                continue
            before.superseded_at = at
            session.flush()
        session.add(
            BoxVerdict(
                collector_session_id=decision.run_id,
                instrument_id=gathered.instrument_id,
                decided_at=at,
                **columns,
            )
        )
        written += 1
    session.flush()
    return written


def _box_columns(decision: RunDecision, *, span: tuple[int, int]) -> dict[str, Any]:
    return {
        "collector_version": decision.version,
        "started_at": from_s(span[0]),
        "ended_at": from_s(span[1]),
        "verdict": decision.verdict,
        "overlap_s": decision.overlap_s,
        "box_only_s": decision.box_only_s,
        "head_s": decision.head_s,
        "tail_s": decision.tail_s,
        "evidence": cases.evidence(decision),
        "algorithm_version": matching.ALGORITHM_VERSION,
    }


def _drop_vanished(session: Session, *, gathered: Gathered, at: datetime) -> None:
    """Supersede verdicts over runs that telemetry itself has superseded since."""
    for row in _box_verdicts(session, gathered):
        if row.collector_session_id not in gathered.collected:
            row.superseded_at = at
    session.flush()


def _box_verdicts(session: Session, gathered: Gathered) -> Sequence[BoxVerdict]:
    return session.scalars(
        select(BoxVerdict).where(
            BoxVerdict.instrument_id == gathered.instrument_id,
            BoxVerdict.superseded_at.is_(None),
            BoxVerdict.started_at < from_s(gathered.hull.end_s),
            BoxVerdict.ended_at > from_s(gathered.hull.start_s),
        )
    ).all()

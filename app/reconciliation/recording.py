"""Writes down what reconciliation decided: a new version where something changed, and nothing where nothing did."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.reconciliation import cases, matching, records
from app.reconciliation.cases import ChargeDecision, Outcome, RunDecision, Settings
from app.reconciliation.evidence import CHARGED, Gathered
from app.reconciliation.models import BoxVerdict, BoxVerdictKind, ChargeVerdict, Verdict
from app.reconciliation.spans import Span, clip
from app.reconciliation.times import from_s, to_s
from app.sessions.models import CardSession


class Change(NamedTuple):
    """A verdict that is new or another one than before; empty before: there was none."""

    of: str
    before: str
    after: str


def record(session: Session, *, gathered: Gathered, outcome: Outcome, settings: Settings, at: datetime) -> list[Change]:
    """Write verdicts, box verdicts and usage records; gives what is new. Call it under the lock."""
    newest = _newest_verdicts(session, [row.id for row in gathered.sessions.values()])
    changes: list[Change] = []
    for decision in outcome.charges:
        row = gathered.sessions[decision.charge_id]
        if row.status in CHARGED:
            changes += _record_charge(
                session, row, decision, newest=newest.get(row.id), gathered=gathered, settings=settings, at=at
            )
    judged = _box_verdicts(session, gathered)
    changes += _record_runs(session, outcome.runs, judged=judged, gathered=gathered, at=at)
    _drop_vanished(session, judged, gathered=gathered, at=at)
    return changes


def current_verdict(session: Session, row: CardSession) -> Verdict | None:
    """Give the version that holds now."""
    return session.scalar(select(Verdict).where(Verdict.session_id == row.id, Verdict.superseded_at.is_(None)))


def supersede(session: Session, newest: Verdict | None, *, session_id: Any, at: datetime, **columns: Any) -> Verdict:
    """Write the next version of a verdict, after the newest one, whether that still holds or not."""
    if newest is not None and newest.superseded_at is None:
        newest.superseded_at = at
        # The old row must be out of the unique index before the new one comes in.
        session.flush()
    version = 1 if newest is None else newest.version + 1
    made = Verdict(session_id=session_id, version=version, decided_at=at, **columns)
    session.add(made)
    session.flush()
    return made


def _newest_verdicts(session: Session, session_ids: Sequence[UUID]) -> dict[UUID, Verdict]:
    """Give the newest version over each charge that has any; the one that holds is always the newest."""
    if not session_ids:
        return {}
    found = session.scalars(
        select(Verdict)
        .where(Verdict.session_id.in_(session_ids))
        .ext(distinct_on(Verdict.session_id))
        .order_by(Verdict.session_id, Verdict.version.desc())
    )
    return {verdict.session_id: verdict for verdict in found}


def _record_charge(
    session: Session,
    row: CardSession,
    decision: ChargeDecision,
    *,
    newest: Verdict | None,
    gathered: Gathered,
    settings: Settings,
    at: datetime,
) -> list[Change]:
    current = None if newest is None or newest.superseded_at is not None else newest
    if decision.verdict is ChargeVerdict.PROVISIONAL and current is not None:
        # A verdict holds until the new one is final: late data re-open it, but do not take it back meanwhile.
        return []
    document = _document(decision, gathered=gathered, settings=settings)
    verdict, changes = current, list[Change]()
    if verdict is None or not _says_the_same(verdict, decision, document):
        verdict = supersede(session, newest, session_id=row.id, at=at, **_columns(decision, document))
        changes = [Change("charge", "" if current is None else current.verdict.value, verdict.verdict.value)]
    if verdict.verifies:
        records.keep_usage_record(session, row, verdict, effective_s=decision.effective_s, at=at)
    else:
        records.drop_usage_record(session, row, at=at)
    return changes


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


def _record_runs(
    session: Session, runs: Sequence[RunDecision], *, judged: Sequence[BoxVerdict], gathered: Gathered, at: datetime
) -> list[Change]:
    current = {row.collector_session_id: row for row in judged}
    spans = {run.id: (run.start_s, run.end_s) for run in gathered.case.runs}
    changes: list[Change] = []
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
        changes.append(Change("run", "" if before is None else before.verdict.value, decision.verdict.value))
    session.flush()
    return changes


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


def _drop_vanished(session: Session, judged: Sequence[BoxVerdict], *, gathered: Gathered, at: datetime) -> None:
    """Supersede verdicts over runs that telemetry itself has superseded since."""
    for row in judged:
        if row.superseded_at is None and row.collector_session_id not in gathered.collected:
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

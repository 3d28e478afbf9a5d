"""Reads the metrics from the database: whichever process is asked gives the same, and none keeps counts of its own."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import ledger
from app import jobs
from app.db import Database
from app.devices.boxes.dead_letters import unseen_by_reason
from app.devices.models import Alarm, AlarmKind, BoxPlacement, ChannelCheck, EventOutcome, Terminal, TerminalEvent
from app.people.models import Role
from app.people.principals import Grant, Principal
from app.reconciliation.models import (
    BoxVerdict,
    BoxVerdictKind,
    ChargeVerdict,
    DueStretch,
    UsageRecord,
    Verdict,
)
from app.reconciliation.queue import count_waiting
from telemetry.configurations import unlike
from telemetry.errors import DeadReason
from telemetry.models import Box, CollectorSession, DeriveTrouble, DirtyRange, HighWater, IngestCount, Presence
from telemetry.queries import SILENT_AFTER
from telemetry.reports import said_by

# What counts whole tables is counted once a minute, however many ask.
KEPT_S = 60.0
NOBODY = Principal(
    person_id=0,
    username="system:metrics",
    name="metrics",
    organisation_id=None,
    grants=(Grant(role=Role.AUDITOR),),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; its name is that of the catalogue without the prefix."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Stage = Callable[[Session, datetime], Iterable[Sample]]
_kept: WeakKeyDictionary[Database, tuple[float, list[Sample]]] = WeakKeyDictionary()


def read(database: Database, *, at: datetime) -> list[Sample]:
    """Give every sample as it is now; those that count whole tables may be a minute old."""
    with database.reader() as session:
        samples = [sample for stage in QUICK for sample in stage(session, at)]
        kept = _kept.get(database)
        if kept is None or time.monotonic() - kept[0] > KEPT_S:
            kept = time.monotonic(), [sample for stage in SLOW for sample in stage(session, at)]
            _kept[database] = kept
    return samples + kept[1]


def _ingest(session: Session, _at: datetime) -> Iterator[Sample]:
    row = session.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (
                    IngestCount.received,
                    IngestCount.stored,
                    IngestCount.duplicates,
                    IngestCount.dead,
                    IngestCount.batches,
                    IngestCount.wait_s,
                )
            ),
            func.coalesce(func.max(IngestCount.newest_wait_s), 0),
        )
    ).one()
    newest_at = session.scalar(select(func.max(IngestCount.newest_at)))
    names = ("received", "stored", "duplicates", "dead_letters", "batches", "wait_seconds")
    for name, value in zip(names, row[:6], strict=True):
        yield Sample(f"ingest_{name}_total", float(value))
    yield Sample("ingest_newest_wait_seconds", float(row[6]))
    yield Sample("ingest_newest_batch_timestamp_seconds", _timestamp(newest_at))


def _boxes(session: Session, at: datetime) -> Iterator[Sample]:
    standing = select(BoxPlacement.box).where(BoxPlacement.valid_to.is_(None))
    in_service = Box.revoked_at.is_(None)
    states = {
        "enrolled": in_service,
        "placed": in_service & Box.code.in_(standing),
        "online": in_service
        & Box.code.in_(select(Presence.box).where(Presence.online, Presence.heard_at > at - SILENT_AFTER)),
        "revoked": Box.revoked_at.is_not(None),
    }
    for state, condition in states.items():
        yield Sample("boxes", _count(session, select(func.count()).select_from(Box).where(condition)), (state,))
    missing = func.sum(HighWater.known_seq - HighWater.complete_seq)
    yield Sample("box_missing_messages", _count(session, select(missing)))
    yield Sample("box_lost_messages", _count(session, select(func.sum(HighWater.lost))))
    yield Sample("box_backlog_messages", _count(session, select(func.sum(Presence.buffered_messages))))
    yield from _said(session)
    checks = select(func.min(ChannelCheck.checked_at)).where(ChannelCheck.box.in_(standing))
    yield Sample("box_oldest_check_age_seconds", _age_s(session.scalar(checks), at=at))
    unseen = unseen_by_reason(session)
    for reason in DeadReason:
        yield Sample("dead_letters_unseen", unseen.get(reason.value, 0), (reason.value,))


def _said(session: Session) -> Iterator[Sample]:
    """What boxes say of themselves."""
    said = said_by(session, session.scalars(select(Box.code).where(Box.revoked_at.is_(None)))).values()
    yield Sample("box_given_up_messages", sum(each.lost or 0 for each in said))
    yield Sample("boxes_clock_unset", sum(each.synced is False for each in said))
    yield Sample("boxes_in_doubt", sum(bool(each.doubts) for each in said))
    yield Sample("boxes_not_as_configured", unlike(session))


def _alarms(session: Session, _at: datetime) -> Iterator[Sample]:
    is_open = Alarm.closed_at.is_(None)
    found = dict(session.execute(select(Alarm.kind, func.count()).where(is_open).group_by(Alarm.kind)).all())
    for kind in AlarmKind:
        yield Sample("alarms_open", found.get(kind, 0), (kind.value,))
    unseen = select(func.count()).select_from(Alarm).where(is_open, Alarm.acknowledged_at.is_(None))
    yield Sample("alarms_unacknowledged", _count(session, unseen))


def _sessions(session: Session, at: datetime) -> Iterator[Sample]:
    yield Sample("dirty_ranges", _count(session, select(func.count()).select_from(DirtyRange)))
    yield Sample("boxes_not_derived", _count(session, select(func.count()).select_from(DeriveTrouble)))
    provisional = ~CollectorSession.final & CollectorSession.superseded_at.is_(None)
    count, oldest_at = session.execute(
        select(func.count(), func.min(CollectorSession.last_run_at)).where(provisional)
    ).one()
    yield Sample("collector_sessions_provisional", count)
    yield Sample("collector_sessions_oldest_provisional_age_seconds", _age_s(oldest_at, at=at))


def _due(session: Session, at: datetime) -> Iterator[Sample]:
    count, overdue, oldest_at = session.execute(
        select(func.count(), func.count().filter(DueStretch.due_at <= at), func.min(DueStretch.due_at))
    ).one()
    yield Sample("reconciliation_due", count)
    yield Sample("reconciliation_overdue", overdue)
    yield Sample("reconciliation_oldest_due_age_seconds", _age_s(oldest_at, at=at))


def _books(session: Session, _at: datetime) -> Iterator[Sample]:
    waiting = ledger.unsealed(session)
    yield Sample("unsealed_rows", waiting.rows)
    yield Sample("unsealed_oldest_age_seconds", waiting.oldest_s)


def _terminals(session: Session, _at: datetime) -> Iterator[Sample]:
    parked = (
        select(func.count())
        .select_from(TerminalEvent)
        .where(TerminalEvent.outcome == EventOutcome.PARKED, TerminalEvent.resolved_at.is_(None))
    )
    yield Sample("terminal_events_parked", _count(session, parked))
    yield Sample("terminal_events_unsent", _count(session, select(func.sum(Terminal.unsent))))


def _jobs(session: Session, _at: datetime) -> Iterator[Sample]:
    for run in jobs.job_runs(session):
        label = (run.name,)
        yield Sample("job_runs_total", run.runs, label)
        yield Sample("job_failures_total", run.failures, label)
        yield Sample("job_done_total", run.done, label)
        yield Sample("job_seconds_total", run.total_s, label)
        yield Sample("job_newest_duration_seconds", run.newest_s, label)
        yield Sample("job_newest_success_timestamp_seconds", _timestamp(run.succeeded_at), label)


def _verdicts(session: Session, _at: datetime) -> Iterator[Sample]:
    charges = dict(
        session.execute(
            select(Verdict.verdict, func.count()).where(Verdict.superseded_at.is_(None)).group_by(Verdict.verdict)
        ).all()
    )
    for charge_verdict in ChargeVerdict:
        yield Sample("charge_verdicts", charges.get(charge_verdict, 0), (charge_verdict.value,))
    runs = dict(
        session.execute(
            select(BoxVerdict.verdict, func.count())
            .where(BoxVerdict.superseded_at.is_(None))
            .group_by(BoxVerdict.verdict)
        ).all()
    )
    for run_verdict in BoxVerdictKind:
        yield Sample("run_verdicts", runs.get(run_verdict, 0), (run_verdict.value,))
    yield Sample("exceptions_open", count_waiting(session, reader=NOBODY))
    records = select(func.count()).select_from(UsageRecord).where(UsageRecord.superseded_at.is_(None))
    yield Sample("usage_records", _count(session, records))


QUICK: tuple[Stage, ...] = (_ingest, _boxes, _alarms, _sessions, _due, _books, _terminals, _jobs)
SLOW: tuple[Stage, ...] = (_verdicts,)


def _count(session: Session, wanted: Any) -> float:
    return float(session.scalar(wanted) or 0)


def _age_s(moment: datetime | None, *, at: datetime) -> float:
    return 0.0 if moment is None else max((at - moment) / timedelta(seconds=1), 0.0)


def _timestamp(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()

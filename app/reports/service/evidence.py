"""The evidence of one charge: what the card said, what the box saw, what was decided, and what was booked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

import ledger
from app.cards.models import Card, CardAccount
from app.devices.models import BoxPlacement
from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord, Verdict
from app.reports.service.postings import Posting, postings_of
from app.sessions.models import CardSession, SessionHold
from app.subsidies.models import Decision
from telemetry import boxes as telemetry_boxes
from telemetry import queries as telemetry
from telemetry.models import CollectorSession
from telemetry.states import State
from telemetry.times import to_ms

POINTS_MAX = 2_000
# What a person wants to see around a charge: how the instrument came up, and whether it went on running.
PAD_MIN = timedelta(minutes=15)
PAD_MAX = timedelta(hours=2)
REACH_MAX = timedelta(hours=12)


class Point(NamedTuple):
    """One point of the power curve."""

    at: datetime
    power_w: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the collector box saw around a charge; without a box, nothing."""

    box: str
    channel: int
    points: tuple[Point, ...]
    gaps: tuple[tuple[datetime, datetime], ...]
    """When the box said nothing: unknown, which is not off."""
    runs: tuple[CollectorSession, ...]
    run_threshold_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that speaks for or against one charge.

    `start` and `end` are the charge's own, `since` and `until` what the picture shows. `verdicts` are newest first; the
    first one holds unless it is superseded too, which then means that a new one is being made. `sealed_block` is the
    block that seals the last of the postings; None while one of them waits, or there are none.
    """

    charge: CardSession
    start: datetime
    end: datetime
    since: datetime
    until: datetime
    watched: Watched | None
    verdicts: tuple[Verdict, ...]
    record: UsageRecord | None
    decision: Decision | None
    postings: tuple[Posting, ...]
    sealed_block: int | None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that holds."""
        return next((verdict for verdict in self.verdicts if verdict.superseded_at is None), None)


def evidence(
    session: Session, *, session_id: UUID, reader: Principal, at: datetime, points_max: int = POINTS_MAX
) -> Evidence:
    """Give the evidence of a charge, with at most `points_max` points of power.

    The customer may see it, the instrument's group, its sub-center, and the center. Raises Refusal NOT_FOUND.
    """
    charge = _charge(session, session_id)
    if charge is None or not may_see(charge, reader=reader):
        raise Refusal(Code.NOT_FOUND)
    start = charge.started_at or charge.authorized_at
    end = max(start, charge.ended_at or min(at, max(charge.latest_end_at, start)))
    watched, since, until = _watched(session, charge, start=start, end=end, at=at, points_max=points_max)
    record, decision = _outcome(session, session_id)
    postings = tuple(_postings(session, charge, decision))
    return Evidence(
        charge=charge,
        start=start,
        end=end,
        since=since,
        until=until,
        watched=watched,
        verdicts=tuple(
            session.scalars(select(Verdict).where(Verdict.session_id == session_id).order_by(Verdict.version.desc()))
        ),
        record=record,
        decision=decision,
        postings=postings,
        sealed_block=_sealed_block(session, postings),
    )


def proofs(session: Session, *, session_id: UUID, reader: Principal) -> list[ledger.Proof]:
    """Give the proof of every transfer and journal of a charge, to be checked with docs/check_proof.py.

    Who may see the evidence may see it. Raises Refusal NOT_FOUND, and NOT_SEALED while a posting waits for its seal.
    """
    charge = _charge(session, session_id)
    if charge is None or not may_see(charge, reader=reader):
        raise Refusal(Code.NOT_FOUND)
    _record, decision = _outcome(session, session_id)
    try:
        return [ledger.prove(session, id_) for id_ in _records(_postings(session, charge, decision))]
    except ledger.NotSealedError as error:
        raise Refusal(Code.NOT_SEALED) from error


def may_see(charge: CardSession, *, reader: Principal) -> bool:
    """Say whether this person may see the charge: the customer, or whoever runs or oversees the instrument."""
    if reader.sees_everything or reader.person_id in (charge.account.person_id, charge.card.holder_id):
        return True
    if charge.account.organisation_id is not None and charge.account.organisation_id == reader.organisation_id:
        return True
    group = charge.instrument.group
    return group.id in reader.group_ids or group.unit.sub_center_id in reader.sub_center_ids


def _outcome(session: Session, session_id: UUID) -> tuple[UsageRecord | None, Decision | None]:
    """Give the usage record that holds, or else the last one that did, with the decision on it."""
    record = session.scalar(
        select(UsageRecord)
        .where(UsageRecord.session_id == session_id)
        .order_by(UsageRecord.superseded_at.is_not(None), UsageRecord.id.desc())
        .limit(1)
    )
    if record is None:
        return None, None
    return record, session.scalar(
        select(Decision).where(Decision.usage_record_id == record.id).options(joinedload(Decision.rule_set))
    )


def _records(postings: Iterable[Posting]) -> list[UUID]:
    """Name the transfers, and the journals that they belong to, each once."""
    named = [id_ for posting in postings for id_ in (posting.journal_id, posting.transfer_id) if id_ is not None]
    return list(dict.fromkeys(named))


def _sealed_block(session: Session, postings: Iterable[Posting]) -> int | None:
    records = _records(postings)
    sealed = ledger.sealed_in(session, records)
    return max(sealed.values(), default=None) if len(sealed) == len(records) else None


def _charge(session: Session, session_id: UUID) -> CardSession | None:
    return session.scalar(
        select(CardSession)
        .join(CardSession.instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .outerjoin(Unit.sub_center)
        .where(CardSession.id == session_id)
        .options(
            contains_eager(CardSession.instrument)
            .contains_eager(Instrument.group)
            .contains_eager(InstrumentGroup.unit)
            .contains_eager(Unit.sub_center),
            joinedload(CardSession.card).joinedload(Card.holder),
            joinedload(CardSession.card).joinedload(Card.project),
            joinedload(CardSession.account).joinedload(CardAccount.person),
            joinedload(CardSession.account).joinedload(CardAccount.organisation),
            joinedload(CardSession.terminal),
        )
    )


def _watched(
    session: Session, charge: CardSession, *, start: datetime, end: datetime, at: datetime, points_max: int
) -> tuple[Watched | None, datetime, datetime]:
    """Give what the box saw, and the stretch of time around the charge that shows it."""
    pad = min(max(PAD_MIN, (end - start) / 5), PAD_MAX)
    since, until = start - pad, min(max(end + pad, start + pad), max(at, end + timedelta(seconds=1)))
    placement = _placement(session, charge.instrument_id, at=start)
    if placement is None:
        return None, since, until
    box, channel = placement.box, placement.channel
    runs = telemetry.sessions_between(session, box=box, channel=channel, start=since, end=until)
    since, until = _widened(since, until, runs, latest=max(at, end + timedelta(seconds=1)))
    points = telemetry.power_between(
        session, box=box, channel=channel, start=since, end=until, points_max=min(points_max, POINTS_MAX)
    )
    seen = telemetry.coverage(session, box=box, channel=channel, start=since, end=until)
    watched = Watched(
        box=box,
        channel=channel,
        points=tuple(Point._make(point) for point in points),
        gaps=seen.gaps,
        runs=tuple(runs),
        run_threshold_w=_run_threshold_w(session, box=box, channel=channel, at=start),
    )
    return watched, since, until


def _widened(
    since: datetime, until: datetime, runs: Sequence[CollectorSession], *, latest: datetime
) -> tuple[datetime, datetime]:
    """Show runs whole that reach out of the stretch, so that nobody wonders what came before: no future, no ages."""
    margin = timedelta(minutes=5)
    first = min((run.first_run_at - margin for run in runs), default=since)
    last = max((run.last_run_at + margin for run in runs), default=until)
    return max(min(since, first), since - REACH_MAX), min(max(until, last), until + REACH_MAX, latest)


def _placement(session: Session, instrument_id: int, *, at: datetime) -> BoxPlacement | None:
    return session.scalar(
        select(BoxPlacement)
        .where(
            BoxPlacement.instrument_id == instrument_id,
            BoxPlacement.valid_from <= at,
            or_(BoxPlacement.valid_to.is_(None), BoxPlacement.valid_to > at),
        )
        .order_by(BoxPlacement.valid_from.desc())
        .limit(1)
    )


def _run_threshold_w(session: Session, *, box: str, channel: int, at: datetime) -> float | None:
    known = telemetry_boxes.calibrations(session, code=box, channel=channel)
    holding = [dated for dated in known if dated.valid_from_ms <= to_ms(at)] or known[:1]
    return holding[-1].calibration.run_threshold_w if holding else None


def _postings(session: Session, charge: CardSession, decision: Decision | None) -> list[Posting]:
    holds = session.scalars(select(SessionHold.transfer_id).where(SessionHold.session_id == charge.id)).all()
    journals = [charge.capture_journal_id, decision.journal_id if decision is not None else None]
    return postings_of(session, holds=holds, journals=[journal for journal in journals if journal is not None])

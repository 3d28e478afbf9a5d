"""What the collector box saw around a charge: the curve, the states, the silence, the runs, and by which thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.devices.models import BoxPlacement
from app.reports.service.curve import reduce_samples, samples, state_at, state_spans
from app.sessions.models import CardSession
from telemetry import boxes as telemetry_boxes
from telemetry import queries as telemetry
from telemetry.models import CollectorSession
from telemetry.readings import readings
from telemetry.states import Dated, State, stretches
from telemetry.times import from_ms, to_ms

POINTS_MAX = 2_000
STATES_MAX = 2_000
RUNS_MAX = 500
# What a person wants to see around a charge: how the instrument came up, and whether it went on running.
PAD_MIN = timedelta(minutes=15)
PAD_MAX = timedelta(hours=2)
REACH_MAX = timedelta(hours=12)


class Point(NamedTuple):
    """One point of the power curve."""

    at: datetime
    power_w: float
    state: State


class Stretch(NamedTuple):
    """A time in one state."""

    start: datetime
    end: datetime
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the collector box saw around a charge; without a box, nothing.

    `points` are all readings, or the extremes of equal shares of time; `measured` counts what they were reduced from.
    """

    box: str
    channel: int
    measured: int
    points: tuple[Point, ...]
    states: tuple[Stretch, ...]
    gaps: tuple[tuple[datetime, datetime], ...]
    """When the box said nothing: unknown, which is not off."""
    runs: tuple[CollectorSession, ...]
    calibration_version: int | None
    run_threshold_w: float | None
    standby_threshold_w: float | None


class Shown(NamedTuple):
    """What the box saw, and the stretch of time around the charge that shows it."""

    watched: Watched | None
    since: datetime
    until: datetime


def watched_around(
    session: Session, charge: CardSession, *, start: datetime, end: datetime, at: datetime, points_max: int
) -> Shown:
    """Give what the box that stood at the instrument then saw from before the charge to after it."""
    pad = min(max(PAD_MIN, (end - start) / 5), PAD_MAX)
    since, until = start - pad, min(max(end + pad, start + pad), max(at, end + timedelta(seconds=1)))
    placement = _placement(session, charge.instrument_id, at=start)
    if placement is None:
        return Shown(None, since, until)
    place = {"box": placement.box, "channel": placement.channel}
    runs = telemetry.sessions_between(session, box=placement.box, channel=placement.channel, start=since, end=until)
    since, until = _widened(since, until, runs, latest=max(at, end + timedelta(seconds=1)))
    dated = telemetry_boxes.calibrations(session, code=placement.box, channel=placement.channel)
    found = readings(session, **place, start=since, end=until)  # type: ignore[arg-type]
    measured = samples(found, start_ms=to_ms(since), end_ms=to_ms(until))
    spans = state_spans(
        stretches(found, calibrations=dated), start_ms=to_ms(since), end_ms=to_ms(until), limit=STATES_MAX
    )
    reduced = reduce_samples(measured, limit=min(points_max, POINTS_MAX))
    states = state_at(spans, (at_ms for at_ms, _power_w in reduced))
    holding = _holding(dated, at=start)
    calibration = None if holding is None else holding.calibration
    watched = Watched(
        box=placement.box,
        channel=placement.channel,
        measured=len(measured),
        points=tuple(
            Point(from_ms(at_ms), power_w, state) for (at_ms, power_w), state in zip(reduced, states, strict=True)
        ),
        states=tuple(Stretch(from_ms(span.start_ms), from_ms(span.end_ms), span.state) for span in spans),
        gaps=telemetry.coverage(session, box=placement.box, channel=placement.channel, start=since, end=until).gaps,
        runs=tuple(runs[:RUNS_MAX]),
        calibration_version=None if holding is None or calibration is None else holding.version,
        run_threshold_w=None if calibration is None else calibration.run_threshold_w,
        standby_threshold_w=None if calibration is None else calibration.standby_threshold_w,
    )
    return Shown(watched, since, until)


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


def _holding(dated: Sequence[Dated], *, at: datetime) -> Dated | None:
    """Give the calibration that held at a moment; before the first one, that."""
    holding = [each for each in dated if each.valid_from_ms <= to_ms(at)] or list(dated[:1])
    return holding[-1] if holding else None

"""Calibration before a person: what is to be done, what an attempt found, what thresholds would make of last week."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import errors
from app.devices.boxes.enrolment import box_in_service
from app.devices.boxes.visibility import seen_by
from app.devices.models import Alarm, AlarmKind, BoxPlacement, CalibrationAttempt, ChannelCheck
from app.people import service as people
from app.people.principals import Principal
from telemetry import boxes
from telemetry.calibration import CalibrationRefusal, calibrate
from telemetry.models import Box, CalibrationVersion
from telemetry.readings import readings
from telemetry.sessions import uses
from telemetry.states import Calibration, Dated, Reading, State, stretches

DAYS_MIN, DAYS_MAX, DAYS_DEFAULT = 1, 30, 7
PREVIEW_DAYS = 7
BRIDGE_S_DEFAULT, BRIDGE_S_MAX = 300, 3_600
LONG_AGO_MS = -(2**62)


class Work(StrEnum):
    """Why a channel stands on the worklist, the most pressing first."""

    DRIFTED = "drifted"  # its threshold no longer separates
    MOVED = "moved"  # its calibration is of the instrument where it stood before
    REFUSED = "refused"  # it has none, and the newest attempt was refused
    MISSING = "missing"  # it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A channel that a person should calibrate, and what she needs to know first."""

    placement: BoxPlacement
    work: Work
    known_s: int
    attempt: CalibrationAttempt | None
    version: CalibrationVersion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What thresholds make of some days: seconds in each state, and the uses that come of it."""

    calibration: Calibration | None
    running_s: int
    standby_s: int
    off_s: int
    unknown_s: int
    uses: int
    used_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The thresholds in force beside others, over the same readings."""

    since: datetime
    until: datetime
    present: Outcome
    proposed: Outcome


def worklist(session: Session, *, reader: Principal) -> list[Task]:
    """Give every channel that stands at an instrument and whose calibration needs a person."""
    placements = session.scalars(
        select(BoxPlacement)
        .join(BoxPlacement.instrument)
        .join(Box, Box.code == BoxPlacement.box)
        .where(BoxPlacement.valid_to.is_(None), Box.revoked_at.is_(None), seen_by(reader, box=BoxPlacement.box))
        .order_by(BoxPlacement.box, BoxPlacement.channel)
    ).all()
    codes = {each.box for each in placements}
    versions, tried = _newest_versions(session, codes), _newest_attempts(session, codes)
    moved = _moved(session, codes)
    checks = {(each.box, each.channel): each for each in session.scalars(select(ChannelCheck))}
    drifted = {
        (box, channel)
        for box, channel in session.execute(
            select(Alarm.box, Alarm.channel).where(Alarm.kind == AlarmKind.SIGNATURE, Alarm.closed_at.is_(None))
        )
    }
    tasks: list[Task] = []
    for placement in placements:
        key = (placement.box, placement.channel)
        version, attempt, check = versions.get(key), tried.get(key), checks.get(key)
        work = _work(placement, version=version, attempt=attempt, has_moved=key in moved, is_drifted=key in drifted)
        if work is not None:
            known_s = 0 if check is None else check.known_s
            tasks.append(Task(placement=placement, work=work, known_s=known_s, attempt=attempt, version=version))
    order = list(Work)
    return sorted(tasks, key=lambda task: order.index(task.work))


def start(session: Session, *, box: str, channel: int, days: int, actor: str, at: datetime) -> CalibrationAttempt:
    """Try to find thresholds in the last days of a channel, at its present instrument only, and write down what came.

    Nothing changes by it: thresholds hold when `adopt` says so. Raises Refusal: NOT_FOUND, BOX_REVOKED, NO_READINGS,
    VALIDATION_FAILED for the days.
    """
    if not DAYS_MIN <= days <= DAYS_MAX:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields={"days": [f"{DAYS_MIN}–{DAYS_MAX}"]})
    _check_channel(session, box=box, channel=channel)
    since = max(at - timedelta(days=days), _stands_since(session, box=box, channel=channel, at=at))
    found = readings(session, box=box, channel=channel, start=since, end=at)
    if not found:
        raise errors.Refusal(errors.Code.NO_READINGS)
    outcome = calibrate(found)
    attempt = CalibrationAttempt(
        box=box, channel=channel, at=at, actor=actor, method="otsu", since=since, known_s=_known_s(found)
    )
    if isinstance(outcome, CalibrationRefusal):
        attempt.reason = outcome.reason.value
        attempt.known_s = outcome.known_s
        attempt.separation_decades = outcome.separation_decades
        attempt.duty, attempt.runs_a_day = outcome.duty, outcome.runs_a_day
    else:
        attempt.run_threshold_w = outcome.run_threshold_w
        attempt.standby_threshold_w = outcome.standby_threshold_w
    session.add(attempt)
    session.flush()
    _write_down(session, attempt, "calibration.start", actor=actor, at=at)
    return attempt


def set_by_hand(
    session: Session,
    *,
    box: str,
    channel: int,
    run_threshold_w: float,
    standby_threshold_w: float | None,
    bridge_s: int = BRIDGE_S_DEFAULT,
    valid_from: datetime,
    actor: str,
    at: datetime,
) -> CalibrationAttempt:
    """Let thresholds that a person chose hold from a moment on; pauses shorter than `bridge_s` belong to the run.

    Raises Refusal: NOT_FOUND, BOX_REVOKED, THRESHOLDS_WRONG, VALIDATION_FAILED for the pauses, TIMES_REVERSED for a
    moment that is still to come.
    """
    _check_channel(session, box=box, channel=channel)
    check_thresholds(run_threshold_w=run_threshold_w, standby_threshold_w=standby_threshold_w)
    attempt = CalibrationAttempt(
        box=box,
        channel=channel,
        at=at,
        actor=actor,
        method="hand",
        since=at,
        known_s=0,
        run_threshold_w=run_threshold_w,
        standby_threshold_w=standby_threshold_w,
    )
    session.add(attempt)
    return _hold(session, attempt, bridge_s=bridge_s, valid_from=valid_from, actor=actor, at=at)


def adopt(
    session: Session,
    *,
    attempt_id: int,
    bridge_s: int = BRIDGE_S_DEFAULT,
    valid_from: datetime,
    actor: str,
    at: datetime,
) -> CalibrationAttempt:
    """Let the thresholds that an attempt found hold from a moment on: runs since then are computed anew.

    Raises Refusal: NOT_FOUND, ALREADY_DECIDED, also for one that was refused; BOX_REVOKED, TIMES_REVERSED,
    VALIDATION_FAILED for the pauses.
    """
    attempt = session.get(CalibrationAttempt, attempt_id, with_for_update=True, populate_existing=True)
    if attempt is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if attempt.version is not None or attempt.run_threshold_w is None:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    _check_channel(session, box=attempt.box, channel=attempt.channel)
    return _hold(session, attempt, bridge_s=bridge_s, valid_from=valid_from, actor=actor, at=at)


def check_bridge(bridge_s: int) -> None:
    """Raise Refusal VALIDATION_FAILED for pauses that no run can have."""
    if not 0 <= bridge_s <= BRIDGE_S_MAX:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields={"bridge": [f"0–{BRIDGE_S_MAX}"]})


def check_thresholds(*, run_threshold_w: float, standby_threshold_w: float | None) -> None:
    """Raise Refusal THRESHOLDS_WRONG for thresholds that part nothing."""
    # Written so that what is no number at all fails as well.
    if not (0 < run_threshold_w < float("inf")) or not (
        standby_threshold_w is None or 0 < standby_threshold_w < run_threshold_w
    ):
        raise errors.Refusal(errors.Code.THRESHOLDS_WRONG)


def attempt_of(session: Session, *, attempt_id: int, reader: Principal) -> CalibrationAttempt:
    """Give one attempt on a box that the reader may see. Raises Refusal NOT_FOUND."""
    found = session.scalar(
        select(CalibrationAttempt).where(
            CalibrationAttempt.id == attempt_id, seen_by(reader, box=CalibrationAttempt.box)
        )
    )
    if found is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return found


def attempts(session: Session, *, box: str, limit: int = 50) -> list[CalibrationAttempt]:
    """Give what was tried on a box, the newest first."""
    return list(
        session.scalars(
            select(CalibrationAttempt)
            .where(CalibrationAttempt.box == box)
            .order_by(CalibrationAttempt.id.desc())
            .limit(limit)
        )
    )


def preview(
    session: Session,
    *,
    box: str,
    channel: int,
    run_threshold_w: float,
    standby_threshold_w: float | None,
    bridge_s: int = BRIDGE_S_DEFAULT,
    at: datetime,
) -> Preview:
    """Say what the present thresholds and others would make of the last week, one beside the other.

    Raises Refusal: THRESHOLDS_WRONG, VALIDATION_FAILED, NO_READINGS.
    """
    check_bridge(bridge_s)
    check_thresholds(run_threshold_w=run_threshold_w, standby_threshold_w=standby_threshold_w)
    since = max(at - timedelta(days=PREVIEW_DAYS), _stands_since(session, box=box, channel=channel, at=at))
    found = readings(session, box=box, channel=channel, start=since, end=at)
    if not found:
        raise errors.Refusal(errors.Code.NO_READINGS)
    dated = boxes.calibrations(session, code=box, channel=channel)
    proposed = Calibration(run_threshold_w=run_threshold_w, standby_threshold_w=standby_threshold_w, bridge_s=bridge_s)
    return Preview(
        since=since,
        until=at,
        present=outcome_of(found, dated[-1].calibration if dated else None),
        proposed=outcome_of(found, proposed),
    )


def outcome_of(found: Iterable[Reading], calibration: Calibration | None) -> Outcome:
    """Say what one calibration, as if it had always held, makes of readings; without one nothing is known."""
    dated = [] if calibration is None else [Dated(valid_from_ms=LONG_AGO_MS, version=1, calibration=calibration)]
    parts = stretches(found, calibrations=dated)
    lasted = dict.fromkeys(State, 0)
    for part in parts:
        lasted[part.state] += part.end_ms - part.start_ms
    made = uses(parts, calibrations=dated) if dated else []
    return Outcome(
        calibration=calibration,
        running_s=lasted[State.RUNNING] // 1000,
        standby_s=lasted[State.STANDBY] // 1000,
        off_s=lasted[State.OFF] // 1000,
        unknown_s=lasted[State.UNKNOWN] // 1000,
        uses=len(made),
        used_s=sum(use.last_run_ms - use.first_run_ms for use in made) // 1000,
    )


def stands_since(session: Session, *, box: str, channel: int) -> datetime | None:
    """Give since when a channel stands where it stands; None: it stands nowhere."""
    return session.scalar(
        select(BoxPlacement.valid_from).where(
            BoxPlacement.box == box, BoxPlacement.channel == channel, BoxPlacement.valid_to.is_(None)
        )
    )


def _stands_since(session: Session, *, box: str, channel: int, at: datetime) -> datetime:
    """Readings of another instrument say nothing of this one; a box in the workshop is looked at as far as it goes."""
    return stands_since(session, box=box, channel=channel) or at - timedelta(days=DAYS_MAX)


def _hold(
    session: Session, attempt: CalibrationAttempt, *, bridge_s: int, valid_from: datetime, actor: str, at: datetime
) -> CalibrationAttempt:
    check_bridge(bridge_s)
    if valid_from > at:
        raise errors.Refusal(errors.Code.TIMES_REVERSED)
    # What the box measured where it stood before is another instrument's.
    stood_since = stands_since(session, box=attempt.box, channel=attempt.channel)
    valid_from = valid_from if stood_since is None else max(valid_from, min(stood_since, at))
    row = boxes.set_calibration(
        session,
        code=attempt.box,
        channel=attempt.channel,
        calibration=Calibration(
            run_threshold_w=attempt.run_threshold_w or 0.0,
            standby_threshold_w=attempt.standby_threshold_w,
            method=attempt.method,
            bridge_s=bridge_s,
        ),
        at=valid_from,
        recompute_by=actor,
    )
    attempt.version, attempt.valid_from = row.version, valid_from
    session.flush()
    _forget_signature(session, attempt)
    _write_down(session, attempt, "calibration.adopt", actor=actor, at=at, bridge_s=bridge_s)
    return attempt


def _forget_signature(session: Session, attempt: CalibrationAttempt) -> None:
    """What was judged by the old thresholds is looked at again at once."""
    check = session.get(ChannelCheck, (attempt.box, attempt.channel), with_for_update=True)
    if check is not None:
        check.signature_checked_at = None


def _check_channel(session: Session, *, box: str, channel: int) -> None:
    if not 0 <= channel < box_in_service(session, box).channels:
        raise errors.Refusal(errors.Code.NOT_FOUND)


def _work(
    placement: BoxPlacement,
    *,
    version: CalibrationVersion | None,
    attempt: CalibrationAttempt | None,
    has_moved: bool,
    is_drifted: bool,
) -> Work | None:
    if version is not None and version.run_threshold_w is None:
        is_tried_here = attempt is not None and attempt.reason is not None and attempt.at >= placement.valid_from
        return Work.REFUSED if is_tried_here else Work.MOVED
    if version is None:
        return Work.REFUSED if attempt is not None and attempt.reason is not None else Work.MISSING
    # A calibration may be made to hold from before the box stood here, and is of here all the same.
    is_made_here = attempt is not None and attempt.version is not None and attempt.at >= placement.valid_from
    if has_moved and version.valid_from < placement.valid_from and not is_made_here:
        return Work.MOVED
    return Work.DRIFTED if is_drifted else None


def _moved(session: Session, codes: Iterable[str]) -> set[tuple[str, int]]:
    """Give the channels that stood somewhere before."""
    rows = session.execute(
        select(BoxPlacement.box, BoxPlacement.channel)
        .where(BoxPlacement.box.in_(list(codes)), BoxPlacement.valid_to.is_not(None))
        .distinct()
    )
    return {(box, channel) for box, channel in rows}


def _newest_versions(session: Session, codes: Iterable[str]) -> dict[tuple[str, int], CalibrationVersion]:
    rows = session.scalars(
        select(CalibrationVersion)
        .where(CalibrationVersion.box.in_(list(codes)))
        .order_by(CalibrationVersion.valid_from, CalibrationVersion.version)
    )
    return {(each.box, each.channel): each for each in rows}


def _newest_attempts(session: Session, codes: Iterable[str]) -> dict[tuple[str, int], CalibrationAttempt]:
    newest = (
        select(func.max(CalibrationAttempt.id))
        .where(CalibrationAttempt.box.in_(list(codes)))
        .group_by(CalibrationAttempt.box, CalibrationAttempt.channel)
    )
    rows = session.scalars(select(CalibrationAttempt).where(CalibrationAttempt.id.in_(newest)))
    return {(each.box, each.channel): each for each in rows}


def _known_s(found: Iterable[Reading]) -> int:
    return sum(reading.end_ms - reading.start_ms for reading in found) // 1000


def _write_down(
    session: Session, attempt: CalibrationAttempt, action: str, *, actor: str, at: datetime, **more: int
) -> None:
    people.audit(
        session,
        actor=actor,
        action=action,
        subject=f"box:{attempt.box}",
        detail={
            "channel": attempt.channel,
            "attempt": attempt.id,
            "method": attempt.method,
            "reason": attempt.reason,
            "run_threshold_w": attempt.run_threshold_w,
            "standby_threshold_w": attempt.standby_threshold_w,
            "version": attempt.version,
            "valid_from": None if attempt.valid_from is None else attempt.valid_from.isoformat(),
            **more,
        },
        at=at,
    )

"""The job that looks at the boxes: all of them for silence, a few at a time for clock, readings, signature, backlog.

It may be killed and run twice: what it finds depends on what is stored and on the time alone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from app.db import apart
from app.devices.boxes.alarms import Trouble, settle, subject_of
from app.devices.models import Alarm, AlarmKind, BoxPlacement, ChannelCheck
from telemetry.boxes import calibrations
from telemetry.messages import SHARDS
from telemetry.models import Box, ChannelState, IngestCount, Presence
from telemetry.queries import SILENT_AFTER
from telemetry.readings import MESSAGE_SPAN_MAX, readings
from telemetry.signature import Drift, drift, signature, stuck_at_w
from telemetry.states import Calibration
from telemetry.times import to_ms

NEVER_HEARD_AFTER = timedelta(hours=1)
LOOK_EVERY = timedelta(minutes=10)
SIGNATURE_EVERY = timedelta(days=1)
QUALITY_WINDOW = timedelta(days=7)
CLOCK_WINDOW = timedelta(days=1)
STUCK_WINDOW = timedelta(hours=6)
CLOCK_S_MAX = 30
LIVE_MESSAGES_MIN = 5
BACKLOG_MESSAGES_MIN = 200
BACKLOG_RISES_MIN = 2
DRAINING_MESSAGES_MIN = 20
LEASE_LOST_AFTER_S = 60
LEASE_LOST_AFTER = timedelta(seconds=LEASE_LOST_AFTER_S)
INGEST_QUIET_AFTER = timedelta(minutes=5)
INGEST_BOXES_MIN = 3
CHANNEL_KINDS = (AlarmKind.NO_READINGS, AlarmKind.CLOCK, AlarmKind.SIGNATURE, AlarmKind.STUCK)

_CLOCK = text("""
SELECT count(*) AS live, count(*) FILTER (WHERE synced AND device_at IS NOT NULL) AS timed,
       min(extract(epoch FROM received_at - device_at - (ended_at - started_at)))
           FILTER (WHERE synced AND device_at IS NOT NULL) AS offset_s
FROM telemetry.message
WHERE box = :box AND channel = :channel AND kind = 'm' AND NOT buffered AND started_at >= :since""")
_KNOWN = text("""
SELECT coalesce(sum(extract(epoch FROM least(ended_at, :until) - greatest(started_at, :since))), 0) AS known_s,
       max(ended_at) AS newest_at
FROM telemetry.message
WHERE box = :box AND channel = :channel AND kind = 'm'
  AND started_at >= :since - :span_max AND started_at < :until AND ended_at > :since""")

# A set that was given back is taken by the next renewal of a worker that lives; only where none lives is it lost.
_LOST_SETS = text("""
SELECT number, sets FROM telemetry.shard_lease
WHERE until < clock_timestamp() - :after_s * interval '1 s'
   OR (:is_quiet AND (worker IS NULL OR until < clock_timestamp())
       AND NOT EXISTS (SELECT 1 FROM telemetry.ingest_worker WHERE until >= clock_timestamp()))
ORDER BY number""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One channel with what is known of it before and after a look."""

    placement: BoxPlacement
    check: ChannelCheck
    heard_at: datetime | None
    buffered_messages: int
    at: datetime

    def trouble(self, kind: AlarmKind, **detail: Any) -> Trouble:
        """Say what is wrong with this channel."""
        return Trouble(kind=kind, box=self.placement.box, channel=self.placement.channel, detail=detail)


def watch(session: Session, *, at: datetime, limit: int) -> int:
    """Bring the alarms up to date; looks closely at up to `limit` channels; gives how many alarms changed."""
    changed = settle(session, kinds=[AlarmKind.SILENT], subjects=None, troubles=_silent(session, at=at), at=at)
    changed += settle(
        session, kinds=[AlarmKind.INGEST_LOST], subjects=None, troubles=_ingest_lost(session, at=at), at=at
    )
    changed += _close_where_nothing_stands(session, at=at)
    for looked in _due(session, at=at, limit=limit):
        about = {"box": looked.placement.box, "channel": looked.placement.channel}
        changed += apart(session, partial(_look, session, looked), **about) or 0
        looked.check.checked_at = looked.at  # also of one that could not be looked at: others have their turn first
    return changed


def _silent(session: Session, *, at: datetime) -> list[Trouble]:
    """Find boxes that stand at an instrument and that nobody has heard for a quarter of an hour."""
    live = select(ChannelState.box, func.max(ChannelState.last_live_at).label("live_at")).group_by(ChannelState.box)
    newest = live.subquery()
    placed = (
        select(BoxPlacement.box, func.min(BoxPlacement.valid_from).label("placed_at"))
        .where(BoxPlacement.valid_to.is_(None))
        .group_by(BoxPlacement.box)
        .subquery()
    )
    heard_at = func.greatest(Presence.heard_at, newest.c.live_at)
    rows = session.execute(
        select(Box.code, heard_at)
        .join(placed, placed.c.box == Box.code)
        .outerjoin(Presence, Presence.box == Box.code)
        .outerjoin(newest, newest.c.box == Box.code)
        .where(
            Box.revoked_at.is_(None),
            or_(
                heard_at < at - SILENT_AFTER,
                heard_at.is_(None) & (placed.c.placed_at < at - NEVER_HEARD_AFTER),
            ),
        )
        .order_by(Box.code)
    )
    return [
        Trouble(kind=AlarmKind.SILENT, box=code, detail={"heard_at": None if heard is None else heard.isoformat()})
        for code, heard in rows
    ]


def _ingest_lost(session: Session, *, at: datetime) -> list[Trouble]:
    """Find shards with boxes whose lease has run out, or that nothing at all comes in: the fault is here, not there."""
    newest_at = session.scalar(select(func.max(IngestCount.newest_at)))
    is_quiet = newest_at is None or newest_at < at - LEASE_LOST_AFTER
    used = set(session.scalars(select(Box.shard).where(Box.revoked_at.is_(None)).distinct()))
    lost = {
        shard
        for number, sets in session.execute(_LOST_SETS, {"after_s": LEASE_LOST_AFTER_S, "is_quiet": is_quiet})
        for shard in range(number * SHARDS // sets, (number + 1) * SHARDS // sets)
    }
    if lost & used:
        return [Trouble(kind=AlarmKind.INGEST_LOST, detail={"shards": sorted(lost & used)})]
    if newest_at is None or newest_at > at - INGEST_QUIET_AFTER:
        return []
    spoke = session.scalar(select(func.count()).where(Presence.online, Presence.heard_at > newest_at - SILENT_AFTER))
    if (spoke or 0) < INGEST_BOXES_MIN:
        return []
    return [Trouble(kind=AlarmKind.INGEST_LOST, detail={"newest_at": newest_at.isoformat()})]


def _close_where_nothing_stands(session: Session, *, at: datetime) -> int:
    """A box that was revoked or taken away is nobody's trouble any more."""
    standing = select(BoxPlacement.box, BoxPlacement.channel).where(BoxPlacement.valid_to.is_(None))
    channels = {(box, channel) for box, channel in session.execute(standing)}
    boxes = {box for box, _ in channels}
    gone = [
        alarm.subject
        for alarm in session.scalars(select(Alarm).where(Alarm.closed_at.is_(None), Alarm.box.is_not(None)))
        if alarm.box not in boxes or (alarm.channel is not None and (alarm.box, alarm.channel) not in channels)
    ]
    if not gone:
        return 0
    return settle(session, kinds=[*CHANNEL_KINDS, AlarmKind.BACKLOG], subjects=gone, troubles=(), at=at)


def _due(session: Session, *, at: datetime, limit: int) -> list[Looked]:
    """Give the channels that were not looked at for ten minutes, those that waited longest first."""
    rows = session.execute(
        select(BoxPlacement, ChannelCheck, Presence)
        .join(Box, Box.code == BoxPlacement.box)
        .outerjoin(
            ChannelCheck, (ChannelCheck.box == BoxPlacement.box) & (ChannelCheck.channel == BoxPlacement.channel)
        )
        .outerjoin(Presence, Presence.box == BoxPlacement.box)
        .where(
            BoxPlacement.valid_to.is_(None),
            Box.revoked_at.is_(None),
            or_(ChannelCheck.checked_at.is_(None), ChannelCheck.checked_at <= at - LOOK_EVERY),
        )
        .order_by(ChannelCheck.checked_at.nulls_first(), BoxPlacement.box, BoxPlacement.channel)
        .limit(limit)
    ).all()
    return [
        Looked(
            placement=placement,
            check=check or _new_check(session, placement, at=at),
            heard_at=None if presence is None else presence.heard_at,
            buffered_messages=0 if presence is None else presence.buffered_messages or 0,
            at=at,
        )
        for placement, check, presence in cast("list[tuple[BoxPlacement, ChannelCheck | None, Presence | None]]", rows)
    ]


def _new_check(session: Session, placement: BoxPlacement, *, at: datetime) -> ChannelCheck:
    check = ChannelCheck(
        box=placement.box, channel=placement.channel, checked_at=at, backlog_messages=0, backlog_rises=0
    )
    session.add(check)
    return check


def _look(session: Session, looked: Looked) -> int:
    troubles = [*_readings_trouble(session, looked), *_clock_trouble(session, looked), *_stuck_trouble(session, looked)]
    kinds = [AlarmKind.NO_READINGS, AlarmKind.CLOCK, AlarmKind.STUCK]
    check = looked.check
    if check.signature_checked_at is None or check.signature_checked_at <= looked.at - SIGNATURE_EVERY:
        kinds.append(AlarmKind.SIGNATURE)
        troubles += _signature_trouble(session, looked)
        check.signature_checked_at = looked.at
    subject = subject_of(looked.placement.box, looked.placement.channel)
    changed = settle(session, kinds=kinds, subjects=[subject], troubles=troubles, at=looked.at)
    return changed + _judge_backlog(session, looked)


def _readings_trouble(session: Session, looked: Looked) -> list[Trouble]:
    """Measure how much is known of the last week; a box that lives and measures nothing has lost its meter."""
    since = max(looked.at - QUALITY_WINDOW, looked.placement.valid_from)
    row = session.execute(
        _KNOWN, {**_channel(looked), "since": since, "until": looked.at, "span_max": MESSAGE_SPAN_MAX}
    ).one()
    check = looked.check
    check.window_s = max(int((looked.at - since).total_seconds()), 0)
    check.known_s = min(int(row.known_s), check.window_s)
    newest_at = row.newest_at or since
    quiet_after = SILENT_AFTER if row.newest_at is not None else NEVER_HEARD_AFTER
    is_heard = looked.heard_at is not None and looked.heard_at > looked.at - SILENT_AFTER
    # After an outage the oldest come first; the newest are on their way.
    is_draining = looked.buffered_messages > DRAINING_MESSAGES_MIN
    if is_heard and not is_draining and newest_at < looked.at - quiet_after:
        return [looked.trouble(AlarmKind.NO_READINGS, newest_at=newest_at.isoformat())]
    return []


def _clock_trouble(session: Session, looked: Looked) -> list[Trouble]:
    row = session.execute(_CLOCK, {**_channel(looked), "since": looked.at - CLOCK_WINDOW}).one()
    check = looked.check
    check.offset_s = None if row.offset_s is None else round(float(row.offset_s), 1)
    check.clock_unset = row.live >= LIVE_MESSAGES_MIN and row.timed == 0
    if check.clock_unset:
        return [looked.trouble(AlarmKind.CLOCK, unset=True)]
    if row.timed >= LIVE_MESSAGES_MIN and check.offset_s is not None and abs(check.offset_s) > CLOCK_S_MAX:
        return [looked.trouble(AlarmKind.CLOCK, offset_s=round(check.offset_s))]
    return []


def _stuck_trouble(session: Session, looked: Looked) -> list[Trouble]:
    since = max(looked.at - STUCK_WINDOW, looked.placement.valid_from)
    found = readings(session, **_channel(looked), start=since, end=looked.at)
    power_w = stuck_at_w(found, window_ms=int(STUCK_WINDOW.total_seconds()) * 1000)
    return [] if power_w is None else [looked.trouble(AlarmKind.STUCK, power_w=power_w)]


def _signature_trouble(session: Session, looked: Looked) -> list[Trouble]:
    calibration, since = _in_force(session, looked)
    looked.check.separation_decades = None
    if calibration is None:
        return []
    found = readings(session, **_channel(looked), start=since, end=looked.at)
    seen = signature(found, run_threshold_w=calibration.run_threshold_w)
    separation = seen.separation_decades
    looked.check.separation_decades = None if separation is None else round(separation, 2)
    how: Drift | None = drift(seen, calibration=calibration)
    if how is None:
        return []
    return [
        looked.trouble(
            AlarmKind.SIGNATURE,
            how=how.value,
            separation_decades=looked.check.separation_decades,
            run_threshold_w=calibration.run_threshold_w,
        )
    ]


def _in_force(session: Session, looked: Looked) -> tuple[Calibration | None, datetime]:
    """Give the calibration that holds now, and since when within the last week."""
    since = max(looked.at - QUALITY_WINDOW, looked.placement.valid_from)
    holding = [each for each in calibrations(session, **_code(looked)) if each.valid_from_ms <= to_ms(looked.at)]
    if not holding:
        return None, since
    began_at = looked.at - timedelta(milliseconds=to_ms(looked.at) - holding[-1].valid_from_ms)
    return holding[-1].calibration, max(since, began_at)


def _judge_backlog(session: Session, looked: Looked) -> int:
    """A backlog that shrinks is an outage that is over; one that grows look after look is a box that cannot keep up."""
    check, held = looked.check, looked.buffered_messages
    check.backlog_rises = check.backlog_rises + 1 if held > check.backlog_messages else 0
    check.backlog_messages = held
    box = looked.placement.box
    is_open = session.scalar(
        select(Alarm.id).where(Alarm.kind == AlarmKind.BACKLOG, Alarm.subject == box, Alarm.closed_at.is_(None))
    )
    is_growing = held >= BACKLOG_MESSAGES_MIN and check.backlog_rises >= BACKLOG_RISES_MIN
    # Open once it grows, closed when half of the limit is left: not with every breath.
    goes_on = is_open is not None and held >= BACKLOG_MESSAGES_MIN // 2
    troubles = [Trouble(kind=AlarmKind.BACKLOG, box=box, detail={"messages": held})] if is_growing or goes_on else []
    return settle(session, kinds=[AlarmKind.BACKLOG], subjects=[box], troubles=troubles, at=looked.at)


def _channel(looked: Looked) -> dict[str, Any]:
    return {"box": looked.placement.box, "channel": looked.placement.channel}


def _code(looked: Looked) -> dict[str, Any]:
    return {"code": looked.placement.box, "channel": looked.placement.channel}

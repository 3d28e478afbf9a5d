"""What the rest of the product asks of telemetry: live states, sessions, coverage, curves, and the feed of changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from telemetry.boxes import calibrations
from telemetry.models import (
    ChannelState,
    ClockOffset,
    CollectorSession,
    DeriveTrouble,
    HighWater,
    Message,
    Presence,
)
from telemetry.readings import MESSAGE_SPAN_MAX, readings
from telemetry.states import Reading, State, stretches
from telemetry.times import from_ms, to_ms

SILENT_AFTER = timedelta(minutes=15)
JOIN_MS = 30_000  # readings this close to each other leave no gap between them
FEED_LIMIT_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What is known of a channel now. Unknown has no power; `last_live_at` says how long the silence lasts."""

    state: State
    power_w: float | None
    since: datetime | None
    last_live_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a time the box saw. `gaps` are the unknown parts in order; known + unknown = the whole."""

    known_s: int
    unknown_s: int
    gaps: tuple[tuple[datetime, datetime], ...]


NOTHING_KNOWN = LiveState(state=State.UNKNOWN, power_w=None, since=None, last_live_at=None)


def live_states(session: Session, *, boxes: Iterable[str], now: datetime) -> dict[tuple[str, int], LiveState]:
    """Give the state of every channel of the boxes that has ever sent.

    A box that said goodbye, or that nobody has heard for 15 minutes, is unknown and not off.
    """
    rows = session.execute(
        select(ChannelState, Presence)
        .outerjoin(Presence, Presence.box == ChannelState.box)
        .where(ChannelState.box.in_(list(boxes)))
    )
    return {(state.box, state.channel): _live(state, presence, now=now) for state, presence in rows}


def _live(state: ChannelState, presence: Presence | None, *, now: datetime) -> LiveState:
    is_silent = now - state.last_live_at > SILENT_AFTER
    if presence is not None:
        is_silent = is_silent or not presence.online or _is_long_ago(presence.heard_at, now=now)
    if is_silent or state.state == State.UNKNOWN:
        return LiveState(state=State.UNKNOWN, power_w=None, since=state.last_live_at, last_live_at=state.last_live_at)
    return LiveState(
        state=State(state.state), power_w=state.power_w, since=state.since, last_live_at=state.last_live_at
    )


def _is_long_ago(heard_at: datetime | None, *, now: datetime) -> bool:
    return heard_at is None or now - heard_at > SILENT_AFTER


def sessions_between(
    session: Session, *, box: str, channel: int, start: datetime, end: datetime
) -> list[CollectorSession]:
    """Give the current versions of the collector sessions that overlap [start, end), in order of time."""
    return list(
        session.scalars(
            select(CollectorSession)
            .where(
                CollectorSession.box == box,
                CollectorSession.channel == channel,
                CollectorSession.superseded_at.is_(None),
                CollectorSession.first_run_at < end,
                CollectorSession.last_run_at > start,
            )
            .order_by(CollectorSession.first_run_at)
        )
    )


def coverage(session: Session, *, box: str, channel: int, start: datetime, end: datetime) -> Coverage:
    """Say which part of [start, end) the box measured. Raises ValueError if end is before start."""
    if end < start:
        raise ValueError("the end lies before the start")
    rows = session.execute(
        select(Message.started_at, Message.ended_at)
        .where(
            Message.box == box,
            Message.channel == channel,
            Message.kind == "m",
            Message.started_at >= start - MESSAGE_SPAN_MAX,
            Message.started_at < end,
        )
        .order_by(Message.started_at)
    )
    start_ms, end_ms = to_ms(start), to_ms(end)
    gaps: list[tuple[int, int]] = []
    known_until_ms = start_ms
    for started_at, ended_at in rows:
        if to_ms(started_at) > known_until_ms + JOIN_MS:
            gaps.append((known_until_ms, to_ms(started_at)))
        known_until_ms = max(known_until_ms, to_ms(ended_at))
    if known_until_ms < end_ms:
        gaps.append((known_until_ms, end_ms))
    unknown_ms = sum(until - since for since, until in gaps)
    return Coverage(
        known_s=(end_ms - start_ms) // 1000 - unknown_ms // 1000,
        unknown_s=unknown_ms // 1000,
        gaps=tuple((from_ms(since), from_ms(until)) for since, until in gaps),
    )


def watermark(session: Session, *, box: str) -> datetime | None:
    """Give the moment up to which everything the box has to tell is stored; None: nothing is, yet.

    That is the end of its newest message, or the first hole in its sequence if there is one.
    """
    complete_until: datetime | None = None
    boots = session.scalars(select(HighWater).where(HighWater.box == box).order_by(HighWater.boot))
    for boot in boots:
        newest = session.scalar(
            select(Message.ended_at)
            .where(
                Message.box == box,
                Message.boot == boot.boot,
                Message.seq <= boot.complete_seq,
                Message.kind != "dead",
            )
            .order_by(Message.seq.desc())
            .limit(1)
        )
        if newest is not None and (complete_until is None or newest > complete_until):
            complete_until = newest
        if boot.complete_seq < boot.known_seq:
            break
    return complete_until


def power_between(
    session: Session, *, box: str, channel: int, start: datetime, end: datetime, points_max: int = 2000
) -> list[tuple[datetime, float, State]]:
    """Give the power curve with states, reduced to at most `points_max` points.

    Each point is the highest sample of its equal share of the time, so that no short run disappears. Where nothing is
    known there is no point.
    """
    found = readings(session, box=box, channel=channel, start=start, end=end)
    parts = stretches(found, calibrations=calibrations(session, code=box, channel=channel))
    start_ms, end_ms = to_ms(start), to_ms(end)
    share_ms = max(1, -(-(end_ms - start_ms) // points_max))
    highest: dict[int, tuple[int, float]] = {}
    for at_ms, power_w in _samples(found):
        if start_ms <= at_ms < end_ms:
            share = (at_ms - start_ms) // share_ms
            if share not in highest or highest[share][1] < power_w:
                highest[share] = (at_ms, power_w)
    points: list[tuple[datetime, float, State]] = []
    index = 0
    for at_ms, power_w in (highest[share] for share in sorted(highest)):
        while index + 1 < len(parts) and parts[index].end_ms <= at_ms:
            index += 1
        points.append((from_ms(at_ms), power_w, parts[index].state))
    return points


def _samples(found: Iterable[Reading]) -> Iterable[tuple[int, float]]:
    for reading in found:
        for index, power_w in enumerate(reading.powers_w):
            yield reading.start_ms + index * reading.step_ms, power_w


def changed_since(session: Session, *, after: int = 0, limit: int = 1000) -> list[CollectorSession]:
    """Give collector sessions that are new, changed, final or superseded since, in order of `change`.

    Keep the `change` of the last row as the next `after`. Nothing is missed: numbers are drawn under a lock that is
    held until the commit, so a reader who sees a number sees every lower one (reliability.md, finding 2).
    """
    return list(
        session.scalars(
            select(CollectorSession)
            .where(CollectorSession.change > after)
            .order_by(CollectorSession.change)
            .limit(min(limit, FEED_LIMIT_MAX))
        )
    )


def clock_offset_s(session: Session, *, box: str) -> float | None:
    """Give by how much the box's clock is behind ours, in seconds, in its newest boot; None: it has not said."""
    return session.scalar(
        select(ClockOffset.offset_s).where(ClockOffset.box == box).order_by(ClockOffset.boot.desc()).limit(1)
    )


def troubles(session: Session) -> list[DeriveTrouble]:
    """Give the boxes whose readings could not be made into sessions, the longest waiting first."""
    return list(session.scalars(select(DeriveTrouble).order_by(DeriveTrouble.since, DeriveTrouble.box)))

"""The list of boxes: each with its state now, clock, holes, backlog, quality, dead letters and open alarms."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.devices.boxes.dead_letters import recent_by_box
from app.devices.boxes.visibility import present_places, seen_by
from app.devices.models import Alarm, BoxPlacement, ChannelCheck
from app.people.principals import Principal
from telemetry import queries as telemetry
from telemetry.models import Box, HighWater, Presence
from telemetry.queries import LiveState
from telemetry.reports import NOTHING_SAID, Said, said_by
from telemetry.states import State

BOXES_MAX = 5_000


class Show(StrEnum):
    """Which boxes the list shows."""

    IN_SERVICE = "in_service"
    ALARM = "alarm"
    SILENT = "silent"
    UNPLACED = "unplaced"
    REVOKED = "revoked"


class Order(StrEnum):
    """By what the list is sorted."""

    CODE = "code"
    INSTRUMENT = "instrument"
    HEARD = "heard"
    OFFSET = "offset"
    HOLES = "holes"
    BACKLOG = "backlog"
    QUALITY = "quality"
    DEAD = "dead"
    ALARMS = "alarms"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLine:
    """A channel of a box: where it stands, what it does now."""

    channel: int
    place: BoxPlacement | None
    live: LiveState


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLine:
    """A box with what a person must know of it at a glance."""

    box: Box
    presence: Presence | None
    channels: tuple[ChannelLine, ...]
    offset_s: float | None
    clock_unset: bool
    missing: int
    """Messages that the box has written and that have not come."""
    lost: int
    """Messages that the box itself no longer has."""
    known_s: int
    window_s: int
    dead_letters: int
    """Of the last 30 days."""
    alarms: int
    heard_at: datetime | None
    said: Said
    """What the box says of itself: its clock, its meters, what it had to give up."""

    @property
    def backlog(self) -> int:
        """Messages that the box keeps because we have not acknowledged them, by its own last word."""
        return 0 if self.presence is None else self.presence.buffered_messages or 0

    @property
    def is_silent(self) -> bool:
        """Say whether nothing is known of any of its channels now."""
        return all(each.live.state is State.UNKNOWN for each in self.channels)

    @property
    def is_placed(self) -> bool:
        """Say whether it stands at an instrument."""
        return any(each.place is not None for each in self.channels)

    @property
    def quality(self) -> float | None:
        """The share of the last week of which it told, since it stands there; None: too new to say."""
        return self.known_s / self.window_s if self.window_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxList:
    """A page of boxes, how many the filter leaves, and how many each filter would show."""

    lines: tuple[BoxLine, ...]
    total: int
    counts: dict[Show, int]


_SHOWS: dict[Show, Callable[[BoxLine], bool]] = {
    Show.IN_SERVICE: lambda line: line.box.revoked_at is None,
    Show.ALARM: lambda line: line.box.revoked_at is None and line.alarms > 0,
    Show.SILENT: lambda line: line.box.revoked_at is None and line.is_placed and line.is_silent,
    Show.UNPLACED: lambda line: line.box.revoked_at is None and not line.is_placed,
    Show.REVOKED: lambda line: line.box.revoked_at is not None,
}
# What troubles most comes first; what is not known comes last.
_KEYS: dict[Order, Callable[[BoxLine], Any]] = {
    Order.CODE: lambda line: line.box.code,
    Order.INSTRUMENT: lambda line: next((each.place.instrument.code for each in line.channels if each.place), "~"),
    Order.HEARD: lambda line: (line.heard_at is None, line.heard_at),
    Order.OFFSET: lambda line: (not line.clock_unset, -abs(line.offset_s or 0.0)),
    Order.HOLES: lambda line: -(line.missing + line.lost),
    Order.BACKLOG: lambda line: -line.backlog,
    Order.QUALITY: lambda line: (line.quality is None, line.quality),
    Order.DEAD: lambda line: -line.dead_letters,
    Order.ALARMS: lambda line: -line.alarms,
}


def list_boxes(
    session: Session,
    *,
    reader: Principal,
    show: Show = Show.IN_SERVICE,
    search: str = "",
    order: Order = Order.CODE,
    page: int = 1,
    page_size: int = 50,
    at: datetime,
) -> BoxList:
    """Give a page of the boxes that the reader may see, filtered by state and by a word of code or instrument."""
    lines = [line for line in lines_of(session, _boxes(session, reader), at=at) if _is_found(line, search)]
    shown = sorted((line for line in lines if _SHOWS[show](line)), key=lambda line: line.box.code)
    shown.sort(key=_sort_key(order))
    return BoxList(
        lines=tuple(shown[(page - 1) * page_size : page * page_size]),
        total=len(shown),
        counts={each: sum(map(_SHOWS[each], lines)) for each in Show},
    )


def lines_of(session: Session, boxes: Iterable[Box], *, at: datetime) -> list[BoxLine]:
    """Give boxes with all that the list says of them; a dozen queries, however many they are."""
    found = {box.code: box for box in boxes}
    codes = list(found)
    places = present_places(session, found)
    states = telemetry.live_states(session, boxes=found, now=at)
    presences = {each.box: each for each in session.scalars(select(Presence).where(Presence.box.in_(codes)))}
    checks = _checks(session, found)
    holes = {
        box: (int(missing), int(lost))
        for box, missing, lost in session.execute(
            select(HighWater.box, func.sum(HighWater.known_seq - HighWater.complete_seq), func.sum(HighWater.lost))
            .where(HighWater.box.in_(codes))
            .group_by(HighWater.box)
        )
    }
    dead = recent_by_box(session, found, at=at)
    said = said_by(session, found)
    alarms = Counter(session.scalars(select(Alarm.box).where(Alarm.closed_at.is_(None), Alarm.box.in_(codes))))
    lines: list[BoxLine] = []
    for code, box in found.items():
        channels = tuple(
            ChannelLine(
                channel=channel,
                place=places.get((code, channel)),
                live=states.get((code, channel), telemetry.NOTHING_KNOWN),
            )
            for channel in range(box.channels)
        )
        missing, lost = holes.get(code, (0, 0))
        lines.append(
            BoxLine(
                box=box,
                presence=presences.get(code),
                channels=channels,
                offset_s=_worst_offset_s(checks.get(code, [])),
                clock_unset=any(check.clock_unset for check in checks.get(code, [])),
                missing=missing,
                lost=lost,
                known_s=sum(check.known_s for check in checks.get(code, [])),
                window_s=sum(check.window_s for check in checks.get(code, [])),
                dead_letters=dead.get(code, 0),
                alarms=alarms[code],
                heard_at=_heard_at(presences.get(code), channels),
                said=said.get(code, NOTHING_SAID),
            )
        )
    return lines


def _boxes(session: Session, reader: Principal) -> list[Box]:
    return list(session.scalars(select(Box).where(seen_by(reader, box=Box.code)).order_by(Box.code).limit(BOXES_MAX)))


def _checks(session: Session, codes: Iterable[str]) -> dict[str, list[ChannelCheck]]:
    """Give the checks of the channels that stand somewhere; what was found at an old place says nothing of now."""
    rows = session.scalars(
        select(ChannelCheck)
        .join(
            BoxPlacement,
            (BoxPlacement.box == ChannelCheck.box)
            & (BoxPlacement.channel == ChannelCheck.channel)
            & BoxPlacement.valid_to.is_(None),
        )
        .where(ChannelCheck.box.in_(list(codes)))
        .order_by(ChannelCheck.box, ChannelCheck.channel)
    )
    found: dict[str, list[ChannelCheck]] = {}
    for check in rows:
        found.setdefault(check.box, []).append(check)
    return found


def _worst_offset_s(checks: Iterable[ChannelCheck]) -> float | None:
    offsets = [check.offset_s for check in checks if check.offset_s is not None]
    return max(offsets, key=abs) if offsets else None


def _heard_at(presence: Presence | None, channels: Iterable[ChannelLine]) -> datetime | None:
    moments = [each.live.last_live_at for each in channels]
    moments.append(None if presence is None else presence.heard_at)
    return max((moment for moment in moments if moment is not None), default=None)


def _is_found(line: BoxLine, search: str) -> bool:
    word = search.casefold()
    names = [line.box.code]
    for channel in line.channels:
        if channel.place is not None:
            instrument = channel.place.instrument
            names += [instrument.code, instrument.name_zh, instrument.name_en]
    return any(word in name.casefold() for name in names)


def _sort_key(order: Order) -> Callable[[BoxLine], Any]:
    """Sort what is None by the flag before it, and never compare it."""

    def key(line: BoxLine) -> Any:
        value = _KEYS[order](line)
        return (value[0],) if isinstance(value, tuple) and value[-1] is None else value

    return key

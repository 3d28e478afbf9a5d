"""Draws the evidence of a charge: where every line, stripe and mark stands, in the units of an SVG; pure geometry.

It is drawn from the document that people carry away and from nothing else, so both show the same. The template only
writes it down: the picture needs no script, can be printed, and a test can read it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

TICK_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200)
)
ONE_DAY = timedelta(days=1)
HEADROOM = 1.12
UNKNOWN = "unknown"
POWER_FLOOR_W = 10.0


class Stripe(NamedTuple):
    """A stretch of time in one state."""

    x: float
    width: float
    state: str


class Tick(NamedTuple):
    """A mark of an axis with its label."""

    position: float
    label: str


class Area(NamedTuple):
    """What lies under the curve while one state holds."""

    points: str
    state: str


class Span(NamedTuple):
    """A bar from x over a width."""

    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How large the picture is, and where in it the curve stands."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ticks_max: int

    @property
    def plot_width(self) -> int:
        """How wide the curve's field is."""
        return self.width - self.left - self.right

    @property
    def plot_height(self) -> int:
        """How high the curve's field is."""
        return self.height - self.top - self.bottom

    @property
    def floor(self) -> int:
        """Where zero watts lie."""
        return self.height - self.bottom


WIDE = Frame(width=1120, height=370, left=64, right=16, top=72, bottom=54, ticks_max=12)
SMALL = Frame(width=390, height=330, left=48, right=12, top=72, bottom=54, ticks_max=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything to draw; all numbers are user units of the frame."""

    frame: Frame
    stripes: tuple[Stripe, ...]
    lines: tuple[str, ...]
    """One list of points per unbroken stretch of the curve."""
    areas: tuple[Area, ...]
    band: Span
    marks: tuple[Tick, ...]
    time_ticks: tuple[Tick, ...]
    power_ticks: tuple[Tick, ...]
    threshold: Tick | None


class _Point(NamedTuple):
    at: datetime
    power_w: float
    state: str


Moments = tuple[datetime, datetime]


def draw(document: Mapping[str, Any], *, frame: Frame, site_timezone: ZoneInfo) -> Picture:
    """Draw the document of a charge's evidence into a frame, with times in the site's zone."""
    since, until = _moment(document["since"]), _moment(document["until"])
    start, end = _moment(document["start"]), _moment(document["end"])
    watched = document["watched"] or {"points": (), "states": (), "gaps": ((document["since"], document["until"]),)}
    points = [_Point(_moment(each["at"]), each["power_w"], each["state"]) for each in watched["points"]]
    gaps = [(_moment(first), _moment(last)) for first, last in watched["gaps"]]
    threshold_w = watched.get("run_threshold_w")
    scale = _Scale(frame=frame, since=since, until=until, top_w=_top_w(points, threshold_w))
    marks = [(start, "in")] + ([(end, "out")] if document["charge"]["ended_at"] else [])
    return Picture(
        frame=frame,
        stripes=tuple(_stripes(watched["states"], gaps, scale=scale)),
        lines=tuple(_lines(points, gaps, scale=scale)),
        areas=tuple(_areas(points, gaps, scale=scale)),
        band=scale.span(start, end),
        marks=tuple(Tick(scale.x(at), kind) for at, kind in marks),
        time_ticks=tuple(_time_ticks(scale, site_timezone=site_timezone)),
        power_ticks=tuple(_power_ticks(scale)),
        threshold=Tick(scale.y(threshold_w), f"{threshold_w:g} W") if threshold_w else None,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Turns moments and watts into places."""

    frame: Frame
    since: datetime
    until: datetime
    top_w: float

    def x(self, at: datetime) -> float:
        share = (at - self.since) / (self.until - self.since)
        return round(self.frame.left + self.frame.plot_width * min(max(share, 0.0), 1.0), 1)

    def y(self, power_w: float) -> float:
        return round(self.frame.floor - self.frame.plot_height * min(max(power_w, 0.0) / self.top_w, 1.0), 1)

    def span(self, start: datetime, end: datetime) -> Span:
        x = self.x(start)
        return Span(x, round(max(self.x(end) - x, 1.0), 1))


def _top_w(points: Sequence[_Point], threshold_w: float | None) -> float:
    highest = max((point.power_w for point in points), default=0.0)
    return max(highest * HEADROOM, (threshold_w or 0.0) * 2, POWER_FLOOR_W)


def _stripes(states: Sequence[Mapping[str, str]], gaps: Sequence[Moments], *, scale: _Scale) -> list[Stripe]:
    """Lay stretches of one state side by side; what the box did not tell is unknown, drawn last and over all."""
    known = [each for each in states if each["state"] != UNKNOWN]
    stripes = [Stripe(*scale.span(_moment(each["start"]), _moment(each["end"])), each["state"]) for each in known]
    return stripes + [Stripe(*scale.span(start, end), UNKNOWN) for start, end in gaps]


def _pieces(points: Sequence[_Point], gaps: Sequence[Moments]) -> list[list[_Point]]:
    """Cut the curve where the box was silent."""
    if not points:
        return []
    pieces: list[list[_Point]] = [[points[0]]]
    for before, after in pairwise(points):
        if any(start < after.at and end > before.at for start, end in gaps):
            pieces.append([])
        pieces[-1].append(after)
    return pieces


def _lines(points: Sequence[_Point], gaps: Sequence[Moments], *, scale: _Scale) -> list[str]:
    """Draw the curve, lifting the pen where the box was silent."""
    return [_places(piece, scale=scale) for piece in _pieces(points, gaps)]


def _areas(points: Sequence[_Point], gaps: Sequence[Moments], *, scale: _Scale) -> list[Area]:
    """Fill what is under the curve by state; each part reaches to the first point of the next one."""
    areas = []
    for piece in _pieces(points, gaps):
        starts = [0] + [place for place in range(1, len(piece)) if piece[place].state != piece[place - 1].state]
        for start, end in zip(starts, [*starts[1:], len(piece) - 1], strict=True):
            part = piece[start : end + 1]
            left, right = scale.x(part[0].at), scale.x(part[-1].at)
            outline = f"{left:g},{scale.frame.floor} {_places(part, scale=scale)} {right:g},{scale.frame.floor}"
            areas.append(Area(outline, part[0].state))
    return areas


def _places(points: Sequence[_Point], *, scale: _Scale) -> str:
    return " ".join(f"{scale.x(point.at):g},{scale.y(point.power_w):g}" for point in points)


def _time_ticks(scale: _Scale, *, site_timezone: ZoneInfo) -> list[Tick]:
    whole = scale.until - scale.since
    step = next((step for step in TICK_STEPS if whole / step <= scale.frame.ticks_max), TICK_STEPS[-1])
    midnight = scale.since.astimezone(site_timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * math.ceil((scale.since - midnight) / step)
    ticks = []
    edge, is_long = 14, whole > ONE_DAY
    while at <= scale.until:
        x = scale.x(at)
        if scale.frame.left + edge <= x <= scale.frame.width - scale.frame.right - edge:
            here = at.astimezone(site_timezone)
            # Over days the hours alone say nothing; the day stands where it begins.
            ticks.append(Tick(x, here.strftime("%m-%d" if here.hour == here.minute == 0 and is_long else "%H:%M")))
        at += step
    return ticks


def _power_ticks(scale: _Scale) -> list[Tick]:
    rough = scale.top_w / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    return [Tick(scale.y(step * count), _watts(step * count)) for count in range(int(scale.top_w / step) + 1)]


def _watts(power_w: float) -> str:
    return f"{power_w / 1000:g} kW" if power_w >= 1000 else f"{power_w:g} W"  # noqa: PLR2004 - watts of a kilowatt

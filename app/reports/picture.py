"""Draws the evidence of a charge: where every line, stripe and mark stands, in the units of an SVG; pure geometry.

The template only writes it down, so the picture needs no script and can be printed, and a test can read it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.reports.service.evidence import Evidence, Point

TICK_STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
HEADROOM = 1.12
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


def draw(found: Evidence, *, frame: Frame, site_timezone: ZoneInfo) -> Picture:
    """Draw the evidence into a frame, with times in the site's zone."""
    scale = _Scale(frame=frame, since=found.since, until=found.until, top_w=_top_w(found))
    watched = found.watched
    points = watched.points if watched else ()
    gaps = watched.gaps if watched else ((found.since, found.until),)
    threshold_w = watched.run_threshold_w if watched else None
    marks = [(found.start, "in")] + ([(found.end, "out")] if found.charge.ended_at else [])
    return Picture(
        frame=frame,
        stripes=tuple(_stripes(points, gaps, scale=scale, until=found.until)),
        lines=tuple(_lines(points, gaps, scale=scale)),
        areas=tuple(_areas(points, gaps, scale=scale)),
        band=scale.span(found.start, found.end),
        marks=tuple(Tick(scale.x(at), kind) for at, kind in marks),
        time_ticks=tuple(_time_ticks(scale, site_timezone=site_timezone)),
        power_ticks=tuple(_power_ticks(scale)),
        threshold=Tick(scale.y(threshold_w), f"{threshold_w:g} W") if threshold_w else None,
    )


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


def _top_w(found: Evidence) -> float:
    watched = found.watched
    highest = max((point.power_w for point in watched.points), default=0.0) if watched else 0.0
    return max(highest * HEADROOM, (watched.run_threshold_w or 0.0) * 2 if watched else 0.0, POWER_FLOOR_W)


def _stripes(
    points: Sequence[Point], gaps: Sequence[tuple[datetime, datetime]], *, scale: _Scale, until: datetime
) -> list[Stripe]:
    """Lay stretches of one state side by side; what the box did not tell is unknown, drawn last and over all."""
    merged: list[tuple[datetime, datetime, str]] = []
    ends = [point.at for point in points[1:]] + [until] * bool(points)
    for point, end in zip(points, ends, strict=True):
        state = str(point.state)
        if merged and merged[-1][2] == state:
            merged[-1] = (merged[-1][0], end, state)
        else:
            merged.append((point.at, end, state))
    merged += [(start, end, "unknown") for start, end in gaps]
    return [Stripe(*scale.span(start, end), state) for start, end, state in merged]


def _pieces(points: Sequence[Point], gaps: Sequence[tuple[datetime, datetime]]) -> list[list[Point]]:
    """Cut the curve where the box was silent."""
    if not points:
        return []
    pieces: list[list[Point]] = [[points[0]]]
    for before, after in pairwise(points):
        if any(start < after.at and end > before.at for start, end in gaps):
            pieces.append([])
        pieces[-1].append(after)
    return pieces


def _lines(points: Sequence[Point], gaps: Sequence[tuple[datetime, datetime]], *, scale: _Scale) -> list[str]:
    """Draw the curve, lifting the pen where the box was silent."""
    return [_places(piece, scale=scale) for piece in _pieces(points, gaps)]


def _areas(points: Sequence[Point], gaps: Sequence[tuple[datetime, datetime]], *, scale: _Scale) -> list[Area]:
    """Fill what is under the curve by state; each part reaches to the first point of the next one."""
    areas = []
    for piece in _pieces(points, gaps):
        starts = [0] + [place for place in range(1, len(piece)) if piece[place].state != piece[place - 1].state]
        for start, end in zip(starts, [*starts[1:], len(piece) - 1], strict=True):
            part = piece[start : end + 1]
            left, right = scale.x(part[0].at), scale.x(part[-1].at)
            outline = f"{left:g},{scale.frame.floor} {_places(part, scale=scale)} {right:g},{scale.frame.floor}"
            areas.append(Area(outline, str(part[0].state)))
    return areas


def _places(points: Sequence[Point], *, scale: _Scale) -> str:
    return " ".join(f"{scale.x(point.at):g},{scale.y(point.power_w):g}" for point in points)


def _time_ticks(scale: _Scale, *, site_timezone: ZoneInfo) -> list[Tick]:
    whole = scale.until - scale.since
    step = next((step for step in TICK_STEPS if whole / step <= scale.frame.ticks_max), TICK_STEPS[-1])
    midnight = scale.since.astimezone(site_timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * math.ceil((scale.since - midnight) / step)
    ticks = []
    edge = 14
    while at <= scale.until:
        x = scale.x(at)
        if scale.frame.left + edge <= x <= scale.frame.width - scale.frame.right - edge:
            ticks.append(Tick(x, at.astimezone(site_timezone).strftime("%H:%M")))
        at += step
    return ticks


def _power_ticks(scale: _Scale) -> list[Tick]:
    rough = scale.top_w / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    return [Tick(scale.y(step * count), _watts(step * count)) for count in range(int(scale.top_w / step) + 1)]


def _watts(power_w: float) -> str:
    return f"{power_w / 1000:g} kW" if power_w >= 1000 else f"{power_w:g} W"  # noqa: PLR2004 - watts of a kilowatt

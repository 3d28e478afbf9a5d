"""Small pictures of devices, computed here and written as SVG by the templates: no script, no inline style."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.devices.boxes.details import ClockDay
from app.devices.boxes.power import PowerBin
from app.devices.boxes.watching import CLOCK_S_MAX
from telemetry.states import Calibration

WIDTH, HEIGHT, BOTTOM, LEFT = 720, 200, 24, 8
BAR_GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar with where it stands; `label` is what it says to whoever asks."""

    x: float
    y: float
    width: float
    height: float
    label: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An upright line with a word beside it; `end` puts the word to its left."""

    x: float
    label: str
    tone: str = ""
    end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the templates draw."""

    bars: tuple[Bar, ...]
    lines: tuple[Line, ...] = ()
    ticks: tuple[Line, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    base: float = HEIGHT - BOTTOM


def clock_picture(days: Sequence[ClockDay]) -> Picture | None:
    """Draw how far the clock was off by day; bars reach up for behind and ahead alike, and their labels say which."""
    known = [(each, abs(each.offset_s)) for each in days if each.offset_s is not None]
    if not known:
        return None
    highest = max(CLOCK_S_MAX, *(size for _, size in known))
    step = (WIDTH - 2 * LEFT) / len(known)
    room = HEIGHT - BOTTOM - LEFT
    bars = [
        Bar(
            x=LEFT + place * step,
            y=HEIGHT - BOTTOM - max(size / highest * room, 1),
            width=max(min(step - BAR_GAP, 40), 1),
            height=max(size / highest * room, 1),
            label=f"{each.day}: {each.offset_s:+,.1f} s",
            tone="bad" if size > CLOCK_S_MAX else "good",
        )
        for place, (each, size) in enumerate(known)
    ]
    first, last = known[0][0], known[-1][0]
    ticks = [Line(x=LEFT, label=str(first.day))]
    if last is not first:
        ticks.append(Line(x=WIDTH - LEFT, label=str(last.day), end=True))
    return Picture(bars=tuple(bars), ticks=tuple(ticks))


def histogram_picture(bins: Sequence[PowerBin], *, present: Calibration | None, proposed_w: float | None) -> Picture:
    """Draw how long which power was drawn, both on logarithmic scales, with the thresholds that hold and that may."""
    most = math.log1p(max(each.lasted_s for each in bins) or 1)
    step = (WIDTH - 2 * LEFT) / len(bins)
    room = HEIGHT - BOTTOM - LEFT
    first, decades = math.log10(bins[0].from_w), math.log10(bins[-1].until_w / bins[0].from_w)

    def place(power_w: float) -> float:
        return LEFT + (math.log10(power_w) - first) / decades * (WIDTH - 2 * LEFT)

    bars = tuple(
        Bar(
            x=LEFT + number * step,
            y=HEIGHT - BOTTOM - math.log1p(each.lasted_s) / most * room,
            width=max(step - BAR_GAP, 1),
            height=math.log1p(each.lasted_s) / most * room,
            label=f"{each.from_w:,.1f}–{each.until_w:,.1f} W: {each.lasted_s / 3600:,.2f} h",
        )
        for number, each in enumerate(bins)
        if each.lasted_s
    )
    thresholds = [(present.run_threshold_w, "present")] if present is not None else []
    thresholds += [(proposed_w, "proposed")] if proposed_w is not None else []
    lines = tuple(
        Line(x=place(power_w), label=f"{power_w:,.1f} W", tone=tone, end=place(power_w) > WIDTH / 2)
        for power_w, tone in thresholds
        if bins[0].from_w <= power_w < bins[-1].until_w
    )
    powers = [10.0**exponent for exponent in range(math.ceil(first), math.floor(first + decades) + 1)]
    ticks = tuple(Line(x=place(power_w), label=f"{power_w:g} W", end=place(power_w) > WIDTH - 60) for power_w in powers)
    return Picture(bars=bars, lines=lines, ticks=ticks)

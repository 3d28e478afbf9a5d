"""Machine-hours of channels over any period: switched on, running, effective, unknown; from sessions and power spans.

Moments are cut to whole seconds before they are summed, so the hours of parts of a time add up to those of the whole.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from telemetry.models import CollectorSession, PowerSpan
from telemetry.pieces import Measure, Piece, Pieces, intersect, joined, subtract, union
from telemetry.spans import IDLE, ON
from telemetry.times import EPOCH

# A use that begins this long after a period may have warmed up within it.
REACH = timedelta(days=1)
ONE_SECOND = timedelta(seconds=1)

Channel = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much warm-up before a use and after-treatment behind it counts as effective, at most a day each."""

    warm_up_s: int = 900
    after_treatment_s: int = 900


class Seat(NamedTuple):
    """A channel of a box, and from when to when it stood where hours are asked for."""

    box: str
    channel: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Something whose hours are asked for: the channels that stood there, and what is allowed it."""

    seats: Sequence[Seat]
    allowance: Allowance = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Seconds of a period: total + off + idle + unknown = the whole, and running ≤ effective ≤ total.

    `total_s`: switched on (总机时); of it `running_s` in uses, and `effective_s` with warm-up and after-treatment up to
    the allowance (有效机时). `idle_s`: it did not run, and nobody can tell whether it was on. `unknown_s`: no box
    told. `unseen_s` is the part of `running_s` that a short silence hid. `uses` began within. `provisional`: a use
    may still change by what its box has not told yet.
    """

    total_s: int = 0
    running_s: int = 0
    effective_s: int = 0
    off_s: int = 0
    idle_s: int = 0
    unknown_s: int = 0
    unseen_s: int = 0
    uses: int = 0
    provisional: bool = False

    @property
    def period_s(self) -> int:
        """The whole period."""
        return self.total_s + self.off_s + self.idle_s + self.unknown_s

    def plus(self, other: "Hours") -> "Hours":
        """Add the hours of another instrument, or of the time that follows."""
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        return Hours(**{**sums, "provisional": self.provisional or other.provisional})


def hours_of(session: Session, *, places: Mapping[int, Place], bounds: Sequence[datetime]) -> dict[int, list[Hours]]:
    """Give the hours of places, by their ids, for each time between two neighbours of `bounds`.

    Where several channels stand at once it was on if one says so, and unknown only where none says anything. Two
    queries, whatever the number of places. Raises ValueError unless the bounds rise, by a second at least.
    """
    moments_s = [_to_s(bound) for bound in bounds]
    if len(bounds) <= 1 or any(after <= before for before, after in pairwise(moments_s)):
        raise ValueError("the bounds do not rise by a second at least")
    boxes = sorted({seat.box for place in places.values() for seat in place.seats})
    spans = _spans(session, boxes=boxes, since=bounds[0] - REACH, until=bounds[-1] + REACH)
    uses = _uses(session, boxes=boxes, since=bounds[0] - REACH, until=bounds[-1] + REACH)
    return {
        key: _together(
            [_told(seat, spans[seat[:2]], uses[seat[:2]], allowance=place.allowance) for seat in place.seats],
            moments_s,
        )
        for key, place in places.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a box told of one channel while it stood there."""

    seen: Pieces  # on, off or idle by measurement
    on: Pieces  # seen on, or in a use
    idle: Pieces
    running: Pieces
    effective: Pieces
    provisional: Pieces
    begins: list[int]


class _Used(NamedTuple):
    start_s: int
    end_s: int
    is_final: bool


def _spans(
    session: Session, *, boxes: list[str], since: datetime, until: datetime
) -> dict[Channel, list[tuple[str, Piece]]]:
    found: dict[Channel, list[tuple[str, Piece]]] = defaultdict(list)
    rows = session.execute(
        select(PowerSpan.box, PowerSpan.channel, PowerSpan.power, PowerSpan.started_at, PowerSpan.ended_at)
        .where(PowerSpan.box.in_(boxes), PowerSpan.ended_at > since, PowerSpan.started_at < until)
        .order_by(PowerSpan.started_at)
    )
    for box, channel, power, started_at, ended_at in rows:
        found[box, channel].append((power, (_to_s(started_at), _to_s(ended_at))))
    return found


def _uses(session: Session, *, boxes: list[str], since: datetime, until: datetime) -> dict[Channel, list[_Used]]:
    found: dict[Channel, list[_Used]] = defaultdict(list)
    table = CollectorSession
    rows = session.execute(
        select(table.box, table.channel, table.first_run_at, table.last_run_at, table.final)
        .where(
            table.box.in_(boxes),
            table.superseded_at.is_(None),
            table.last_run_at > since,
            table.first_run_at < until,
        )
        .order_by(table.first_run_at)
    )
    for box, channel, first_run_at, last_run_at, is_final in rows:
        found[box, channel].append(_Used(_to_s(first_run_at), _to_s(last_run_at), is_final))
    return found


def _told(seat: Seat, spans: Iterable[tuple[str, Piece]], uses: Sequence[_Used], *, allowance: Allowance) -> _Told:
    by_power: dict[str, Pieces] = defaultdict(list)
    for power, piece in spans:
        by_power[power].append(piece)
    stood = [(_to_s(seat.since), _to_s(seat.until))]
    running = intersect(union((use.start_s, use.end_s) for use in uses), stood)
    on = intersect(union([*by_power[ON], *running]), stood)
    padded = union((start - allowance.warm_up_s, end + allowance.after_treatment_s) for start, end in running)
    return _Told(
        seen=intersect(union(piece for pieces in by_power.values() for piece in pieces), stood),
        on=on,
        idle=intersect(union(by_power[IDLE]), stood),
        running=running,
        # What does not hang together with a use was another switching on.
        effective=joined(intersect(padded, on), running),
        provisional=intersect(union((use.start_s, use.end_s) for use in uses if not use.is_final), stood),
        begins=[use.start_s for use in uses if stood[0][0] <= use.start_s < stood[0][1]],
    )


def _together(told: Sequence[_Told], moments_s: Sequence[int]) -> list[Hours]:
    """Lay what several channels told over each other, and measure between neighbouring moments."""
    seen = union(piece for each in told for piece in each.seen)
    on = union(piece for each in told for piece in each.on)
    idle = union(piece for each in told for piece in each.idle)
    running = union(piece for each in told for piece in each.running)
    measures = {
        "total_s": Measure(on),
        "running_s": Measure(running),
        "effective_s": Measure(piece for each in told for piece in each.effective),
        "idle_s": Measure(subtract(idle, on)),
        "unseen_s": Measure(subtract(running, seen)),
    }
    known, provisional = Measure([*seen, *on]), Measure(piece for each in told for piece in each.provisional)
    begins = sorted(begin for each in told for begin in each.begins)
    found: list[Hours] = []
    for start_s, end_s in pairwise(moments_s):
        sums = {name: measure.between(start_s, end_s) for name, measure in measures.items()}
        known_s = known.between(start_s, end_s)
        found.append(
            Hours(
                **sums,
                off_s=known_s - sums["total_s"] - sums["idle_s"],
                unknown_s=end_s - start_s - known_s,
                uses=bisect_left(begins, end_s) - bisect_left(begins, start_s),
                provisional=provisional.between(start_s, end_s) > 0,
            )
        )
    return found


def _to_s(moment: datetime) -> int:
    return (moment - EPOCH) // ONE_SECOND

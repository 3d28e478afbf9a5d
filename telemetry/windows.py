"""Which stretch of time must be computed anew when a part of it changed.

Nothing can join what lies on the two sides of a rest (`telemetry.states.rests`), so a change is computed from the
last rest before it to the first rest after it, with the same outcome as if all of history had been computed.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from telemetry.models import DirtyRange, Message
from telemetry.readings import MESSAGE_SPAN_MAX, readings
from telemetry.sessions import rest_s
from telemetry.states import MEMORY_MS, Calibration, Dated, Reading, rests, settings_of, stretches
from telemetry.times import to_ms

REACH = timedelta(hours=2)  # how far to look for a rest at first; doubled until one is found
PIECE = timedelta(days=1)  # longer ranges are computed in pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A changed stretch of one channel."""

    box: str
    channel: int
    from_at: datetime
    until_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The readings from rest to rest, and the moments between which the sessions that begin there follow from them."""

    readings: list[Reading]
    cut_from_ms: int | None  # None: from the first reading on
    cut_until_ms: int | None  # None: up to the newest


def take_pieces(session: Session, *, box: str, limit: int) -> list[Piece]:
    """Eat the dirty ranges of a box, merged and cut to pieces; what is above the limit is put back."""
    rows = session.execute(
        delete(DirtyRange)
        .where(DirtyRange.box == box)
        .returning(DirtyRange.channel, DirtyRange.from_at, DirtyRange.until_at)
    )
    dirty: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for channel, from_at, until_at in rows:
        dirty[channel].append((from_at, until_at))
    pieces: list[Piece] = []
    for channel, ranges in sorted(dirty.items()):
        extent = _extent(session, box=box, channel=channel)
        if extent is not None:
            first_at, last_at = extent
            within = [(max(from_at, first_at), min(until_at, last_at)) for from_at, until_at in ranges]
            pieces += _cut(_merged(within), box=box, channel=channel)
    _put_back(session, pieces[limit:])
    return pieces[:limit]


def window(session: Session, piece: Piece, *, dated: list[Dated]) -> Window:
    """Read as much around a piece as decides every session that it can touch."""
    extent = _extent(session, box=piece.box, channel=piece.channel)
    if extent is None:
        return Window(readings=[], cut_from_ms=None, cut_until_ms=None)
    settings = settings_of(dated) or [Calibration(run_threshold_w=1.0)]
    rest_ms = max(rest_s(calibration) for calibration in settings) * 1000
    gap_s = max(calibration.gap_s for calibration in settings)
    before = after = REACH
    while True:
        start, end = max(piece.from_at - before, extent[0]), min(piece.until_at + after, extent[1])
        found = readings(session, box=piece.box, channel=piece.channel, start=start, end=end)
        head = [reading for reading in found if reading.end_ms <= to_ms(piece.from_at)]
        tail = [reading for reading in found if reading.start_ms >= to_ms(piece.until_at)]
        cut_from = _rest(head, dated=dated, gap_s=gap_s, rest_ms=rest_ms, last=True)
        cut_until = _rest(tail, dated=dated, gap_s=gap_s, rest_ms=rest_ms, last=False)
        is_open_before = cut_from is None and start > extent[0]
        is_open_after = cut_until is None and end < extent[1]
        if not is_open_before and not is_open_after:
            return within(found, cut_from=cut_from, cut_until=cut_until)
        before = before * 2 if is_open_before else before
        after = after * 2 if is_open_after else after


def _rest(found: list[Reading], *, dated: list[Dated], gap_s: int, rest_ms: int, last: bool) -> tuple[int, int] | None:
    """Give the last or first rest that is long enough to part what is on its two sides."""
    long_enough = [
        (certain_ms, end_ms)
        for certain_ms, end_ms in rests(stretches(found, calibrations=dated), gap_s=gap_s)
        if end_ms - certain_ms >= rest_ms
    ]
    return long_enough[-1 if last else 0] if long_enough else None


def within(found: list[Reading], *, cut_from: tuple[int, int] | None, cut_until: tuple[int, int] | None) -> Window:
    """Keep the readings from one rest (certain from, end) to another; None where there is none.

    As much before a rest stays as makes its states certain, and the first reading after it: a rest may be a silence,
    which is seen only from both sides.
    """
    low_ms = found[0].start_ms if found else 0
    if cut_from is not None:
        low_ms = max((each.start_ms for each in found if each.start_ms <= cut_from[0] - MEMORY_MS), default=low_ms)
    return Window(
        readings=[
            reading
            for reading in found
            if reading.start_ms >= low_ms and (cut_until is None or reading.start_ms <= cut_until[1])
        ],
        cut_from_ms=None if cut_from is None else cut_from[0],
        cut_until_ms=None if cut_until is None else cut_until[0],
    )


def _extent(session: Session, *, box: str, channel: int) -> tuple[datetime, datetime] | None:
    """Give bounds of the time in which the channel has messages; both are found by the index."""
    starts = select(func.min(Message.started_at), func.max(Message.started_at)).where(
        Message.box == box, Message.channel == channel
    )
    first, last = cast("tuple[datetime | None, datetime | None]", session.execute(starts).one())
    return None if first is None or last is None else (first, last + MESSAGE_SPAN_MAX)


def _merged(ranges: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for from_at, until_at in sorted(ranges):
        if merged and from_at <= merged[-1][1] + REACH:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until_at))
        elif from_at <= until_at:
            merged.append((from_at, until_at))
    return merged


def _cut(ranges: list[tuple[datetime, datetime]], *, box: str, channel: int) -> list[Piece]:
    pieces: list[Piece] = []
    for from_at, until_at in ranges:
        start = from_at
        while until_at - start > PIECE:
            pieces.append(Piece(box=box, channel=channel, from_at=start, until_at=start + PIECE))
            start += PIECE
        pieces.append(Piece(box=box, channel=channel, from_at=start, until_at=until_at))
    return pieces


def _put_back(session: Session, pieces: list[Piece]) -> None:
    if pieces:
        session.execute(
            insert(DirtyRange),
            [
                {"box": piece.box, "channel": piece.channel, "from_at": piece.from_at, "until_at": piece.until_at}
                for piece in pieces
            ],
        )

"""Gathers what is known of one instrument in a stretch of time: charges, box runs, silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

import telemetry.queries
from app.devices.models import BoxPlacement
from app.reconciliation.cases import Case, Charge, Run
from app.reconciliation.known import Known
from app.reconciliation.silence import FAR_FUTURE_S, settled_through
from app.reconciliation.spans import Span, Spans, clip, subtract, union
from app.reconciliation.times import from_s, to_s
from app.sessions.models import CardSession, SessionStatus
from telemetry.models import CollectorSession

# What ended longer ago is decided with what there is: a box that never comes back must not keep a charge waiting.
GIVE_UP_AFTER = timedelta(days=3)
# A stretch grows until nothing in it reaches out of it: first by what is seen, then by what such a look ahead finds.
GROWTH_ROUNDS = 3
LOOK_AHEAD_S, LOOK_AHEAD_S_MAX = 86_400, 64 * 86_400
IN_USE = (SessionStatus.ACTIVE, SessionStatus.STALE)
CHARGED = (SessionStatus.CAPTURED, SessionStatus.AUTO_ENDED)
ONE_SECOND = timedelta(seconds=1)
# A box that has been silent for longer than this is not silent by any rule.
SILENCE_S_MAX = 31 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A case, the rows it was made of, and the stretch it covers."""

    instrument_id: int
    case: Case
    hull: Span
    sessions: dict[str, CardSession]
    collected: dict[int, CollectorSession]
    boxes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A box's channel and when it stands at this instrument."""

    box: str
    channel: int
    since_s: int
    until_s: int

    def within(self, span: Span) -> Span:
        """Give the part of a stretch in which the box stands here."""
        return Span(max(self.since_s, span.start_s), min(self.until_s, span.end_s))


def gather(
    session: Session, *, instrument_id: int, stretch: Span, zone: ZoneInfo, at: datetime, known: Known | None = None
) -> Gathered:
    """Collect all that can touch the charges and runs of a stretch; it grows until no component is cut.

    `zone` is the site's, by whose weeks silence rules go; `known` is what the batch has read of the instrument already.
    """
    known = known or Known(session, instrument_id)
    hull = stretch
    for rounds in count():
        placed = _placements(session, instrument_id=instrument_id, span=hull)
        # What the boxes promise is read before what they told: else a promise might cover what was not read.
        settled_s = _settled_s(known, placed)
        sessions = _sessions(session, instrument_id=instrument_id, span=hull)
        charges = tuple(_charge(row, at=at) for row in sessions)
        runs = [pair for place in placed for pair in _runs(session, place, hull=hull)]
        grown = _hull(hull, charges, [run for run, _ in runs])
        if grown == hull:
            break
        # It ends, for every round takes in more of what there is; hand-overs without a break may go on for weeks.
        hull = grown if rounds < GROWTH_ROUNDS else _chained(session, grown, instrument_id=instrument_id, rounds=rounds)
    # From where the boxes fell silent, for that silence may be a normal one.
    since_s = min(hull.start_s, max(settled_s, hull.start_s - SILENCE_S_MAX))
    within = Span(since_s, max(hull.end_s, to_s(at)))
    rules = known.rules(within=within, zone=zone)
    return Gathered(
        instrument_id=instrument_id,
        case=Case(
            charges=charges,
            runs=tuple(run for run, _ in runs),
            unknown=_unknown(session, placed, hull=hull, known=known),
            settled_s=settled_through(settled_s, rules, now_s=to_s(at)),
            rules=rules,
            given_up_s=to_s(at - GIVE_UP_AFTER),
        ),
        hull=hull,
        sessions={str(row.id): row for row in sessions},
        collected={row.id: row for _, row in runs},
        boxes=tuple(sorted({(place.box, place.channel) for place in placed})),
    )


def _chained(session: Session, hull: Span, *, instrument_id: int, rounds: int) -> Span:
    """Give the stretch with all that hangs together with it, one by one, as far as one look goes."""
    reach_s = min(LOOK_AHEAD_S * 2 ** min(rounds - GROWTH_ROUNDS, 10), LOOK_AHEAD_S_MAX)
    charges, runs = spans_within(
        session, instrument_id=instrument_id, span=Span(hull.start_s - reach_s, hull.end_s + reach_s)
    )
    for span in sorted([*charges, *runs]):
        if span.start_s < hull.end_s:
            hull = Span(hull.start_s, max(hull.end_s, span.end_s)) if span.end_s > hull.start_s else hull
    for span in sorted([*charges, *runs], key=lambda span: -span.end_s):
        if span.end_s > hull.start_s:
            hull = Span(min(hull.start_s, span.start_s), hull.end_s) if span.start_s < hull.end_s else hull
    return hull


def spans_within(session: Session, *, instrument_id: int, span: Span) -> tuple[list[Span], list[Span]]:
    """Give the charges that have ended and the runs of an instrument that reach into a stretch, as bare spans."""
    charges = [
        span_
        for row in _sessions(session, instrument_id=instrument_id, span=span)
        if row.status in CHARGED and row.started_at is not None and row.ended_at is not None
        for span_ in (Span(to_s(row.started_at), to_s(row.ended_at)),)
    ]
    placed = _placements(session, instrument_id=instrument_id, span=span)
    runs = [Span(run.start_s, run.end_s) for place in placed for run, _ in _runs(session, place, hull=span)]
    return charges, runs


def span_of(row: CardSession) -> Span:
    """Give the stretch of a charge, at least one second long so that it holds its own moment."""
    started_at, ended_at = row.started_at or row.authorized_at, row.ended_at or row.latest_end_at
    return Span(to_s(started_at), max(to_s(ended_at), to_s(started_at) + 1))


def _sessions(session: Session, *, instrument_id: int, span: Span) -> list[CardSession]:
    begins_before = CardSession.started_at < from_s(span.end_s)
    # A charge of no length still has its moment.
    ends_after = func.greatest(CardSession.ended_at, CardSession.started_at + ONE_SECOND) > from_s(span.start_s)
    ended = CardSession.status.in_(CHARGED) & ends_after
    return list(
        session.scalars(
            select(CardSession)
            .where(
                CardSession.instrument_id == instrument_id,
                begins_before,
                or_(ended, CardSession.status.in_(IN_USE)),
            )
            .order_by(CardSession.started_at, CardSession.id)
            # Rows that were read before the instrument's lock was taken may be old.
            .execution_options(populate_existing=True)
        )
    )


def _charge(row: CardSession, *, at: datetime) -> Charge:
    if row.started_at is None:
        raise AssertionError("a session that has not started is no charge")
    start_s = to_s(row.started_at)
    if row.status in IN_USE or row.ended_at is None:
        return Charge(id=str(row.id), start_s=start_s, end_s=max(to_s(at), start_s + 1), open=True)
    return Charge(id=str(row.id), start_s=start_s, end_s=to_s(row.ended_at))


def _placements(session: Session, *, instrument_id: int, span: Span) -> list[_Placed]:
    start_at, end_at = from_s(span.start_s), from_s(span.end_s)
    rows = session.scalars(
        select(BoxPlacement)
        .where(
            BoxPlacement.instrument_id == instrument_id,
            BoxPlacement.valid_from < end_at,
            or_(BoxPlacement.valid_to.is_(None), BoxPlacement.valid_to > start_at),
        )
        .order_by(BoxPlacement.id)
    )
    return [
        _Placed(
            row.box, row.channel, to_s(row.valid_from), FAR_FUTURE_S if row.valid_to is None else to_s(row.valid_to)
        )
        for row in rows
    ]


def _runs(session: Session, place: _Placed, *, hull: Span) -> list[tuple[Run, CollectorSession]]:
    """Give the runs a box saw while it stood at this instrument; what it saw elsewhere is cut off."""
    here = place.within(hull)
    rows = telemetry.queries.sessions_between(
        session, box=place.box, channel=place.channel, start=from_s(here.start_s), end=from_s(here.end_s)
    )
    found = [(_run(row, place), row) for row in rows]
    return [(run, row) for run, row in found if run.start_s < run.end_s]


def _run(row: CollectorSession, place: _Placed) -> Run:
    end_s = min(to_s(row.last_run_at), place.until_s)
    return Run(
        id=row.id,
        version=row.version,
        power_on_s=max(to_s(row.power_on_at), place.since_s),
        start_s=max(to_s(row.first_run_at), place.since_s),
        end_s=end_s,
        power_off_s=None if row.power_off_at is None else max(end_s, min(to_s(row.power_off_at), place.until_s)),
        running_s=row.running_s,
        quality=row.quality,
        final=row.final,
    )


def _hull(hull: Span, charges: Sequence[Charge], runs: Sequence[Run]) -> Span:
    nodes: list[Charge | Run] = [*charges, *runs]
    return Span(
        min([hull.start_s, *(node.start_s for node in nodes)]), max([hull.end_s, *(node.end_s for node in nodes)])
    )


def _unknown(session: Session, placed: Sequence[_Placed], *, hull: Span, known: Known) -> Spans:
    """Give when no box of the instrument said anything that can be judged."""
    return subtract([hull], union(span for place in placed for span in _seen(session, place, hull=hull, known=known)))


def _seen(session: Session, place: _Placed, *, hull: Span, known: Known) -> Spans:
    here = place.within(hull)
    judged = clip(known.calibrated(place.box, place.channel), to=here)
    if not judged:
        return ()
    gaps = telemetry.queries.coverage(
        session, box=place.box, channel=place.channel, start=from_s(here.start_s), end=from_s(here.end_s)
    ).gaps
    return subtract(judged, union(Span(to_s(since), to_s(until)) for since, until in gaps))


def _settled_s(known: Known, placed: Sequence[_Placed]) -> int:
    """Give the moment up to which every box of the stretch has told everything, and it was made into sessions.

    Without a box there is nothing to wait for, nor from a box that told all until it was moved away.
    """
    settled_s = FAR_FUTURE_S
    for place in placed:
        told_s = known.promised_s(place.box, place.channel, since_s=place.since_s)
        if told_s < place.until_s:
            settled_s = min(settled_s, told_s)
    return settled_s

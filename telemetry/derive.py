"""Brings collector sessions and live states up to date with the messages.

It may be killed and run again at any moment, by any number of workers. What it leaves is a function of the stored
messages alone: not of the order in which they came, nor of when this ran.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from telemetry.boxes import calibrations
from telemetry.clocks import retime
from telemetry.models import ChannelState, CollectorSession, DeriveTrouble, PowerSpan
from telemetry.queries import watermark
from telemetry.sessions import Use, rest_s, uses
from telemetry.spans import Span, power_spans, replaced
from telemetry.states import Dated, Stretch, settings_of, stretches
from telemetry.times import from_ms, to_ms
from telemetry.windows import Piece, Window, take_pieces, window

PIECES_MAX = 100  # in one transaction; the others stay dirty
RETRY_AFTER, RETRY_AFTER_MAX = timedelta(seconds=10), timedelta(minutes=15)
ERROR_LENGTH_MAX = 500
# The transaction is lost, not this box's work: connection, transaction rollback, resources, an operator.
LOST_TRANSACTION = ("08", "25", "40", "53", "57", "58")
FOR_EVER_MS = 2**62

log = structlog.get_logger(__name__)

_CLAIM = text("""
SELECT box FROM (
    SELECT box FROM telemetry.dirty_range d
    WHERE NOT EXISTS (SELECT FROM telemetry.derive_trouble t WHERE t.box = d.box AND t.retry_at > :now)
    GROUP BY box ORDER BY min(id) LIMIT :limit
) AS dirty
WHERE pg_try_advisory_xact_lock(hashtextextended('telemetry.derive:' || box, 0))""")
# Held until the commit, so that change numbers become visible in their order.
_LOCK_NUMBERS = text("SELECT pg_advisory_xact_lock(hashtextextended('telemetry.session_change', 0))")
_NUMBER = text("SELECT nextval('telemetry.session_change')")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a piece changes in the sessions, before anything is written."""

    piece: Piece
    updated: list[tuple[CollectorSession, Use]]
    gone: list[CollectorSession]
    added: list[Use]
    start_ms: int  # between these two, everything follows from the window
    end_ms: int
    spans: list[Span]


def derive(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Compute what is dirty of at most `limit` boxes; gives how many pieces were computed, 0 when all is up to date.

    A box that cannot be computed stops no other: it keeps its dirty ranges and is tried again, less and less often.
    `telemetry.queries.troubles` tells of it.
    """
    boxes = list(session.scalars(_CLAIM, {"limit": limit, "now": now}))
    done = 0
    for box in boxes:
        if done >= PIECES_MAX:
            break
        try:
            with session.begin_nested():
                done += _derive_box(session, box, now=now, pieces_max=PIECES_MAX - done)
        except Exception as error:
            # Whatever one box's readings bring about must not keep the others of a region from being computed.
            if isinstance(error, DBAPIError) and _is_transaction_lost(error):
                raise
            log.exception("box_not_derived", box=box)
            _note_trouble(session, box, error, now=now)
        else:
            session.execute(delete(DeriveTrouble).where(DeriveTrouble.box == box))
    session.flush()
    return done


def _derive_box(session: Session, box: str, *, now: datetime, pieces_max: int) -> int:
    retime(session, boxes=[box])
    # Read before the dirty ranges are taken: all that this watermark promises is then among what is computed.
    complete_until = watermark(session, box=box)
    pieces = take_pieces(session, box=box, limit=pieces_max)
    for piece in pieces:
        plan = _plan(session, piece)
        _write_spans(session, plan)
        if plan.updated or plan.gone or plan.added:
            _lock_numbers(session)
            _write(session, plan, now=now)
    if complete_until is not None:
        _finalise(session, box=box, complete_until=complete_until, now=now)
    session.flush()
    return len(pieces)


def _is_transaction_lost(error: DBAPIError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or sqlstate is None or sqlstate[:2] in LOST_TRANSACTION


def _note_trouble(session: Session, box: str, error: Exception, *, now: datetime) -> None:
    row = session.get(DeriveTrouble, box, populate_existing=True)
    if row is None:
        row = DeriveTrouble(box=box, attempts=0, since=now)
        session.add(row)
    row.attempts += 1
    row.retry_at = now + min(RETRY_AFTER * 2 ** min(row.attempts - 1, 10), RETRY_AFTER_MAX)
    what = getattr(error.orig, "sqlstate", "") if isinstance(error, DBAPIError) else str(error)
    row.error = f"{type(error).__name__}: {what}"[:ERROR_LENGTH_MAX]
    session.flush()


def _plan(session: Session, piece: Piece) -> _Plan:
    dated = calibrations(session, code=piece.box, channel=piece.channel)
    view = window(session, piece, dated=dated)
    parts = stretches(view.readings, calibrations=dated)
    if view.cut_until_ms is None and parts:
        _set_state(session, piece, parts[-1], power_w=view.readings[-1].powers_w[-1])
    wanted = {use.first_run_ms: use for use in _uses_within(view, parts, dated)}
    updated: list[tuple[CollectorSession, Use]] = []
    gone: list[CollectorSession] = []
    for row in _current(session, piece, view):
        use = wanted.pop(to_ms(row.first_run_at), None)
        if use is None:
            gone.append(row)
        elif not _is_same(row, use):
            if row.final:
                gone.append(row)
                wanted[use.first_run_ms] = use
            else:
                updated.append((row, use))
    return _Plan(
        piece=piece,
        updated=updated,
        gone=gone,
        added=[wanted[at_ms] for at_ms in sorted(wanted)],
        start_ms=-FOR_EVER_MS if view.cut_from_ms is None else view.cut_from_ms,
        end_ms=FOR_EVER_MS if view.cut_until_ms is None else view.cut_until_ms,
        spans=power_spans(parts, calibrations=dated),
    )


def _uses_within(view: Window, parts: list[Stretch], dated: list[Dated]) -> list[Use]:
    return [
        use
        for use in uses(parts, calibrations=dated)
        if (view.cut_from_ms is None or use.first_run_ms >= view.cut_from_ms)
        and (view.cut_until_ms is None or use.first_run_ms < view.cut_until_ms)
    ]


def _current(session: Session, piece: Piece, view: Window) -> list[CollectorSession]:
    query = select(CollectorSession).where(
        CollectorSession.box == piece.box,
        CollectorSession.channel == piece.channel,
        CollectorSession.superseded_at.is_(None),
    )
    if view.cut_from_ms is not None:
        query = query.where(CollectorSession.first_run_at >= from_ms(view.cut_from_ms))
    if view.cut_until_ms is not None:
        query = query.where(CollectorSession.first_run_at < from_ms(view.cut_until_ms))
    return list(session.scalars(query.order_by(CollectorSession.first_run_at)))


def _columns(use: Use) -> dict[str, Any]:
    """Give the columns that follow from the messages; the others tell the history of the row."""
    return {
        "power_on_at": from_ms(use.power_on_ms),
        "first_run_at": from_ms(use.first_run_ms),
        "last_run_at": from_ms(use.last_run_ms),
        "power_off_at": None if use.power_off_ms is None else from_ms(use.power_off_ms),
        "running_s": use.running_s,
        "unknown_s": use.unknown_s,
        "energy_wh": use.energy_wh,
        "power_w_max": use.power_w_max,
        "quality": use.quality.value,
        "calibration_version": use.calibration_version,
    }


def _is_same(row: CollectorSession, use: Use) -> bool:
    return all(getattr(row, name) == value for name, value in _columns(use).items())


def _write_spans(session: Session, plan: _Plan) -> None:
    """Exchange the power spans of the window for what follows from it now; most often only the newest grows."""
    box, channel = plan.piece.box, plan.piece.channel
    query = select(PowerSpan.started_at, PowerSpan.ended_at, PowerSpan.power).where(
        PowerSpan.box == box, PowerSpan.channel == channel
    )
    if plan.start_ms > -FOR_EVER_MS:
        query = query.where(PowerSpan.ended_at >= from_ms(plan.start_ms))
    if plan.end_ms < FOR_EVER_MS:
        query = query.where(PowerSpan.started_at <= from_ms(plan.end_ms))
    before = {Span(to_ms(started_at), to_ms(ended_at), power) for started_at, ended_at, power in session.execute(query)}
    after = set(replaced(sorted(before), plan.spans, start_ms=plan.start_ms, end_ms=plan.end_ms))
    if gone := [from_ms(span.start_ms) for span in before - after]:
        session.execute(
            delete(PowerSpan).where(PowerSpan.box == box, PowerSpan.channel == channel, PowerSpan.started_at.in_(gone))
        )
    if fresh := sorted(after - before):
        session.execute(
            insert(PowerSpan),
            [
                {
                    "box": box,
                    "channel": channel,
                    "started_at": from_ms(span.start_ms),
                    "ended_at": from_ms(span.end_ms),
                    "power": span.power,
                }
                for span in fresh
            ],
        )


def _write(session: Session, plan: _Plan, *, now: datetime) -> None:
    for row, use in plan.updated:
        for name, value in _columns(use).items():
            setattr(row, name, value)
        row.version += 1
        _number(session, row, now=now)
    for row in plan.gone:
        row.superseded_at = now
        _number(session, row, now=now)
    # The old rows must be out of the unique index before the new ones come in.
    session.flush()
    for use in plan.added:
        before = _replaced(plan.gone, use)
        row = CollectorSession(
            box=plan.piece.box,
            channel=plan.piece.channel,
            **_columns(use),
            final=False,
            version=1 if before is None else before.version + 1,
            supersedes_id=None if before is None else before.id,
            superseded_at=None,
        )
        _number(session, row, now=now)
        session.add(row)
    session.flush()


def _replaced(gone: list[CollectorSession], use: Use) -> CollectorSession | None:
    """Give the row whose place a new session takes: the first that it overlaps."""
    start, end = from_ms(use.first_run_ms), from_ms(use.last_run_ms)
    return next((row for row in gone if row.first_run_at < end and row.last_run_at > start), None)


def _finalise(session: Session, *, box: str, complete_until: datetime, now: datetime) -> None:
    """Make final what nothing can change any more, for the box has told all until well after its end."""
    rows = session.scalars(
        select(CollectorSession)
        .where(
            CollectorSession.box == box,
            ~CollectorSession.final,
            CollectorSession.superseded_at.is_(None),
            CollectorSession.last_run_at < complete_until,
        )
        .order_by(CollectorSession.channel, CollectorSession.first_run_at)
    ).all()
    for row in rows:
        dated = calibrations(session, code=box, channel=row.channel)
        quiet = timedelta(seconds=max(rest_s(each) for each in settings_of(dated)))
        if row.last_run_at + quiet <= complete_until:
            _lock_numbers(session)
            row.final = True
            _number(session, row, now=now)


def _lock_numbers(session: Session) -> None:
    session.execute(_LOCK_NUMBERS)


def _number(session: Session, row: CollectorSession, *, now: datetime) -> None:
    with session.no_autoflush:
        row.change = session.execute(_NUMBER).scalar_one()
    row.changed_at = now


def _set_state(session: Session, piece: Piece, newest: Stretch, *, power_w: float) -> None:
    """Keep the newest state; it begins where the state before it ended, however far the window reached."""
    row = session.get(ChannelState, (piece.box, piece.channel))
    since, ended_at = from_ms(newest.start_ms), from_ms(newest.end_ms)
    if row is None:
        row = ChannelState(box=piece.box, channel=piece.channel, since=since)
        session.add(row)
    elif row.state != newest.state.value or row.last_live_at < since:
        row.since = since
    row.state, row.power_w, row.last_live_at = newest.state.value, power_w, ended_at

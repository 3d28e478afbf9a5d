"""A full re-run (全量对账): a range decided anew from all that is known, in pieces that can be killed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import Database, is_passing
from app.devices.models import BoxPlacement
from app.instruments.models import Instrument
from app.reconciliation.deciding import Decided, decide_stretch, lock_instrument
from app.reconciliation.recording import Change
from app.reconciliation.spans import Span
from app.reconciliation.times import from_s, to_s
from app.sessions.models import CardSession

# A piece is one transaction; whatever reaches out of it is decided whole with it.
PIECE = timedelta(days=7)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Report:
    """What a re-run has done so far: pieces, charges and runs that were looked at, and what changed."""

    pieces_total: int
    pieces: int = 0
    charges: int = 0
    runs: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
    failures: list["Failure"] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many verdicts are new or other ones."""
        return sum(self.changes.values())

    def fail(self, failure: "Failure") -> None:
        """Count a piece that could not be decided."""
        self.pieces += 1
        self.failures.append(failure)

    def add(self, decided: Decided) -> None:
        """Count one piece."""
        self.pieces += 1
        self.charges += decided.charges
        self.runs += decided.runs
        self.changes.update(decided.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A piece that could not be decided and was left as it was; the log says why."""

    code: str
    since: datetime
    until: datetime
    error: str


class _DryRun(Exception):  # noqa: N818 - not an error: it takes back what a dry run has written
    def __init__(self, decided: Decided) -> None:
        super().__init__()
        self.decided = decided


def instruments_with_use(
    session: Session, *, since: datetime, until: datetime, codes: Sequence[str] = ()
) -> list[tuple[int, str]]:
    """Give id and code of the instruments that had a charge or a box in a time, in order of ids."""
    charged = select(CardSession.instrument_id).where(CardSession.started_at >= since, CardSession.started_at < until)
    boxed = select(BoxPlacement.instrument_id).where(
        BoxPlacement.valid_from < until, or_(BoxPlacement.valid_to.is_(None), BoxPlacement.valid_to > since)
    )
    query = select(Instrument.id, Instrument.code).where(or_(Instrument.id.in_(charged), Instrument.id.in_(boxed)))
    if codes:
        query = query.where(Instrument.code.in_(codes))
    return [(row[0], row[1]) for row in session.execute(query.order_by(Instrument.id))]


def rerun_all(
    database: Database,
    *,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    now: Callable[[], datetime],
    codes: Sequence[str] = (),
    dry_run: bool = False,
    progress: Callable[[Report, str], None] = lambda _report, _code: None,
) -> Report:
    """Decide everything between two moments anew; what is unchanged stays as it is, so twice is once.

    One transaction a piece, so it may be killed and run again, beside workers and people at work. A piece that fails is
    left as it was, logged and named in the report. A dry run writes nothing. Raises ValueError if `until` is not after
    `since`, and the database's error if it is away.
    """
    if until <= since:
        raise ValueError("the end is not after the beginning")
    with database.reader() as session:
        instruments = instruments_with_use(session, since=since, until=until, codes=codes)
    pieces = list(_pieces(since, until))
    report = Report(pieces_total=len(pieces) * len(instruments))
    for instrument_id, code in instruments:
        for piece in pieces:
            work = partial(_decide, instrument_id=instrument_id, piece=piece, zone=zone, at=now(), dry_run=dry_run)
            decided = _attempt(database, work, code=code, piece=piece)
            if isinstance(decided, Failure):
                report.fail(decided)
            else:
                report.add(decided)
            progress(report, code)
    return report


def _attempt(database: Database, work: Callable[[Session], Decided], *, code: str, piece: Span) -> Decided | Failure:
    since, until = from_s(piece.start_s), from_s(piece.end_s)
    try:
        return _run(database, work)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_passing(error):
            raise
        # One piece that fails must not keep a year from being decided anew.
        log.exception("piece_not_decided", instrument=code, since=since.isoformat())
        return Failure(code=code, since=since, until=until, error=type(error).__name__)


def _run(database: Database, work: Callable[[Session], Decided]) -> Decided:
    try:
        return database.run(work)
    except _DryRun as dry:
        return dry.decided


def _decide(
    session: Session, *, instrument_id: int, piece: Span, zone: ZoneInfo, at: datetime, dry_run: bool
) -> Decided:
    lock_instrument(session, instrument_id)
    decided = decide_stretch(session, instrument_id=instrument_id, stretch=piece, zone=zone, at=at)
    if dry_run:
        raise _DryRun(decided)
    return decided


def _pieces(since: datetime, until: datetime) -> Iterator[Span]:
    begins_s, until_s = to_s(since), to_s(until)
    while begins_s < until_s:
        ends_s = min(to_s(from_s(begins_s) + PIECE), until_s)
        yield Span(begins_s, ends_s)
        begins_s = ends_s

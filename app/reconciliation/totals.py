"""Control totals: charged and run seconds of every instrument on every day of the site, kept and checked.

    charge = overlap + charge-only        box = overlap + box-only

Each side is added up on its own way, charges from charges and runs from runs; a wall of the table refuses what does not
come to the same.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session, joinedload

from app.people.principals import Principal
from app.reconciliation import evidence
from app.reconciliation.cases import ControlTotals
from app.reconciliation.models import ControlTotal
from app.reconciliation.spans import Span, clip, intersect, seconds, union
from app.reconciliation.times import from_s, to_s
from app.reconciliation.visibility import managed_by

ONE_DAY = timedelta(days=1)
PAGE_SIZE_MAX = 400
SUMS = ("charge_s", "box_s", "overlap_s", "charge_only_s", "box_only_s")
_KEEP = text("""
INSERT INTO app.control_total AS c
    (instrument_id, day, computed_at, charge_s, box_s, overlap_s, charge_only_s, box_only_s)
SELECT :instrument_id, day, :at, charge_s, box_s, overlap_s, charge_only_s, box_only_s
FROM jsonb_to_recordset(cast(:lines AS jsonb)) AS said (
    day date, is_own boolean, charge_s bigint, box_s bigint, overlap_s bigint, charge_only_s bigint, box_only_s bigint)
WHERE is_own OR EXISTS (
    SELECT FROM app.control_total k WHERE k.instrument_id = :instrument_id AND k.day = said.day)
ON CONFLICT (instrument_id, day) DO UPDATE SET
    computed_at = excluded.computed_at, charge_s = excluded.charge_s, box_s = excluded.box_s,
    overlap_s = excluded.overlap_s, charge_only_s = excluded.charge_only_s, box_only_s = excluded.box_only_s
WHERE (c.charge_s, c.box_s, c.overlap_s, c.charge_only_s, c.box_only_s) IS DISTINCT FROM
      (excluded.charge_s, excluded.box_s, excluded.overlap_s, excluded.charge_only_s, excluded.box_only_s)
RETURNING day""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """One page of control totals, newest day first, and the sums of all that were asked for."""

    lines: tuple[ControlTotal, ...]
    count: int
    sums: ControlTotals
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether older ones follow."""
        return self.page * self.page_size < self.count


def day_totals(charges: Sequence[Span], runs: Sequence[Span], *, day: Span) -> ControlTotals:
    """Add up one day. A second that two cards or two boxes claim counts for each of them, but is overlapped once.

    Raises AssertionError if the day does not add up: then the program is wrong.
    """
    charged, ran = clip(union(charges), to=day), clip(union(runs), to=day)
    charge_s = sum(_within(span, day) for span in charges)
    box_s = sum(_within(span, day) for span in runs)
    overlap_s = seconds(intersect(charged, ran))
    if overlap_s > min(charge_s, box_s):
        raise AssertionError("more overlaps than there is")
    return ControlTotals(
        charge_s=charge_s,
        box_s=box_s,
        overlap_s=overlap_s,
        charge_only_s=charge_s - overlap_s,
        box_only_s=box_s - overlap_s,
    )


def keep(session: Session, *, instrument_id: int, hull: Span, zone: ZoneInfo, at: datetime) -> None:
    """Bring the totals of all days that a stretch touches up to date; equal ones stay untouched.

    So do the days beside it that have a line, as long as they change: a use may have reached over midnight before.
    """
    days = days_of(hull, zone=zone)
    first, last = days[0][0], days[-1][0]
    before, after = first - ONE_DAY, last + ONE_DAY
    changed = _keep(session, first=before, last=after, own=(first, last), instrument_id=instrument_id, zone=zone, at=at)
    while before in changed:
        before -= ONE_DAY
        changed |= _keep(session, first=before, last=before, own=None, instrument_id=instrument_id, zone=zone, at=at)
    while after in changed:
        after += ONE_DAY
        changed |= _keep(session, first=after, last=after, own=None, instrument_id=instrument_id, zone=zone, at=at)


def _keep(
    session: Session,
    *,
    first: date,
    last: date,
    own: tuple[date, date] | None,
    instrument_id: int,
    zone: ZoneInfo,
    at: datetime,
) -> set[date]:
    """Write the lines of some days; those outside of `own` only where there is one. Gives the days that changed."""
    whole = Span(_midnight_s(first, zone), _midnight_s(last + ONE_DAY, zone))
    charges, runs = evidence.spans_within(session, instrument_id=instrument_id, span=whole)
    lines = [
        {
            "day": day.isoformat(),
            "is_own": own is not None and own[0] <= day <= own[1],
            **asdict(day_totals(charges, runs, day=span)),
        }
        for day, span in days_of(whole, zone=zone)
    ]
    values = {"lines": json.dumps(lines), "instrument_id": instrument_id, "at": at}
    return set(session.scalars(_KEEP, values))


def days_of(span: Span, *, zone: ZoneInfo) -> list[tuple[date, Span]]:
    """Give the days of the site that a stretch touches, each from midnight to midnight."""
    day = from_s(span.start_s).astimezone(zone).date()
    last = from_s(max(span.start_s, span.end_s - 1)).astimezone(zone).date()
    found = []
    while day <= last:
        found.append((day, Span(_midnight_s(day, zone), _midnight_s(day + ONE_DAY, zone))))
        day += ONE_DAY
    return found


def list_totals(
    session: Session,
    *,
    reader: Principal,
    since: date,
    until: date,
    instrument_id: int | None = None,
    page: int = 1,
    page_size: int = 100,
) -> Totals:
    """Give the totals of the days [since, until] of the instruments a person manages."""
    wanted = _wanted(reader, since=since, until=until, instrument_id=instrument_id)
    size = min(page_size, PAGE_SIZE_MAX)
    lines = session.scalars(_in_order(wanted).limit(size).offset((page - 1) * size))
    sums = [func.coalesce(func.sum(getattr(ControlTotal, name)), 0) for name in SUMS]
    whole = session.execute(wanted.with_only_columns(func.count(), *sums)).one()
    return Totals(
        lines=tuple(lines),
        count=int(whole[0]),
        sums=ControlTotals(**{name: int(value) for name, value in zip(SUMS, whole[1:], strict=True)}),
        page=page,
        page_size=size,
    )


def all_lines(
    session: Session, *, reader: Principal, since: date, until: date, instrument_id: int | None = None
) -> Iterator[ControlTotal]:
    """Give every line of the same one by one, for a file."""
    wanted = _in_order(_wanted(reader, since=since, until=until, instrument_id=instrument_id))
    yield from session.scalars(wanted.execution_options(yield_per=PAGE_SIZE_MAX))


def _wanted(reader: Principal, *, since: date, until: date, instrument_id: int | None) -> Select[ControlTotal]:
    wanted = select(ControlTotal).where(
        ControlTotal.day >= since,
        ControlTotal.day <= until,
        managed_by(reader, instrument_id=ControlTotal.instrument_id),
    )
    return wanted if instrument_id is None else wanted.where(ControlTotal.instrument_id == instrument_id)


def _in_order(wanted: Select[ControlTotal]) -> Select[ControlTotal]:
    return wanted.options(joinedload(ControlTotal.instrument)).order_by(
        ControlTotal.day.desc(), ControlTotal.instrument_id
    )


def _within(span: Span, day: Span) -> int:
    return max(0, min(span.end_s, day.end_s) - max(span.start_s, day.start_s))


def _midnight_s(day: date, zone: ZoneInfo) -> int:
    return to_s(datetime.combine(day, time(), tzinfo=zone))

"""Silence rules (静默规则) as they fall into a stretch of time: what is normal at one instrument."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import reduce
from zoneinfo import ZoneInfo

from app.reconciliation.cases import Rule
from app.reconciliation.models import RuleKind, SilenceRule
from app.reconciliation.spans import Span, Spans, clip, union
from app.reconciliation.times import from_s, to_s

WEEK_DAYS = 7
DAY_MINUTES = 1440
ONE_DAY = timedelta(days=1)
FAR_FUTURE_S = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """Certain days (0 is Monday) and minutes of the day; a window that does not end after it begins ends next day."""

    days: frozenset[int]
    from_minute: int
    until_minute: int

    @classmethod
    def of_bits(cls, bits: int, *, from_minute: int, until_minute: int) -> "Week":
        """Read the days as the table keeps them: bit 0 is Monday."""
        days = frozenset(day for day in range(WEEK_DAYS) if bits >> day & 1)
        return cls(days=days, from_minute=from_minute, until_minute=until_minute)

    @property
    def bits(self) -> int:
        """The days as the table keeps them."""
        return sum(1 << day for day in self.days)


def rules_within(rows: Iterable[SilenceRule], *, within: Span, zone: ZoneInfo) -> tuple[Rule, ...]:
    """Give rules of an instrument, in order of their ids, as they fall into a stretch of time."""
    found = [
        Rule(id=row.id, kind=row.kind, spans=spans_of(row, within=within, zone=zone), run_s_max=row.run_s_max)
        for row in rows
    ]
    return tuple(rule for rule in found if rule.spans)


def spans_of(rule: SilenceRule, *, within: Span, zone: ZoneInfo) -> Spans:
    """Give when a rule holds in a stretch of time, in whole seconds."""
    until_s = FAR_FUTURE_S if rule.valid_to is None else to_s(rule.valid_to)
    holds = Span(max(to_s(rule.valid_from), within.start_s), min(until_s, within.end_s))
    if holds.start_s >= holds.end_s:
        return ()
    if rule.weekdays is None or rule.from_minute is None or rule.until_minute is None:
        return (holds,)
    week = Week.of_bits(rule.weekdays, from_minute=rule.from_minute, until_minute=rule.until_minute)
    return clip(union(_windows(week, within=holds, zone=zone)), to=holds)


def settled_through(settled_s: int, rules: Sequence[Rule], *, now_s: int) -> int:
    """Give up to when a box need not be waited for: over its normal silence, but never into what is to come."""
    quiet = union(span for rule in rules if rule.kind is RuleKind.QUIET for span in rule.spans)
    return reduce(
        lambda reached_s, span: max(reached_s, min(span.end_s, now_s)) if span.start_s <= reached_s else reached_s,
        quiet,
        settled_s,
    )


def _windows(week: Week, *, within: Span, zone: ZoneInfo) -> Iterator[Span]:
    # One day earlier: a window over midnight belongs to the day on which it begins.
    day = from_s(within.start_s).astimezone(zone).date() - ONE_DAY
    last = from_s(within.end_s).astimezone(zone).date()
    length_minutes = (week.until_minute - week.from_minute) % DAY_MINUTES or DAY_MINUTES
    while day <= last:
        if day.weekday() in week.days:
            begins = datetime.combine(day, time(), tzinfo=zone) + timedelta(minutes=week.from_minute)
            # Adding to a local moment counts on the wall's clock, which is what people mean by 22:00 to 06:00.
            yield Span(to_s(begins), to_s(begins + timedelta(minutes=length_minutes)))
        day += ONE_DAY

"""Which days somebody looks at: a month, or any days, of the site's calendar."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from app.errors import Code, Refusal
from app.fields import YEAR_MAX, YEAR_MIN
from app.periods import Month

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The days from `first` to `last`, both included; as moments, `since` is included and `until` is not.

    `month` is the month they are, None for other days.
    """

    first: date
    last: date
    since: datetime
    until: datetime
    month: Month | None

    def __str__(self) -> str:
        return str(self.month) if self.month is not None else f"{self.first} – {self.last}"

    @property
    def query(self) -> dict[str, str]:
        """Give the values that ask for these days in an address."""
        if self.month is not None:
            return {"month": str(self.month)}
        return {"since": self.first.isoformat(), "until": self.last.isoformat()}

    @property
    def stem(self) -> str:
        """Give the days as a part of a file's name."""
        return str(self.month) if self.month is not None else f"{self.first}_{self.last}"


def month_span(month: Month, *, zone: ZoneInfo) -> Span:
    """Give the days of a month."""
    since, until = month.since(zone), month.until(zone)
    return Span(first=since.date(), last=until.date() - ONE_DAY, since=since, until=until, month=month)


def days_span(first: date, last: date, *, zone: ZoneInfo) -> Span:
    """Give the days from one to another. Raises Refusal TIMES_REVERSED."""
    if last < first:
        raise Refusal(Code.TIMES_REVERSED)
    since, until = _midnight(first, zone), _midnight(last + ONE_DAY, zone)
    month = Month(first.year, first.month)
    whole = month_span(month, zone=zone)
    if (whole.since, whole.until) == (since, until):
        return whole
    return Span(first=first, last=last, since=since, until=until, month=None)


def read_span(values: Mapping[str, str], *, zone: ZoneInfo, at: datetime) -> Span:
    """Read `month` (2026-10), or `since` and `until` (2026-10-01, both days included); the present month without them.

    Raises Refusal VALIDATION_FAILED and TIMES_REVERSED.
    """
    asked = values.get("month", "")
    since, until = values.get("since", ""), values.get("until", "")
    if asked or not (since or until):
        month = Month.parse(asked) if asked else Month.of(at, zone=zone)
        if month is None:
            raise Refusal(Code.VALIDATION_FAILED, fields={"month": ["YYYY-MM"]})
        return month_span(month, zone=zone)
    last = read_day("until", until) if until else at.astimezone(zone).date()
    first = read_day("since", since) if since else last.replace(day=1)
    return days_span(first, last, zone=zone)


def read_day(name: str, text: str) -> date:
    """Read 2026-10-01. Raises Refusal VALIDATION_FAILED that names the field."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["YYYY-MM-DD"]}) from error
    if not YEAR_MIN <= day.year < YEAR_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"{YEAR_MIN}–{YEAR_MAX}"]})
    return day


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)

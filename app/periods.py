"""Months of the site's calendar, as people name them in addresses and read them on statements."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_FORM = re.compile(r"(\d{4})-(\d{2})")
FIRST_YEAR, LAST_YEAR = 2000, 2999
MONTHS = 12


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One month; it begins and ends at midnight of the site's zone."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @classmethod
    def of(cls, at: datetime, *, zone: ZoneInfo) -> "Month":
        """Give the month in which a moment lies at the site."""
        here = at.astimezone(zone)
        return cls(here.year, here.month)

    @classmethod
    def parse(cls, text: str) -> "Month | None":
        """Read 2026-11; anything else is None."""
        found = _FORM.fullmatch(text) if text.isascii() else None
        if found is None:
            return None
        year, month = int(found[1]), int(found[2])
        return cls(year, month) if FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= MONTHS else None

    @property
    def previous(self) -> "Month":
        """The month before."""
        return Month(self.year - 1, MONTHS) if self.month == 1 else Month(self.year, self.month - 1)

    @property
    def next(self) -> "Month":
        """The month after."""
        return Month(self.year + 1, 1) if self.month == MONTHS else Month(self.year, self.month + 1)

    def since(self, zone: ZoneInfo) -> datetime:
        """Give the first moment of the month."""
        return datetime(self.year, self.month, 1, tzinfo=zone)

    def until(self, zone: ZoneInfo) -> datetime:
        """Give the first moment after the month."""
        return self.next.since(zone)


def day_began(at: datetime, *, zone: ZoneInfo) -> datetime:
    """Give the midnight that began the day of a moment at the site."""
    return at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)


def bounds(since: datetime, until: datetime, *, by: str, zone: ZoneInfo) -> list[datetime]:
    """Give the moments that part a time: its ends, and the site's midnights between them that begin a month or a day.

    `by` is month, day or whole; whole parts nothing.
    """
    found = [since]
    while by != "whole":
        here = found[-1].astimezone(zone)
        following = (
            here.date() + timedelta(days=1) if by == "day" else Month(here.year, here.month).next.since(zone).date()
        )
        begins = datetime(following.year, following.month, following.day, tzinfo=zone)
        if begins >= until:
            break
        found.append(begins)
    return [*found, until]

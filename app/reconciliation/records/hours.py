"""Machine-hours of verified use by instrument over any time: charged, effective (有效机时) and external (对外服务机时).

They come from usage records alone. A use that reaches over an end of the time counts with its part, in proportion and
without a rest: the hours of neighbouring times always add up to those of the whole (docs/adr/0652).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, func, select
from sqlalchemy.orm import Session

from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord
from app.reconciliation.visibility import instruments_managed_by


class Hours(NamedTuple):
    """Seconds of verified use; external ones are effective time for others than the instrument's own unit."""

    uses: int = 0
    charged_s: int = 0
    effective_s: int = 0
    external_s: int = 0
    external_uses: int = 0

    def plus(self, other: "Hours") -> "Hours":
        """Add two parts."""
        return Hours(*(mine + its for mine, its in zip(self, other, strict=True)))


def machine_hours(
    session: Session, *, since: datetime, until: datetime, instrument_ids: Sequence[int] | None = None
) -> dict[int, Hours]:
    """Give the hours of verified use in [since, until) by instrument; of those without any, nothing.

    A use that lies in two times counts in both as one of the uses, and with its part of the seconds in each.
    """
    charged = _part(UsageRecord.charged_s, since=since, until=until)
    effective = _part(UsageRecord.effective_s, since=since, until=until)
    query = (
        select(
            UsageRecord.instrument_id,
            func.count(),
            func.sum(charged),
            func.sum(effective),
            func.coalesce(func.sum(effective).filter(UsageRecord.external), 0),
            func.count().filter(UsageRecord.external),
        )
        .where(UsageRecord.superseded_at.is_(None), UsageRecord.started_at < until, UsageRecord.ended_at > since)
        .group_by(UsageRecord.instrument_id)
    )
    if instrument_ids is not None:
        query = query.where(UsageRecord.instrument_id.in_(instrument_ids))
    return {row[0]: Hours(*(int(value) for value in row[1:])) for row in session.execute(query)}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentHours:
    """One instrument's hours in a time."""

    instrument_id: int
    instrument_code: str
    hours: Hours


def hours_of_managed(
    session: Session, *, reader: Principal, since: datetime, until: datetime, instrument_id: int | None = None
) -> list[InstrumentHours]:
    """Give the hours of instruments the reader manages, by code. Raises Refusal FORBIDDEN for who manages none."""
    if not (reader.sees_everything or reader.sub_center_ids or reader.group_ids):
        raise Refusal(Code.FORBIDDEN)
    wanted = select(Instrument.id, Instrument.code).where(instruments_managed_by(reader)).order_by(Instrument.code)
    if instrument_id is not None:
        wanted = wanted.where(Instrument.id == instrument_id)
    codes = dict(session.execute(wanted).all())
    found = machine_hours(session, since=since, until=until, instrument_ids=list(codes))
    return [
        InstrumentHours(instrument_id=id_, instrument_code=code, hours=found[id_])
        for id_, code in codes.items()
        if id_ in found
    ]


def part_s(whole_s: int, *, charged_s: int, from_s: int, to_s: int) -> int:
    """Give the part of `whole_s` that falls to [from_s, to_s) of a use that is `charged_s` long.

    Both ends count from its start and are cut to it. Parts that adjoin add up to the part of both together.
    """
    if charged_s == 0:
        return 0
    ends = (min(max(end, 0), charged_s) for end in (from_s, to_s))
    before, after = (whole_s * end // charged_s for end in ends)
    return after - before


def _part(whole: Any, *, since: datetime, until: datetime) -> ColumnElement[int]:
    """Write `part_s` in SQL."""
    length = func.nullif(UsageRecord.charged_s, 0)
    before, after = (
        whole * func.least(func.greatest(_seconds(end) - _seconds(UsageRecord.started_at), 0), length) / length
        for end in (since, until)
    )
    return func.coalesce(_whole(after) - _whole(before), 0)


def _seconds(moment: Any) -> ColumnElement[int]:
    return cast(func.floor(func.extract("epoch", moment)), BigInteger)


def _whole(value: Any) -> ColumnElement[int]:
    return cast(func.floor(value), BigInteger)

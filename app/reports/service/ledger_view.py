"""The sub-center's ledger view: income, what is owed, hours and subsidy as a tree down to the instrument."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

import ledger
from app.books import Book, BookRole
from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, SubCenter, Unit
from app.people.principals import Principal
from app.reconciliation.adjusting import net_fen
from app.reconciliation.models import UsageRecord
from app.reconciliation.records.hours import machine_hours
from app.reports.service.places import instruments_with_homes, managed_by
from app.reports.service.postings import Posting, find
from app.sessions.models import CardSession, SessionStatus
from app.subsidies.models import Decision, DecisionStatus
from ledger.models import Transfer

CHARGED = (SessionStatus.CAPTURED, SessionStatus.AUTO_ENDED)


class Figures(NamedTuple):
    """What a part of the tree did in a time; they add up from the leaves.

    Charges, with their money, their verification and their subsidy, count where they ended; effective (有效机时) and
    external hours (对外服务机时) are those of verified use within the time.
    """

    charges: int = 0
    income_fen: int = 0
    charged_s: int = 0
    verified_s: int = 0
    verified_charges: int = 0
    subsidy_fen: int = 0
    effective_s: int = 0
    external_s: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """Add two parts."""
        return Figures(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A line of the tree; level is sub_center, unit, group or instrument.

    `owed_fen` is what the center owes at this moment, known for units and what stands above them, None below.
    """

    level: str
    id: int | None
    name_zh: str
    name_en: str
    figures: Figures
    owed_fen: int | None
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """The tree of all units a person may see, over [since, until)."""

    since: datetime
    until: datetime
    sub_centers: tuple[Node, ...]

    @property
    def total(self) -> Figures:
        """Everything together."""
        return _sum(self.sub_centers)

    @property
    def owed_fen(self) -> int:
        """What is owed to all these units now."""
        return sum(node.owed_fen or 0 for node in self.sub_centers)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAccount:
    """A unit's account at the center: what is owed to it now, and a page of the transfers behind it, newest first."""

    unit: Unit
    owed_fen: int
    postings: tuple[Posting, ...]
    has_more: bool


def ledger_view(session: Session, *, reader: Principal, since: datetime, until: datetime) -> LedgerView:
    """Give the tree of a person's sub-centers, of all for the center's people. Raises Refusal FORBIDDEN for others."""
    if not (reader.sees_everything or reader.sub_center_ids):
        raise Refusal(Code.FORBIDDEN)
    instruments = session.scalars(
        instruments_with_homes().where(managed_by(reader)).order_by(Unit.code, InstrumentGroup.id, Instrument.code)
    ).all()
    figures = _figures(session, [instrument.id for instrument in instruments], since=since, until=until)
    units = list(dict.fromkeys(instrument.group.unit for instrument in instruments))
    owed = _owed(session, [unit.id for unit in units])
    sub_centers: dict[SubCenter | None, list[Node]] = {}
    for unit in units:
        own = [instrument for instrument in instruments if instrument.group.unit_id == unit.id]
        node = _unit_node(unit, own, figures=figures, owed_fen=owed[unit.id])
        sub_centers.setdefault(unit.sub_center, []).append(node)
    order = sorted(sub_centers, key=lambda each: (each is None, each.code if each else ""))
    return LedgerView(
        since=since, until=until, sub_centers=tuple(_sub_center_node(each, sub_centers[each]) for each in order)
    )


def unit_account(
    session: Session, *, unit_id: int, reader: Principal, page: int = 1, page_size: int = 100
) -> UnitAccount:
    """Give a unit's account at the center. Raises Refusal NOT_FOUND, also for the units of other sub-centers."""
    unit = session.get(Unit, unit_id)
    if unit is None or not (reader.sees_everything or unit.sub_center_id in reader.sub_center_ids):
        raise Refusal(Code.NOT_FOUND)
    book = Book(BookRole.UNIT_PAYABLE, unit.id).id
    touching = or_(Transfer.debit_account_id == book, Transfer.credit_account_id == book)
    moved = touching & (Transfer.flags.bitwise_and(int(ledger.MOVES_NOTHING)) == 0)
    # One more than a page says whether another follows; counting them all would grow with the years.
    found = find(session, moved, newest_first=True, limit=page_size + 1, skip=(page - 1) * page_size)
    return UnitAccount(
        unit=unit,
        owed_fen=_owed(session, [unit.id])[unit.id],
        postings=tuple(found[:page_size]),
        has_more=len(found) > page_size,
    )


def _figures(session: Session, ids: list[int], *, since: datetime, until: datetime) -> dict[int, Figures]:
    """Give what each instrument did; a charge, its verification and its subsidy count where the charge ended."""
    rows = session.execute(
        select(
            CardSession.instrument_id,
            func.count(),
            func.coalesce(func.sum(net_fen()), 0),
            func.coalesce(func.sum(func.coalesce(UsageRecord.charged_s, CardSession.duration_s)), 0),
            func.coalesce(func.sum(UsageRecord.charged_s), 0),
            func.count(UsageRecord.id),
            func.coalesce(func.sum(Decision.amount_fen), 0),
        )
        .outerjoin(UsageRecord, (UsageRecord.session_id == CardSession.id) & UsageRecord.superseded_at.is_(None))
        .outerjoin(Decision, (Decision.usage_record_id == UsageRecord.id) & (Decision.status == DecisionStatus.GRANTED))
        .where(
            CardSession.instrument_id.in_(ids),
            CardSession.status.in_(CHARGED),
            CardSession.ended_at >= since,
            CardSession.ended_at < until,
        )
        .group_by(CardSession.instrument_id)
    )
    found = {row[0]: Figures(*(int(value or 0) for value in row[1:])) for row in rows}
    for instrument_id, hours in machine_hours(session, since=since, until=until, instrument_ids=ids).items():
        sums = found.get(instrument_id, Figures())
        found[instrument_id] = sums._replace(effective_s=hours.effective_s, external_s=hours.external_s)
    return found


def _owed(session: Session, unit_ids: list[int]) -> dict[int, int]:
    found = ledger.balances(session, [Book(BookRole.UNIT_PAYABLE, each).id for each in unit_ids])
    return {
        each: sums.credit_balance_fen if (sums := found.get(Book(BookRole.UNIT_PAYABLE, each).id)) else 0
        for each in unit_ids
    }


def _sub_center_node(sub_center: SubCenter | None, units: list[Node]) -> Node:
    return Node(
        level="sub_center",
        id=sub_center.id if sub_center else None,
        name_zh=sub_center.name_zh if sub_center else "中心直属单位",
        name_en=sub_center.name_en if sub_center else "Units under the center itself",
        figures=_sum(units),
        owed_fen=sum(unit.owed_fen or 0 for unit in units),
        children=tuple(units),
    )


def _unit_node(unit: Unit, instruments: Iterable[Instrument], *, figures: dict[int, Figures], owed_fen: int) -> Node:
    groups: dict[InstrumentGroup, list[Node]] = {}
    for instrument in instruments:
        groups.setdefault(instrument.group, []).append(
            _node("instrument", instrument, figures.get(instrument.id, Figures()), ())
        )
    children = tuple(_node("group", group, _sum(leaves), tuple(leaves)) for group, leaves in groups.items())
    return Node(
        level="unit",
        id=unit.id,
        name_zh=unit.name_zh,
        name_en=unit.name_en,
        figures=_sum(children),
        owed_fen=owed_fen,
        children=children,
    )


def _node(level: str, thing: Instrument | InstrumentGroup, figures: Figures, children: tuple[Node, ...]) -> Node:
    return Node(
        level=level,
        id=thing.id,
        name_zh=thing.name_zh,
        name_en=thing.name_en,
        figures=figures,
        owed_fen=None,
        children=children,
    )


def _sum(nodes: Iterable[Node]) -> Figures:
    total = Figures()
    for node in nodes:
        total = total.plus(node.figures)
    return total

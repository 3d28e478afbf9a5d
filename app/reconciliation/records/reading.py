"""What people and outside systems read of usage records: pages, versions, the feed of changes; within their walls."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, true, tuple_
from sqlalchemy.orm import Session, joinedload

import ledger
from app.cards.models import CardAccount
from app.errors import Code, Refusal
from app.instruments.models import CustomerClass
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord
from app.reconciliation.records.document import KIND, document_of
from app.reconciliation.visibility import managed_by, owned_by
from app.sessions.models import CardSession

PAGE_SIZE_MAX = 500
ROWS_AT_ONCE = 500


class Place(NamedTuple):
    """Where a page of the list ended: the next one begins behind it."""

    ended_at: datetime
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records: what is None narrows nothing. A use counts in the time [since, until) in which it ended."""

    since: datetime | None = None
    until: datetime | None = None
    instrument_id: int | None = None
    group_id: int | None = None
    unit_id: int | None = None
    sub_center_id: int | None = None
    account_id: int | None = None
    organisation_id: int | None = None
    customer_class: CustomerClass | None = None
    external: bool | None = None
    by_person: bool | None = None
    """True: only those that a person's word verified; False: only those that box and card alone did."""
    verified: bool = True
    """False: versions that hold no longer, superseded or withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """One page, newest use first; `next` is None on the last one."""

    records: tuple[UsageRecord, ...]
    next: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What all the wanted records come to, not only a page of them."""

    records: int
    charged_s: int
    effective_s: int
    external_s: int
    amount_fen: int
    paid_principal_fen: int
    paid_subsidy_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A page of the feed in the order of the books, and where to read on. `complete`: nothing more for now."""

    records: tuple[UsageRecord, ...]
    next: ledger.DocumentPlace
    complete: bool


def list_records(
    session: Session, *, reader: Principal, wanted: Wanted, after: Place | None = None, limit: int = 50
) -> RecordPage:
    """Give a page of the records of the reader's own accounts and of instruments she manages."""
    return _page(session, _visible(reader), wanted=wanted, after=after, limit=limit)


def _page(
    session: Session, visible: ColumnElement[bool], *, wanted: Wanted, after: Place | None, limit: int
) -> RecordPage:
    size = min(limit, PAGE_SIZE_MAX)
    query = _wanted(visible, wanted)
    if after is not None:
        query = query.where(tuple_(UsageRecord.ended_at, UsageRecord.id) < after)
    found = list(session.scalars(_in_order(query).options(*_LOADED).limit(size + 1)))
    last = found[size - 1] if len(found) > size else None
    return RecordPage(records=tuple(found[:size]), next=None if last is None else Place(last.ended_at, last.id))


def all_records(session: Session, *, reader: Principal, wanted: Wanted) -> Iterator[UsageRecord]:
    """Give all of them one by one, for a file: page after page, each by its place."""
    return _all(session, _visible(reader), wanted)


def every_record(session: Session, *, wanted: Wanted) -> Iterator[UsageRecord]:
    """Give all of them whoever they concern: for the person at the machine."""
    return _all(session, true(), wanted)


def every_version(session: Session, session_id: UUID) -> list[UsageRecord]:
    """Give every version of one use's record, oldest first, whoever it concerns: for the person at the machine."""
    wanted = select(UsageRecord).where(UsageRecord.session_id == session_id).order_by(UsageRecord.version)
    return list(session.scalars(wanted))


def _all(session: Session, visible: ColumnElement[bool], wanted: Wanted) -> Iterator[UsageRecord]:
    after: Place | None = None
    while True:
        page = _page(session, visible, wanted=wanted, after=after, limit=ROWS_AT_ONCE)
        yield from page.records
        if page.next is None:
            return
        after = page.next


def totals(session: Session, *, reader: Principal, wanted: Wanted) -> Totals:
    """Add up the wanted records."""
    rows = _wanted(_visible(reader), wanted).subquery()
    effective_s = rows.c.effective_s
    sums = (
        func.sum(rows.c.charged_s),
        func.sum(effective_s),
        func.sum(effective_s).filter(rows.c.external),
        func.sum(rows.c.amount_fen),
        func.sum(rows.c.paid_principal_fen),
        func.sum(rows.c.paid_subsidy_fen),
    )
    found = session.execute(select(func.count(), *(func.coalesce(each, 0) for each in sums)).select_from(rows)).one()
    return Totals(**dict(zip(Totals.__dataclass_fields__, (int(value) for value in found), strict=True)))


def versions_of(session: Session, *, session_id: UUID, reader: Principal) -> list[UsageRecord]:
    """Give every version of one use's record, oldest first. Raises Refusal NOT_FOUND."""
    found = list(
        session.scalars(
            select(UsageRecord)
            .where(UsageRecord.session_id == session_id, _visible(reader))
            .options(*_LOADED)
            .order_by(UsageRecord.version)
        )
    )
    if not found:
        raise Refusal(Code.NOT_FOUND)
    return found


def changes(
    session: Session, *, reader: Principal, after: ledger.DocumentPlace | None = None, limit: int = 500
) -> Changes:
    """Give versions that were written since a place, withdrawals too, for programs that keep a copy.

    From closed ranges of the books only, so whoever keeps `next` misses nothing. Of versions behind others' walls the
    place goes on and the record is left out, so a page may be shorter than what was asked for, even empty.
    """
    place = after or ledger.DocumentPlace(0, UUID(int=0))
    size = min(limit, PAGE_SIZE_MAX)
    documents = ledger.documents_after(session, kind=KIND, after=place, limit=size)
    order = {document.id: number for number, document in enumerate(documents)}
    rows = session.scalars(
        select(UsageRecord).where(UsageRecord.document_id.in_(list(order)), _visible(reader)).options(*_LOADED)
    )
    return Changes(
        records=tuple(sorted(rows, key=lambda row: order[row.document_id])),
        next=documents[-1].place if documents else place,
        complete=len(documents) < size,
    )


def proof_of(session: Session, record: UsageRecord) -> "RecordProof":
    """Give the proof that the books hold the record's hash, with its text. Raises ledger.NotSealedError."""
    return {**ledger.prove(session, record.document_id), "document": document_of(record)}


class RecordProof(ledger.Proof):
    """A proof with the document whose hash it proves: docs/check_proof.py makes the hash of it anew."""

    document: dict[str, object]


_ACCOUNT = joinedload(UsageRecord.session).joinedload(CardSession.account)
_LOADED = (
    joinedload(UsageRecord.instrument),
    _ACCOUNT.joinedload(CardAccount.organisation),
    _ACCOUNT.joinedload(CardAccount.person),
)


def _visible(reader: Principal) -> ColumnElement[bool]:
    return or_(
        owned_by(reader, account_id=UsageRecord.account_id), managed_by(reader, instrument_id=UsageRecord.instrument_id)
    )


def _wanted(visible: ColumnElement[bool], wanted: Wanted) -> Select[UsageRecord]:
    holds = UsageRecord.superseded_at.is_(None) if wanted.verified else UsageRecord.superseded_at.is_not(None)
    query = select(UsageRecord).where(visible, holds)
    for name in ("instrument_id", "group_id", "unit_id", "sub_center_id", "account_id", "customer_class", "external"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(getattr(UsageRecord, name) == value)
    if wanted.since is not None:
        query = query.where(UsageRecord.ended_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(UsageRecord.ended_at < wanted.until)
    if wanted.organisation_id is not None:
        own = select(CardAccount.id).where(CardAccount.organisation_id == wanted.organisation_id)
        query = query.where(UsageRecord.account_id.in_(own))
    if wanted.by_person is not None:
        by_person = UsageRecord.verified_by.is_not(None)
        query = query.where(by_person if wanted.by_person else ~by_person)
    return query


def _in_order(query: Select[UsageRecord]) -> Select[UsageRecord]:
    return query.order_by(UsageRecord.ended_at.desc(), UsageRecord.id.desc())

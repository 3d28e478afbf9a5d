"""Transfers and accounts found by what they are: TigerBeetle's four queries, page by page, in both directions.

An account's transfers are read through its own two indexes. A query over the whole ledger goes through time in windows,
each four times as long as the one before, until the page is full: the index over time is one that costs a posting
nothing (it knows ranges of pages, not rows), so it can find a window and cannot give an order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.accounts import ACCOUNT_COLUMNS, account_of
from ledger.checks import END_OF_TIME, ONE_TICK
from ledger.posting import TRANSFER_COLUMNS, execute
from ledger.values import ID_MAX, ID_ZERO, Account, Balances, Transfer

T = TypeVar("T")

PAGE_MAX = 1_000
BEGINNING_OF_TIME = datetime(1, 1, 1, tzinfo=UTC)
# Windows of 1 s to 34 years; the last one reaches to the end of time.
SPANS = tuple(timedelta(seconds=4**power) for power in range(16))

_USER_DATA = """
(%(user_data_128)s::uuid IS NULL OR user_data_128 = %(user_data_128)s)
AND (%(user_data_64)s::bigint IS NULL OR user_data_64 = %(user_data_64)s)
AND (%(user_data_32)s::integer IS NULL OR user_data_32 = %(user_data_32)s)
AND (%(code)s::integer IS NULL OR code = %(code)s)
"""
_SIDE = f"""
(SELECT {TRANSFER_COLUMNS} FROM ledger.transfers
 WHERE {{side}}_account_id = %(account_id)s AND timestamp BETWEEN %(lower)s AND %(upper)s
   AND (timestamp, id) {{beyond}} (%(place_at)s, %(place_id)s) AND {_USER_DATA}
 ORDER BY timestamp {{direction}} LIMIT %(limit)s)
"""  # noqa: S608 - column names only
_WINDOWS = f"""
SELECT * FROM (
    SELECT found.* FROM unnest(%(sinces)s::timestamptz[], %(untils)s::timestamptz[]) AS windows (since, until)
    CROSS JOIN LATERAL (
        SELECT {TRANSFER_COLUMNS} FROM ledger.transfers
        WHERE timestamp >= since AND timestamp <= until
          AND (timestamp, id) {{beyond}} (%(place_at)s, %(place_id)s) AND {_USER_DATA}
          AND (%(ledger)s::integer IS NULL OR ledger = %(ledger)s)
        ORDER BY timestamp {{direction}}, id {{direction}} LIMIT %(limit)s
    ) AS found LIMIT %(limit)s
) AS transfers ORDER BY timestamp {{direction}}, id {{direction}}
"""  # noqa: S608 - column names only
_ACCOUNTS = f"""
SELECT {ACCOUNT_COLUMNS} FROM ledger.accounts JOIN ledger.balances USING (id)
WHERE created_at BETWEEN %(lower)s AND %(upper)s
  AND (created_at, id) {{beyond}} (%(place_at)s, %(place_id)s) AND {_USER_DATA}
  AND (%(ledger)s::integer IS NULL OR accounts.ledger = %(ledger)s)
ORDER BY created_at {{direction}}, id {{direction}} LIMIT %(limit)s
"""  # noqa: S608 - column names only
# No transfer is older than the first account; what is newest is found from now on backwards.
_TIMES = "SELECT coalesce(min(created_at), statement_timestamp()), statement_timestamp() FROM ledger.accounts"


class Place(NamedTuple):
    """Where a transfer or an account stands in the order of time."""

    timestamp: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    user_data_128: UUID | None = None
    user_data_64: int | None = None
    user_data_32: int | None = None
    code: int | None = None
    timestamp_min: datetime | None = None
    timestamp_max: datetime | None = None
    newest_first: bool = False
    limit: int = 100

    def __post_init__(self) -> None:
        """Refuse a page of no rows or of more than 1,000."""
        if not 1 <= self.limit <= PAGE_MAX:
            raise ValueError(f"A page has 1 to {PAGE_MAX} rows, not {self.limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFilter(_Filter):
    """Which of one account's transfers are wanted; None is any, both ends of the time belong to it.

    `debits` are those in which it is the debit account. Raises ValueError for a limit outside 1..1,000.
    """

    account_id: UUID
    debits: bool = True
    credits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFilter(_Filter):
    """Which transfers or accounts of the whole ledger are wanted; None is any, both ends of the time belong to it.

    Raises ValueError for a limit outside 1..1,000.
    """

    ledger: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPage(Generic[T]):
    """Some rows in the order asked for.

    `following` is the next page's `after`, `preceding` the `before` of the page before; None where there is none.
    """

    rows: tuple[T, ...]
    following: Place | None
    preceding: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Which way a page is read, from which place, and between which times."""

    is_descending: bool
    place: Place
    lower: datetime
    upper: datetime

    @property
    def sql(self) -> dict[str, str]:
        return {"beyond": "<", "direction": "DESC"} if self.is_descending else {"beyond": ">", "direction": "ASC"}

    def windows(self, *, beginning: datetime, now: datetime) -> list[tuple[datetime, datetime]]:
        """Part the time into windows in the order of reading; both ends belong to each."""
        if self.is_descending:
            start = max(min(self.upper, now), beginning)
            edges = [edge for span in SPANS if self.lower < (edge := start - span) <= self.upper]
            return list(zip([*edges, self.lower], [self.upper, *(edge - ONE_TICK for edge in edges)], strict=True))
        start = min(max(self.lower, beginning), now)
        edges = [edge for span in SPANS if self.lower < (edge := start + span) <= self.upper]
        return list(zip([self.lower, *edges], [*(edge - ONE_TICK for edge in edges), self.upper], strict=True))


class AccountBalance(NamedTuple):
    """What an account's four sums were right after one of its transfers."""

    transfer_id: UUID
    timestamp: datetime
    balances: Balances


def account_transfers(
    session: Session, wanted: AccountFilter, *, after: Place | None = None, before: Place | None = None
) -> QueryPage[Transfer]:
    """Give a page of an account's transfers: those after a place in the order asked for, or the last ones before it.

    Raises ValueError for two places.
    """
    sides = [side for side, is_wanted in (("debit", wanted.debits), ("credit", wanted.credits)) if is_wanted]

    def read(reading: _Reading, values: dict[str, object]) -> Sequence[Any]:
        selects = " UNION ALL ".join(_SIDE.format(side=side, **reading.sql) for side in sides)
        sql = f"SELECT * FROM ({selects}) AS sides ORDER BY timestamp {reading.sql['direction']} LIMIT %(limit)s"  # noqa: S608 - constants only
        return execute(session, sql, {**values, "account_id": wanted.account_id}) if sides else ()

    return _page(wanted, read, make=Transfer._make, place_of=_place, after=after, before=before)


def account_balances(
    session: Session, wanted: AccountFilter, *, after: Place | None = None, before: Place | None = None
) -> QueryPage[AccountBalance]:
    """Give what the account held right after each of its transfers on the page that `account_transfers` would give."""
    page = account_transfers(session, wanted, after=after, before=before)
    rows = tuple(AccountBalance(each.id, each.timestamp, sums_after(each, wanted.account_id)) for each in page.rows)
    return QueryPage(rows=rows, following=page.following, preceding=page.preceding)


def query_transfers(
    session: Session, wanted: QueryFilter, *, after: Place | None = None, before: Place | None = None
) -> QueryPage[Transfer]:
    """Give a page of the ledger's transfers: those after a place in the order asked for, or the last ones before it.

    A filter that hardly anything meets reads all of the time it allows. Raises ValueError for two places.
    """

    def read(reading: _Reading, values: dict[str, object]) -> Sequence[Any]:
        ((beginning, now),) = execute(session, _TIMES, {})
        windows = reading.windows(beginning=beginning, now=now)
        sinces, untils = [since for since, _ in windows], [until for _, until in windows]
        sql = _WINDOWS.format(**reading.sql)
        return execute(session, sql, {**values, "ledger": wanted.ledger, "sinces": sinces, "untils": untils})

    return _page(wanted, read, make=Transfer._make, place_of=_place, after=after, before=before)


def query_accounts(
    session: Session, wanted: QueryFilter, *, after: Place | None = None, before: Place | None = None
) -> QueryPage[Account]:
    """Give a page of the ledger's accounts in the order they were made, with `timestamp` for when that was.

    Raises ValueError for two places.
    """

    def read(reading: _Reading, values: dict[str, object]) -> Sequence[Any]:
        return execute(session, _ACCOUNTS.format(**reading.sql), {**values, "ledger": wanted.ledger})

    return _page(wanted, read, make=account_of, place_of=_account_place, after=after, before=before)


def sums_after(transfer: Transfer, account_id: UUID) -> Balances:
    """Give what one of the transfer's two accounts held right after it."""
    if account_id == transfer.debit_account_id:
        return Balances(
            transfer.debit_debits_pending_fen,
            transfer.debit_debits_posted_fen,
            transfer.debit_credits_pending_fen,
            transfer.debit_credits_posted_fen,
        )
    return Balances(
        transfer.credit_debits_pending_fen,
        transfer.credit_debits_posted_fen,
        transfer.credit_credits_pending_fen,
        transfer.credit_credits_posted_fen,
    )


def _page(
    wanted: _Filter,
    read: Callable[[_Reading, dict[str, object]], Sequence[Any]],
    *,
    make: Callable[[Any], T],
    place_of: Callable[[T], Place],
    after: Place | None,
    before: Place | None,
) -> QueryPage[T]:
    if after is not None and before is not None:
        raise ValueError("A page lies after a place or before one, not both")
    reading = _reading(wanted, after=after, before=before)
    values: dict[str, object] = {
        "user_data_128": wanted.user_data_128,
        "user_data_64": wanted.user_data_64,
        "user_data_32": wanted.user_data_32,
        "code": wanted.code,
        "lower": reading.lower,
        "upper": reading.upper,
        "place_at": reading.place.timestamp,
        "place_id": reading.place.id,
        "limit": wanted.limit + 1,
    }
    found = read(reading, values)
    rows = tuple(make(row) for row in found[: wanted.limit])
    has_more = len(found) > wanted.limit
    if before is not None:
        rows = rows[::-1]
    has_following, has_preceding = (has_more, after is not None) if before is None else (True, has_more)
    return QueryPage(
        rows=rows,
        following=place_of(rows[-1]) if rows and has_following else None,
        preceding=place_of(rows[0]) if rows and has_preceding else None,
    )


def _reading(wanted: _Filter, *, after: Place | None, before: Place | None) -> _Reading:
    is_descending = wanted.newest_first is (before is None)
    outside = Place(END_OF_TIME, ID_MAX) if is_descending else Place(BEGINNING_OF_TIME, ID_ZERO)
    place = after or before or outside
    lower, upper = wanted.timestamp_min or BEGINNING_OF_TIME, wanted.timestamp_max or END_OF_TIME
    if is_descending:
        return _Reading(is_descending=True, place=place, lower=lower, upper=min(upper, place.timestamp))
    return _Reading(is_descending=False, place=place, lower=max(lower, place.timestamp), upper=upper)


def _place(transfer: Transfer) -> Place:
    return Place(transfer.timestamp, transfer.id)


def _account_place(account: Account) -> Place:
    return Place(account.created_at, account.id)

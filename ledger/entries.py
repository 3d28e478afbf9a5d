"""One account as an accountant reads it: opening balance, posted lines by value date, closing balance.

Accounts have no index by value date: every posting would pay for it. Nearly every transfer is dated within an hour of
its booking, so the index by booking time finds it; the few that are not stand in a partial index by value date. Thus a
page reads its own lines and those of two hours more, and a balance is the one booked by then, put right by what was
booked before the moment and dated after it, and the other way round.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.books import POSTED, BookPlace, check_limit
from ledger.posting import execute
from ledger.values import ID_ZERO

# The words of the partial indexes ix_transfers_*_account_id_value_at_timestamp; the planner must recognise them.
NEAR = "(value_at - timestamp) BETWEEN interval '-1 hour' AND interval '1 hour'"
FAR = "(value_at - timestamp) NOT BETWEEN interval '-1 hour' AND interval '1 hour'"

_BOOKED = """
(SELECT timestamp, {side}_debits_posted_fen - {side}_credits_posted_fen AS balance_fen FROM ledger.transfers
 WHERE {side}_account_id = places.account_id AND timestamp < places.at ORDER BY timestamp DESC LIMIT 1)
"""
# Booked before the place and dated after it, or booked after it and dated before.
_MISPLACED = f"""
SELECT CASE WHEN timestamp >= places.at THEN {{sign}} ELSE -({{sign}}) END * amount_fen AS fen FROM ledger.transfers
WHERE {{side}}_account_id = places.account_id AND {{where}} AND {POSTED}
  AND (timestamp >= places.at) = ((value_at, transfers.id) <= (places.at, places.id))
"""  # noqa: S608 - constants only
_WHERE_MISPLACED = (
    f"{NEAR} AND timestamp BETWEEN places.at - interval '1 hour' AND places.at + interval '1 hour'",
    f"{FAR} AND value_at <= places.at AND timestamp >= places.at",
    f"{FAR} AND value_at >= places.at AND timestamp < places.at",
)

_CHOSEN = f"""
{{side}}_account_id = %(account_id)s AND {POSTED}
  AND (value_at, id) > (%(after_at)s::timestamptz, %(after_id)s) AND value_at < %(until)s
"""
_SINCE = "timestamp >= %(after_at)s::timestamptz - interval '1 hour'"
_LINE = """
SELECT id, value_at, timestamp, journal_id, code, {other}_account_id AS counter_account_id,
       {debit} AS debit_fen, {credit} AS credit_fen
FROM ledger.transfers
"""
# As many lines as a page has, the first to be booked, say how far the page can reach: to the latest date among them.
# What has such a date was booked at most an hour later.
_LINES = f"""
(SELECT * FROM (
    {_LINE} WHERE {_CHOSEN} AND {NEAR} AND {_SINCE} AND timestamp <= interval '1 hour' + (
        SELECT max(value_at) FROM (
            SELECT value_at FROM ledger.transfers
            WHERE {_CHOSEN} AND {_SINCE} AND timestamp <= %(until)s::timestamptz + interval '1 hour'
              AND value_at - timestamp <= interval '1 hour'
            ORDER BY timestamp LIMIT %(limit)s
        ) AS reached
    )
) AS near ORDER BY value_at, id LIMIT %(limit)s)
UNION ALL
({_LINE} WHERE {_CHOSEN} AND {FAR} ORDER BY value_at, id LIMIT %(limit)s)
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEntry:
    """One posted transfer as one of its accounts sees it; `balance_fen` is debits minus credits right after it."""

    transfer_id: UUID
    value_at: datetime
    timestamp: datetime
    journal_id: UUID | None
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None
    code: int
    counter_account_id: UUID
    debit_fen: int
    credit_fen: int
    balance_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEntries:
    """A page of one account's lines, and the period's opening and closing balance (debits minus credits).

    `cursor` is the next page's `after`, None on the last.
    """

    opening_fen: int
    lines: tuple[AccountEntry, ...]
    closing_fen: int
    cursor: BookPlace | None


def account_entries(
    session: Session,
    account_id: UUID,
    *,
    since: datetime,
    until: datetime,
    limit: int = 100,
    after: BookPlace | None = None,
) -> AccountEntries:
    """Give one page of an account's posted lines by value date, the oldest first, each with the balance after it.

    `since` is inclusive, `until` exclusive; `after` is the cursor of the page before. At most 1,000 lines a page.
    Raises ValueError for a limit outside 1..1,000, or for a period that ends before it begins.
    """
    check_limit(limit)
    if until < since:
        raise ValueError(f"The period ends at {until}, before it begins at {since}")
    start = BookPlace(since, ID_ZERO)
    after_at, after_id = start if after is None else max(start, after)
    rows = execute(
        session,
        ENTRIES,
        {
            "account_id": account_id,
            "since": since,
            "until": until,
            "after_at": after_at,
            "after_id": after_id,
            "limit": limit + 1,
        },
    )
    opening_fen, before_fen, closing_fen = rows[0][:3]
    found = [row for row in rows if row.transfer_id is not None]
    lines, balance_fen = [], before_fen
    for row in found[:limit]:
        balance_fen += row.debit_fen - row.credit_fen
        lines.append(_line(row, balance_fen=balance_fen))
    cursor = BookPlace(lines[-1].value_at, lines[-1].transfer_id) if len(found) > limit else None
    return AccountEntries(opening_fen=opening_fen, lines=tuple(lines), closing_fen=closing_fen, cursor=cursor)


def balances_by_value_date(session: Session, ids: Iterable[UUID], *, until: datetime) -> dict[UUID, int]:
    """Give what each account stood at before a moment by value date, in fen, debits minus credits.

    `until` is exclusive, as the end of a period is. By the time of booking it is `balance_at`.
    """
    return dict(execute(session, BALANCES, {"ids": list(ids), "until": until}))


def _line(row: Any, *, balance_fen: int) -> AccountEntry:
    return AccountEntry(
        transfer_id=row.transfer_id,
        value_at=row.value_at,
        timestamp=row.timestamp,
        journal_id=row.journal_id,
        kind=row.kind,
        reference=row.reference,
        text=row.text,
        actor=row.actor,
        code=row.code,
        counter_account_id=row.counter_account_id,
        debit_fen=row.debit_fen,
        credit_fen=row.credit_fen,
        balance_fen=balance_fen,
    )


def _balance_sql() -> str:
    """Give the expression for an account's balance at a place of `places`."""
    signs = {"debit": "1", "credit": "-1"}
    booked = " UNION ALL ".join(_BOOKED.format(side=side) for side in signs)
    misplaced = " UNION ALL ".join(
        _MISPLACED.format(side=side, sign=sign, where=where)
        for side, sign in signs.items()
        for where in _WHERE_MISPLACED
    )
    return f"""
    coalesce((SELECT balance_fen FROM ({booked} ORDER BY timestamp DESC LIMIT 1) AS booked), 0)
        + coalesce((SELECT sum(fen) FROM ({misplaced}) AS misplaced), 0)::bigint AS balance_fen
"""  # noqa: S608 - constants only


def _entries_sql() -> str:
    lines = " UNION ALL ".join(
        (
            _LINES.format(side="debit", other="credit", debit="amount_fen", credit="0::bigint"),
            _LINES.format(side="credit", other="debit", debit="0::bigint", credit="amount_fen"),
        )
    )
    return f"""
WITH sums AS (
    SELECT places.name, {_balance_sql()}
    FROM (VALUES
        ('opening', %(account_id)s::uuid, %(since)s::timestamptz, '{ID_ZERO}'::uuid),
        ('before', %(account_id)s, %(after_at)s, %(after_id)s),
        ('closing', %(account_id)s, %(until)s, '{ID_ZERO}')
    ) AS places (name, account_id, at, id)
)
SELECT (SELECT balance_fen FROM sums WHERE name = 'opening') AS opening_fen,
       (SELECT balance_fen FROM sums WHERE name = 'before') AS before_fen,
       (SELECT balance_fen FROM sums WHERE name = 'closing') AS closing_fen,
       page.id AS transfer_id, page.*, journals.kind, journals.reference, journals.text, journals.actor
FROM (SELECT) AS one
LEFT JOIN (SELECT * FROM ({lines}) AS lines ORDER BY value_at, id LIMIT %(limit)s) AS page ON true
LEFT JOIN LATERAL (SELECT * FROM ledger.journals WHERE id = page.journal_id OFFSET 0) AS journals ON true
ORDER BY page.value_at, page.id
"""  # noqa: S608 - constants only


ENTRIES = _entries_sql()
BALANCES = f"""
SELECT places.account_id, {_balance_sql()}
FROM (
    SELECT account_id, %(until)s::timestamptz AS at, '{ID_ZERO}'::uuid AS id FROM unnest(%(ids)b::uuid[]) AS account_id
) AS places
"""  # noqa: S608 - constants only

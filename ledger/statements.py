"""What an account looked like at any moment, and its lines, page by page, in both directions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.checks import ENDING, EXPIRED, PENDING
from ledger.posting import execute
from ledger.values import MOVES_NOTHING, Balances, PendingState

PAGE_MAX = 1_000
END_OF_TIME = "infinity"

# The sums stand on the account's last transfer before the moment: one index seek on each side. From them go the holds
# that had run out by then, whether or not their end had been written down.
BALANCE_AT = """
WITH last AS (
    (SELECT timestamp, debit_debits_pending_fen AS debits_pending, debit_debits_posted_fen AS debits_posted,
            debit_credits_pending_fen AS credits_pending, debit_credits_posted_fen AS credits_posted
     FROM ledger.transfers WHERE debit_account_id = %(id)s AND timestamp <= %(at)s ORDER BY timestamp DESC LIMIT 1)
    UNION ALL
    (SELECT timestamp, credit_debits_pending_fen, credit_debits_posted_fen,
            credit_credits_pending_fen, credit_credits_posted_fen
     FROM ledger.transfers WHERE credit_account_id = %(id)s AND timestamp <= %(at)s ORDER BY timestamp DESC LIMIT 1)
    ORDER BY timestamp DESC LIMIT 1
)
SELECT debits_pending - coalesce((
           SELECT sum(holds.amount_fen) FROM ledger.pending_transfers AS holds JOIN ledger.transfers AS made USING (id)
           WHERE holds.debit_account_id = %(id)s AND expires_at <= %(at)s AND made.timestamp <= last.timestamp
           AND (state = 'open' OR state = 'expired' AND ended_at > last.timestamp)
       ), 0)::bigint,
       debits_posted,
       credits_pending - coalesce((
           SELECT sum(holds.amount_fen) FROM ledger.pending_transfers AS holds JOIN ledger.transfers AS made USING (id)
           WHERE holds.credit_account_id = %(id)s AND expires_at <= %(at)s AND made.timestamp <= last.timestamp
           AND (state = 'open' OR state = 'expired' AND ended_at > last.timestamp)
       ), 0)::bigint,
       credits_posted
FROM last
"""

# Each side is read through its own index and cut to one page before anything is joined to it.
_SIDE = """
SELECT * FROM (
SELECT id, timestamp, value_at, journal_id, code, flags, amount_fen, pending_id, {other}_account_id AS counter_id,
       '{side}' = 'credit' AS is_credit, {side}_debits_pending_fen AS debits_pending,
       {side}_debits_posted_fen AS debits_posted, {side}_credits_pending_fen AS credits_pending,
       {side}_credits_posted_fen AS credits_posted
FROM ledger.transfers
WHERE {side}_account_id = %(account_id)s
  AND timestamp < %(before)s::timestamptz AND timestamp > %(after)s::timestamptz
  AND timestamp >= %(since)s::timestamptz AND timestamp < %(until)s::timestamptz
  AND (%(code)s::integer IS NULL OR code = %(code)s)
ORDER BY timestamp {direction} LIMIT %(limit)s
) AS {side}s
"""
# What is looked up for a line is looked up line by line (OFFSET 0, subselects): a page never reads a whole table.
_LINES = """
SELECT lines.*, journals.kind, journals.reference, journals.text, journals.actor,
       (SELECT amount_fen FROM ledger.transfers WHERE id = lines.pending_id) AS ended_fen,
       (SELECT CASE WHEN state = 'open' AND expires_at <= statement_timestamp() THEN 'expired' ELSE state END
        FROM ledger.pending_transfers WHERE id = lines.id) AS state
FROM ({sides} ORDER BY timestamp {direction} LIMIT %(limit)s) AS lines
LEFT JOIN LATERAL (SELECT * FROM ledger.journals WHERE id = lines.journal_id OFFSET 0) AS journals ON true
ORDER BY lines.timestamp {direction}
"""


def _lines_sql(*, sides: tuple[str, ...], direction: str) -> str:
    other = {"debit": "credit", "credit": "debit"}
    selects = (_SIDE.format(side=side, other=other[side], direction=direction) for side in sides)
    return _LINES.format(sides=" UNION ALL ".join(selects), direction=direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One transfer as one of its accounts sees it.

    `posted_fen` is what it changed for good, credits positive and debits negative; `held_fen` what it reserved
    (positive) or set free (negative). `state` is that of the pending transfer this line made, None for any other line.
    """

    transfer_id: UUID
    timestamp: datetime
    value_at: datetime
    journal_id: UUID | None
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None
    code: int
    counter_account_id: UUID
    posted_fen: int
    held_fen: int
    state: PendingState | None
    after: Balances


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines in the order asked for; `cursor` is the next page's `before` (newest first) or `after`, or None."""

    lines: tuple[StatementLine, ...]
    cursor: datetime | None


def balance_at(session: Session, account_id: UUID, *, at: datetime) -> Balances:
    """Give an account's four sums as they stood at that moment, inclusive; all zero before its first transfer."""
    rows = execute(session, BALANCE_AT, {"id": account_id, "at": at})
    return Balances._make(rows[0]) if rows else Balances(0, 0, 0, 0)


def account_lines(
    session: Session,
    account_id: UUID,
    *,
    newest_first: bool = True,
    limit: int = 100,
    before: datetime | None = None,
    after: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    code: int | None = None,
    debits: bool = True,
    credits: bool = True,  # noqa: A002 - the word of every book-keeper
) -> Page:
    """Give one page of an account's lines by booking time.

    `before` and `after` are cursors, both exclusive; `since` is inclusive and `until` exclusive; `debits` and `credits`
    choose the sides. At most 1,000 lines a page. Raises ValueError for a limit outside 1..1,000.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A page has 1 to {PAGE_MAX} lines, not {limit}")
    sides = tuple(side for side, wanted in (("debit", debits), ("credit", credits)) if wanted)
    if not sides:
        return Page(lines=(), cursor=None)
    rows = execute(
        session,
        _lines_sql(sides=sides, direction="DESC" if newest_first else "ASC"),
        {
            "account_id": account_id,
            "before": before or END_OF_TIME,
            "after": after or f"-{END_OF_TIME}",
            "since": since or f"-{END_OF_TIME}",
            "until": until or END_OF_TIME,
            "code": code,
            "limit": limit + 1,
        },
    )
    lines = tuple(_line(row) for row in rows[:limit])
    return Page(lines=lines, cursor=lines[-1].timestamp if len(rows) > limit else None)


def _line(row: Any) -> StatementLine:
    signed_fen = row.amount_fen if row.is_credit else -row.amount_fen
    return StatementLine(
        transfer_id=row.id,
        timestamp=row.timestamp,
        value_at=row.value_at,
        journal_id=row.journal_id,
        kind=row.kind,
        reference=row.reference,
        text=row.text,
        actor=row.actor,
        code=row.code,
        counter_account_id=row.counter_id,
        posted_fen=0 if row.flags & MOVES_NOTHING else signed_fen,
        held_fen=row.amount_fen if row.flags & PENDING else -row.ended_fen if row.flags & (ENDING | EXPIRED) else 0,
        state=None if row.state is None else PendingState(row.state),
        after=Balances(row.debits_pending, row.debits_posted, row.credits_pending, row.credits_posted),
    )

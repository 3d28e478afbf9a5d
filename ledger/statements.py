"""What an account looked like at any moment, and its lines, page by page, in both directions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.checks import ENDING, EXPIRED, ONE_TICK, PENDING
from ledger.posting import execute
from ledger.queries import AccountFilter, account_transfers, sums_after
from ledger.values import MOVES_NOTHING, Balances, PendingState, Transfer

# The sums stand on the account's last transfer before the moment: one index seek on each side. From them go the holds
# that had run out by then, whether or not their end had been written down; made before they ran out, they are in them.
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
           SELECT sum(amount_fen) FROM ledger.pending_transfers
           WHERE debit_account_id = %(id)s AND expires_at <= %(at)s
           AND (state = 'open' OR state = 'expired' AND ended_at > last.timestamp)
       ), 0)::bigint,
       debits_posted,
       credits_pending - coalesce((
           SELECT sum(amount_fen) FROM ledger.pending_transfers
           WHERE credit_account_id = %(id)s AND expires_at <= %(at)s
           AND (state = 'open' OR state = 'expired' AND ended_at > last.timestamp)
       ), 0)::bigint,
       credits_posted
FROM last
"""

# What stands beside a transfer: its journal, how it ended if it was pending, and the amount that it ended if it did.
DETAILS = """
SELECT transfers.id, journals.kind, journals.reference, journals.text, journals.actor, ended.amount_fen AS ended_fen,
       CASE WHEN state = 'open' AND expires_at <= statement_timestamp() THEN 'expired' ELSE state END AS state
FROM ledger.transfers LEFT JOIN ledger.journals ON journals.id = journal_id
LEFT JOIN ledger.transfers AS ended ON ended.id = transfers.pending_id
LEFT JOIN ledger.pending_transfers AS holds ON holds.id = transfers.id
WHERE transfers.id = ANY(%(ids)b::uuid[])
"""


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
    starts = [*([since] if since else []), *([after + ONE_TICK] if after else [])]
    ends = [moment - ONE_TICK for moment in (before, until) if moment]
    wanted = AccountFilter(
        account_id=account_id,
        code=code,
        timestamp_min=max(starts, default=None),
        timestamp_max=min(ends, default=None),
        debits=debits,
        credits=credits,
        newest_first=newest_first,
        limit=limit,
    )
    page = account_transfers(session, wanted)
    found = execute(session, DETAILS, {"ids": [transfer.id for transfer in page.rows]}) if page.rows else ()
    details = {row.id: row for row in found}
    lines = tuple(_line(transfer, details[transfer.id], account_id=account_id) for transfer in page.rows)
    return Page(lines=lines, cursor=page.following.timestamp if page.following else None)


def _line(transfer: Transfer, details: Any, *, account_id: UUID) -> StatementLine:
    is_credit = transfer.credit_account_id == account_id
    flags, amount_fen = transfer.flags, transfer.amount_fen
    return StatementLine(
        transfer_id=transfer.id,
        timestamp=transfer.timestamp,
        value_at=transfer.value_at,
        journal_id=transfer.journal_id,
        kind=details.kind,
        reference=details.reference,
        text=details.text,
        actor=details.actor,
        code=transfer.code,
        counter_account_id=transfer.debit_account_id if is_credit else transfer.credit_account_id,
        posted_fen=0 if flags & MOVES_NOTHING else amount_fen if is_credit else -amount_fen,
        held_fen=amount_fen if flags & PENDING else -details.ended_fen if flags & (ENDING | EXPIRED) else 0,
        state=None if details.state is None else PendingState(details.state),
        after=sums_after(transfer, account_id),
    )

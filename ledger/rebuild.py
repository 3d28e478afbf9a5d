"""Everything derived, made anew from the facts: the sums of all accounts, and where every hold stands.

It is a second way to the same rows. The machine of `transfers` carries sums from one transfer to the next; here they
follow from all transfers at once, in SQL that shares nothing with it. What comes out is the same, bit for bit.
"""

from typing import NamedTuple

from sqlalchemy.orm import Session

from ledger.posting import execute

LOCKS = (
    "LOCK TABLE ledger.accounts, ledger.journals, ledger.transfers IN SHARE ROW EXCLUSIVE MODE",
    "LOCK TABLE ledger.balances, ledger.pending_transfers IN ACCESS EXCLUSIVE MODE",
)
DERIVED = ("ledger.pending_transfers", "ledger.balances")
HOLDS = """
INSERT INTO ledger.pending_transfers
    (id, debit_account_id, credit_account_id, amount_fen, expires_at, state, ended_at, ended_by)
SELECT hold.id, hold.debit_account_id, hold.credit_account_id, hold.amount_fen,
       CASE WHEN hold.timeout_s > 0 THEN hold.timestamp + make_interval(secs => hold.timeout_s) END,
       CASE ending.flags & 268 WHEN 4 THEN 'posted' WHEN 8 THEN 'voided' WHEN 256 THEN 'expired' ELSE 'open' END,
       ending.timestamp, ending.id
FROM ledger.transfers AS hold LEFT JOIN ledger.transfers AS ending ON ending.pending_id = hold.id
WHERE hold.flags & 2 <> 0 ORDER BY hold.timestamp, hold.id
"""
BALANCES = """
WITH moves AS (
    SELECT transfer.debit_account_id, transfer.credit_account_id, transfer.timestamp AS at,
           CASE WHEN transfer.flags & 2 <> 0 THEN transfer.amount_fen ELSE 0 END
               - coalesce(hold.amount_fen, 0) AS pending_fen,
           CASE WHEN transfer.flags & 266 = 0 THEN transfer.amount_fen ELSE 0 END AS posted_fen
    FROM ledger.transfers AS transfer LEFT JOIN ledger.pending_transfers AS hold ON hold.id = transfer.pending_id
),
sides AS (
    SELECT debit_account_id AS id, max(at) AS last_at, sum(pending_fen) AS debits_pending_fen,
           sum(posted_fen) AS debits_posted_fen, 0 AS credits_pending_fen, 0 AS credits_posted_fen
    FROM moves GROUP BY debit_account_id
    UNION ALL
    SELECT credit_account_id, max(at), 0, 0, sum(pending_fen), sum(posted_fen) FROM moves GROUP BY credit_account_id
),
sums AS (
    SELECT id, max(last_at) AS last_at, sum(debits_pending_fen) AS debits_pending_fen,
           sum(debits_posted_fen) AS debits_posted_fen, sum(credits_pending_fen) AS credits_pending_fen,
           sum(credits_posted_fen) AS credits_posted_fen
    FROM sides GROUP BY id
),
closing AS (
    SELECT CASE WHEN flags & 64 <> 0 THEN hold.debit_account_id END AS debit_id,
           CASE WHEN flags & 128 <> 0 THEN hold.credit_account_id END AS credit_id
    FROM ledger.pending_transfers AS hold JOIN ledger.transfers USING (id)
    WHERE flags & 192 <> 0 AND state IN ('open', 'posted')
)
INSERT INTO ledger.balances (id, ledger, flags, closed, debits_pending_fen, debits_posted_fen, credits_pending_fen,
                             credits_posted_fen, last_at)
SELECT id, ledger, flags,
       flags & 32 <> 0 OR id IN (SELECT debit_id FROM closing WHERE debit_id IS NOT NULL
                                 UNION SELECT credit_id FROM closing WHERE credit_id IS NOT NULL),
       coalesce(debits_pending_fen, 0), coalesce(debits_posted_fen, 0),
       coalesce(credits_pending_fen, 0), coalesce(credits_posted_fen, 0), coalesce(last_at, created_at)
FROM ledger.accounts LEFT JOIN sums USING (id) ORDER BY id
"""


class Rebuilt(NamedTuple):
    """How many rows were made anew."""

    accounts: int
    holds: int


def rebuild(session: Session) -> Rebuilt:
    """Empty the derived tables and fill them from accounts and transfers alone; readers and writers wait meanwhile.

    Needs the rights of the tables' owner: a trigger refuses to empty them, and only the owner may lift it. Raises the
    database's error if the facts break a limit, and then nothing has changed.
    """
    execute(session, "SET LOCAL statement_timeout = '1h'", {}, reads=False)
    execute(session, "SET LOCAL lock_timeout = '30s'", {}, reads=False)
    for lock in LOCKS:
        execute(session, lock, {}, reads=False)
    for table in DERIVED:
        execute(session, f"ALTER TABLE {table} DISABLE TRIGGER never_removed", {}, reads=False)
        execute(session, f"TRUNCATE {table}", {}, reads=False)
        execute(session, f"ALTER TABLE {table} ENABLE TRIGGER never_removed", {}, reads=False)
    execute(session, HOLDS, {}, reads=False)
    execute(session, BALANCES, {}, reads=False)
    ((accounts, holds),) = execute(
        session, "SELECT (SELECT count(*) FROM ledger.balances), (SELECT count(*) FROM ledger.pending_transfers)", {}
    )
    return Rebuilt(accounts, holds)

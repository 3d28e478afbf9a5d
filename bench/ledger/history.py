"""Years of books in minutes: valid transfers by the million, each with its true after-balances.

Nothing is summed up while loading. The transfers come in rounds, and within a round every one of the ten thousand
accounts is debited once and credited once, by the account some steps further on, where the step differs from round to
round; then two hundred of them give once more, into the hot account. So each account's sums right after any transfer
follow from the round and the place in it, and rows can be made by `generate_series` as fast as the disk takes them.
`ledger.audit` finds nothing to say about the result.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from bench.ledger.server import ACCOUNTS

TITHES = 200
"""Of each round so many transfers go into the hot account: a hundred thousand lines in five million transfers."""

ROUND = ACCOUNTS + TITHES
AMOUNT_FEN = 100
STEP_S = 3
"""Ten million transfers are then about a year."""

ROUNDS_PER_TRANSACTION = 50

# Names: k is the round, place that within it. A giver's sums are (debits, credits), a taker's likewise, in amounts.
_ROUNDS = f"""
SELECT k, place, giver, taker, (k * {ROUND} + place) AS number,
       k * (1 + giver_tithes) + CASE WHEN is_tithe THEN 2 ELSE 1 END AS giver_debits,
       k + CASE WHEN is_tithe OR (place - step + {ACCOUNTS}) %% {ACCOUNTS} < place THEN 1 ELSE 0 END AS giver_credits,
       CASE WHEN is_tithe THEN 0 ELSE k * (1 + taker_tithes) + CASE WHEN taker < place THEN 1 ELSE 0 END END
           AS taker_debits,
       CASE WHEN is_tithe THEN k * {TITHES} + place - {ACCOUNTS} + 1 ELSE k + 1 END AS taker_credits
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS k,
     LATERAL (SELECT 1 + k * 7919 %% ({ACCOUNTS} - 1) AS step OFFSET 0) AS of_round,
     generate_series(0, {ROUND} - 1) AS place,
     LATERAL (SELECT place >= {ACCOUNTS} AS is_tithe) AS kind,
     LATERAL (SELECT CASE WHEN is_tithe THEN (place - {ACCOUNTS}) * ({ACCOUNTS} / {TITHES}) ELSE place END AS giver,
                     CASE WHEN is_tithe THEN {ACCOUNTS} ELSE (place + step) %% {ACCOUNTS} END AS taker) AS sides,
     LATERAL (SELECT (giver %% ({ACCOUNTS} / {TITHES}) = 0)::integer AS giver_tithes,
                     (taker %% ({ACCOUNTS} / {TITHES}) = 0)::integer AS taker_tithes) AS tithes
"""  # noqa: S608 - constants only
_ID = "lpad(to_hex({} + 1), 32, '0')::uuid"

FILL = f"""
INSERT INTO ledger.transfers (
    id, debit_account_id, credit_account_id, amount_fen, ledger, code, flags, timeout_s, user_data_64, user_data_32,
    timestamp, value_at, debit_debits_pending_fen, debit_debits_posted_fen, debit_credits_pending_fen,
    debit_credits_posted_fen, credit_debits_pending_fen, credit_debits_posted_fen, credit_credits_pending_fen,
    credit_credits_posted_fen
)
SELECT gen_random_uuid(), {_ID.format("giver")}, {_ID.format("taker")}, {AMOUNT_FEN}, 156, 1, 0, 0, 0, 0, at, at,
       0, giver_debits * {AMOUNT_FEN}, 0, giver_credits * {AMOUNT_FEN},
       0, taker_debits * {AMOUNT_FEN}, 0, taker_credits * {AMOUNT_FEN}
FROM ({_ROUNDS}) AS rounds, LATERAL (SELECT %(from)s::timestamptz + number * interval '{STEP_S} s' AS at) AS moment
"""  # noqa: S608 - constants only

SUMS = """
UPDATE ledger.balances AS balances
SET debits_posted_fen = last.debits, credits_posted_fen = last.credits, last_at = last.timestamp
FROM (
    SELECT DISTINCT ON (id) * FROM (
        SELECT debit_account_id AS id, debit_debits_posted_fen AS debits, debit_credits_posted_fen AS credits, timestamp
        FROM ledger.transfers WHERE timestamp >= %(last_round)s
        UNION ALL
        SELECT credit_account_id, credit_debits_posted_fen, credit_credits_posted_fen, timestamp
        FROM ledger.transfers WHERE timestamp >= %(last_round)s
    ) AS sides ORDER BY id, timestamp DESC
) AS last WHERE balances.id = last.id
"""

_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE 'ledger.transfers'::regclass IN (conrelid, confrelid) AND contype IN ('p', 'u', 'f')
ORDER BY contype <> 'f'
"""
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'ledger.transfers'::regclass
"""


def load(url: str, *, rows: int, say: Callable[[str], None]) -> int:
    """Load at least so many transfers into books that have accounts and nothing else; give their number."""
    rounds = -(-rows // ROUND)
    started = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("maintenance_work_mem = '1GB'", "synchronous_commit = off", "timezone = 'UTC'"):
            connection.execute(f"SET {setting}".encode())
        (beginning,) = connection.execute(
            "SELECT date_trunc('day', now()) - %s * interval '1 s'", [(rounds + 1) * ROUND * STEP_S]
        ).fetchone() or (None,)
        with _bare(connection, say=say):
            for first in range(0, rounds, ROUNDS_PER_TRANSACTION):
                last = min(first + ROUNDS_PER_TRANSACTION, rounds) - 1
                connection.execute(FILL.encode(), {"first": first, "last": last, "from": beginning})
            say(f"{rounds * ROUND:,} rows written after {time.perf_counter() - started:.0f} s")
        connection.execute(
            SUMS.replace("%(last_round)s", "%(from)s::timestamptz + %(seconds)s * interval '1 s'").encode(),
            {"from": beginning, "seconds": (rounds - 1) * ROUND * STEP_S},
        )
        connection.execute(b"VACUUM (ANALYZE) ledger.transfers")
        connection.execute(b"VACUUM (ANALYZE) ledger.balances")
        connection.execute(b"CHECKPOINT")
    say(f"ready after {time.perf_counter() - started:.0f} s")
    return rounds * ROUND


@contextmanager
def _bare(connection: psycopg.Connection, *, say: Callable[[str], None]) -> Iterator[None]:
    """Take keys and indexes off the transfers, and put them back when the block ends: building beats adding."""
    keys = connection.execute(_KEYS).fetchall()
    for table, name, _ in keys:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
    indexes = connection.execute(_INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    yield
    for _, definition in indexes:
        connection.execute(definition.encode())
    for table, name, definition in reversed(keys):
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}".encode())
    say(f"{len(indexes)} indexes and {len(keys)} keys built")

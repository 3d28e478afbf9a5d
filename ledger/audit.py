"""The proof from outside: every sum, limit and state derived anew from the transfers alone, in SQL of its own.

Nothing here shares a line with the code that writes. All checks are one statement, so they see one snapshot, also
while others are posting.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.posting import execute

# What each transfer does to the sums of its two accounts, and what an account's sums must therefore be after each.
# Of all steps only each account's last and those that break a rule are kept: carrying all of them along to every check
# costs several times as much.
ENDED = "LEFT JOIN (SELECT id, amount_fen FROM ledger.transfers WHERE flags & 2 <> 0) AS hold ON hold.id = t.pending_id"
PENDING = "CASE WHEN t.flags & 2 <> 0 THEN t.amount_fen ELSE -coalesce(hold.amount_fen, 0) END"
POSTED = "CASE WHEN t.flags & 266 <> 0 THEN 0 ELSE t.amount_fen END"
STEPS = f"""
moves AS NOT MATERIALIZED (
    SELECT debit_account_id AS account_id, timestamp AS at, t.id AS transfer_id,
           {PENDING} AS debits_pending, {POSTED} AS debits_posted,
           0::bigint AS credits_pending, 0::bigint AS credits_posted,
           debit_debits_pending_fen AS found_1, debit_debits_posted_fen AS found_2,
           debit_credits_pending_fen AS found_3, debit_credits_posted_fen AS found_4
    FROM ledger.transfers AS t {ENDED}
    UNION ALL
    SELECT credit_account_id, timestamp, t.id, 0::bigint, 0::bigint, {PENDING}, {POSTED},
           credit_debits_pending_fen, credit_debits_posted_fen, credit_credits_pending_fen, credit_credits_posted_fen
    FROM ledger.transfers AS t {ENDED}
),
steps AS (
    SELECT account_id, at, transfer_id, found_1, found_2, found_3, found_4,
           lag(at) OVER history AS previous_at, lead(at) OVER history IS NULL AS is_last,
           sum(debits_pending) OVER history AS derived_1, sum(debits_posted) OVER history AS derived_2,
           sum(credits_pending) OVER history AS derived_3, sum(credits_posted) OVER history AS derived_4
    FROM moves WINDOW history AS (PARTITION BY account_id ORDER BY at, transfer_id ROWS UNBOUNDED PRECEDING)
),
judged AS (
    SELECT steps.*, flags,
           found_1 <> derived_1 OR found_2 <> derived_2 OR found_3 <> derived_3 OR found_4 <> derived_4 AS is_wrong,
           at <= previous_at AS is_early,
           flags & 2 <> 0 AND derived_1 + derived_2 > derived_4
               OR flags & 4 <> 0 AND derived_3 + derived_4 > derived_2 AS is_beyond
    FROM steps LEFT JOIN ledger.accounts ON id = account_id
),
kept AS MATERIALIZED (SELECT * FROM judged WHERE is_last OR is_wrong OR is_early OR is_beyond),
derived AS (
    SELECT account_id, at AS last_at, derived_1 AS debits_pending, derived_2 AS debits_posted,
           derived_3 AS credits_pending, derived_4 AS credits_posted
    FROM kept WHERE is_last
)
"""  # noqa: S608 - constants only


FINDINGS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: its name, its sentence, and the query that finds rows (id, derived, found) that break it."""

    name: str
    sentence: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row that breaks one invariant: what follows from the transfers, and what stands written."""

    check: str
    row_id: UUID | None
    sentence: str
    derived: str
    found: str


CHECKS = (
    Check(
        "account_sums",
        "An account's four sums are those of its transfers.",
        """SELECT a.id, concat_ws('/', coalesce(debits_pending, 0), coalesce(debits_posted, 0),
                                   coalesce(credits_pending, 0), coalesce(credits_posted, 0)),
                  concat_ws('/', debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen)
           FROM ledger.balances AS a LEFT JOIN derived ON derived.account_id = a.id
           WHERE (debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen)
              IS DISTINCT FROM (coalesce(debits_pending, 0), coalesce(debits_posted, 0),
                                coalesce(credits_pending, 0), coalesce(credits_posted, 0))""",
    ),
    Check(
        "after_balances",
        "The sums written on a transfer are those of all transfers up to it.",
        """SELECT transfer_id, concat_ws('/', derived_1, derived_2, derived_3, derived_4),
                  concat_ws('/', found_1, found_2, found_3, found_4)
           FROM kept WHERE is_wrong""",
    ),
    Check(
        "time_order",
        "Each event of an account comes later than the one before it.",
        "SELECT transfer_id, 'after ' || previous_at, at::text FROM kept WHERE is_early",
    ),
    Check(
        "last_at",
        "An account's last moment is that of its last event.",
        """SELECT a.id, d.last_at::text, a.last_at::text FROM ledger.balances AS a
           JOIN derived AS d ON d.account_id = a.id WHERE a.last_at <> d.last_at""",
    ),
    Check(
        "zero_sum",
        "In every ledger all debits equal all credits.",
        """SELECT NULL::uuid, 'ledger ' || ledger || ': 0',
                  concat_ws('/', sum(debits_pending_fen) - sum(credits_pending_fen),
                                 sum(debits_posted_fen) - sum(credits_posted_fen))
           FROM ledger.balances GROUP BY ledger
           HAVING sum(debits_pending_fen) <> sum(credits_pending_fen)
               OR sum(debits_posted_fen) <> sum(credits_posted_fen)""",
    ),
    Check(
        "limits",
        "No account ever went past its limit, holds included.",
        """SELECT transfer_id, 'flags ' || flags,
                  concat_ws('/', derived_1, derived_2, derived_3, derived_4)
           FROM kept WHERE is_beyond""",
    ),
    Check(
        "pending_rows",
        "Every pending transfer, and nothing else, has a state, with the same accounts and the same expiry.",
        """SELECT coalesce(t.id, h.id), 'pending ' || coalesce(t.flags & 2 <> 0, false), coalesce(h.state, 'no state')
           FROM ledger.transfers AS t FULL JOIN ledger.pending_transfers AS h USING (id)
           WHERE coalesce(t.flags & 2 <> 0, false) <> (h.id IS NOT NULL)
              OR h.id IS NOT NULL AND (t.debit_account_id, t.credit_account_id, t.amount_fen,
                  CASE WHEN t.timeout_s > 0 THEN t.timestamp + make_interval(secs => t.timeout_s) END)
                  IS DISTINCT FROM (h.debit_account_id, h.credit_account_id, h.amount_fen, h.expires_at)""",
    ),
    Check(
        "pending_ends",
        "A pending transfer is ended by exactly the transfer that names it, in time or by time, and for no more.",
        """SELECT h.id, CASE WHEN e.id IS NULL THEN 'open' ELSE concat_ws(' ',
                      CASE e.flags & 268 WHEN 4 THEN 'posted' WHEN 8 THEN 'voided' ELSE 'expired' END,
                      e.timestamp, e.id, e.amount_fen) END,
                  concat_ws(' ', h.state, h.ended_at, h.ended_by, t.amount_fen)
           FROM ledger.pending_transfers AS h JOIN ledger.transfers AS t ON t.id = h.id
           LEFT JOIN ledger.transfers AS e ON e.pending_id = h.id
           WHERE (e.id IS NULL) <> (h.state = 'open')
              OR e.id IS NOT NULL AND (h.ended_by <> e.id OR h.ended_at <> e.timestamp
                  OR h.state <> CASE e.flags & 268 WHEN 4 THEN 'posted' WHEN 8 THEN 'voided' ELSE 'expired' END
                  OR e.flags & 256 = 0 AND e.timestamp >= h.expires_at
                  OR e.flags & 256 <> 0 AND (h.expires_at IS NULL OR e.timestamp < h.expires_at)
                  OR e.amount_fen > t.amount_fen OR e.flags & 4 = 0 AND e.amount_fen <> t.amount_fen
                  OR e.debit_account_id <> t.debit_account_id OR e.credit_account_id <> t.credit_account_id)""",
    ),
    Check(
        "endings",
        "What posts, voids or ends a hold by time names a hold.",
        """SELECT e.id, 'a hold', e.pending_id::text FROM ledger.transfers AS e
           LEFT JOIN ledger.transfers AS t ON t.id = e.pending_id AND t.flags & 2 <> 0
           WHERE e.pending_id IS NOT NULL AND t.id IS NULL""",
    ),
    Check(
        "closed",
        "An account is closed exactly while a transfer that closes it stands.",
        """SELECT a.id, (a.flags & 32 <> 0 OR closing.id IS NOT NULL)::text, a.closed::text
           FROM ledger.balances AS a LEFT JOIN (
               SELECT unnest(ARRAY[CASE WHEN t.flags & 64 <> 0 THEN t.debit_account_id END,
                                   CASE WHEN t.flags & 128 <> 0 THEN t.credit_account_id END]) AS id
               FROM ledger.transfers AS t JOIN ledger.pending_transfers AS h USING (id)
               WHERE t.flags & 192 <> 0 AND h.state IN ('open', 'posted')
           ) AS closing USING (id)
           WHERE a.closed <> (a.flags & 32 <> 0 OR closing.id IS NOT NULL)""",
    ),
    Check(
        "accounts",
        "An account's currency and limits are those with which it was made.",
        """SELECT id, a.made::text, b.made::text
           FROM (SELECT id, (ledger, flags, CASE WHEN flags & 2 <> 0 THEN 0 END, CASE WHEN flags & 4 <> 0 THEN 0 END)
                     AS made FROM ledger.accounts) AS a
           FULL JOIN (SELECT id, (ledger, flags, debits_excess_max_fen, credits_excess_max_fen) AS made
                      FROM ledger.balances) AS b USING (id)
           WHERE a.made::text IS DISTINCT FROM b.made::text""",
    ),
    Check(
        "transfers",
        "A transfer names two accounts of its ledger, and what its flags ask for.",
        """SELECT t.id, 'both in ledger ' || t.ledger, concat_ws('/', d.ledger, c.ledger)
           FROM ledger.transfers AS t LEFT JOIN ledger.accounts AS d ON d.id = t.debit_account_id
           LEFT JOIN ledger.accounts AS c ON c.id = t.credit_account_id
           WHERE d.ledger IS DISTINCT FROM t.ledger OR c.ledger IS DISTINCT FROM t.ledger
              OR t.debit_account_id = t.credit_account_id OR t.amount_fen < 0 OR t.code <= 0
              OR t.amount_fen = 0 AND t.flags & 316 = 0 OR t.timeout_s <> 0 AND t.flags & 2 = 0
              OR (t.pending_id IS NULL) <> (t.flags & 268 = 0)""",
    ),
    Check(
        "burnt_ids",
        "An id that was refused never became a transfer.",
        "SELECT id, status, 'made' FROM ledger.failed_transfers JOIN ledger.transfers USING (id)",
    ),
    Check(
        "journals",
        "A journal has transfers, and what belongs to a journal belongs to one that stands.",
        """SELECT j.id, 'at least one', 'none' FROM ledger.journals AS j
           WHERE NOT EXISTS (SELECT 1 FROM ledger.transfers AS t WHERE t.journal_id = j.id)
           UNION ALL
           SELECT t.id, 'a journal', t.journal_id::text FROM ledger.transfers AS t
           WHERE t.journal_id IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM ledger.journals AS j WHERE j.id = t.journal_id)""",
    ),
    Check(
        "value_dates",
        "A transfer bears the value date of its journal, or the moment at which it was booked.",
        """SELECT t.id, coalesce(j.value_at, t.timestamp)::text, t.value_at::text
           FROM ledger.transfers AS t LEFT JOIN ledger.journals AS j ON j.id = t.journal_id
           WHERE t.value_at <> t.timestamp AND t.value_at IS DISTINCT FROM j.value_at""",
    ),
    Check(
        "closed_periods",
        "Nothing was booked with a value date that was closed at that moment.",
        """SELECT j.id, 'nothing before ' || known.closed_until, j.value_at::text
           FROM ledger.journals AS j CROSS JOIN LATERAL (
               SELECT CASE action WHEN 'reopened' THEN starts_at ELSE ends_at END AS closed_until
               FROM ledger.period_events WHERE at < j.created_at ORDER BY at DESC LIMIT 1
           ) AS known WHERE j.value_at < known.closed_until""",
    ),
    Check(
        "reversals",
        "A reversal moves back exactly what its journal moved.",
        """SELECT j.id, flows.key, flows.net::text FROM ledger.journals AS j JOIN LATERAL (
               SELECT debit_id || ' > ' || credit_id AS key, sum(amount) AS net FROM (
                   SELECT debit_account_id AS debit_id, credit_account_id AS credit_id, amount_fen AS amount
                   FROM ledger.transfers WHERE journal_id = j.reverses_id AND flags & 266 = 0
                   UNION ALL
                   SELECT credit_account_id, debit_account_id, -amount_fen
                   FROM ledger.transfers WHERE journal_id = j.id AND flags & 266 = 0
               ) AS flow GROUP BY 1 HAVING sum(amount) <> 0
           ) AS flows ON true WHERE j.reverses_id IS NOT NULL""",
    ),
)


def audit(session: Session) -> list[Finding]:
    """Derive the whole ledger anew from its transfers and give the rows that differ; none means the books balance.

    Of each check, up to 1,000 rows.
    Reads every row of the ledger once or twice; lifts this transaction's statement timeout to ten minutes, and takes
    up to 256 MB of the server's memory for each sort.
    """
    execute(session, "SET LOCAL statement_timeout = '10min'", {}, reads=False)
    execute(session, "SET LOCAL work_mem = '256MB'", {}, reads=False)
    branches = " UNION ALL ".join(
        f"(SELECT '{check.name}', f.* FROM ({check.sql}) AS f (row_id, derived, found) ORDER BY 2"  # noqa: S608 - constants only
        f" LIMIT {FINDINGS_MAX})"
        for check in CHECKS
    )
    sentences = {check.name: check.sentence for check in CHECKS}
    return [
        Finding(check=name, row_id=row_id, sentence=sentences[name], derived=derived, found=found)
        for name, row_id, derived, found in execute(session, f"WITH {STEPS} {branches}", {})
    ]

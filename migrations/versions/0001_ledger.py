"""The tables of ledger: what is written once, what may change, and the triggers that tell them apart."""

from alembic import op

revision = "0001"
down_revision = "0000"
branch_labels = None
depends_on = None

# What happened, written once. Every row says which transaction wrote it: sequence numbers are not given in the order of
# the commits, but what lies below the oldest transaction still running is complete (seals read such ranges only). The
# number only grows with the table, so a BRIN index finds a range at next to no cost for the writers; it is summarised as
# it grows, or whoever wants the newest rows would read everything since the last vacuum.
WRITTEN_IN = "xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint"

ACCOUNTS = f"""
CREATE TABLE ledger.accounts (
    id uuid NOT NULL CONSTRAINT pk_accounts PRIMARY KEY,
    ledger integer NOT NULL CONSTRAINT ck_accounts_ledger CHECK (ledger > 0),
    code integer NOT NULL CONSTRAINT ck_accounts_code CHECK (code > 0),
    flags smallint NOT NULL CONSTRAINT ck_accounts_one_limit CHECK (flags & 6 <> 6),
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 integer NOT NULL,
    created_at timestamptz NOT NULL,
    {WRITTEN_IN}
);
CREATE INDEX ix_accounts_created_at_id ON ledger.accounts (created_at, id);
CREATE INDEX ix_accounts_xid ON ledger.accounts USING brin (xid) WITH (autosummarize = on)
"""

# Sums and `closed` change with every transfer, so pages keep room for the new row beside the old one (fillfactor), and
# no changing column is indexed: an update then touches no index. PostgreSQL parses each CHECK anew for every statement
# that writes, about a microsecond for each of its operands; so one says all, and asks columns instead of flags: neither
# a hold nor what a limit leaves is ever below zero. What has no limit is NULL, which `least` passes over. It must stand
# while anybody posts: `post_plain` knows no other limit.
BALANCES = """
CREATE TABLE ledger.balances (
    id uuid NOT NULL CONSTRAINT pk_balances PRIMARY KEY,
    ledger integer NOT NULL,
    flags smallint NOT NULL,
    debits_excess_max_fen bigint,
    credits_excess_max_fen bigint,
    closed boolean NOT NULL,
    debits_pending_fen bigint NOT NULL DEFAULT 0,
    debits_posted_fen bigint NOT NULL DEFAULT 0,
    credits_pending_fen bigint NOT NULL DEFAULT 0,
    credits_posted_fen bigint NOT NULL DEFAULT 0,
    last_at timestamptz NOT NULL,
    CONSTRAINT ck_balances_nothing_below_zero CHECK (
        least(
            debits_pending_fen, credits_pending_fen,
            credits_posted_fen - debits_posted_fen - debits_pending_fen + debits_excess_max_fen,
            debits_posted_fen - credits_posted_fen - credits_pending_fen + credits_excess_max_fen
        ) >= 0
    )
) WITH (fillfactor = 60);
CREATE FUNCTION ledger.limit_as_flagged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.debits_excess_max_fen := CASE WHEN NEW.flags & 2 <> 0 THEN 0 END;
    NEW.credits_excess_max_fen := CASE WHEN NEW.flags & 4 <> 0 THEN 0 END;
    RETURN NEW;
END
$$;
CREATE TRIGGER limited_as_flagged BEFORE INSERT ON ledger.balances
    FOR EACH ROW EXECUTE FUNCTION ledger.limit_as_flagged()
"""

JOURNALS = f"""
CREATE TABLE ledger.journals (
    id uuid NOT NULL CONSTRAINT pk_journals PRIMARY KEY,
    kind text NOT NULL,
    reference text NOT NULL,
    text text NOT NULL,
    actor text NOT NULL,
    value_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    idempotency_key text NOT NULL CONSTRAINT uq_journals_idempotency_key UNIQUE,
    request_hash bytea NOT NULL,
    reverses_id uuid CONSTRAINT uq_journals_reverses_id UNIQUE
        CONSTRAINT fk_journals_reverses_id REFERENCES ledger.journals (id),
    {WRITTEN_IN}
);
CREATE INDEX ix_journals_value_at_id ON ledger.journals (value_at, id);
CREATE INDEX ix_journals_xid ON ledger.journals USING brin (xid) WITH (autosummarize = on);
CREATE TABLE ledger.refused_journals (
    idempotency_key text NOT NULL CONSTRAINT pk_refused_journals PRIMARY KEY,
    journal_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    failing_position integer NOT NULL,
    failing_status text NOT NULL,
    created_at timestamptz NOT NULL
)
"""

# What became of the accounting periods, written once. The newest row alone says what is closed: everything before the
# end of its period, or before its beginning where it was reopened (docs/adr/0110).
PERIODS = f"""
CREATE TABLE ledger.period_events (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_period_events PRIMARY KEY,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    action text NOT NULL
        CONSTRAINT ck_period_events_action CHECK (action IN ('closed', 'reopening_asked', 'reopened')),
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL CONSTRAINT uq_period_events_at UNIQUE,
    {WRITTEN_IN},
    CONSTRAINT ck_period_events_bounds CHECK (starts_at < ends_at AND ends_at <= at),
    CONSTRAINT ck_period_events_reason CHECK (action <> 'reopening_asked' OR reason <> '')
);
CREATE INDEX ix_period_events_xid ON ledger.period_events USING brin (xid)
"""

# Both accounts' sums right after the transfer stand on its row: the balance at any moment is one index seek, and an
# audit can check every step. That the accounts, the journal and the hold it names exist is no foreign key: whoever
# writes here asks for the first and writes the others with it (docs/adr/0107); the keys cost an eighth of a posting.
# That no amount is below zero is a domain's CHECK, which a connection parses once and not for every statement.
# Only what is dated far from its booking is indexed by value date, and there is little of that (docs/adr/0112); without
# the statistics the planner would take posted rows for rare, and read a whole account for one page.
TRANSFERS = f"""
CREATE DOMAIN ledger.fen AS bigint CONSTRAINT ck_fen CHECK (VALUE >= 0);
CREATE TABLE ledger.transfers (
    id uuid NOT NULL CONSTRAINT pk_transfers PRIMARY KEY,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    amount_fen ledger.fen NOT NULL,
    ledger integer NOT NULL,
    code integer NOT NULL,
    flags smallint NOT NULL,
    pending_id uuid,
    timeout_s integer NOT NULL,
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 integer NOT NULL,
    journal_id uuid,
    timestamp timestamptz NOT NULL,
    value_at timestamptz NOT NULL,
    debit_debits_pending_fen bigint NOT NULL,
    debit_debits_posted_fen bigint NOT NULL,
    debit_credits_pending_fen bigint NOT NULL,
    debit_credits_posted_fen bigint NOT NULL,
    credit_debits_pending_fen bigint NOT NULL,
    credit_debits_posted_fen bigint NOT NULL,
    credit_credits_pending_fen bigint NOT NULL,
    credit_credits_posted_fen bigint NOT NULL,
    {WRITTEN_IN},
    CONSTRAINT ck_transfers_two_accounts CHECK (debit_account_id <> credit_account_id)
);
CREATE UNIQUE INDEX ix_transfers_debit_account_id_timestamp ON ledger.transfers (debit_account_id, timestamp);
CREATE UNIQUE INDEX ix_transfers_credit_account_id_timestamp ON ledger.transfers (credit_account_id, timestamp);
CREATE UNIQUE INDEX ix_transfers_pending_id ON ledger.transfers (pending_id) WHERE pending_id IS NOT NULL;
CREATE INDEX ix_transfers_journal_id ON ledger.transfers (journal_id) WHERE journal_id IS NOT NULL;
CREATE INDEX ix_transfers_xid_timestamp ON ledger.transfers USING brin (xid, timestamp) WITH (autosummarize = on);
CREATE INDEX ix_transfers_debit_account_id_value_at_timestamp ON ledger.transfers (debit_account_id, value_at, timestamp)
    WHERE (value_at - timestamp) NOT BETWEEN interval '-1 hour' AND interval '1 hour';
CREATE INDEX ix_transfers_credit_account_id_value_at_timestamp ON ledger.transfers (credit_account_id, value_at, timestamp)
    WHERE (value_at - timestamp) NOT BETWEEN interval '-1 hour' AND interval '1 hour';
CREATE STATISTICS ledger.st_transfers_flags ON (flags & 266) FROM ledger.transfers;
CREATE STATISTICS ledger.st_transfers_lag ON (value_at - timestamp) FROM ledger.transfers;
CREATE TABLE ledger.failed_transfers (
    id uuid NOT NULL CONSTRAINT pk_failed_transfers PRIMARY KEY,
    status text NOT NULL,
    created_at timestamptz NOT NULL
)
"""

# Derived, like the sums: where each pending transfer stands. The accounts and the amount repeat those of the transfer,
# so that the overdue holds of one account are one index seek.
PENDING_TRANSFERS = """
CREATE TABLE ledger.pending_transfers (
    id uuid NOT NULL CONSTRAINT pk_pending_transfers PRIMARY KEY,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    amount_fen bigint NOT NULL,
    expires_at timestamptz,
    state text NOT NULL CONSTRAINT ck_pending_transfers_state CHECK (state IN ('open', 'posted', 'voided', 'expired')),
    ended_at timestamptz,
    ended_by uuid,
    CONSTRAINT ck_pending_transfers_end CHECK (
        (state = 'open') = (ended_at IS NULL) AND (state = 'open') = (ended_by IS NULL)
    )
) WITH (fillfactor = 80);
CREATE INDEX ix_pending_transfers_debit_account_id_expires_at
    ON ledger.pending_transfers (debit_account_id, expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX ix_pending_transfers_credit_account_id_expires_at
    ON ledger.pending_transfers (credit_account_id, expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX ix_pending_transfers_debit_account_id_ended_at
    ON ledger.pending_transfers (debit_account_id, ended_at) WHERE state = 'expired';
CREATE INDEX ix_pending_transfers_credit_account_id_ended_at
    ON ledger.pending_transfers (credit_account_id, ended_at) WHERE state = 'expired';
CREATE INDEX ix_pending_transfers_expires_at
    ON ledger.pending_transfers (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL
"""

# The one case that makes up nearly all of a day, in one statement: a transfer or a hold that needs no rule but the
# limits, and these are the CHECK of the sums. Whatever else it meets, it raises and has done nothing, and the machine
# in `ledger.transfers` says what it is. It must never take what the machine would refuse;
# tests/ledger/test_post_plain.py sets the two against each other.
# Whoever calls it has switched off the other ways to find rows, so that both accounts are found through the index and
# locked in the order of their ids, as the machine does it: a small table would be read from end to end, and locked in
# the order in which its rows happen to lie. As settings of the function they would cost every call some microseconds.
POST_PLAIN = """
CREATE FUNCTION ledger.post_plain(
    new_id uuid, debit uuid, credit uuid, amount bigint, new_ledger integer, new_code integer, new_flags smallint,
    timeout integer, data_128 uuid, data_64 bigint, data_32 integer
) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    number xid8 := pg_current_xact_id();  -- before the clock: whoever closes a period waits for those who have one
    at timestamptz := clock_timestamp();
    posted bigint := CASE new_flags WHEN 0 THEN amount ELSE 0 END;
    held bigint := CASE new_flags WHEN 2 THEN amount ELSE 0 END;
    made timestamptz;
BEGIN
    WITH moved AS (
        UPDATE ledger.balances SET
            debits_posted_fen = debits_posted_fen + CASE id WHEN debit THEN posted ELSE 0 END,
            debits_pending_fen = debits_pending_fen + CASE id WHEN debit THEN held ELSE 0 END,
            credits_posted_fen = credits_posted_fen + CASE id WHEN credit THEN posted ELSE 0 END,
            credits_pending_fen = credits_pending_fen + CASE id WHEN credit THEN held ELSE 0 END,
            last_at = greatest(at, last_at + interval '1 microsecond')
        WHERE id IN (debit, credit) AND NOT closed AND ledger = new_ledger
            -- of what is below 2^61, any three add up to less than a column holds
            AND greatest(amount, debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen)
                < 2305843009213693952
        RETURNING id, debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen, last_at
    )
    INSERT INTO ledger.transfers
    SELECT new_id, debit, credit, amount, new_ledger, new_code, new_flags, NULL, timeout, data_128, data_64, data_32,
        NULL, greatest(d.last_at, c.last_at), greatest(d.last_at, c.last_at),
        d.debits_pending_fen, d.debits_posted_fen, d.credits_pending_fen, d.credits_posted_fen,
        c.debits_pending_fen, c.debits_posted_fen, c.credits_pending_fen, c.credits_posted_fen
    FROM moved AS d, moved AS c
    WHERE d.id = debit AND c.id = credit AND amount > 0 AND new_code > 0
        AND (new_flags = 0 AND timeout = 0 OR new_flags = 2 AND timeout >= 0)
        AND new_id NOT IN ('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        AND NOT EXISTS (SELECT FROM ledger.failed_transfers WHERE id = new_id)
    RETURNING timestamp INTO made;
    IF made IS NULL THEN
        RAISE EXCEPTION 'not plain' USING ERRCODE = 'TC001';
    END IF;
    IF made <> at THEN  -- somebody else was faster: the account that is behind takes the moment of the other one
        UPDATE ledger.balances SET last_at = made WHERE id IN (debit, credit) AND last_at < made;
    END IF;
    IF new_flags = 2 THEN
        INSERT INTO ledger.pending_transfers (id, debit_account_id, credit_account_id, amount_fen, expires_at, state)
        VALUES (new_id, debit, credit, amount,
                CASE WHEN timeout > 0 THEN made + make_interval(secs => timeout) END, 'open');
    END IF;
    RETURN made;
END
$$
"""

# What others write and hold, by its hash: the seals then say that it stood so. The second index is the feed's.
DOCUMENTS = f"""
CREATE TABLE ledger.documents (
    id uuid NOT NULL CONSTRAINT pk_documents PRIMARY KEY,
    kind text NOT NULL CONSTRAINT ck_documents_kind CHECK (kind ~ '^[a-z][a-z0-9-]{{0,39}}$'),
    digest bytea NOT NULL CONSTRAINT ck_documents_digest CHECK (length(digest) = 32),
    created_at timestamptz NOT NULL,
    {WRITTEN_IN}
);
CREATE INDEX ix_documents_xid ON ledger.documents USING brin (xid) WITH (autosummarize = on);
CREATE INDEX ix_documents_kind_xid_id ON ledger.documents (kind, xid, id)
"""

# What the seals know of the facts. The hashes stand apart from the rows, so that sealing touches none of them, and are
# kept as they are: no hash can be compressed.
SEALS = """
CREATE TABLE ledger.clusters (
    number integer NOT NULL CONSTRAINT pk_clusters PRIMARY KEY,
    system_identifier bigint NOT NULL,
    xid_offset bigint NOT NULL,
    adopted_at timestamptz NOT NULL
);
INSERT INTO ledger.clusters SELECT 1, system_identifier, 0, now() FROM pg_control_system();
CREATE TABLE ledger.seals (
    number bigint NOT NULL CONSTRAINT pk_seals PRIMARY KEY,
    version smallint NOT NULL,
    rows_count integer NOT NULL CONSTRAINT ck_seals_rows_count CHECK (rows_count BETWEEN 1 AND 1000),
    last_xid bigint NOT NULL,
    last_kind text NOT NULL COLLATE "C",
    last_id uuid NOT NULL,
    system_identifier bigint NOT NULL,
    previous_hash bytea NOT NULL CONSTRAINT uq_seals_previous_hash UNIQUE,
    root bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    key_id text NOT NULL,
    hash bytea NOT NULL,
    signature bytea,
    keys bytea NOT NULL,
    leaves bytea NOT NULL,
    CONSTRAINT ck_seals_sizes CHECK (length(keys) = 17 * rows_count AND length(leaves) = 32 * rows_count)
);
ALTER TABLE ledger.seals ALTER COLUMN keys SET STORAGE EXTERNAL, ALTER COLUMN leaves SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX ix_seals_last_xid_last_kind_last_id ON ledger.seals (last_xid, last_kind, last_id)
"""

# Statement triggers fire even when no row matches; the column list and the WHEN keep the hot path free of any call.
TRIGGERS = """
CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the books are only ever added to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.journals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.failed_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.refused_journals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.period_events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.documents
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.seals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.clusters
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON ledger.balances
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_sums_change BEFORE UPDATE OF id, ledger, flags, debits_excess_max_fen, credits_excess_max_fen ON ledger.balances
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON ledger.pending_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER ends_once
    BEFORE UPDATE ON ledger.pending_transfers FOR EACH ROW
    WHEN (
        OLD.state <> 'open' OR NEW.state = 'open'
        OR (OLD.id, OLD.debit_account_id, OLD.credit_account_id, OLD.amount_fen, OLD.expires_at)
            IS DISTINCT FROM (NEW.id, NEW.debit_account_id, NEW.credit_account_id, NEW.amount_fen, NEW.expires_at)
    )
    EXECUTE FUNCTION ledger.refuse()
"""

# Before the triggers, the rights: the service's role may add to the books and carry its sums forward, nothing else.
RIGHTS = """
GRANT UPDATE ON ledger.balances, ledger.pending_transfers TO testcard_service;
REVOKE INSERT ON ledger.clusters FROM testcard_service
"""


def upgrade() -> None:
    facts = (ACCOUNTS, BALANCES, JOURNALS, PERIODS, TRANSFERS, PENDING_TRANSFERS, POST_PLAIN, DOCUMENTS)
    for statement in (*facts, SEALS, TRIGGERS, RIGHTS):
        op.execute(statement)

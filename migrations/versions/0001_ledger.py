"""The tables of ledger: what is written once, what may change, and the triggers that tell them apart."""

from alembic import op

revision = "0001"
down_revision = "0000"
branch_labels = None
depends_on = None

# Sums and `closed` change with every transfer, so pages keep room for the new row beside the old one (fillfactor), and
# no changing column is indexed: an update then touches no index.
ACCOUNTS = """
CREATE TABLE ledger.accounts (
    id uuid NOT NULL CONSTRAINT pk_accounts PRIMARY KEY,
    ledger integer NOT NULL CONSTRAINT ck_accounts_ledger CHECK (ledger > 0),
    code integer NOT NULL CONSTRAINT ck_accounts_code CHECK (code > 0),
    flags smallint NOT NULL CONSTRAINT ck_accounts_one_limit CHECK (flags & 6 <> 6),
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 integer NOT NULL,
    created_at timestamptz NOT NULL,
    closed boolean NOT NULL,
    debits_pending_fen bigint NOT NULL DEFAULT 0,
    debits_posted_fen bigint NOT NULL DEFAULT 0,
    credits_pending_fen bigint NOT NULL DEFAULT 0,
    credits_posted_fen bigint NOT NULL DEFAULT 0,
    last_at timestamptz NOT NULL,
    CONSTRAINT uq_accounts_id_ledger UNIQUE (id, ledger),
    CONSTRAINT ck_accounts_no_negative_sum CHECK (
        debits_pending_fen >= 0 AND debits_posted_fen >= 0 AND credits_pending_fen >= 0 AND credits_posted_fen >= 0
    ),
    CONSTRAINT ck_accounts_debits_must_not_exceed_credits CHECK (
        flags & 2 = 0 OR debits_pending_fen + debits_posted_fen <= credits_posted_fen
    ),
    CONSTRAINT ck_accounts_credits_must_not_exceed_debits CHECK (
        flags & 4 = 0 OR credits_pending_fen + credits_posted_fen <= debits_posted_fen
    )
) WITH (fillfactor = 60)
"""

JOURNALS = """
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
        CONSTRAINT fk_journals_reverses_id REFERENCES ledger.journals (id)
);
CREATE TABLE ledger.refused_journals (
    idempotency_key text NOT NULL CONSTRAINT pk_refused_journals PRIMARY KEY,
    journal_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    failing_position integer NOT NULL,
    failing_status text NOT NULL,
    created_at timestamptz NOT NULL
)
"""

# Both accounts' sums right after the transfer stand on its row: the balance at any moment is one index seek, and an
# audit can check every step. The composite keys refuse a transfer between two currencies.
TRANSFERS = """
CREATE TABLE ledger.transfers (
    id uuid NOT NULL CONSTRAINT pk_transfers PRIMARY KEY,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    amount_fen bigint NOT NULL,
    ledger integer NOT NULL,
    code integer NOT NULL CONSTRAINT ck_transfers_code CHECK (code > 0),
    flags smallint NOT NULL,
    pending_id uuid CONSTRAINT fk_transfers_pending_id REFERENCES ledger.transfers (id),
    timeout_s integer NOT NULL CONSTRAINT ck_transfers_timeout CHECK (timeout_s >= 0),
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 integer NOT NULL,
    journal_id uuid CONSTRAINT fk_transfers_journal_id REFERENCES ledger.journals (id),
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
    CONSTRAINT fk_transfers_debit_account_id_ledger
        FOREIGN KEY (debit_account_id, ledger) REFERENCES ledger.accounts (id, ledger),
    CONSTRAINT fk_transfers_credit_account_id_ledger
        FOREIGN KEY (credit_account_id, ledger) REFERENCES ledger.accounts (id, ledger),
    CONSTRAINT ck_transfers_accounts_differ CHECK (debit_account_id <> credit_account_id),
    CONSTRAINT ck_transfers_amount CHECK (amount_fen > 0 OR amount_fen = 0 AND flags & 52 <> 0),
    CONSTRAINT ck_transfers_pending_id CHECK ((pending_id IS NOT NULL) = (flags & 12 <> 0))
);
CREATE UNIQUE INDEX ix_transfers_debit_account_id_timestamp ON ledger.transfers (debit_account_id, timestamp);
CREATE UNIQUE INDEX ix_transfers_credit_account_id_timestamp ON ledger.transfers (credit_account_id, timestamp);
CREATE UNIQUE INDEX ix_transfers_pending_id ON ledger.transfers (pending_id) WHERE pending_id IS NOT NULL;
CREATE INDEX ix_transfers_journal_id ON ledger.transfers (journal_id) WHERE journal_id IS NOT NULL;
CREATE TABLE ledger.failed_transfers (
    id uuid NOT NULL CONSTRAINT pk_failed_transfers PRIMARY KEY,
    status text NOT NULL,
    created_at timestamptz NOT NULL
)
"""

# The two account ids repeat those of the transfer, so that the overdue holds of one account are one index seek.
PENDING_TRANSFERS = """
CREATE TABLE ledger.pending_transfers (
    id uuid NOT NULL CONSTRAINT pk_pending_transfers PRIMARY KEY
        CONSTRAINT fk_pending_transfers_id REFERENCES ledger.transfers (id),
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    expires_at timestamptz,
    state text NOT NULL CONSTRAINT ck_pending_transfers_state CHECK (state IN ('open', 'posted', 'voided', 'expired')),
    ended_at timestamptz,
    ended_by uuid,
    CONSTRAINT ck_pending_transfers_end CHECK (
        (state = 'open') = (ended_at IS NULL) AND (state IN ('posted', 'voided')) = (ended_by IS NOT NULL)
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

# Statement triggers fire even when no row matches; the column list and the WHEN keep the hot path free of any call.
TRIGGERS = """
CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the books are only ever added to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.journals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.failed_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.refused_journals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON ledger.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER only_sums_change
    BEFORE UPDATE OF id, ledger, code, flags, user_data_128, user_data_64, user_data_32, created_at ON ledger.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON ledger.pending_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER ends_once
    BEFORE UPDATE ON ledger.pending_transfers FOR EACH ROW
    WHEN (
        OLD.state <> 'open' OR NEW.state = 'open'
        OR (OLD.id, OLD.debit_account_id, OLD.credit_account_id, OLD.expires_at)
            IS DISTINCT FROM (NEW.id, NEW.debit_account_id, NEW.credit_account_id, NEW.expires_at)
    )
    EXECUTE FUNCTION ledger.refuse()
"""


def upgrade() -> None:
    for statement in (ACCOUNTS, JOURNALS, TRANSFERS, PENDING_TRANSFERS, TRIGGERS):
        op.execute(statement)

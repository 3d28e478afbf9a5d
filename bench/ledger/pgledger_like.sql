-- The usual way to keep a ledger in PostgreSQL, written for comparison after the structure of pgledger
-- (github.com/pgr0ss/pgledger): what such a design costs for the same transfer, on the same server, in the same run.
--
-- It has what that one has: text ids of a prefix and a ULID, made in SQL from a time-ordered uuid; accounts with
-- currency, balance, version and what signs are allowed; one row lock an account, one account after the other in the
-- order of ids; one UPDATE an account that returns the row; limits checked by a function of their own; one currency;
-- one transfer row with three indexes besides its key; two entry rows with the balance before and after and two indexes;
-- four foreign keys; lists of requests behind a function for a single one; the answer read through a view.
--
-- It may differ in this, each time to the advantage of the comparison: amounts are bigint where pgledger's are exact
-- decimals; the uuid is put together in plain SQL also where the server has a function of its own, since pgledger asks
-- the catalogue and runs dynamic SQL to find out; account ids are given by the caller and not drawn. It has no views
-- over accounts and entries, which posting does not touch. It is nobody's code but this project's.

CREATE SCHEMA comparison;

CREATE FUNCTION comparison.time_ordered_uuid() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(overlay(
        set_byte(uuid_send(gen_random_uuid()), 6, 112 + (random() * 15)::integer)
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 'hex')::uuid
$$;

-- Base 32 of Crockford: 130 bits, of which the first two are nought, in steps of five.
CREATE FUNCTION comparison.ulid(value uuid) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    digits CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    bits bit(130) := B'00' || ('x' || replace(value::text, '-', ''))::bit(128);
    made text := '';
BEGIN
    FOR place IN 0..25 LOOP
        made := made || substr(digits, 1 + substring(bits FROM place * 5 + 1 FOR 5)::bit(5)::integer, 1);
    END LOOP;
    RETURN made;
END
$$;

CREATE FUNCTION comparison.new_id(prefix text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT prefix || '_' || comparison.ulid(comparison.time_ordered_uuid())
$$;

CREATE TABLE comparison.accounts (
    id text PRIMARY KEY,
    name text NOT NULL,
    currency text NOT NULL,
    balance bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    may_be_negative boolean NOT NULL,
    may_be_positive boolean NOT NULL,
    metadata jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE comparison.transfers (
    id text PRIMARY KEY DEFAULT comparison.new_id('cmpt'),
    from_account_id text NOT NULL REFERENCES comparison.accounts,
    to_account_id text NOT NULL REFERENCES comparison.accounts,
    amount bigint NOT NULL,
    created_at timestamptz NOT NULL,
    event_at timestamptz NOT NULL,
    metadata jsonb,
    CHECK (amount > 0 AND from_account_id <> to_account_id)
);
CREATE INDEX ON comparison.transfers (from_account_id);
CREATE INDEX ON comparison.transfers (to_account_id);
CREATE INDEX ON comparison.transfers (event_at);

CREATE TABLE comparison.entries (
    id text PRIMARY KEY DEFAULT comparison.new_id('cmpe'),
    account_id text NOT NULL REFERENCES comparison.accounts,
    transfer_id text NOT NULL REFERENCES comparison.transfers,
    amount bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance_after bigint NOT NULL,
    account_version bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ON comparison.entries (account_id);
CREATE INDEX ON comparison.entries (transfer_id);

CREATE VIEW comparison.transfers_seen AS
SELECT id, from_account_id, to_account_id, amount, created_at, event_at, metadata FROM comparison.transfers;

CREATE TYPE comparison.request AS (from_account_id text, to_account_id text, amount bigint);

CREATE FUNCTION comparison.refuse_sign(account comparison.accounts) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF account.balance < 0 AND NOT account.may_be_negative THEN
        RAISE EXCEPTION 'account % (%) may not be negative', account.id, account.name;
    END IF;
    IF account.balance > 0 AND NOT account.may_be_positive THEN
        RAISE EXCEPTION 'account % (%) may not be positive', account.id, account.name;
    END IF;
END
$$;

CREATE FUNCTION comparison.transfer_all(
    wanted comparison.request[], event_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL
) RETURNS SETOF comparison.transfers_seen LANGUAGE plpgsql AS $$
DECLARE
    one comparison.request;
    locked_id text;
    giver comparison.accounts;
    taker comparison.accounts;
    made_id text;
    made_ids text[] := '{}';
BEGIN
    FOR locked_id IN
        SELECT DISTINCT id FROM unnest(wanted) AS request, LATERAL unnest(ARRAY[from_account_id, to_account_id]) AS id
        ORDER BY id
    LOOP
        PERFORM 1 FROM comparison.accounts AS account WHERE account.id = locked_id FOR UPDATE;
    END LOOP;
    FOREACH one IN ARRAY wanted LOOP
        IF one.amount <= 0 THEN
            RAISE EXCEPTION 'amount % is not positive', one.amount;
        END IF;
        IF one.from_account_id = one.to_account_id THEN
            RAISE EXCEPTION 'both sides are account %', one.from_account_id;
        END IF;
        UPDATE comparison.accounts AS account
        SET balance = balance - one.amount, version = version + 1, updated_at = now()
        WHERE account.id = one.from_account_id RETURNING * INTO giver;
        PERFORM comparison.refuse_sign(giver);
        UPDATE comparison.accounts AS account
        SET balance = balance + one.amount, version = version + 1, updated_at = now()
        WHERE account.id = one.to_account_id RETURNING * INTO taker;
        PERFORM comparison.refuse_sign(taker);
        IF giver.currency <> taker.currency THEN
            RAISE EXCEPTION 'currencies differ: % and %', giver.currency, taker.currency;
        END IF;
        INSERT INTO comparison.transfers AS made (from_account_id, to_account_id, amount, created_at, event_at, metadata)
        VALUES (giver.id, taker.id, one.amount, now(), coalesce(transfer_all.event_at, now()), transfer_all.metadata)
        RETURNING made.id INTO made_id;
        made_ids := made_ids || made_id;
        INSERT INTO comparison.entries
            (account_id, transfer_id, amount, balance_before, balance_after, account_version, created_at)
        VALUES (giver.id, made_id, -one.amount, giver.balance + one.amount, giver.balance, giver.version, now());
        INSERT INTO comparison.entries
            (account_id, transfer_id, amount, balance_before, balance_after, account_version, created_at)
        VALUES (taker.id, made_id, one.amount, taker.balance - one.amount, taker.balance, taker.version, now());
    END LOOP;
    RETURN QUERY SELECT * FROM comparison.transfers_seen AS seen WHERE seen.id = ANY (made_ids) ORDER BY seen.id;
END
$$;

CREATE FUNCTION comparison.transfer(
    from_account_id text, to_account_id text, amount bigint,
    event_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL
) RETURNS SETOF comparison.transfers_seen LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM comparison.transfer_all(
        ARRAY[(from_account_id, to_account_id, amount)::comparison.request], event_at, metadata
    );
END
$$;

INSERT INTO comparison.accounts
    (id, name, currency, may_be_negative, may_be_positive, created_at, updated_at)
SELECT 'cmpa_' || lpad(number::text, 26, '0'), 'account ' || number, 'CNY', true, true, now(), now()
FROM generate_series(0, 9999) AS number;

"""Lock, read, run, write: how a batch of transfers becomes rows, in a constant number of statements.

1. Lock the accounts the batch names, in the order of their ids, so that two batches cannot wait for each other.
2. Read, with the clock, what the batch's ids already mean and which holds of these accounts have run out of time.
3. Run the machine of `transfers` over these rows.
4. Write what it decided in one statement.

Every statement goes to the driver as it stands here; the ORM's unit of work would cost more than the ledger does.
Arrays travel in binary (`%b`): as text, quoting each id would be the dearest step of all. Ids are looked up through
`ANY(ARRAY(SELECT …))`, which hides their number from the planner: it then keeps one generic plan for batches of one
and of thousands, where it would else plan every single anew, at several times the cost of running it. Rows are
unnested in the SELECT list and go straight on to their table; in FROM, all would be made before the first is used.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import psycopg.errors
import sqlalchemy.exc
from sqlalchemy.orm import Session

from ledger.arrays import array
from ledger.checks import (
    BALANCING,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    PENDING,
    AccountState,
)
from ledger.transfers import Hold, Machine
from ledger.values import NewTransfer, PendingState, Transfer, TransferResult

BATCH_MAX = 8_189
"""As many events as one batch may have, as in TigerBeetle."""

VALUE_DATES_LOCK = 0x7E57_DA7E
"""The advisory lock that postings with a value date share, and that the close of a period takes for itself."""

Runner = Session | psycopg.Connection
"""What runs the ledger's SQL: a session that does other work beside it, or a bare connection that does nothing else."""

# These keys are hit only when two transactions took the same id or key at the same moment over different accounts.
RACED_KEYS = frozenset(
    {"pk_accounts", "pk_transfers", "pk_journals", "uq_journals_idempotency_key", "uq_journals_reverses_id"}
)


# Where a hold stands by the clock, also before anybody wrote its end down.
STATE_NOW = "CASE WHEN state = 'open' AND expires_at <= statement_timestamp() THEN 'expired' ELSE state END"
TRANSFER_COLUMNS = ", ".join(f"transfers.{column}" for column in Transfer._fields)

_LOCK = """
SELECT id, ledger, flags, closed,
       debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen, last_at
FROM ledger.balances
WHERE {first} id = ANY(ARRAY({ids}))
ORDER BY id FOR NO KEY UPDATE
"""
_NAMED = "SELECT unnest(%(account_ids)b::uuid[])"
# The holds that the judgement of a named account will end: nearly always none in all the books, which is asked first.
_OVERDUE = f"""
    SELECT unnest(ARRAY[debit_account_id, credit_account_id]) FROM ledger.pending_transfers
    WHERE (SELECT EXISTS (
            SELECT FROM ledger.pending_transfers WHERE state = 'open' AND expires_at <= statement_timestamp()
        )) AND state = 'open' AND expires_at <= statement_timestamp()
        AND {{account_id}} = ANY(ARRAY(
            SELECT id FROM ledger.balances WHERE id = ANY(ARRAY({_NAMED}))
                AND (flags & {{limited}} <> 0 OR closed OR id = ANY(%(balancing_ids)b::uuid[]))
        ))
"""  # noqa: S608 - names and numbers only
_CONCERNED = f"""
    {_NAMED}
    UNION ALL SELECT unnest(ARRAY[debit_account_id, credit_account_id])
    FROM ledger.transfers WHERE id = ANY(ARRAY(SELECT unnest(%(pending_ids)b::uuid[])))
    UNION ALL {_OVERDUE.format(account_id="debit_account_id", limited=DEBITS_LIMITED)}
    UNION ALL {_OVERDUE.format(account_id="credit_account_id", limited=CREDITS_LIMITED)}
"""  # noqa: S608 - names and numbers only
LOCK_NAMED = _LOCK.format(first="", ids=_NAMED)
LOCK = _LOCK.format(first="", ids=_CONCERNED)
# Asked once, before any row is looked for: whoever waits here holds nothing yet.
LOCK_WITH_VALUE_DATE = _LOCK.format(
    first=f"(SELECT pg_advisory_xact_lock_shared({VALUE_DATES_LOCK}) IS NOT NULL) AND", ids=_CONCERNED
)

READ = f"""
SELECT statement_timestamp(),
       ARRAY(SELECT id FROM ledger.failed_transfers WHERE id = ANY(ARRAY(SELECT unnest(%(ids)b::uuid[])))),
       {TRANSFER_COLUMNS}, holds.state, holds.ended_at, holds.ended_by
FROM (SELECT 1) AS one
LEFT JOIN ledger.transfers ON transfers.id = ANY(ARRAY(
    SELECT unnest(%(ids)b::uuid[])
    UNION ALL SELECT id FROM ledger.pending_transfers
        WHERE state = 'open' AND expires_at <= statement_timestamp()
        AND debit_account_id = ANY(ARRAY(SELECT unnest(%(judged_debits)b::uuid[])))
    UNION ALL SELECT id FROM ledger.pending_transfers
        WHERE state = 'open' AND expires_at <= statement_timestamp()
        AND credit_account_id = ANY(ARRAY(SELECT unnest(%(judged_credits)b::uuid[])))
))
LEFT JOIN ledger.pending_transfers AS holds ON holds.id = transfers.id
"""  # noqa: S608 - column names only


class Part(NamedTuple):
    """One table's share of the write: a statement and its parameters, under names that no other part uses.

    It writes `rows_count` rows, or something that they name does not stand; None is any number.
    """

    name: str
    sql: str
    parameters: Mapping[str, object]
    rows_count: int | None
    returning: str = "1"


@dataclass(frozen=True, slots=True)
class Columns:
    """One INSERT from arrays, one array a column; of the rows, those are written that meet the condition."""

    table: str
    columns: tuple[tuple[str, str], ...]
    condition: str = "true"

    def rows(self, rows: Sequence[Sequence[object]]) -> Part:
        """Give the statement that writes these rows, at least one."""
        names = [name for name, _ in self.columns]
        keys = [f"{self.table}_{name}" for name in names]
        arrays = ", ".join(
            f"unnest(%({key})b::{type_}[]) AS {name}" for key, (name, type_) in zip(keys, self.columns, strict=True)
        )
        return Part(
            self.table,
            f"INSERT INTO ledger.{self.table} ({', '.join(names)})"  # noqa: S608 - names only
            f" SELECT made.* FROM (SELECT {arrays}) AS made WHERE {self.condition}",
            {
                key: array(type_, values)
                for key, (_, type_), values in zip(keys, self.columns, zip(*rows, strict=True), strict=True)
            },
            rows_count=len(rows),
        )


# Both accounts must stand in the transfer's ledger: this is the books' foreign key, asked of the sums just written.
# With IS TRUE the planner hashes them once; as a join, not knowing how many they are, it would read them for every row.
BOTH_ACCOUNTS_STAND = """
    ((made.debit_account_id, made.ledger) IN (SELECT id, ledger FROM sums)) IS TRUE
    AND ((made.credit_account_id, made.ledger) IN (SELECT id, ledger FROM sums)) IS TRUE
"""
TRANSFERS = Columns(
    "transfers",
    tuple(
        zip(
            Transfer._fields,
            (
                *("uuid", "uuid", "uuid", "bigint", "integer", "integer", "smallint", "uuid", "integer", "uuid"),
                *("bigint", "integer", "uuid", "timestamptz", "timestamptz"),
                *["bigint"] * 8,
            ),
            strict=True,
        )
    ),
    condition=BOTH_ACCOUNTS_STAND,
)
HOLDS = Columns(
    "pending_transfers",
    (
        ("id", "uuid"),
        ("debit_account_id", "uuid"),
        ("credit_account_id", "uuid"),
        ("amount_fen", "bigint"),
        ("expires_at", "timestamptz"),
        ("state", "text"),
        ("ended_at", "timestamptz"),
        ("ended_by", "uuid"),
    ),
)
FAILED = """
INSERT INTO ledger.failed_transfers (id, status, created_at)
SELECT id, status, %(failed_at)s::timestamptz FROM unnest(%(failed_ids)b::uuid[], %(failed_statuses)b::text[])
    AS failed (id, status)
ON CONFLICT DO NOTHING
"""
ENDED = """
UPDATE ledger.pending_transfers AS holds SET state = ended.state, ended_at = ended.ended_at, ended_by = ended.ended_by
FROM unnest(%(ended_ids)b::uuid[], %(ended_states)b::text[], %(ended_ats)b::timestamptz[], %(ended_bys)b::uuid[])
    AS ended (id, state, ended_at, ended_by)
WHERE holds.id = ended.id AND holds.id = ANY(ARRAY(SELECT unnest(%(ended_ids)b::uuid[])))
"""
SUMS = """
UPDATE ledger.balances AS balances SET
    closed = new.closed,
    debits_pending_fen = new.debits_pending_fen, debits_posted_fen = new.debits_posted_fen,
    credits_pending_fen = new.credits_pending_fen, credits_posted_fen = new.credits_posted_fen,
    last_at = new.last_at
FROM (
    SELECT unnest(%(account_ids)b::uuid[]) AS id, unnest(%(closed)b::boolean[]) AS closed,
           unnest(%(debits_pending)b::bigint[]) AS debits_pending_fen,
           unnest(%(debits_posted)b::bigint[]) AS debits_posted_fen,
           unnest(%(credits_pending)b::bigint[]) AS credits_pending_fen,
           unnest(%(credits_posted)b::bigint[]) AS credits_posted_fen,
           unnest(%(last_at)b::timestamptz[]) AS last_at
) AS new
WHERE balances.id = new.id AND balances.id = ANY(ARRAY(SELECT unnest(%(account_ids)b::uuid[])))
"""


def create_transfers(session: Runner, transfers: Sequence[NewTransfer]) -> list[TransferResult]:
    """Take the transfers in order, each with its own result; those of a linked chain hold all or nothing.

    An id refused for a passing reason is burnt in the same transaction, so commit refusals too. Raises the database's
    deadlock, serialisation failure or lock not available: do the same again with the same ids. The value date is the
    moment of posting; another one needs a journal. At most 8,189 transfers, else ValueError.
    """
    machine = load(session, transfers)
    results = machine.run(transfers)
    write(session, machine)
    return results


def load(session: Runner, events: Sequence[NewTransfer], *, has_value_date: bool = False) -> Machine:
    """Lock the accounts that the events name and read everything the rules need to know.

    With `has_value_date`, what is closed stays as it is read from now until the transaction ends.
    """
    if len(events) > BATCH_MAX:
        raise ValueError(f"A batch holds at most {BATCH_MAX} transfers, not {len(events)}")
    pending_ids = _ids(event.pending_id for event in events)
    balancing = [event for event in events if int(event.flags) & BALANCING]
    accounts = _lock_concerned(session, events, pending_ids, balancing, has_value_date=has_value_date)
    while True:
        judged_debits, judged_credits = _judged(events, balancing, accounts)
        machine = read(
            session,
            accounts=accounts,
            ids=[*(event.id for event in events), *pending_ids],
            judged_debits=judged_debits,
            judged_credits=judged_credits,
        )
        # While the locks were waited for, a hold may have been made, or its time have run out. Its accounts come late
        # and out of order, so nobody waits for them: whoever does not get them at once begins again, and knows them.
        missing = {
            id_
            for hold in machine.holds.values()
            for id_ in (hold.transfer.debit_account_id, hold.transfer.credit_account_id)
            if id_ not in accounts
        }
        if not missing:
            return machine
        accounts.update(lock_accounts(session, missing, "NOWAIT"))


def lookup_transfers(session: Runner, ids: Iterable[UUID]) -> list[Transfer]:
    """Give the transfers that exist among these ids, in the order they were made."""
    rows = execute(
        session,
        f"SELECT {TRANSFER_COLUMNS} FROM ledger.transfers WHERE id = ANY(%(ids)b::uuid[]) ORDER BY timestamp, id",  # noqa: S608 - column names only
        {"ids": list(ids)},
    )
    return [Transfer._make(row) for row in rows]


def lock_accounts(
    session: Runner, account_ids: Iterable[UUID], unless_free: Literal["NOWAIT", "SKIP LOCKED"]
) -> dict[UUID, AccountState]:
    """Lock these accounts until the transaction ends, and wait for nobody.

    An account that somebody else holds is the database's error "lock not available", or is left out of the answer.
    """
    rows = execute(session, LOCK_NAMED + unless_free, {"account_ids": array("uuid", list(account_ids))})
    return {row[0]: AccountState(*row) for row in rows}


def _lock_concerned(
    session: Runner,
    events: Sequence[NewTransfer],
    pending_ids: Sequence[UUID],
    balancing: Sequence[NewTransfer],
    *,
    has_value_date: bool,
) -> dict[UUID, AccountState]:
    """Lock the accounts that the events name, and those of the holds that they end or that are overdue in their way."""
    rows = execute(
        session,
        LOCK_WITH_VALUE_DATE if has_value_date else LOCK,
        {
            "account_ids": array("uuid", _named(events)),
            "pending_ids": array("uuid", pending_ids),
            "balancing_ids": array("uuid", _named(balancing)),
        },
    )
    return {row[0]: AccountState(*row) for row in rows}


def read(
    session: Runner,
    *,
    accounts: dict[UUID, AccountState],
    ids: Sequence[UUID],
    judged_debits: Sequence[UUID] = (),
    judged_credits: Sequence[UUID] = (),
) -> Machine:
    """Read what these ids mean and what is overdue in the accounts under judgement, after the locks were taken."""
    rows = execute(
        session,
        READ,
        {
            "ids": array("uuid", ids),
            "judged_debits": array("uuid", judged_debits),
            "judged_credits": array("uuid", judged_credits),
        },
    )
    transfers: dict[UUID, Transfer] = {}
    holds: dict[UUID, Hold] = {}
    width = len(Transfer._fields)
    for row in rows:
        if row[2] is None:
            continue
        transfer = Transfer._make(row[2 : 2 + width])
        transfers[transfer.id] = transfer
        if transfer.flags & PENDING:
            state, ended_at, ended_by = row[2 + width :]
            holds[transfer.id] = Hold(transfer, PendingState(state), ended_at, ended_by)
    return Machine(now=rows[0][0], accounts=accounts, transfers=transfers, holds=holds, failed=set(rows[0][1]))


def write(session: Runner, machine: Machine, *parts: Part) -> None:
    """Write what the machine decided, and `parts` of other tables with it, in one statement.

    Raises RuntimeError if a row names what does not stand, as an account of another ledger: the caller must not commit.
    """
    every = [*_parts(machine), *parts]
    if not every:
        return
    steps = ",\n".join(f"{part.name} AS ({part.sql} RETURNING {part.returning})" for part in every)
    counts = ", ".join(f"(SELECT count(*) FROM {part.name})" for part in every)  # noqa: S608 - names only
    parameters = {key: value for part in every for key, value in part.parameters.items()}
    (written,) = execute(session, f"WITH {steps} SELECT {counts}", parameters)
    for part, count in zip(every, written, strict=True):
        if part.rows_count is not None and count < part.rows_count:
            missing = part.rows_count - count
            raise RuntimeError(f"of {part.rows_count} rows for {part.name}, {missing} name what does not stand")


def execute(session: Runner, sql: str, parameters: Mapping[str, object], *, reads: bool = True) -> Sequence[Any]:
    """Run one statement of the driver's own SQL.

    Raises the database's error; a key that another transaction took at the same moment becomes a serialisation
    failure, so that doors retry it and then find the other's answer.
    """
    if isinstance(session, psycopg.Connection):
        return _execute_bare(session, sql, parameters, reads=reads)
    try:
        result = session.connection().exec_driver_sql(sql, dict(parameters))
    except sqlalchemy.exc.IntegrityError as error:
        if (raced := _raced(error.orig)) is None:
            raise
        raise sqlalchemy.exc.OperationalError(error.statement, None, raced) from error
    return result.fetchall() if reads else ()


def _execute_bare(
    connection: psycopg.Connection, sql: str, parameters: Mapping[str, object], *, reads: bool
) -> Sequence[Any]:
    try:
        cursor = connection.execute(sql, parameters, binary=True)
    except psycopg.errors.UniqueViolation as error:
        if (raced := _raced(error)) is None:
            raise
        raise raced from error
    return cursor.fetchall() if reads else ()


def _raced(error: object) -> psycopg.errors.SerializationFailure | None:
    diagnosis = getattr(error, "diag", None)
    if getattr(diagnosis, "constraint_name", None) not in RACED_KEYS:
        return None
    return psycopg.errors.SerializationFailure("another transaction took the same id at the same moment")


def _judged(
    events: Sequence[NewTransfer], balancing: Sequence[NewTransfer], accounts: Mapping[UUID, AccountState]
) -> tuple[list[UUID], list[UUID]]:
    """Name the accounts whose overdue holds decide something, on the debit and on the credit side.

    They decide what is available, and whether an account is closed that a hold had closed for a time.
    """
    closed = {account.id for account in accounts.values() if account.closed}
    debits = closed.union(event.debit_account_id for event in balancing if int(event.flags) & BALANCING_DEBIT)
    if limited := {account.id for account in accounts.values() if account.flags & DEBITS_LIMITED}:
        debits |= limited.intersection(event.debit_account_id for event in events)
    credits_ = closed.union(event.credit_account_id for event in balancing if int(event.flags) & BALANCING_CREDIT)
    if limited := {account.id for account in accounts.values() if account.flags & CREDITS_LIMITED}:
        credits_ |= limited.intersection(event.credit_account_id for event in events)
    return _ids(debits), _ids(credits_)


def _named(events: Sequence[NewTransfer]) -> list[UUID]:
    return _ids([*(event.debit_account_id for event in events), *(event.credit_account_id for event in events)])


def _ids(maybe: Iterable[UUID | None]) -> list[UUID]:
    return [id_ for id_ in maybe if id_ is not None]


def _parts(machine: Machine) -> Iterable[Part]:
    if machine.created:
        yield _sums(machine.changed_accounts())
        yield TRANSFERS.rows(machine.created)
    opened = [machine.holds[transfer.id] for transfer in machine.created if transfer.flags & PENDING]
    if opened:
        yield HOLDS.rows([_hold_row(hold) for hold in opened])
    new_ids = {hold.transfer.id for hold in opened}
    ended = [hold for id_, hold in machine.ended.items() if id_ not in new_ids]
    if ended:
        yield Part(
            "ended",
            ENDED,
            {
                "ended_ids": array("uuid", [hold.transfer.id for hold in ended]),
                "ended_states": array("text", [hold.state.value for hold in ended]),
                "ended_ats": array("timestamptz", [hold.ended_at for hold in ended]),
                "ended_bys": array("uuid", [hold.ended_by for hold in ended]),
            },
            rows_count=len(ended),
        )
    if machine.burnt:
        yield Part(
            "failed",
            FAILED,
            {
                "failed_at": machine.now,
                "failed_ids": array("uuid", list(machine.burnt)),
                "failed_statuses": array("text", [status.value for status in machine.burnt.values()]),
            },
            rows_count=None,
        )


def _hold_row(hold: Hold) -> tuple[object, ...]:
    transfer = hold.transfer
    return (
        transfer.id,
        transfer.debit_account_id,
        transfer.credit_account_id,
        transfer.amount_fen,
        hold.expires_at,
        hold.state.value,
        hold.ended_at,
        hold.ended_by,
    )


def _sums(accounts: Sequence[AccountState]) -> Part:
    return Part(
        "sums",
        SUMS,
        {
            "account_ids": array("uuid", [account.id for account in accounts]),
            "closed": array("boolean", [account.closed for account in accounts]),
            "debits_pending": array("bigint", [account.debits_pending_fen for account in accounts]),
            "debits_posted": array("bigint", [account.debits_posted_fen for account in accounts]),
            "credits_pending": array("bigint", [account.credits_pending_fen for account in accounts]),
            "credits_posted": array("bigint", [account.credits_posted_fen for account in accounts]),
            "last_at": array("timestamptz", [account.last_at for account in accounts]),
        },
        rows_count=len(accounts),
        returning="balances.id, balances.ledger",
    )

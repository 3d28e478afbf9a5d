"""Accounts: making them, finding them, and what they hold now."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.arrays import array
from ledger.errors import CreateAccountStatus as Status
from ledger.posting import BATCH_MAX, execute
from ledger.values import ID_MAX, ID_ZERO, Account, AccountFlag, AccountResult, Balances, NewAccount

KNOWN = int(
    AccountFlag.LINKED
    | AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS
    | AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
    | AccountFlag.CLOSED
)
BOTH_LIMITS = int(AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS | AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS)
LINKED = int(AccountFlag.LINKED)

INSERT = """
WITH new AS (
    SELECT * FROM unnest(
        %(ids)b::uuid[], %(ledgers)b::integer[], %(codes)b::integer[], %(flags)b::smallint[], %(data_128)b::uuid[],
        %(data_64)b::bigint[], %(data_32)b::integer[], %(closed)b::boolean[]
    ) AS new (id, ledger, code, flags, user_data_128, user_data_64, user_data_32, closed)
), facts AS (
    INSERT INTO ledger.accounts
        (id, ledger, code, flags, user_data_128, user_data_64, user_data_32, created_at)
    SELECT id, ledger, code, flags, user_data_128, user_data_64, user_data_32, statement_timestamp() FROM new
)
INSERT INTO ledger.balances (id, ledger, flags, closed, last_at)
SELECT id, ledger, flags, closed, statement_timestamp() FROM new
"""
ACCOUNT_COLUMNS = """
id, accounts.ledger, code, accounts.flags, user_data_128, user_data_64, user_data_32, closed,
debits_pending_fen, debits_posted_fen, credits_pending_fen, credits_posted_fen, created_at, last_at
"""
LOOKUP = f"""
SELECT {ACCOUNT_COLUMNS} FROM ledger.accounts JOIN ledger.balances USING (id)
WHERE id = ANY(%(ids)b::uuid[]) ORDER BY id
"""  # noqa: S608 - column names only
# A hold whose time is over reserves nothing, also before anybody wrote its end down.
BALANCES = """
SELECT id,
       debits_pending_fen - coalesce((
           SELECT sum(amount_fen) FROM ledger.pending_transfers
           WHERE debit_account_id = balances.id AND state = 'open' AND expires_at <= statement_timestamp()
       ), 0)::bigint,
       debits_posted_fen,
       credits_pending_fen - coalesce((
           SELECT sum(amount_fen) FROM ledger.pending_transfers
           WHERE credit_account_id = balances.id AND state = 'open' AND expires_at <= statement_timestamp()
       ), 0)::bigint,
       credits_posted_fen
FROM ledger.balances WHERE id = ANY(%(ids)b::uuid[])
"""


def create_accounts(session: Session, accounts: Sequence[NewAccount]) -> list[AccountResult]:
    """Make the accounts, each with its own result; those of a linked chain hold all or nothing.

    Raises a serialisation failure if another transaction makes the same id at the same moment: do it again.
    """
    if len(accounts) > BATCH_MAX:
        raise ValueError(f"A batch holds at most {BATCH_MAX} accounts, not {len(accounts)}")
    known: dict[UUID, NewAccount] = {row[0]: _wish(row) for row in _rows(session, [new.id for new in accounts])}
    results: list[AccountResult] = []
    made: list[NewAccount] = []
    for chain in _chains(accounts):
        statuses = _judge(chain, known)
        if all(status is Status.CREATED for status in statuses):
            made.extend(chain)
            known.update({new.id: new for new in chain})
        results.extend(AccountResult(new.id, status) for new, status in zip(chain, statuses, strict=True))
    if made:
        _insert(session, made)
    return results


def lookup_accounts(session: Session, ids: Iterable[UUID]) -> list[Account]:
    """Give the accounts that exist among these ids, in the order of the ids' numbers."""
    return [account_of(row) for row in _rows(session, ids)]


def account_of(row: Any) -> Account:
    """Give the account of a row of ACCOUNT_COLUMNS."""
    return Account(
        id=row[0],
        ledger=row[1],
        code=row[2],
        flags=AccountFlag(row[3] | (AccountFlag.CLOSED if row[7] else 0)),
        user_data_128=row[4],
        user_data_64=row[5],
        user_data_32=row[6],
        closed=row[7],
        balances=Balances._make(row[8:12]),
        created_at=row[12],
        last_at=row[13],
    )


def balances(session: Session, ids: Iterable[UUID]) -> dict[UUID, Balances]:
    """Give the four sums of each account that exists; a hold whose time is over counts no more.

    Now is the database's clock. To decide on these sums and then post, take `lock_balances` instead.
    """
    return {row[0]: Balances._make(row[1:]) for row in execute(session, BALANCES, {"ids": list(ids)})}


def lock_balances(session: Session, ids: Iterable[UUID]) -> dict[UUID, Balances]:
    """Give the four sums as `balances` does, and keep them from changing until this transaction ends."""
    ids = list(ids)
    execute(
        session,
        "SELECT 1 FROM ledger.balances WHERE id = ANY(%(ids)b::uuid[]) ORDER BY id FOR NO KEY UPDATE",
        {"ids": ids},
    )
    return balances(session, ids)


def _rows(session: Session, ids: Iterable[UUID]) -> Sequence[Any]:
    return execute(session, LOOKUP, {"ids": list(ids)})


def _wish(row: Any) -> NewAccount:
    """Give the wish that made this account."""
    return NewAccount(
        id=row[0],
        ledger=row[1],
        code=row[2],
        flags=AccountFlag(row[3]),
        user_data_128=row[4],
        user_data_64=row[5],
        user_data_32=row[6],
    )


def _chains(accounts: Sequence[NewAccount]) -> list[list[NewAccount]]:
    chains: list[list[NewAccount]] = [[]]
    for new in accounts:
        chains[-1].append(new)
        if not new.flags & LINKED:
            chains.append([])
    return [chain for chain in chains if chain]


def _judge(chain: Sequence[NewAccount], known: dict[UUID, NewAccount]) -> list[Status]:
    seen = dict(known)
    statuses = [Status.CREATED] * len(chain)
    for position, new in enumerate(chain):
        is_open_end = position == len(chain) - 1 and new.flags & LINKED
        status = Status.LINKED_EVENT_CHAIN_OPEN if is_open_end else _status(new, seen.get(new.id))
        seen[new.id] = new
        if status is not Status.CREATED:
            statuses = [Status.LINKED_EVENT_FAILED] * len(chain)
            statuses[position] = status
            if chain[-1].flags & LINKED:
                statuses[-1] = Status.LINKED_EVENT_CHAIN_OPEN
            break
    return statuses


def _status(new: NewAccount, existing: NewAccount | None) -> Status:
    if int(new.flags) & ~KNOWN:
        return Status.RESERVED_FLAG
    if new.id == ID_ZERO:
        return Status.ID_MUST_NOT_BE_ZERO
    if new.id == ID_MAX:
        return Status.ID_MUST_NOT_BE_INT_MAX
    if existing is not None:
        return _compare(new, existing)
    if int(new.flags) & BOTH_LIMITS == BOTH_LIMITS:
        return Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    if new.ledger == 0:
        return Status.LEDGER_MUST_NOT_BE_ZERO
    if new.code == 0:
        return Status.CODE_MUST_NOT_BE_ZERO
    return Status.CREATED


def _compare(new: NewAccount, existing: NewAccount) -> Status:
    for wanted, found, status in (
        (int(new.flags), int(existing.flags), Status.EXISTS_WITH_DIFFERENT_FLAGS),
        (new.user_data_128, existing.user_data_128, Status.EXISTS_WITH_DIFFERENT_USER_DATA_128),
        (new.user_data_64, existing.user_data_64, Status.EXISTS_WITH_DIFFERENT_USER_DATA_64),
        (new.user_data_32, existing.user_data_32, Status.EXISTS_WITH_DIFFERENT_USER_DATA_32),
        (new.ledger, existing.ledger, Status.EXISTS_WITH_DIFFERENT_LEDGER),
        (new.code, existing.code, Status.EXISTS_WITH_DIFFERENT_CODE),
    ):
        if wanted != found:
            return status
    return Status.EXISTS


def _insert(session: Session, made: Sequence[NewAccount]) -> None:
    execute(
        session,
        INSERT,
        {
            "ids": array("uuid", [new.id for new in made]),
            "ledgers": array("integer", [new.ledger for new in made]),
            "codes": array("integer", [new.code for new in made]),
            "flags": array("smallint", [int(new.flags) for new in made]),
            "data_128": array("uuid", [new.user_data_128 for new in made]),
            "data_64": array("bigint", [new.user_data_64 for new in made]),
            "data_32": array("integer", [new.user_data_32 for new in made]),
            "closed": array("boolean", [bool(new.flags & AccountFlag.CLOSED) for new in made]),
        },
        reads=False,
    )

"""Pending transfers: where they stand, and the sweeper that writes down what time has ended."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.posting import STATE_NOW, execute, lock_accounts, read, write
from ledger.values import PendingState

STATES = f"SELECT id, {STATE_NOW} FROM ledger.pending_transfers WHERE id = ANY(%(ids)b::uuid[])"  # noqa: S608 - a constant
OVERDUE = """
SELECT id, debit_account_id, credit_account_id FROM ledger.pending_transfers
WHERE state = 'open' AND expires_at <= statement_timestamp() ORDER BY expires_at LIMIT %(limit)s
"""


def pending_transfers(session: Session, ids: Iterable[UUID]) -> dict[UUID, PendingState]:
    """Say where each pending transfer stands, by the database's clock, whether or not a job has run."""
    return {row[0]: PendingState(row[1]) for row in execute(session, STATES, {"ids": list(ids)})}


def expire_pending(session: Session, *, limit: int = 1000) -> int:
    """Write down the end of up to `limit` overdue holds and say how many there were.

    It only tidies: an overdue hold reserves nothing in any case. It never waits, so accounts that are being posted to
    are left for the next run, and any number of sweepers may run side by side.
    """
    overdue = execute(session, OVERDUE, {"limit": limit})
    if not overdue:
        return 0
    accounts = lock_accounts(session, {id_ for row in overdue for id_ in row[1:]}, "SKIP LOCKED")
    ids = [row[0] for row in overdue if row[1] in accounts and row[2] in accounts]
    machine = read(session, accounts=accounts, ids=ids)
    machine.expire_overdue()
    write(session, machine)
    return len(machine.ended)

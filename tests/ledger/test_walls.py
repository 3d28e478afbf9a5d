"""The database's own walls: what was written cannot be changed, and a wrong sum cannot be written."""

import copy
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import NewAccount, NewTransfer, TransferFlag, create_accounts, lookup_transfers, posting
from tests.ledger.stories import Books, ident
from tests.owner import owner_does

BOOKS = """
account  bank     free
account  card:7   limited
account  till     asset
journal  k1  1 lines                              posted
  pay    bank     card:7    100.00   as t1
hold     card:7   bank      10.00    as h1 for 60s  ok
hold     card:7   bank      10.00    as h2        ok
void     h2                                       ok
hold     card:7   bank      500.00   as h3        exceeds_credits
journal  k2  1 lines                              refused exceeds_credits
  pay    card:7   bank      500.00   as t2
"""

REFUSED = [
    "UPDATE ledger.transfers SET amount_fen = amount_fen + 1",
    "UPDATE ledger.transfers SET value_at = now()",
    "DELETE FROM ledger.transfers",
    "DELETE FROM ledger.transfers WHERE false",
    "TRUNCATE ledger.transfers CASCADE",
    "UPDATE ledger.journals SET text = 'other'",
    "DELETE FROM ledger.journals",
    "TRUNCATE ledger.journals CASCADE",
    "UPDATE ledger.failed_transfers SET status = 'created'",
    "DELETE FROM ledger.failed_transfers",
    "TRUNCATE ledger.failed_transfers",
    "UPDATE ledger.refused_journals SET failing_status = 'created'",
    "DELETE FROM ledger.refused_journals",
    "TRUNCATE ledger.refused_journals",
    "UPDATE ledger.period_events SET action = 'reopened'",
    "DELETE FROM ledger.period_events",
    "TRUNCATE ledger.period_events",
    "UPDATE ledger.accounts SET flags = 0",
    "UPDATE ledger.accounts SET user_data_64 = 1",
    "DELETE FROM ledger.accounts",
    "TRUNCATE ledger.accounts CASCADE",
    "UPDATE ledger.balances SET flags = 0",
    "UPDATE ledger.balances SET debits_excess_max_fen = 1_000_00",
    "UPDATE ledger.balances SET credits_excess_max_fen = NULL",
    "UPDATE ledger.balances SET ledger = 840",
    "UPDATE ledger.balances SET id = gen_random_uuid()",
    "DELETE FROM ledger.balances",
    "TRUNCATE ledger.balances",
    "UPDATE ledger.pending_transfers SET state = 'open', ended_at = NULL, ended_by = NULL WHERE state = 'voided'",
    "UPDATE ledger.pending_transfers SET state = 'posted' WHERE state = 'voided'",
    "UPDATE ledger.pending_transfers SET expires_at = expires_at + interval '1 day'",
    "UPDATE ledger.pending_transfers SET debit_account_id = credit_account_id",
    "DELETE FROM ledger.pending_transfers",
    "TRUNCATE ledger.pending_transfers",
]

NEW_ACCOUNT = """
INSERT INTO ledger.accounts (id, ledger, code, flags, user_data_64, user_data_32, created_at)
VALUES (gen_random_uuid(),"""
BROKEN = {
    "UPDATE ledger.balances SET debits_pending_fen = 100_01 WHERE flags & 2 = 2": "ck_balances_nothing_below_zero",
    "UPDATE ledger.balances SET debits_posted_fen = 100_01 WHERE flags & 2 = 2": "ck_balances_nothing_below_zero",
    "UPDATE ledger.balances SET credits_pending_fen = 1 WHERE flags & 4 = 4": "ck_balances_nothing_below_zero",
    "UPDATE ledger.balances SET credits_posted_fen = 1 WHERE flags & 4 = 4": "ck_balances_nothing_below_zero",
    "UPDATE ledger.balances SET credits_pending_fen = -1": "ck_balances_nothing_below_zero",
    "UPDATE ledger.balances SET debits_pending_fen = -1": "ck_balances_nothing_below_zero",
    "UPDATE ledger.pending_transfers SET state = 'expired', ended_at = now() WHERE state = 'open'": (
        "ck_pending_transfers_end"
    ),
    "UPDATE ledger.pending_transfers SET state = 'expired', ended_by = id WHERE state = 'open'": (
        "ck_pending_transfers_end"
    ),
    "UPDATE ledger.pending_transfers SET state = 'gone', ended_at = now(), ended_by = id WHERE state = 'open'": (
        "ck_pending_transfers_state"
    ),
    f"{NEW_ACCOUNT} 0, 1, 0, 0, 0, now())": "ck_accounts_ledger",
    f"{NEW_ACCOUNT} 156, 0, 0, 0, 0, now())": "ck_accounts_code",
    f"{NEW_ACCOUNT} 156, 1, 6, 0, 0, now())": "ck_accounts_one_limit",
}

COLUMNS = """
id, debit_account_id, credit_account_id, amount_fen, ledger, code, flags, pending_id, timeout_s, user_data_64,
user_data_32, timestamp, value_at, debit_debits_pending_fen, debit_debits_posted_fen, debit_credits_pending_fen,
debit_credits_posted_fen, credit_debits_pending_fen, credit_debits_posted_fen, credit_credits_pending_fen,
credit_credits_posted_fen
"""
PLANTED = {
    "credit_account_id -> debit_account_id": "ck_transfers_two_accounts",
    "amount_fen -> -1": "ck_fen",
    "timestamp -> timestamp": "ix_transfers_debit_account_id_timestamp",
    "debit_account_id -> gen_random_uuid(), timestamp -> timestamp": "ix_transfers_credit_account_id_timestamp",
}


@pytest.fixture
def books(database: Database) -> Database:
    Books(database).tell(BOOKS)
    return database


def test_what_is_written_cannot_be_changed_or_removed(books: Database) -> None:
    for statement in REFUSED:
        with pytest.raises(sqlalchemy.exc.DatabaseError, match="only ever added to"), books.transaction() as session:
            owner_does(session, statement)


def test_the_service_has_no_right_to_change_or_remove_anything_written(books: Database) -> None:
    for statement in REFUSED:
        if "ledger.pending_transfers SET" in statement or "ledger.balances SET" in statement:
            continue  # it carries sums and states forward; the triggers hold the rest
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"), books.transaction() as session:
            session.execute(text(statement))


def test_a_wrong_sum_state_or_account_cannot_be_written(books: Database) -> None:
    for statement, constraint in BROKEN.items():
        with pytest.raises(sqlalchemy.exc.IntegrityError, match=constraint), books.transaction() as session:
            session.execute(text(statement))


@pytest.mark.parametrize(("flags", "limits"), [(0, (None, None)), (2, (0, None)), (4, (None, 0)), (34, (0, None))])
def test_an_account_is_limited_as_its_flags_say_whatever_is_written(
    books: Database, flags: int, limits: tuple[int | None, int | None]
) -> None:
    with books.transaction() as session:
        written = session.execute(
            text(
                "INSERT INTO ledger.balances"
                " (id, ledger, flags, debits_excess_max_fen, credits_excess_max_fen, closed, last_at)"
                " VALUES (gen_random_uuid(), 156, :flags, 7, 7, false, now())"
                " RETURNING debits_excess_max_fen, credits_excess_max_fen"
            ),
            {"flags": flags},
        )
        assert written.one() == limits
        session.rollback()


def copy_of_transfer(session: Session, *, where: str, name: str, **changes: str) -> None:
    """Write a transfer once more, with another id and time, and with these columns changed."""
    values = {column.strip(): column.strip() for column in COLUMNS.split(",")}
    values |= {"id": "gen_random_uuid()", "timestamp": "timestamp + interval '1 hour'", **changes}
    statement = f"INSERT INTO ledger.transfers ({', '.join(values)}) SELECT {', '.join(values.values())}"
    session.execute(text(f"{statement} FROM ledger.transfers WHERE {where} = :id"), {"id": ident(name)})


def test_a_malformed_transfer_cannot_be_written(books: Database) -> None:
    for change, constraint in PLANTED.items():
        changes = dict(each.split(" -> ") for each in change.split(", "))
        with pytest.raises(sqlalchemy.exc.IntegrityError, match=constraint), books.transaction() as session:
            copy_of_transfer(session, where="id", name="t1", **changes)


def test_a_hold_cannot_be_ended_by_two_transfers(books: Database) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="ix_transfers_pending_id"), books.transaction() as session:
        copy_of_transfer(session, where="pending_id", name="h2")


@pytest.mark.parametrize("side", ["debit_account_id", "credit_account_id"])
@pytest.mark.parametrize("account", ["nobody", "dollars"])
def test_a_transfer_whose_account_does_not_stand_in_its_ledger_cannot_be_written(
    books: Database, side: str, account: str
) -> None:
    """Should the machine ever be wrong: what the accounts' sums do not show is not booked."""
    books.run(lambda session: create_accounts(session, [NewAccount(id=ident("dollars"), code=1001, ledger=840)]))
    wish = NewTransfer(
        id=ident("t4"), debit_account_id=ident("bank"), credit_account_id=ident("card:7"), amount_fen=1, code=1
    )
    wrong: dict[str, Any] = {side: ident(account)}
    with books.transaction() as session:
        machine = posting.load(session, [wish])
        assert machine.run([wish])[0].ok
        machine.accounts |= posting.lock_accounts(session, [ident("dollars")], "NOWAIT")
        machine.accounts[ident("dollars")].is_changed = True
        machine.created = [machine.created[0]._replace(**wrong)]
        with pytest.raises(RuntimeError, match="of 1 rows for transfers, 1 name what does not stand"):
            posting.write(session, machine)
        session.rollback()
    with books.reader() as session:
        assert lookup_transfers(session, [wish.id]) == []


@pytest.mark.parametrize("part", ["ended", "sums"])
def test_neither_a_hold_nor_sums_that_do_not_stand_can_be_carried_forward(books: Database, part: str) -> None:
    end = NewTransfer(id=ident("v1"), pending_id=ident("h1"), flags=TransferFlag.VOID_PENDING_TRANSFER)
    with books.transaction() as session:
        machine = posting.load(session, [end])
        assert machine.run([end])[0].ok
        if part == "ended":
            (hold,) = machine.ended.values()
            hold.transfer = hold.transfer._replace(id=ident("nothing"))
        else:
            nobody = copy.copy(machine.accounts[ident("bank")])
            nobody.id = ident("nobody")
            machine.accounts[nobody.id] = nobody
        with pytest.raises(RuntimeError, match=f"rows for {part}, 1 name what does not stand"):
            posting.write(session, machine)
        session.rollback()
    with books.reader() as session:
        assert lookup_transfers(session, [end.id]) == []

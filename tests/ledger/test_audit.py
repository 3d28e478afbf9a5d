"""The audit finds what a person with the superuser's powers changed, and names the row."""

# ruff: noqa: S608 - every statement here is made of constants

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import Finding, audit
from ledger.audit import CHECKS
from tests.ledger.stories import Books, ident
from tests.owner import without_triggers

BOOKS = """
account  bank     free
account  income   free
account  card:7   limited
account  shut     free
journal  k1  2 lines                               posted
  pay    bank     card:7    100.00   as t1
  pay    bank     income    1.00     as t2
reverse  k1  as r1                                 posted
pay      bank     card:7    100.00   as t3         ok
hold     card:7   income    10.00    as h1         ok
capture  h1       4.00               as c1         ok
hold     card:7   income    10.00    as h2 for 60s ok
hold     card:7   income    10.00    as h3         ok
void     h3                          as v3         ok
hold     card:7   income    20.00    as h4 for 90s ok
close    shut     bank      all      as x1         ok
journal  k2  1 lines dated 2020-10-31              posted
  pay    bank     card:7    1.00     as t4
close-month 2020-10 by anna                        closed
pay      card:7   income    500.00   as f1         exceeds_credits
later    60s
sweep    1
"""

TRANSFER, HOLD, BALANCE = "ledger.transfers", "ledger.pending_transfers", "ledger.balances"
ACCOUNT, JOURNAL = "ledger.accounts", "ledger.journals"
# Table, what is set in the row of this name, and the checks that must name the row; {names} stand for their ids.
CHANGED = [
    (BALANCE, "credits_posted_fen = credits_posted_fen + 1", "income", {"account_sums"}),
    (BALANCE, "debits_pending_fen = debits_pending_fen - 1", "card:7", {"account_sums"}),
    (BALANCE, "last_at = last_at + interval '1 second'", "card:7", {"last_at"}),
    (BALANCE, "closed = NOT closed", "shut", {"closed"}),
    (BALANCE, "closed = NOT closed", "bank", {"closed"}),
    (ACCOUNT, "flags = 0", "card:7", {"accounts"}),
    (BALANCE, "debits_excess_max_fen = 1", "card:7", {"accounts"}),
    (BALANCE, "credits_excess_max_fen = 0", "bank", {"accounts"}),
    (TRANSFER, "code = 0", "t3", {"transfers"}),
    (TRANSFER, "amount_fen = amount_fen + 1", "t3", {"after_balances"}),
    (TRANSFER, "amount_fen = amount_fen - 1", "c1", {"after_balances"}),
    (TRANSFER, "amount_fen = 2000000", "h4", {"after_balances", "limits"}),
    (TRANSFER, "debit_debits_posted_fen = debit_debits_posted_fen + 1", "t3", {"after_balances"}),
    (TRANSFER, "credit_credits_pending_fen = credit_credits_pending_fen + 1", "h4", {"after_balances"}),
    (TRANSFER, "timestamp = timestamp - interval '1 hour'", "t3", {"after_balances"}),
    (TRANSFER, "timestamp = timestamp + interval '1 hour'", "c1", {"after_balances"}),
    (TRANSFER, "flags = 0", "h4", {"pending_rows", "after_balances"}),
    (TRANSFER, "timeout_s = 1000", "h4", {"pending_rows"}),
    (TRANSFER, "id = '{f1}'", "t3", {"burnt_ids"}),
    (TRANSFER, "value_at = value_at - interval '1 day'", "t3", {"value_dates"}),
    (TRANSFER, "value_at = value_at - interval '1 day'", "t4", {"value_dates"}),
    (JOURNAL, "created_at = created_at + interval '1 hour'", "journal k2", {"closed_periods"}),
    (HOLD, "state = 'open', ended_at = NULL, ended_by = NULL", "h1", {"pending_ends"}),
    (HOLD, "state = 'voided'", "h1", {"pending_ends"}),
    (HOLD, "state = 'posted', ended_at = now(), ended_by = '{t1}'", "h4", {"pending_ends"}),
    (HOLD, "ended_at = ended_at + interval '1 hour'", "h3", {"pending_ends"}),
    (HOLD, "ended_at = expires_at - interval '1 second'", "h2", {"pending_ends"}),
    (HOLD, "expires_at = expires_at + interval '1 hour'", "h4", {"pending_rows"}),
    (HOLD, "credit_account_id = debit_account_id", "h4", {"pending_rows"}),
]
# What is removed or changed, and the checks with the row that each must name.
REMOVED: list[tuple[str, dict[str, str | None]]] = [
    (f"DELETE FROM {TRANSFER} WHERE id = '{{t2}}'", {"account_sums": "income"}),
    (f"UPDATE {TRANSFER} SET credit_account_id = '{{shut}}' WHERE id = '{{t2}}'", {"account_sums": "shut"}),
    (f"DELETE FROM {HOLD} WHERE id = '{{h4}}'", {"pending_rows": "h4"}),
    (f"DELETE FROM {TRANSFER} WHERE id = '{{c1}}'", {"pending_ends": "h1"}),
    (f"UPDATE {TRANSFER} SET flags = 0 WHERE id = '{{h1}}'", {"endings": "c1"}),
    (f"UPDATE {TRANSFER} SET pending_id = gen_random_uuid() WHERE id = '{{c1}}'", {"endings": "c1"}),
    (f"UPDATE {TRANSFER} SET journal_id = gen_random_uuid() WHERE id = '{{t3}}'", {"journals": "t3"}),
    (
        f"DELETE FROM {TRANSFER} WHERE journal_id = '{{journal k1}}'",
        {"journals": "journal k1", "reversals": "journal r1"},
    ),
    (f"UPDATE {BALANCE} SET debits_posted_fen = 0 WHERE id = '{{bank}}'", {"zero_sum": None}),
    (
        f"UPDATE {TRANSFER} SET timestamp = (SELECT timestamp FROM {TRANSFER} WHERE id = '{{h4}}') WHERE id = '{{t3}}'",
        {"time_order": "h4"},
    ),
]
NAMES = ("t1", "t2", "t3", "c1", "h1", "h4", "f1", "bank", "shut", "card:7", "journal k1")


@pytest.fixture
def books(database: Database) -> Database:
    Books(database).tell(BOOKS)
    return database


def findings_after(database: Database, statement: str) -> list[Finding]:
    """Do what only a superuser with triggers off can do, look, and take it back."""
    for name in NAMES:
        statement = statement.replace("{" + name + "}", str(ident(name)))
    with database.engine.connect() as connection:
        without_triggers(connection)
        connection.execute(text("ALTER TABLE ledger.balances DROP CONSTRAINT ck_balances_nothing_below_zero"))
        assert connection.execute(text(statement)).rowcount >= 1
        findings = audit(Session(connection))
        connection.rollback()
    return findings


def test_every_corruption_is_found_and_its_row_named(books: Database) -> None:
    told: set[str] = set()
    for table, change, name, checks in CHANGED:
        findings = findings_after(books, f"UPDATE {table} SET {change} WHERE id = '{ident(name)}'")
        row_id = ident("f1") if change.startswith("id =") else ident(name)
        assert checks <= {finding.check for finding in findings if finding.row_id == row_id}, (change, name, findings)
        told.update(finding.check for finding in findings)
    for statement, expected in REMOVED:
        findings = findings_after(books, statement)
        named = {(finding.check, finding.row_id) for finding in findings}
        assert {(check, name and ident(name)) for check, name in expected.items()} <= named, (statement, findings)
        told.update(finding.check for finding in findings)
    assert told == {check.name for check in CHECKS}, "a check that has never failed proves nothing"


def test_a_finding_says_what_follows_and_what_stands(books: Database) -> None:
    findings = findings_after(books, f"UPDATE {BALANCE} SET credits_posted_fen = 501 WHERE id = '{ident('income')}'")
    assert [(finding.check, finding.row_id, finding.derived, finding.found) for finding in findings] == [
        ("account_sums", ident("income"), "0/100/2000/500", "0/100/2000/501"),
        ("zero_sum", None, "ledger 156: 0", "0/-1"),
    ]
    assert findings[0].sentence == "An account's four sums are those of its transfers."

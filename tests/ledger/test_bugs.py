"""What other ledgers got wrong, told as stories that must come out right here."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from app.db import Database
from ledger import (
    CreateTransferStatus,
    NewTransfer,
    TransferFlag,
    audit,
    balances,
    create_transfers,
    lookup_transfers,
    pending_transfers,
)
from tests.ledger.stories import Books
from tests.ledger.test_races import wait_until_blocked

OPENING = """
account  bank     free
account  income   free
account  card:7   limited
pay      bank     card:7   100.00                ok
"""

STORIES = {
    "a hold ignored in the balance check": """
        hold     card:7   income    60.00   as h               ok
        pay      card:7   income    40.01                      exceeds_credits
        hold     card:7   income    40.01                      exceeds_credits
        pay up-to card:7  income    90.00                      ok 40.00
        hold     card:7   income    0.01                       exceeds_credits
        balance  card:7   60.00     held 60.00
    """,
    "a rejected hold committed": """
        hold     card:7   income    100.01  as h               exceeds_credits
        balance  card:7   100.00    held 0.00
        capture  h                                             pending_transfer_not_found
        void     h                                             pending_transfer_not_found
        pay      bank     card:7    1.00                       ok
        hold     card:7   income    100.01  as h               id_already_failed
    """,
    "a hold rejected with its chain committed": """
        hold     card:7   income    10.00   as h               linked_event_failed +
        hold     card:7   income    90.01                      exceeds_credits
        balance  card:7   100.00    held 0.00
        capture  h                                             pending_transfer_not_found
    """,
    "double void": """
        hold     card:7   income    60.00   as h               ok
        hold     card:7   income    30.00   as other           ok
        void     h                                             ok
        void     h                                             pending_transfer_already_voided
        void     h        60.00                                pending_transfer_already_voided
        balance  card:7   100.00    held 30.00
    """,
    "double capture": """
        hold     card:7   income    60.00   as h               ok
        hold     card:7   income    30.00   as other           ok
        capture  h        20.00                                ok
        capture  h        40.00                                pending_transfer_already_posted
        balance  card:7   80.00     held 30.00
        balance  income   20.00     held 30.00
    """,
    "a hold ended by hand after it ended by time": """
        hold     card:7   income    60.00   as h   for 60s     ok
        later    60s
        void     h                                             pending_transfer_expired
        void     h                                             pending_transfer_expired
        capture  h                                             pending_transfer_expired
        sweep    0
        balance  card:7   100.00    held 0.00
    """,
    "limit = 0": """
        account  card:8   limited
        pay      card:8   income    0.01                       exceeds_credits
        hold     card:8   income    0.01                       exceeds_credits
        pay up-to card:8  income    5.00                       ok 0.00
        pay      bank     card:8    0.01                       ok
        pay      card:8   income    0.01                       ok
        pay      card:8   income    0.01                       exceeds_credits
    """,
    "limit = 0 of an asset": """
        account  till     asset
        pay      income   till      0.01                       exceeds_debits
        pay      till     income    0.01                       ok
        pay      income   till      0.01                       ok
        pay      income   till      0.01                       exceeds_debits
    """,
    "a hold of nothing that never ends": """
        account  card:8   limited
        hold up-to card:8 income    5.00    as h   for 60s     ok 0.00
        state    h        open
        later    60s
        sweep    1
        state    h        expired
    """,
    "an account that was closed for a time is open when the time is over, though no job has run": """
        close    card:7   bank      all       as c   for 60s   ok 100.00
        pay      bank     card:7    1.00                       credit_account_already_closed
        later    60s
        pay      bank     card:7    1.00                       ok
        pay      card:7   income    101.00                     ok
        state    c        expired
    """,
    "a hold of an account that was closed for a time can be captured when the time is over": """
        hold     card:7   income    60.00     as h             ok
        close    card:7   bank      all       as c   for 60s   ok 40.00
        capture  h                                             debit_account_already_closed
        later    60s
        capture  h                                             ok 60.00
        balance  card:7   40.00     held 0.00
    """,
    "a journal whose hold ran out of time can be reversed though no job has run": """
        journal  k  2     is posted
          pay      bank     card:7    10.00
          hold     card:7   income    60.00   for 60s
        reverse  k        as r      journal_not_reversible
        later    60s
        reverse  k        as r      posted
        balance  card:7   100.00    held 0.00
    """,
}


def test_the_bugs_others_had_are_not_had_here(database: Database, subtests: pytest.Subtests) -> None:
    for title, story in STORIES.items():
        with subtests.test(title):
            Books(database, title=title).tell(OPENING + story)


def test_a_version_race_between_two_writers(database: Database) -> None:
    """The second reads only after the first has committed, so that what both could have spent is spent once."""
    books = Books(database)
    books.tell(OPENING)
    wishes = [
        NewTransfer(
            id=uuid4(),
            debit_account_id=books.ident("card:7"),
            credit_account_id=books.ident("income"),
            amount_fen=60_00,
            code=1,
        )
        for _ in range(2)
    ]
    with ThreadPoolExecutor(1) as pool, database.transaction() as first:
        assert create_transfers(first, wishes[:1])[0].ok
        second = pool.submit(database.run, lambda session: create_transfers(session, wishes[1:]))
        wait_until_blocked(database)
        first.commit()
        assert [result.status for result in second.result()] == [CreateTransferStatus.EXCEEDS_CREDITS]
    with database.reader() as session:
        assert balances(session, [books.ident("card:7")])[books.ident("card:7")].available_credit_fen == 40_00
        assert audit(session) == []


def test_a_rejected_hold_leaves_no_row(database: Database) -> None:
    books = Books(database)
    books.tell(OPENING)
    wish = NewTransfer(
        id=uuid4(),
        debit_account_id=books.ident("card:7"),
        credit_account_id=books.ident("income"),
        amount_fen=100_01,
        code=1,
        flags=TransferFlag.PENDING,
    )
    assert not database.run(lambda session: create_transfers(session, [wish]))[0].ok
    with database.reader() as session:
        assert lookup_transfers(session, [wish.id]) == []
        assert pending_transfers(session, [wish.id]) == {}

"""What other ledgers got wrong, told as stories that must come out right here."""

import pytest

from app.db import Database
from tests.ledger.stories import Books

OPENING = """
account  bank     free
account  income   free
account  card:7   limited
pay      bank     card:7   100.00                ok
"""

STORIES = {
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


@pytest.mark.parametrize("title", STORIES)
def test_a_bug_others_had_is_not_had_here(database: Database, title: str) -> None:
    Books(database, title=title).tell(OPENING + STORIES[title])

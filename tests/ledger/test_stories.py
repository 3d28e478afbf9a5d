"""The ledger as an accountant tells it; the words are explained in `stories`."""

import pytest

from app.db import Database
from ledger import expire_pending
from tests.ledger.stories import Books, pass_time

OPENING = """
account  bank     free
account  income   free
account  card:7   limited
pay      bank     card:7   100.00                ok
"""

STORIES = {
    "a hold reserves and a capture charges what was used": """
        hold     card:7   income    60.00   as h1         ok
        hold     card:7   income    50.00   as h2         exceeds_credits
        balance  card:7   100.00    held 60.00
        capture  h1       45.50                           ok
        balance  card:7   54.50     held 0.00
        balance  income   45.50     held 0.00
        state    h1       posted
    """,
    "a hold ends once: by capture": """
        hold     card:7   income    60.00   as h1         ok
        capture  h1                                       ok 60.00
        capture  h1                                       pending_transfer_already_posted
        void     h1                                       pending_transfer_already_posted
        balance  card:7   40.00     held 0.00
    """,
    "a hold ends once: by void": """
        hold     card:7   income    60.00   as h1         ok
        void     h1                                       ok
        void     h1                                       pending_transfer_already_voided
        capture  h1       1.00                            pending_transfer_already_voided
        balance  card:7   100.00    held 0.00
    """,
    "a hold cannot be captured for more than it reserves, nor voided in part": """
        hold     card:7   income    60.00   as h1         ok
        capture  h1       60.01                           exceeds_pending_transfer_amount
        void     h1       59.99                           pending_transfer_has_different_amount
        void     h1       60.00                           ok
    """,
    "a capture of nothing gives everything back": """
        hold     card:7   income    60.00   as h1         ok
        capture  h1       0.00                            ok 0.00
        balance  card:7   100.00    held 0.00
        state    h1       posted
    """,
    "a hold counts in the balance check of a plain payment too": """
        hold     card:7   income    99.99   as h1         ok
        pay      card:7   income    0.02                  exceeds_credits
        pay      card:7   income    0.01                  ok
        balance  card:7   99.99     held 99.99
    """,
    "money on hold for somebody is not yet theirs to spend": """
        account  shop     limited
        hold     card:7   shop      60.00   as h1         ok
        pay      shop     bank      0.01                  exceeds_credits
        capture  h1                                       ok
        pay      shop     bank      60.00                 ok
    """,
    "a refused hold leaves nothing, not even under the same id later": """
        hold     card:7   income    150.00  as h1         exceeds_credits
        balance  card:7   100.00    held 0.00
        pay      bank     card:7    100.00                ok
        hold     card:7   income    150.00  as h1         id_already_failed
        hold     card:7   income    150.00  as h2         ok
    """,
    "the same id and content is answered again; other content says which field differs": """
        hold     card:7   income    60.00   as h1         ok
        hold     card:7   income    60.00   as h1         exists
        hold     card:7   income    61.00   as h1         exists_with_different_amount
        hold     card:7   bank      60.00   as h1         exists_with_different_credit_account_id
        pay      card:7   income    60.00   as h1         exists_with_different_flags
        capture  h1       45.00     as c1                 ok
        capture  h1       45.00     as c1                 exists
        capture  h1       44.00     as c1                 exists_with_different_amount
        capture  h1                 as c1                 exists_with_different_amount
        balance  card:7   55.00     held 0.00
    """,
    "an overdue hold reserves nothing, also when no sweeper ran": """
        hold     card:7   income    60.00   as h1 for 60s ok
        pay      card:7   income    50.00                 exceeds_credits
        later    60s
        state    h1       expired
        balance  card:7   100.00    held 0.00
        pay      card:7   income    50.00                 ok
        capture  h1                                       pending_transfer_expired
        void     h1                                       pending_transfer_expired
        sweep    0
        balance  card:7   50.00     held 0.00
    """,
    "an overdue hold for an account the payment does not name is set free there too": """
        account  other    free
        hold     card:7   other     60.00   as h1 for 60s ok
        later    61s
        pay      card:7   income    50.00                 ok
        balance  other    0.00      held 0.00
    """,
    "the sweeper writes down what has run out, once": """
        hold     card:7   income    10.00   as h1 for 60s ok
        hold     card:7   income    10.00   as h2 for 90s ok
        hold     card:7   income    10.00   as h3         ok
        sweep    0
        later    60s
        sweep    1
        sweep    0
        later    60s
        sweep    1
        state    h3       open
        balance  card:7   100.00    held 10.00
    """,
    "linked payments hold all or nothing": """
        account  subsidy  limited
        pay      bank     subsidy   20.00                 ok
        pay      subsidy  income    20.00   as s1         linked_event_failed +
        pay      card:7   income    100.01  as p1         exceeds_credits
        balance  subsidy  20.00     held 0.00
        pay      subsidy  income    20.00   as s1         ok +
        pay      card:7   income    30.00   as p2         ok
        balance  subsidy  0.00      held 0.00
        balance  card:7   70.00     held 0.00
    """,
    "a chain sees its own earlier payments": """
        account  poor     limited
        pay      card:7   poor      30.00                 ok +
        hold     poor     income    30.00   as h1         ok +
        capture  h1       10.00                           ok
        balance  poor     20.00     held 0.00
    """,
    "a chain that fails gives back a hold it had ended": """
        hold     card:7   income    60.00   as h1         ok
        capture  h1       60.00     as c1                 linked_event_failed +
        pay      card:7   income    40.01                 exceeds_credits
        state    h1       open
        balance  card:7   100.00    held 60.00
        capture  h1       60.00     as c1                 ok
    """,
    "one id cannot stand twice in a chain": """
        pay      card:7   income    1.00    as p1         linked_event_failed +
        pay      card:7   income    1.00    as p1         exists_with_different_flags
    """,
    "a balancing payment takes what there is": """
        pay up-to card:7  income    70.00                 ok 70.00
        pay up-to card:7  income    70.00                 ok 30.00
        pay up-to card:7  income    70.00                 ok 0.00
        balance  card:7   0.00      held 0.00
    """,
    "a balancing payment leaves alone what is on hold": """
        hold     card:7   income    60.00   as h1         ok
        pay up-to card:7  income    all                   ok 40.00
        balance  card:7   60.00     held 60.00
    """,
    "a closed account moves nothing but the holds that are given back": """
        hold     card:7   income    20.00   as h1         ok
        close    card:7   income    all     as x1         ok 80.00
        pay      bank     card:7    1.00                  credit_account_already_closed
        pay      card:7   bank      1.00                  debit_account_already_closed
        capture  h1                                       debit_account_already_closed
        void     h1                                       ok
        void     x1                                       ok
        pay      bank     card:7    1.00                  ok
        balance  card:7   101.00    held 0.00
    """,
    "a closing hold that runs out opens its account again": """
        close    card:7   income    all     as x1 for 60s ok 100.00
        pay      bank     card:7    1.00                  credit_account_already_closed
        later    60s
        sweep    1
        pay      bank     card:7    1.00                  ok
    """,
    "limit zero is a limit": """
        account  empty    limited
        pay      empty    income    0.01                  exceeds_credits
        hold     empty    income    0.01                  exceeds_credits
        pay up-to empty   income    0.01                  ok 0.00
    """,
    "an asset account is never paid out below zero": """
        account  till     asset
        pay      till     card:7    5.00                  ok
        pay      bank     till      5.01                  exceeds_debits
        pay      bank     till      5.00                  ok
    """,
    "an account cannot pay itself, and nobody can pay nothing": """
        pay      card:7   card:7    1.00                  accounts_must_be_different
        pay      card:7   income    0.00                  amount_must_not_be_zero
        pay      card:7   nobody    1.00                  credit_account_not_found
        pay      nobody   card:7    1.00                  debit_account_not_found
        capture  nothing                                  pending_transfer_not_found
    """,
    "a journal is one voucher: all of it, once": """
        journal  k1  2 lines                              posted
          pay    card:7   income    10.00   as j1
          hold   card:7   income    10.00   as j2
        journal  k1  2 lines                              posted again
          pay    card:7   income    10.00   as j1
          hold   card:7   income    10.00   as j2
        journal  k1  1 lines                              idempotency_conflict
          pay    card:7   income    10.00   as j1
        balance  card:7   90.00     held 10.00
    """,
    "a refused journal is remembered, and its ids are burnt": """
        journal  k1  2 lines                              refused exceeds_credits
          pay    bank     card:7    10.00   as j1
          pay    card:7   income    110.01  as j2
        pay      bank     card:7    100.00                ok
        journal  k1  2 lines                              refused again exceeds_credits
          pay    bank     card:7    10.00   as j1
          pay    card:7   income    110.01  as j2
        balance  card:7   200.00    held 0.00
    """,
    "a journal refused for its form may be corrected under the same key": """
        journal  k1  1 lines                              refused amount_must_not_be_zero
          pay    card:7   income    0.00    as j1
        journal  k1  1 lines                              posted
          pay    card:7   income    1.00    as j1
    """,
    "a journal is reversed once, the way it came": """
        journal  k1  2 lines                              posted
          pay    bank     card:7    10.00   as j1
          pay    card:7   income    25.00   as j2
        reverse  k1  as r1                                posted
        reverse  k1  as r1                                posted
        reverse  k1  as r2                                journal_already_reversed
        reverse  k9  as r3                                journal_not_found
        balance  card:7   100.00    held 0.00
        balance  income   0.00      held 0.00
    """,
    "what is still on hold is voided, not reversed": """
        journal  k1  1 lines                              posted
          hold   card:7   income    10.00   as h1
        reverse  k1  as r1                                journal_not_reversible
        journal  k2  1 lines                              posted
          capture h1      8.00
        reverse  k1  as r2                                journal_not_reversible
        reverse  k2  as r3                                posted
        balance  card:7   100.00    held 0.00
    """,
    "money that was spent cannot be taken back": """
        account  poor     limited
        journal  k1  1 lines                              posted
          pay    bank     poor      10.00   as j1
        pay      poor     income    5.00                  ok
        reverse  k1  as r1                                refused
        pay      bank     poor      5.00                  ok
        reverse  k1  as r2                                posted
    """,
}


def test_every_story_comes_out_as_told(database: Database, subtests: pytest.Subtests) -> None:
    for title, story in STORIES.items():
        with subtests.test(title):
            # What an earlier story left on hold is none of this one's business.
            pass_time(database, 86_400)
            database.run(expire_pending)
            Books(database, title).tell(OPENING + story)

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import Database
from ledger import Balances, PendingState, StatementLine, account_lines, balance_at, balances, lookup_transfers
from tests.ledger.stories import Books, ident, pass_time

STORY = """
account  bank     free
account  income   free
account  card:7   limited
journal  k1  1 lines                               posted
  pay    bank     card:7    100.00   as t1
hold     card:7   income    60.00    as h1         ok
capture  h1       45.50              as c1         ok
hold     card:7   income    10.00    as h2 for 60s ok
hold     card:7   income    5.00     as h3         ok
void     h3                          as v3         ok
pay      card:7   bank      1.00     as t2         ok
"""
TICK = timedelta(microseconds=1)


@pytest.fixture
def books(database: Database) -> Database:
    Books(database).tell(STORY)
    return database


def moment(database: Database, name: str) -> datetime:
    with database.reader() as session:
        return lookup_transfers(session, [ident(name)])[0].timestamp


def sums_at(database: Database, at: datetime, name: str = "card:7") -> Balances:
    with database.reader() as session:
        return balance_at(session, ident(name), at=at)


def lines(database: Database, name: str = "card:7", **filters: object) -> tuple[StatementLine, ...]:
    with database.reader() as session:
        return account_lines(session, ident(name), **filters).lines  # type: ignore[arg-type]


def test_the_balance_at_a_moment_counts_what_happened_up_to_it(books: Database) -> None:
    history = [
        ("t1", Balances(0, 0, 0, 100_00)),
        ("h1", Balances(60_00, 0, 0, 100_00)),
        ("c1", Balances(0, 45_50, 0, 100_00)),
        ("h2", Balances(10_00, 45_50, 0, 100_00)),
        ("h3", Balances(15_00, 45_50, 0, 100_00)),
        ("v3", Balances(10_00, 45_50, 0, 100_00)),
        ("t2", Balances(10_00, 46_50, 0, 100_00)),
    ]
    before = Balances(0, 0, 0, 0)
    for name, after in history:
        at = moment(books, name)
        assert sums_at(books, at - TICK) == before
        assert sums_at(books, at) == after
        before = after
    assert sums_at(books, moment(books, "t2") + timedelta(days=1)) == Balances(0, 46_50, 0, 100_00)


@pytest.mark.parametrize("is_swept", [False, True])
def test_a_hold_leaves_the_balance_at_its_expiry_whoever_notices_and_when(
    books: Database,
    is_swept: bool,  # noqa: FBT001
) -> None:
    pass_time(books, 100)
    if is_swept:
        Books(books).tell("sweep 1")
    expiry = moment(books, "h2") + timedelta(seconds=60)
    held = {"card:7": Balances(10_00, 46_50, 0, 100_00), "income": Balances(0, 0, 10_00, 45_50)}

    def check_history() -> None:
        for name, before in held.items():
            free = before._replace(debits_pending_fen=0, credits_pending_fen=0)
            assert sums_at(books, expiry - TICK, name) == before
            assert sums_at(books, expiry, name) == free
            assert sums_at(books, expiry + timedelta(seconds=30), name) == free

    check_history()
    for name, before in held.items():
        assert sums_at(books, expiry + timedelta(days=1), name) == before._replace(
            debits_pending_fen=0, credits_pending_fen=0
        )
    with books.reader() as session:
        assert balances(session, [ident("card:7")])[ident("card:7")] == Balances(0, 46_50, 0, 100_00)
    Books(books).tell("pay bank card:7 3.00 ok\n pay card:7 income 3.00 ok")
    check_history()


def test_each_line_says_what_it_changed_for_good_and_what_it_held(books: Database) -> None:
    found = lines(books)
    assert [(line.posted_fen, line.held_fen, line.state) for line in found] == [
        (-1_00, 0, None),
        (0, -5_00, None),
        (0, 5_00, PendingState.VOIDED),
        (0, 10_00, PendingState.OPEN),
        (-45_50, -60_00, None),
        (0, 60_00, PendingState.POSTED),
        (100_00, 0, None),
    ]
    assert [line.transfer_id for line in lines(books, newest_first=False)] == [line.transfer_id for line in found[::-1]]
    for older, newer in zip(found[1:], found, strict=False):
        assert newer.after.credit_balance_fen == older.after.credit_balance_fen + newer.posted_fen
        assert newer.after.debits_pending_fen == older.after.debits_pending_fen + newer.held_fen


def test_a_line_carries_its_voucher_and_the_other_account(books: Database) -> None:
    first = lines(books, newest_first=False, limit=1)[0]
    assert (first.kind, first.reference, first.text, first.actor) == ("story", "k1", "Story k1", "accountant")
    assert first.journal_id == ident("journal k1")
    assert (first.counter_account_id, first.code, first.value_at) == (ident("bank"), 1, first.timestamp)
    assert lines(books)[0].kind is None


def test_an_overdue_hold_shows_as_expired_before_anybody_wrote_it_down(books: Database) -> None:
    pass_time(books, 60)
    assert [line.state for line in lines(books) if line.transfer_id == ident("h2")] == [PendingState.EXPIRED]


def test_lines_are_chosen_by_time_side_and_code(books: Database) -> None:
    first, last = moment(books, "h1"), moment(books, "v3")
    assert len(lines(books, since=first, until=last)) == 4
    assert [line.posted_fen for line in lines(books, debits=False)] == [100_00]
    assert len(lines(books, credits=False)) == 6
    assert lines(books, credits=False, debits=False) == ()
    assert lines(books, code=2) == ()
    assert len(lines(books, code=1)) == 7


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 9), newest_first=st.booleans())
def test_pages_of_any_size_in_either_direction_give_every_line_once(
    books: Database,
    limit: int,
    newest_first: bool,  # noqa: FBT001
) -> None:
    assert list(pages(books, limit=limit, newest_first=newest_first)) == [
        line.transfer_id for line in lines(books, newest_first=newest_first)
    ]


def pages(database: Database, *, limit: int, newest_first: bool) -> Iterator[UUID]:
    cursor: datetime | None = None
    while True:
        with database.reader() as session:
            page = account_lines(
                session,
                ident("card:7"),
                limit=limit,
                newest_first=newest_first,
                before=cursor if newest_first else None,
                after=None if newest_first else cursor,
            )
        yield from (line.transfer_id for line in page.lines)
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_has_a_size(books: Database, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        lines(books, limit=limit)

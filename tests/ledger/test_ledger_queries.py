"""Whatever is asked for and however it is paged, the queries give what a plain look through all rows gives."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import (
    Account,
    AccountFilter,
    NewAccount,
    NewTransfer,
    Place,
    QueryFilter,
    QueryPage,
    Transfer,
    TransferFlag,
    account_balances,
    account_transfers,
    balance_at,
    create_accounts,
    create_transfers,
    lookup_accounts,
    lookup_transfers,
    query_accounts,
    query_transfers,
)
from tests.ledger.stories import pass_time
from tests.owner import without_triggers

ACCOUNTS = [UUID(int=number) for number in range(1, 6)]
DATA = (None, UUID(int=77))
YUAN, DOLLAR = 156, 840
TICK = timedelta(microseconds=1)
Row = Account | Transfer
Ask = Callable[..., QueryPage[Any]]


def wishes(seed: int, *, count: int) -> list[NewTransfer]:
    random = Random(seed)  # noqa: S311 - no secret
    made = []
    for number in range(count):
        debit, credit = random.sample(ACCOUNTS[:4], 2)
        made.append(
            NewTransfer(
                id=UUID(int=random.getrandbits(120) + 1),
                debit_account_id=debit,
                credit_account_id=credit,
                amount_fen=number + 1,
                code=random.choice((1, 2)),
                flags=random.choice((TransferFlag.NONE, TransferFlag.PENDING)),
                user_data_128=random.choice(DATA),
                user_data_64=random.choice((0, 5)),
                user_data_32=random.choice((0, 6)),
            )
        )
    return made


@pytest.fixture
def books(database: Database) -> Database:
    """Some transfers of this second, of an hour ago, of last month and of half a century ago."""
    for number, pause_s in enumerate((50 * 365 * 86_400, 30 * 86_400, 3_600, 0)):
        accounts = [
            NewAccount(id=id_, code=code, ledger=YUAN, user_data_64=5 * (code == 1))
            for id_, code in zip(ACCOUNTS, (1, 2, 1, 1), strict=False)
        ]
        others = [NewAccount(id=UUID(int=1000 + number), code=2, ledger=DOLLAR, user_data_128=DATA[1])]
        database.run(lambda session, new=accounts + others: create_accounts(session, new))  # type: ignore[misc]
        made = wishes(number, count=12)
        assert all(each.ok for each in database.run(lambda session, new=made: create_transfers(session, new)))  # type: ignore[misc]
        pass_time(database, pause_s)
    return database


def everything(session: Session) -> list[Transfer]:
    ids = session.scalars(text("SELECT id FROM ledger.transfers")).all()
    return sorted(lookup_transfers(session, ids), key=place_of)


def all_accounts(session: Session) -> list[Account]:
    ids = session.scalars(text("SELECT id FROM ledger.accounts")).all()
    return sorted(lookup_accounts(session, ids), key=place_of)


def place_of(row: Row) -> Place:
    return Place(row.created_at if isinstance(row, Account) else row.timestamp, row.id)


def chosen(rows: Iterable[Any], wanted: AccountFilter | QueryFilter) -> list[Any]:
    """Give what a plain look through the rows, in order of time, finds."""
    names = ("user_data_128", "user_data_64", "user_data_32", "code", "ledger")
    equal = {name: value for name in names if (value := getattr(wanted, name, None)) is not None}
    found = [
        row
        for row in rows
        if all(getattr(row, name) == value for name, value in equal.items())
        and (wanted.timestamp_min is None or place_of(row).timestamp >= wanted.timestamp_min)
        and (wanted.timestamp_max is None or place_of(row).timestamp <= wanted.timestamp_max)
    ]
    return found[::-1] if wanted.newest_first else found


def touches(transfer: Transfer, wanted: AccountFilter) -> bool:
    is_debit = transfer.debit_account_id == wanted.account_id
    is_credit = transfer.credit_account_id == wanted.account_id
    return (is_debit and wanted.debits) or (is_credit and wanted.credits)


def forwards(ask: Ask) -> list[QueryPage[Any]]:
    pages = [ask()]
    while pages[-1].following is not None:
        pages.append(ask(after=pages[-1].following))
    return pages


def backwards(ask: Ask, page: QueryPage[Any]) -> list[QueryPage[Any]]:
    """Go from a page to the first, and give the pages in the order of their rows."""
    pages = [page]
    while pages[0].preceding is not None:
        pages.insert(0, ask(before=pages[0].preceding))
    return pages


def assert_pages(ask: Ask, expected: list[Any], *, limit: int) -> None:
    pages = forwards(ask)
    assert [row for page in pages for row in page.rows] == expected
    assert all(len(page.rows) == limit for page in pages[:-1])
    assert pages[0].preceding is None
    back = backwards(ask, pages[-1])
    assert [row for page in back for row in page.rows] == expected
    assert all(page.following == place_of(page.rows[-1]) for page in back[:-1])
    for position, row in enumerate(expected):
        place = place_of(row)
        assert list(ask(after=place).rows) == expected[position + 1 : position + 1 + limit]
        assert list(ask(before=place).rows) == expected[max(0, position - limit) : position]


def moments(rows: list[Any]) -> st.SearchStrategy[datetime | None]:
    edges = [place_of(row).timestamp + change for row in rows for change in (-TICK, timedelta(0), TICK)]
    return st.none() | st.sampled_from([datetime(1950, 1, 1, tzinfo=UTC), *edges, datetime(2400, 1, 1, tzinfo=UTC)])


FIELDS = {
    "user_data_128": st.sampled_from([None, DATA[1], UUID(int=99)]),
    "user_data_64": st.sampled_from([None, None, 0, 5]),
    "user_data_32": st.sampled_from([None, None, 0, 6]),
    "code": st.sampled_from([None, None, 1, 2, 3]),
    "newest_first": st.booleans(),
    "limit": st.integers(1, 20),
}
PROPERTY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(data=st.data())
def test_any_pages_of_an_account_are_its_transfers(books: Database, data: st.DataObject) -> None:
    with books.reader() as session:
        rows = everything(session)
        times = {"timestamp_min": moments(rows), "timestamp_max": moments(rows)}
        sides = {"account_id": st.sampled_from(ACCOUNTS), "debits": st.booleans(), "credits": st.booleans()}
        wanted = data.draw(st.builds(AccountFilter, **FIELDS, **times, **sides))
        expected = chosen([row for row in rows if touches(row, wanted)], wanted)
        assert_pages(lambda **place: account_transfers(session, wanted, **place), expected, limit=wanted.limit)


@PROPERTY
@given(data=st.data())
def test_any_pages_of_the_ledger_are_its_transfers(books: Database, data: st.DataObject) -> None:
    with books.reader() as session:
        rows = everything(session)
        times = {"timestamp_min": moments(rows), "timestamp_max": moments(rows)}
        wanted = data.draw(st.builds(QueryFilter, **FIELDS, **times, ledger=st.sampled_from([None, YUAN, DOLLAR])))
        assert_pages(
            lambda **place: query_transfers(session, wanted, **place), chosen(rows, wanted), limit=wanted.limit
        )


@PROPERTY
@given(data=st.data())
def test_any_pages_of_the_ledger_are_its_accounts(books: Database, data: st.DataObject) -> None:
    with books.reader() as session:
        rows = all_accounts(session)
        times = {"timestamp_min": moments(rows), "timestamp_max": moments(rows)}
        wanted = data.draw(st.builds(QueryFilter, **FIELDS, **times, ledger=st.sampled_from([None, YUAN, DOLLAR])))
        assert_pages(lambda **place: query_accounts(session, wanted, **place), chosen(rows, wanted), limit=wanted.limit)


@pytest.mark.parametrize("newest_first", [False, True])
def test_both_ends_of_the_time_belong_to_it(books: Database, *, newest_first: bool) -> None:
    with books.reader() as session:
        transfers, accounts = everything(session), all_accounts(session)
        mine = [row for row in transfers if ACCOUNTS[0] in (row.debit_account_id, row.credit_account_id)]
        for rows in (mine, transfers, accounts):
            lower, upper = place_of(rows[1]).timestamp, place_of(rows[-2]).timestamp
            times: dict[str, Any] = {"timestamp_min": lower, "timestamp_max": upper, "newest_first": newest_first}
            wanted = QueryFilter(**times, limit=100)
            if rows is mine:
                found: QueryPage[Any] = account_transfers(
                    session, AccountFilter(account_id=ACCOUNTS[0], **times, limit=100)
                )
            else:
                found = (query_transfers if rows is transfers else query_accounts)(session, wanted)
            assert list(found.rows) == chosen(rows, wanted)


def test_the_balances_are_those_right_after_each_transfer(books: Database) -> None:
    wanted = AccountFilter(account_id=ACCOUNTS[0], limit=5, newest_first=True)
    with books.reader() as session:
        transfers, found = account_transfers(session, wanted), account_balances(session, wanted)
        assert [(row.transfer_id, row.timestamp) for row in found.rows] == [
            (row.id, row.timestamp) for row in transfers.rows
        ]
        for row in found.rows:
            assert row.balances == balance_at(session, ACCOUNTS[0], at=row.timestamp)
        older = account_balances(session, wanted, after=found.following)
        assert older.preceding == Place(older.rows[0].timestamp, older.rows[0].transfer_id)
        oldest = account_balances(session, wanted, after=older.following)
        assert account_balances(session, wanted, before=oldest.preceding).rows == older.rows


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_lies_at_the_edge_of_a_window_is_found_once(books: Database, *, newest_first: bool) -> None:
    """The ledger is read in windows of time, each four times as long as the one before it."""
    with books.reader() as session:
        rows = everything(session)
    spans = [timedelta(seconds=span) + tick for span in (1, 4, 16, 64) for tick in (-TICK, TICK * 0, TICK)]
    since = datetime(2026, 1, 1, tzinfo=UTC)
    until = since + timedelta(hours=1)
    with books.transaction() as session:
        without_triggers(session)
        session.execute(text("UPDATE ledger.accounts SET created_at = :since"), {"since": since})
        session.execute(text("UPDATE ledger.transfers SET timestamp = timestamp - interval '10 years'"))
        for row, span in zip(rows, spans, strict=False):
            at = until - span if newest_first else since + span
            session.execute(
                text("UPDATE ledger.transfers SET timestamp = :at WHERE id = :id"), {"at": at, "id": row.id}
            )
    wanted = QueryFilter(timestamp_min=since, timestamp_max=until, newest_first=newest_first)
    with books.reader() as session:
        found = query_transfers(session, wanted)
    assert [row.id for row in found.rows] == [row.id for row in rows[: len(spans)]]


def test_what_is_booked_while_somebody_reads_comes_on_a_later_page(books: Database) -> None:
    wanted = QueryFilter(limit=1_000)
    with books.reader() as session:
        last = query_transfers(session, wanted).rows[-1]
    new = wishes(99, count=3)
    books.run(lambda session: create_transfers(session, new))
    with books.reader() as session:
        later = query_transfers(session, wanted, after=place_of(last))
    assert [row.id for row in later.rows] == [wish.id for wish in new]


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_has_a_size(limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        AccountFilter(account_id=ACCOUNTS[0], limit=limit)
    with pytest.raises(ValueError, match="1 to 1000"):
        QueryFilter(limit=limit)


def test_a_page_lies_after_a_place_or_before_one(books: Database) -> None:
    place = Place(datetime(2026, 1, 1, tzinfo=UTC), ACCOUNTS[0])
    with books.reader() as session, pytest.raises(ValueError, match="not both"):
        query_accounts(session, QueryFilter(), after=place, before=place)


def test_books_without_an_account_have_nothing_to_find(database: Database) -> None:
    with database.reader() as session:
        for wanted in (QueryFilter(), replace(QueryFilter(), newest_first=True)):
            assert query_transfers(session, wanted) == QueryPage(rows=(), following=None, preceding=None)
            assert query_accounts(session, wanted) == QueryPage(rows=(), following=None, preceding=None)

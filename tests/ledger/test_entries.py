"""The lines of one account by value date, compared with a list that is merely sorted."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database
from ledger import (
    AccountEntries,
    AccountEntry,
    BookPlace,
    TransferFlag,
    account_entries,
    balances_by_value_date,
    trial_balance,
)
from ledger.entries import BALANCES, ENTRIES
from ledger.posting import execute
from ledger.values import ID_ZERO
from tests.ledger.bookkeeping import DAY, HOUR, TICK, Desk, on
from tests.owner import without_triggers

JANUARY, FEBRUARY = on("01-01"), on("02-01")
ZERO = timedelta()


@pytest.fixture
def desk(database: Database) -> Desk:
    desk = Desk(database)
    desk.open("bank", "card", "income")
    return desk


def entries(
    desk: Desk,
    name: str = "card",
    *,
    since: datetime = JANUARY,
    until: datetime = FEBRUARY,
    limit: int = 1_000,
    after: BookPlace | None = None,
) -> AccountEntries:
    with desk.database.reader() as session:
        return account_entries(session, desk.ident(name), since=since, until=until, limit=limit, after=after)


def pages(desk: Desk, *, limit: int, since: datetime, until: datetime) -> Iterator[AccountEntries]:
    after: BookPlace | None = None
    while True:
        found = entries(desk, limit=limit, after=after, since=since, until=until)
        yield found
        after = found.cursor
        if after is None:
            return


def test_an_account_opens_moves_and_closes(desk: Desk) -> None:
    desk.journal("1", "bank > card 100.00", at=on("01-01") - TICK)
    desk.journal("2", "card > income 30.00", at=on("01-01"), words=("R-2", "a use", "clerk 7"))
    desk.journal("3", "bank > card 1.00", at=on("01-31"))
    desk.journal("4", "card > income 9.00", at=FEBRUARY)
    found = entries(desk)
    assert (found.opening_fen, found.closing_fen, found.cursor) == (-100_00, -71_00, None)
    assert [(line.debit_fen, line.credit_fen, line.balance_fen) for line in found.lines] == [
        (30_00, 0, -70_00),
        (0, 1_00, -71_00),
    ]
    first = found.lines[0]
    assert (first.kind, first.reference, first.text, first.actor) == ("charge", "R-2", "a use", "clerk 7")
    assert (first.counter_account_id, first.code, first.journal_id) == (
        *(desk.ident("income"), 1),
        desk.ident("journal 2"),
    )
    assert first.value_at == on("01-01") < first.timestamp


def test_lines_come_in_the_order_of_their_dates_not_of_their_booking(desk: Desk) -> None:
    for name, day in (("third", "01-30"), ("first", "01-03"), ("second", "01-20")):
        desk.pay(name, "bank > card 1.00", at=on(day))
    assert [line.transfer_id for line in entries(desk).lines] == [
        desk.ident(name) for name in ("first", "second", "third")
    ]


def test_holds_are_no_lines_and_a_transfer_without_a_voucher_is_one(desk: Desk) -> None:
    desk.hold("h", "card > income 5.00", at=on("01-03"))
    desk.hold("v", "card > income 5.00", at=on("01-03"))
    desk.void("v", at=on("01-04"))
    desk.capture("h", 2_00)
    desk.redate("capture h", timestamp=on("01-05"))
    (line,) = entries(desk).lines
    assert (line.transfer_id, line.debit_fen, line.journal_id, line.kind) == (
        *(desk.ident("capture h"), 2_00),
        *(None, None),
    )


def test_an_account_without_lines_has_its_balances_all_the_same(desk: Desk) -> None:
    desk.pay("1", "bank > card 5.00", at=JANUARY - DAY)
    assert entries(desk) == AccountEntries(opening_fen=-5_00, lines=(), closing_fen=-5_00, cursor=None)
    assert entries(desk, "income") == AccountEntries(opening_fen=0, lines=(), closing_fen=0, cursor=None)


def test_a_cursor_from_before_the_period_begins_with_the_period(desk: Desk) -> None:
    desk.pay("1", "bank > card 5.00", at=JANUARY - DAY)
    desk.pay("2", "bank > card 6.00", at=JANUARY)
    found = entries(desk, after=BookPlace(JANUARY - 2 * DAY, desk.ident("any")))
    assert [line.balance_fen for line in found.lines] == [-11_00]


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_of_entries_has_a_size(desk: Desk, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        entries(desk, limit=limit)


def test_the_entries_of_a_period_that_ends_before_it_begins_are_refused(desk: Desk) -> None:
    with pytest.raises(ValueError, match="before it begins"):
        entries(desk, since=FEBRUARY, until=JANUARY)


# Ten lines an hour for three months, each dated up to twenty minutes early and every hundredth some days.
BUSY = """
INSERT INTO ledger.transfers SELECT (copy).* FROM (
    SELECT jsonb_populate_record(transfers, jsonb_build_object(
        'id', gen_random_uuid(), 'timestamp', timestamp + n * interval '6 minutes',
        'value_at', timestamp + n * interval '6 minutes' - CASE n % 100 WHEN 0 THEN interval '9 days'
            ELSE (n % 20) * interval '1 minute' END
    )) AS copy
    FROM ledger.transfers, generate_series(1, 20000) AS n WHERE id = :first
) AS copies
"""


@pytest.fixture
def busy_desk(desk: Desk) -> Desk:
    desk.pay("first", "bank > card 1.00")
    desk.redate("first", timestamp=JANUARY)
    with desk.database.transaction() as session:
        without_triggers(session)
        session.execute(text(BUSY), {"first": desk.ident("first")})
        session.execute(text("ANALYZE ledger.transfers"))
    return desk


def test_a_page_reads_its_own_lines_and_not_the_whole_account(busy_desk: Desk) -> None:
    since, until = on("02-10"), on("03-10")
    many = entries(busy_desk, since=since, until=until)
    assert len(many.lines) == 1_000
    for after in (BookPlace(since, ID_ZERO), many.cursor):
        assert after is not None
        place = {"after_at": after.value_at, "after_id": after.id}
        asked = {"account_id": busy_desk.ident("card"), "since": since, "until": until, "limit": 101, **place}
        assert 100 <= rows_read(busy_desk, ENTRIES, asked) < 1_500


def test_a_balance_by_value_date_reads_what_is_misdated_around_it_and_not_the_whole_account(busy_desk: Desk) -> None:
    asked = {"ids": [busy_desk.ident("card"), busy_desk.ident("bank")], "until": on("02-10")}
    assert 2 <= rows_read(busy_desk, BALANCES, asked) < 500


def rows_read(desk: Desk, sql: str, asked: dict[str, object]) -> int:
    """Run a statement and count the transfers it looked at."""
    with desk.database.reader() as session:
        (explained,) = execute(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", asked)
    return looked_at(explained[0][0]["Plan"])


def looked_at(node: dict[str, Any]) -> int:
    rows = 0
    if node.get("Relation Name") == "transfers":
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return int(rows) + sum(looked_at(part) for part in node.get("Plans", []))


class Event(NamedTuple):
    """Something booked `gap` after the event before it, and dated `lag` before its booking."""

    gap: timedelta
    lag: timedelta
    yuan: int
    is_debit: bool
    is_held: bool


# Around an hour the way a line is found changes; around a day and a month nothing should.
SPANS = [ZERO, TICK, HOUR - TICK, HOUR, HOUR + TICK, 5 * HOUR, DAY, 31 * DAY]
EVENTS = st.lists(
    st.builds(
        Event,
        gap=st.sampled_from(SPANS[1:]),
        lag=st.sampled_from(SPANS + [-span for span in SPANS[1:]]),
        yuan=st.integers(1, 99),
        is_debit=st.booleans(),
        is_held=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=14,
)
number = itertools.count()


Posted = list[tuple[datetime, UUID, int]]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=EVENTS,
    edges=st.tuples(st.integers(0, 13), st.integers(0, 13)),
    nudges=st.tuples(st.sampled_from([ZERO, TICK, -TICK, HOUR, -DAY]), st.sampled_from([ZERO, TICK, -TICK, HOUR, DAY])),
    limit=st.integers(1, 15),
)
def test_entries_are_what_sorting_by_value_date_gives_however_late_anything_was_booked(
    database: Database,
    events: list[Event],
    edges: tuple[int, int],
    nudges: tuple[timedelta, timedelta],
    limit: int,
) -> None:
    desk = Desk(database, title=f"{next(number)} ")
    desk.open("card", "other")
    booked, dates = book(desk, events)
    posted = sorted(
        (at, desk.ident(f"{name}"), event.yuan * (100 if event.is_debit else -100))
        for name, (event, at) in enumerate(zip(events, dates, strict=True))
        if not event.is_held
    )
    since, until = sorted(dates[edge % len(dates)] + nudge for edge, nudge in zip(edges, nudges, strict=True))
    check_entries(desk, posted, since=since, until=until, limit=limit)
    check_entries(desk, posted, since=min(dates), until=max(dates) + TICK, limit=1)
    for moment in {since, until, *booked, *dates}:
        check_balances(desk, posted, moment)
    check_against_the_trial_balance(desk, since, until)


def check_entries(desk: Desk, posted: Posted, *, since: datetime, until: datetime, limit: int) -> None:
    found = list(pages(desk, limit=limit, since=since, until=until))
    opening_fen = sum(fen for at, _, fen in posted if at < since)
    expected = [(at, id_, fen) for at, id_, fen in posted if since <= at < until]
    sums = itertools.accumulate((fen for _, _, fen in expected), initial=opening_fen)
    lines = [line for part in found for line in part.lines]
    assert len(found) == max(1, -(-len(expected) // limit))
    assert [(line.value_at, line.transfer_id, signed(line)) for line in lines] == expected
    assert [opening_fen, *(line.balance_fen for line in lines)] == list(sums)
    assert {part.opening_fen for part in found} == {opening_fen}
    assert {part.closing_fen for part in found} == {opening_fen + sum(fen for _, _, fen in expected)}


def check_balances(desk: Desk, posted: Posted, moment: datetime) -> None:
    fen = sum(fen for at, _, fen in posted if at < moment)
    with desk.database.reader() as session:
        both = balances_by_value_date(session, [desk.ident("card"), desk.ident("other")], until=moment)
    assert both == {desk.ident("card"): fen, desk.ident("other"): -fen}


def check_against_the_trial_balance(desk: Desk, since: datetime, until: datetime) -> None:
    with desk.database.reader() as session:
        trial = {line.account_id: line for line in trial_balance(session, since=since, until=until)}
    found = entries(desk, since=since, until=until)
    line = trial.get(desk.ident("card"))
    opening_fen, closing_fen = (line.opening_fen, line.closing_fen) if line is not None else (0, 0)
    assert (found.opening_fen, found.closing_fen) == (opening_fen, closing_fen)


def signed(line: AccountEntry) -> int:
    return line.debit_fen - line.credit_fen


def book(desk: Desk, events: list[Event]) -> tuple[list[datetime], list[datetime]]:
    """Book the events in their order and give when each was booked and its value date."""
    sides = {True: "card > other", False: "other > card"}
    desk.send(
        *(
            desk.transfer(
                f"{name}",
                f"{sides[event.is_debit]} {event.yuan}.00",
                flags=TransferFlag.PENDING if event.is_held else TransferFlag.NONE,
            )
            for name, event in enumerate(events)
        )
    )
    waited = itertools.accumulate(event.gap for event in events)
    booked = [JANUARY + gap for gap in waited]
    dates = [at - event.lag for at, event in zip(booked, events, strict=True)]
    for name, (at, value_at) in enumerate(zip(booked, dates, strict=True)):
        desk.redate(f"{name}", timestamp=at, value_at=value_at)
    return booked, dates

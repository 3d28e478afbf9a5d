"""The books by value date: trial balance, vouchers, everything in order."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import Database
from ledger import (
    BookEntry,
    BookPlace,
    DayBalances,
    TransferFlag,
    Voucher,
    VoucherPage,
    account_entries,
    book_entries,
    day_balances,
    expire_pending,
    trial_balance,
    voucher,
    vouchers,
)
from tests.ledger.bookkeeping import DAY, TICK, Desk, on
from tests.ledger.stories import pass_time

SHANGHAI = ZoneInfo("Asia/Shanghai")
JANUARY, FEBRUARY, MARCH, APRIL = on("01-01"), on("02-01"), on("03-01"), on("04-01")
ALWAYS = datetime(2100, 1, 1, tzinfo=UTC)
PLACES = ("bank", "card", "income", "till")


@pytest.fixture
def desk(database: Database) -> Desk:
    desk = Desk(database)
    desk.open(*PLACES)
    return desk


def trial(desk: Desk, since: datetime, until: datetime) -> dict[str, tuple[int, int, int, int]]:
    with desk.database.reader() as session:
        lines = trial_balance(session, since=since, until=until)
    return {desk.names[line.account_id]: line[-4:] for line in lines if line.account_id in desk.names}


def test_the_trial_balance_shows_opening_movements_and_closing_of_each_account(desk: Desk) -> None:
    desk.journal("1", "bank > card 100.00", at=on("01-10"))
    desk.journal("2", "card > income 30.00", at=on("02-01"))
    desk.journal("3", "bank > card 50.00", at=on("02-28 23:59:59"))
    desk.journal("4", "card > income 1.00", at=MARCH)
    assert trial(desk, FEBRUARY, MARCH) == {
        "bank": (100_00, 50_00, 0, 150_00),
        "card": (-100_00, 30_00, 50_00, -120_00),
        "income": (0, 0, 30_00, -30_00),
    }


def test_the_trial_balance_counts_by_value_date_whatever_the_order_of_booking(desk: Desk) -> None:
    desk.pay("late", "bank > card 2.00", at=on("03-05"))
    desk.pay("early", "bank > card 1.00", at=on("01-05"))
    assert trial(desk, JANUARY, FEBRUARY)["bank"] == (0, 1_00, 0, 1_00)
    assert trial(desk, FEBRUARY, MARCH)["bank"] == (1_00, 0, 0, 1_00)
    assert trial(desk, MARCH, APRIL)["bank"] == (1_00, 2_00, 0, 3_00)


def test_a_hold_is_no_money_and_a_hold_posted_in_part_counts_for_that_part(desk: Desk) -> None:
    for name in ("open", "voided", "captured"):
        desk.hold(name, "card > income 9.00", at=on("01-05"))
    desk.void("voided", at=on("01-06"))
    assert trial(desk, JANUARY, FEBRUARY) == {}
    desk.capture("captured", 4_00, at=on("02-06"))
    assert trial(desk, JANUARY, FEBRUARY) == {}
    assert trial(desk, FEBRUARY, MARCH) == {"card": (0, 4_00, 0, 4_00), "income": (0, 0, 4_00, -4_00)}


def test_a_hold_that_was_posted_with_nothing_leaves_no_line(desk: Desk) -> None:
    desk.hold("h", "card > income 9.00", at=on("01-05"))
    desk.capture("h", 0, at=on("01-06"))
    assert trial(desk, JANUARY, FEBRUARY) == {}
    assert_nothing_is_shown(desk)


def test_a_hold_that_ran_out_moved_nothing_also_when_its_end_is_written_down(desk: Desk) -> None:
    desk.send(desk.transfer("h", "card > income 9.00", flags=TransferFlag.PENDING, timeout_s=60))
    pass_time(desk.database, 61)
    assert desk.database.run(expire_pending) == 1
    assert trial(desk, JANUARY, ALWAYS) == {}
    assert_nothing_is_shown(desk)


def assert_nothing_is_shown(desk: Desk) -> None:
    assert entries(desk, until=ALWAYS) == []
    assert page(desk, until=ALWAYS).vouchers == ()
    with desk.database.reader() as session:
        assert account_entries(session, desk.ident("card"), since=JANUARY, until=ALWAYS).lines == ()


def test_an_account_whose_movements_cancel_out_is_still_shown(desk: Desk) -> None:
    desk.pay("there", "bank > card 1.00", at=on("01-05"))
    desk.pay("back", "card > bank 1.00", at=on("01-06"))
    assert trial(desk, JANUARY, FEBRUARY) == {"bank": (0, 1_00, 1_00, 0), "card": (0, 1_00, 1_00, 0)}
    assert trial(desk, FEBRUARY, MARCH) == {}


def test_the_lines_come_by_ledger_code_and_owner(database: Database) -> None:
    desk = Desk(database)
    desk.open("usd:a", "usd:b", code=1, ledger=840)
    desk.open("code:2", code=2, owner=1)
    desk.open("owner:9", code=1, owner=9)
    desk.open("owner:2", code=1, owner=2)
    desk.pay("1", "code:2 > owner:9 1.00", at=on("01-05"))
    desk.pay("2", "code:2 > owner:2 1.00", at=on("01-05"))
    desk.pay("3", "usd:a > usd:b 1.00", at=on("01-05"), ledger=840)
    found = list(trial(desk, JANUARY, FEBRUARY))
    assert found[:3] == ["owner:2", "owner:9", "code:2"]
    assert set(found[3:]) == {"usd:a", "usd:b"}


def test_a_period_does_not_end_before_it_begins(desk: Desk) -> None:
    with desk.database.reader() as session, pytest.raises(ValueError, match="before it begins"):
        trial_balance(session, since=FEBRUARY, until=JANUARY)


class Event(NamedTuple):
    debit: str
    credit: str
    amount_fen: int
    at: datetime
    phase: str


EVENTS = st.lists(
    st.builds(
        Event,
        debit=st.sampled_from(PLACES),
        credit=st.sampled_from(PLACES),
        amount_fen=st.integers(1, 10**6),
        at=st.datetimes(datetime(2026, 1, 1), datetime(2026, 4, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - no zone is wanted here
        phase=st.sampled_from(["paid", "held", "captured", "captured in part", "voided"]),
    ).filter(lambda event: event.debit != event.credit),
    max_size=12,
)
number = itertools.count()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_every_month_opens_where_the_one_before_closed_and_every_ledger_sums_to_zero(
    database: Database, events: list[Event]
) -> None:
    desk = Desk(database, title=f"{next(number)} ")
    desk.open(*PLACES)
    posted = [event._replace(amount_fen=book(desk, f"{name}", event)) for name, event in enumerate(events)]
    bounds = [JANUARY, FEBRUARY, MARCH, APRIL, on("05-01")]
    months = [trial(desk, since, until) for since, until in itertools.pairwise(bounds)]
    for (since, until), month in zip(itertools.pairwise(bounds), months, strict=True):
        assert month == model(posted, since, until)
        assert sum(line[0] for line in month.values()) == sum(line[3] for line in month.values()) == 0
        assert sum(line[1] for line in month.values()) == sum(line[2] for line in month.values())
    for before, after in itertools.pairwise(months):
        closings = {name: line[3] for name, line in before.items() if line[3]}
        assert closings == {name: line[0] for name, line in after.items() if line[0]}


def book(desk: Desk, name: str, event: Event) -> int:
    """Book one event and give the fen that it posted."""
    line = f"{event.debit} > {event.credit} {event.amount_fen // 100}.{event.amount_fen % 100:02d}"
    if event.phase == "paid":
        desk.pay(name, line, at=event.at)
        return event.amount_fen
    desk.hold(name, line, at=JANUARY)
    if event.phase == "voided":
        desk.void(name, at=event.at)
    if not event.phase.startswith("captured"):
        return 0
    part_fen = event.amount_fen // 2 if event.phase == "captured in part" else event.amount_fen
    desk.capture(name, part_fen, at=event.at)
    return part_fen


def model(posted: list[Event], since: datetime, until: datetime) -> dict[str, tuple[int, int, int, int]]:
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for debit, credit, amount_fen, at, _ in posted:
        if at < since:
            sums[debit][0] += amount_fen
            sums[credit][0] -= amount_fen
        elif at < until:
            sums[debit][1] += amount_fen
            sums[credit][2] += amount_fen
    return {name: (a, b, c, a + b - c) for name, (a, b, c) in sums.items() if (a, b, c) != (0, 0, 0)}


# --- vouchers


def one(desk: Desk, journal_id: UUID) -> Voucher | None:
    with desk.database.reader() as session:
        return voucher(session, journal_id)


def page(
    desk: Desk, *, since: datetime = JANUARY, until: datetime = APRIL, after: BookPlace | None = None, **more: object
) -> VoucherPage:
    with desk.database.reader() as session:
        return vouchers(session, since=since, until=until, after=after, **more)  # type: ignore[arg-type]


def references(found: VoucherPage) -> list[str]:
    return [voucher.reference for voucher in found.vouchers]


def test_a_voucher_says_what_was_posted_why_by_whom_and_what_took_it_back(desk: Desk) -> None:
    id_ = desk.journal(
        "1", "bank > card 5.00", "card > income 2.00", at=on("01-10"), words=("R-1", "top-up, then a use", "clerk 7")
    )
    reversal_id = desk.reverse("1", at=on("02-10"))
    found, reversal = one(desk, id_), one(desk, reversal_id)
    assert found is not None
    assert reversal is not None
    assert (found.kind, found.reference, found.text, found.actor) == ("charge", "R-1", "top-up, then a use", "clerk 7")
    assert (found.value_at, found.reverses_id, found.reversed_by_id) == (on("01-10"), None, reversal_id)
    assert [transfer.amount_fen for transfer in found.transfers] == [5_00, 2_00]
    assert found.created_at <= found.transfers[0].timestamp < found.transfers[1].timestamp
    assert (reversal.value_at, reversal.reverses_id, reversal.reversed_by_id) == (on("02-10"), id_, None)
    assert reversal.actor == "manager"


def test_a_journal_that_only_holds_posts_nothing_and_is_not_listed(desk: Desk) -> None:
    id_ = desk.journal("h", "card > income 5.00", at=on("01-10"), flags=TransferFlag.PENDING)
    found = one(desk, id_)
    assert found is not None
    assert found.transfers == ()
    assert page(desk).vouchers == ()


def test_there_is_no_voucher_under_a_strange_id(desk: Desk) -> None:
    assert one(desk, desk.ident("nobody")) is None


def test_vouchers_are_chosen_by_value_date_and_kind(desk: Desk) -> None:
    for key, at, kind in (
        ("before", JANUARY - TICK, "charge"),
        ("first", JANUARY, "charge"),
        ("other", on("01-20"), "top_up"),
        ("last", FEBRUARY - TICK, "charge"),
        ("after", FEBRUARY, "charge"),
    ):
        desk.journal(key, "bank > card 1.00", at=at, kind=kind)
    assert references(page(desk, until=FEBRUARY)) == ["No. last", "No. other", "No. first"]
    assert references(page(desk, until=FEBRUARY, newest_first=False)) == ["No. first", "No. other", "No. last"]
    assert references(page(desk, until=FEBRUARY, kind="charge")) == ["No. last", "No. first"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 8), newest_first=st.booleans())
def test_voucher_pages_of_any_size_in_either_direction_give_every_voucher_once(
    desk: Desk,
    limit: int,
    newest_first: bool,  # noqa: FBT001
) -> None:
    if not page(desk).vouchers:
        for key in range(7):
            # Several on one moment: the id then tells them apart.
            desk.journal(f"{key}", "bank > card 1.00", at=on("01-10") + (key // 3) * DAY)
    found = list(walk(desk, limit=limit, newest_first=newest_first))
    assert [len(part) for part in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]
    everything = [item.id for part in found for item in part]
    assert len(everything) == 7
    places = [(item.value_at, item.id) for part in found for item in part]
    assert places == sorted(places, reverse=newest_first)


def walk(desk: Desk, *, limit: int, newest_first: bool) -> Iterator[tuple[Voucher, ...]]:
    after: BookPlace | None = None
    while True:
        found = page(desk, after=after, limit=limit, newest_first=newest_first)
        yield found.vouchers
        after = found.cursor
        if after is None:
            return


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_of_vouchers_has_a_size(desk: Desk, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        page(desk, limit=limit)


# --- everything in order


def entries(desk: Desk, until: datetime = APRIL, zone: ZoneInfo = SHANGHAI) -> list[BookEntry]:
    with desk.database.reader() as session:
        return list(book_entries(session, until=until, zone=zone))


def stands(desk: Desk, until: datetime) -> list[tuple[date, dict[str, int]]]:
    def named(found: DayBalances) -> dict[str, int]:
        assert len({id_ for id_, _ in found.accounts}) == len(found.accounts)
        return {desk.names[id_]: fen for id_, fen in found.accounts}

    with desk.database.reader() as session:
        return [(found.day, named(found)) for found in day_balances(session, until=until, zone=SHANGHAI)]


def test_nothing_that_was_posted_is_missing_from_the_entries_and_nothing_else_is_there(desk: Desk) -> None:
    desk.journal("v", "bank > card 5.00", "card > income 2.00", at=on("01-10"), words=("R", "said", "clerk"))
    desk.hold("h", "card > income 1.00", at=on("01-11"))
    desk.capture("h", 60)
    desk.redate("capture h", timestamp=on("01-12"))
    desk.hold("open", "card > income 1.00", at=on("01-13"))
    desk.pay("after", "bank > card 1.00", at=APRIL)
    voucher_entry, single = entries(desk)
    assert (voucher_entry.kind, voucher_entry.reference, voucher_entry.text, voucher_entry.actor) == (
        *("charge", "R", "said"),
        "clerk",
    )
    assert voucher_entry.movements == (
        (desk.ident("bank"), desk.ident("card"), 5_00),
        (desk.ident("card"), desk.ident("income"), 2_00),
    )
    assert (single.id, single.kind, single.reference) == (desk.ident("capture h"), None, None)
    assert single.movements == ((desk.ident("card"), desk.ident("income"), 60),)


def test_entries_come_by_value_date_and_the_day_is_that_of_the_place(desk: Desk) -> None:
    desk.pay("February", "bank > card 2.00", at=on("01-31 16:00"))
    desk.pay("January", "bank > card 1.00", at=on("01-31 16:00") - TICK)
    assert [(item.day, item.movements[0].amount_fen) for item in entries(desk)] == [
        (date(2026, 1, 31), 1_00),
        (date(2026, 2, 1), 2_00),
    ]
    assert {item.day for item in entries(desk, zone=ZoneInfo("UTC"))} == {date(2026, 1, 31)}


def test_a_voucher_dated_on_two_days_is_an_entry_on_each(desk: Desk) -> None:
    id_ = desk.journal("v", "bank > card 5.00", "card > income 2.00", at=on("01-10"))
    desk.journal("w", "bank > till 1.00", at=on("01-10"))
    desk.redate("v 1", timestamp=on("01-11 00:00:01"), value_at=on("01-11"))
    found = entries(desk)
    assert sorted((item.day.day, len(item.movements)) for item in found) == [(10, 1), (10, 1), (11, 1)]
    assert [item.day.day for item in found if item.id == id_] == [10, 11]


def test_balances_stand_at_each_months_end_for_what_moved_in_it_and_at_the_end_for_all(desk: Desk) -> None:
    desk.pay("1", "bank > card 5.00", at=on("01-10"))
    desk.pay("2", "card > income 2.00", at=on("03-31 15:59:59"))
    desk.pay("3", "card > income 1.00", at=on("03-31 16:00"))
    desk.hold("h", "card > income 1.00", at=on("03-01"))
    january = (date(2026, 1, 31), {"bank": 5_00, "card": -5_00})
    march = {"card": -3_00, "income": -2_00}
    assert stands(desk, on("04-10")) == [
        january,
        (date(2026, 3, 31), march),
        (date(2026, 4, 10), {"bank": 5_00, "card": -2_00, "income": -3_00}),
    ]
    # Midnight in Shanghai ends the last day of March: its end is the month's.
    assert stands(desk, on("03-31 16:00")) == [january, (date(2026, 3, 31), {"bank": 5_00, **march})]

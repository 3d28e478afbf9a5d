"""Hours by place and any period, from sessions and power spans; what nobody saw is said, and nothing is guessed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import boxes
from telemetry.hours import Allowance, Hours, Place, Seat, hours_of
from telemetry.pieces import Measure, intersect, joined, subtract, union
from telemetry.states import Calibration
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, Server, at, day

MINUTE = 60
EVER = (at(-1_000_000), at(1_000_000))
SHANGHAI = ZoneInfo("Asia/Shanghai")
# Off 90, standby 30, run 60, standby 40, off 20, standby 20, run 30, off 10: five hours.
FIVE_HOURS = day(
    *((90, 0.0), (30, STANDBY_W), (60, RUN_W), (40, STANDBY_W), (20, 0.0), (20, STANDBY_W), (30, RUN_W), (10, 0.0))
)


def hours(
    server: Server, *bounds: datetime, seats: list[Seat] | None = None, allowance: Allowance | None = None
) -> list[Hours]:
    place = Place(seats=seats or [Seat(BOX, 0, *EVER)], allowance=allowance or Allowance())
    with server.database.reader() as session:
        return hours_of(session, places={1: place}, bounds=bounds)[1]


def test_total_is_switched_on_and_effective_has_warm_up_and_after_treatment_up_to_the_allowance(server: Server) -> None:
    server.enrol()
    server.measured(FIVE_HOURS)
    server.derive()
    (found,) = hours(server, at(0), at(300))
    assert (found.total_s, found.off_s, found.unknown_s) == (180 * MINUTE, 120 * MINUTE, 0)
    assert (found.running_s, found.uses) == (90 * MINUTE, 2)
    assert found.effective_s == (15 + 60 + 15 + 15 + 30) * MINUTE
    (generous,) = hours(server, at(0), at(300), allowance=Allowance(warm_up_s=7200, after_treatment_s=7200))
    assert generous.effective_s == generous.total_s
    (strict,) = hours(server, at(0), at(300), allowance=Allowance(warm_up_s=0, after_treatment_s=0))
    assert strict.effective_s == strict.running_s


def test_what_no_box_told_is_unknown_and_not_off(server: Server) -> None:
    server.enrol()
    server.measured(FIVE_HOURS[:100] + FIVE_HOURS[130:])
    server.derive()
    (found,) = hours(server, at(-60), at(360))
    assert (found.unknown_s, found.period_s) == ((60 + 30 + 60) * MINUTE, 420 * MINUTE)
    assert found.off_s == 120 * MINUTE
    (nothing,) = hours(server, at(0), at(300), seats=[Seat("cb-none", 0, *EVER)])
    assert nothing == Hours(unknown_s=300 * MINUTE)


def test_a_short_silence_within_a_use_is_counted_and_said_to_be_unseen(server: Server) -> None:
    server.enrol()
    server.measured(FIVE_HOURS[:140] + FIVE_HOURS[150:])
    server.derive()
    (found,) = hours(server, at(0), at(300))
    assert (found.running_s, found.unseen_s, found.unknown_s) == (90 * MINUTE, 10 * MINUTE, 0)


def test_a_session_over_midnight_and_month_end_is_split_at_the_sites_midnight(server: Server) -> None:
    # 2026-05-31 23:30 in Shanghai is 15:30 in UTC; the story begins on 4 May at 8:00 UTC.
    start_min = round((datetime(2026, 5, 31, 14, 0, tzinfo=UTC) - at(0)) / timedelta(minutes=1))
    server.enrol()
    night = day((90, STANDBY_W), (90, RUN_W), (60, STANDBY_W))
    server.measured(
        [{**message, "t0": message["t0"] + start_min * 60_000} for message in night], delay_s=start_min * 60 + 1
    )
    server.derive()
    first, second = (datetime(2026, month, 1, tzinfo=SHANGHAI) for month in (5, 6))
    may, june = hours(server, first, second, datetime(2026, 7, 1, tzinfo=SHANGHAI))
    assert (may.running_s, june.running_s) == (30 * MINUTE, 60 * MINUTE)
    assert (may.effective_s, june.effective_s) == (45 * MINUTE, 75 * MINUTE)
    assert (may.uses, june.uses) == (1, 0)


def test_a_box_moved_to_another_instrument_in_mid_session_counts_for_each_while_it_stood_there(server: Server) -> None:
    server.enrol()
    server.measured(FIVE_HOURS)
    server.derive()
    here = hours(server, at(0), at(300), seats=[Seat(BOX, 0, at(-100), at(150))])[0]
    there = hours(server, at(0), at(300), seats=[Seat(BOX, 0, at(150), at(400))])[0]
    assert (here.running_s, there.running_s) == (30 * MINUTE, 60 * MINUTE)
    assert (here.unknown_s, there.unknown_s) == (150 * MINUTE, 150 * MINUTE)


def test_of_two_boxes_at_one_instrument_both_are_heard_and_nothing_counts_twice(server: Server) -> None:
    server.enrol()
    server.enrol("cb-002")
    server.measured(FIVE_HOURS)
    server.measured(day((100, 0.0), (60, RUN_W)), box="cb-002")
    server.derive()
    (found,) = hours(server, at(0), at(300), seats=[Seat(BOX, 0, *EVER), Seat("cb-002", 0, *EVER)])
    assert (found.running_s, found.uses) == ((80 + 30) * MINUTE, 3)
    assert found.total_s == 180 * MINUTE
    assert found.period_s == 300 * MINUTE


def test_without_a_second_threshold_idle_is_neither_on_nor_off(server: Server) -> None:
    server.enrol(calibration=Calibration(run_threshold_w=40.0))
    server.measured(FIVE_HOURS)
    server.derive()
    (found,) = hours(server, at(0), at(300))
    assert (found.total_s, found.off_s, found.idle_s) == (90 * MINUTE, 0, 210 * MINUTE)


def test_hours_of_a_use_that_may_still_change_are_provisional(server: Server) -> None:
    server.enrol()
    server.measured(FIVE_HOURS)
    server.derive()
    first, second = hours(server, at(0), at(200), at(300))
    assert (first.provisional, second.provisional) == (False, True)


def test_late_data_change_the_hours_of_their_time_only(server: Server) -> None:
    server.enrol()
    late = [{**message, "boot": 2, "seq": number, "h": 1} for number, message in enumerate(FIVE_HOURS[130:150], 1)]
    server.measured(FIVE_HOURS[:130] + FIVE_HOURS[150:])
    server.derive()
    before = hours(server, at(0), at(130), at(150), at(300))
    server.measured(late, delay_s=9_000)
    server.derive()
    after = hours(server, at(0), at(130), at(150), at(300))
    assert (before[1].unknown_s, after[1].unknown_s) == (20 * MINUTE, 0)
    assert (before[0].total_s, before[2].total_s) == (after[0].total_s, after[2].total_s)


def test_bounds_must_rise(server: Server) -> None:
    with pytest.raises(ValueError, match="rise"):
        hours(server, at(5), at(5))


PIECES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12).map(
    lambda pairs: union((min(pair), max(pair)) for pair in pairs)
)
BOUNDS = st.lists(st.integers(-5, 65), min_size=2, max_size=8, unique=True).map(sorted)


@given(PIECES, PIECES, BOUNDS)
def test_pieces_are_sets_of_seconds_and_parts_of_a_time_add_up(
    some: list[tuple[int, int]], others: list[tuple[int, int]], bounds: list[int]
) -> None:
    def seconds(pieces: list[tuple[int, int]]) -> set[int]:
        return {second for start, end in pieces for second in range(start, end)}

    assert seconds(intersect(some, others)) == seconds(some) & seconds(others)
    assert seconds(subtract(some, others)) == seconds(some) - seconds(others)
    assert seconds(union([*some, *others])) == seconds(some) | seconds(others)
    assert joined(some, others) == [piece for piece in some if seconds([piece]) & seconds(others)]
    measure = Measure([*some, *others])
    parts = [measure.between(start, end) for start, end in pairwise(bounds)]
    within = set(range(bounds[0], bounds[-1]))
    assert sum(parts) == measure.between(bounds[0], bounds[-1]) == len((seconds(some) | seconds(others)) & within)


def test_hours_of_parts_add_up_to_those_of_the_whole(server: Server) -> None:
    server.enrol()
    odd = [{**message, "t0": message["t0"] + 777 * (message["seq"] // 50)} for message in FIVE_HOURS]
    server.measured(odd[:140] + odd[150:])
    server.derive()
    (whole,) = hours(server, at(-13), at(313))
    parts = hours(server, *(at(minute + 1 / 60) for minute in range(-14, 313, 7)), at(313))
    total = Hours()
    for part in hours(server, at(-13), *(at(minute + 1 / 60) for minute in range(-12, 313, 7)), at(313)):
        total = total.plus(part)
    assert total == whole
    assert all(part.running_s <= part.effective_s <= part.total_s for part in parts)


def test_a_calibration_that_holds_from_later_on_leaves_the_time_before_unknown(server: Server) -> None:
    server.enrol(calibration=None)
    with server.database.transaction() as session:
        boxes.set_calibration(session, code=BOX, channel=0, calibration=Calibration(run_threshold_w=40.0), at=at(60))
    server.measured(FIVE_HOURS)
    server.derive()
    (found,) = hours(server, at(0), at(300))
    assert found.unknown_s == 60 * MINUTE

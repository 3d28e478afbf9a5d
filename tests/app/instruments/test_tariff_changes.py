"""A tariff change inside a session splits it: what is charged before and after, and what only once."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.instruments.models import CustomerClass
from app.instruments.pricing import Change, Charge, LineKind, cost_steps, hold_for, parse_rules, price
from app.money import yuan
from tests.app.instruments.test_pricing_properties import durations, fen, rules, starts

CHONGQING = ZoneInfo("Asia/Shanghai")
MONDAY_9 = datetime(2026, 3, 2, 9, 0, tzinfo=CHONGQING)
MONDAY_10 = MONDAY_9.replace(hour=10)
HOUR_30 = {"per_hour": {"price_fen": 30_00}}
HOUR_60 = {"per_hour": {"price_fen": 60_00}}
STARTED_HOURS = {"per_hour": {"price_fen": 100_00, "increment_min": 60}}
# Tells two rules apart and changes no price.
OTHERWISE = {"no_show": {"fee_fen": 1}}

WholeRules = dict[str, Any]


def change(written: WholeRules, at: datetime = MONDAY_10) -> Change:
    return Change(holds_from=at, rules=parse_rules(written))


def charge(before: WholeRules, *changes: Change, minutes: float, start: datetime = MONDAY_9, **usage: Any) -> Charge:
    return price(
        parse_rules(before),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        site_timezone=CHONGQING,
        changes=changes,
        **usage,
    )


def yuan_for(before: WholeRules, *changes: Change, minutes: float, **usage: Any) -> str:
    return yuan(charge(before, *changes, minutes=minutes, **usage).amount_fen)


@pytest.mark.parametrize(("minutes", "amount"), [(59, "29.50"), (60, "30.00"), (61, "31.00"), (120, "90.00")])
def test_time_before_the_change_costs_the_old_price_and_time_after_it_the_new(minutes: int, amount: str) -> None:
    assert yuan_for(HOUR_30, change(HOUR_60), minutes=minutes) == amount


def test_the_lines_say_from_when_the_new_price_holds() -> None:
    before, after = charge(HOUR_30, change(HOUR_60), minutes=90).lines
    assert before.zh == "机时 60 分钟 × 30.00 元/小时"
    assert (after.zh, after.en) == (
        "2026-03-02 10:00 起：机时 30 分钟 × 60.00 元/小时",
        "From 2026-03-02 10:00: 30 min × 60.00 yuan/h",
    )


def test_each_change_splits_a_session_once_more() -> None:
    changes = change(HOUR_60), change({"per_hour": {"price_fen": 120_00}}, MONDAY_10 + timedelta(minutes=30))
    assert yuan_for(HOUR_30, *changes, minutes=120) == "120.00"
    assert yuan_for(HOUR_30, *reversed(changes), minutes=120) == "120.00"


def test_a_session_that_begins_after_the_change_is_priced_by_the_new_rules_alone() -> None:
    new = {**HOUR_60, "start_up_fen": 5_00}
    for start in (MONDAY_10, MONDAY_10 + timedelta(hours=3)):
        assert yuan_for({**HOUR_30, "start_up_fen": 1_00}, change(new), minutes=60, start=start) == "65.00"


def test_a_change_within_a_minute_counts_from_the_beginning_of_the_minute() -> None:
    assert yuan_for(HOUR_30, change(HOUR_60, MONDAY_10 + timedelta(seconds=59)), minutes=120) == "90.00"


def test_start_up_samples_and_components_are_charged_once_by_the_rules_of_the_beginning() -> None:
    once = {"start_up_fen": 400_00, "per_sample": {"price_fen": 10_00}, "per_component_fen": 1_00}
    dearer = {"start_up_fen": 900_00, "per_sample": {"price_fen": 99_00}, "per_component_fen": 9_00}
    found = charge({**HOUR_30, **once}, change({**HOUR_60, **dearer}), minutes=120, samples=2, components=3)
    assert [(line.kind, yuan(line.amount_fen)) for line in found.lines] == [
        (LineKind.START_UP, "400.00"),
        (LineKind.HOURS, "30.00"),
        (LineKind.SAMPLES, "20.00"),
        (LineKind.COMPONENTS, "6.00"),
        (LineKind.HOURS, "60.00"),
    ]


def test_free_minutes_are_those_of_the_beginning_also_when_the_change_is_among_them() -> None:
    free = {"free_warm_up_min": 20, "free_cool_down_min": 10}
    assert yuan_for({**HOUR_30, **free}, change({**HOUR_60, "free_cool_down_min": 50}), minutes=120) == "70.00"
    assert yuan_for({**HOUR_30, **free}, change(HOUR_60, MONDAY_9 + timedelta(minutes=5)), minutes=90) == "60.00"


@pytest.mark.parametrize(("minutes", "amount"), [(60, "100.00"), (90, "200.00"), (120, "200.00"), (126, "220.00")])
def test_a_started_hour_that_reaches_over_the_change_is_paid_once(minutes: int, amount: str) -> None:
    new = {"per_hour": {"price_fen": 200_00, "increment_min": 6}}
    assert yuan_for(STARTED_HOURS, change(new, MONDAY_9 + timedelta(minutes=90)), minutes=minutes) == amount


def test_the_minimum_is_of_the_session_and_not_of_each_part() -> None:
    least = {"per_hour": {"price_fen": 60_00, "minimum_min": 60}}
    at_9_10 = MONDAY_9 + timedelta(minutes=10)
    # The old minimum has paid the minutes until 10:00, whatever changes in between.
    assert yuan_for(least, change({"per_hour": {"price_fen": 600_00}}, at_9_10), minutes=20) == "60.00"
    assert yuan_for(least, change({"per_hour": {"price_fen": 600_00}}, at_9_10), minutes=61) == "70.00"
    # The new one counts what the session has used before: 10 minutes at 30 an hour and 50 at 60.
    assert yuan_for(HOUR_30, change(least, at_9_10), minutes=11) == "55.00"
    assert yuan_for(HOUR_30, change(least, at_9_10), minutes=70) == "65.00"


def test_steps_count_the_hours_of_the_session() -> None:
    steps = {
        "per_hour": {"steps": [{"hours": 1, "price_fen": 200_00}, {"hours": 1, "price_fen": 50_00}, {"price_fen": 0}]}
    }
    assert yuan_for(HOUR_30, change(steps), minutes=120) == "80.00"
    assert yuan_for(HOUR_30, change(steps, MONDAY_9 + timedelta(minutes=30)), minutes=240) == "165.00"


def test_days_are_counted_anew_and_the_day_that_was_paid_is_not_charged_again() -> None:
    days = {"per_day": {"price_fen": 660_00, "part_day": "half"}}
    assert yuan_for(days, change(HOUR_60), minutes=12 * 60) == "330.00"
    assert yuan_for(days, change(HOUR_60), minutes=13 * 60) == "390.00"


def test_a_cap_limits_all_that_is_due_so_far_and_takes_nothing_back() -> None:
    low, high = {**HOUR_60, "cap_fen": 50_00}, {**HOUR_60, "cap_fen": 80_00}
    assert yuan_for(low, change({**high, **OTHERWISE}), minutes=180) == "80.00"
    assert yuan_for(high, change(low), minutes=180) == "60.00"
    assert yuan_for(low, change(HOUR_60), minutes=180) == "170.00"
    found = charge(low, change({**low, **OTHERWISE}), minutes=120)
    assert [(line.kind, yuan(line.amount_fen)) for line in found.lines] == [
        (LineKind.HOURS, "60.00"),
        (LineKind.CAP, "-10.00"),
        (LineKind.HOURS, "60.00"),
        (LineKind.CAP, "-60.00"),
    ]


def test_each_part_has_the_percentages_of_its_own_rules() -> None:
    before, after = {**HOUR_30, "class_percent": {"company": 200}}, {**HOUR_60, "urgent_percent": 150}
    usage: dict[str, Any] = {"customer_class": CustomerClass.COMPANY, "urgent": True}
    assert yuan_for(before, change(after), minutes=120, **usage) == "150.00"


def test_an_option_agreed_at_the_beginning_goes_on_when_later_rules_lack_it() -> None:
    half = {"options": {"entrusted": {"percent": 50, "zh": "委托", "en": "entrusted"}}}
    assert yuan_for({**HOUR_30, **half}, change(HOUR_60), minutes=120, options=["entrusted"]) == "45.00"
    tenth = {"options": {"entrusted": {"percent": 10, "zh": "委托", "en": "entrusted"}}}
    assert yuan_for({**HOUR_30, **half}, change({**HOUR_60, **tenth}), minutes=120, options=["entrusted"]) == "21.00"


def test_the_same_rules_announced_again_are_no_change() -> None:
    # 17 and 16 minutes of 0.31 an hour are 0.0878 and 0.0827 yuan; rounded twice they would be a fen too many.
    same = {"per_hour": {"price_fen": 31}}
    found = charge(same, change(same, MONDAY_9 + timedelta(minutes=17)), minutes=33)
    assert [(line.quantity, line.amount_fen) for line in found.lines] == [(33, 17)]


def test_a_hold_reckons_with_a_beginning_nearer_to_the_change() -> None:
    held_fen = hold_for(
        parse_rules(HOUR_30), minutes=60, starts_at=MONDAY_9, site_timezone=CHONGQING, changes=[change(HOUR_60)]
    )
    assert yuan(held_fen) == "32.50"


moments = st.integers(-60, 3 * 24 * 60)


@st.composite
def flat_prices(draw: st.DrawFn) -> WholeRules:
    """Whole fen a minute, so that no rounding hides a minute counted twice or not at all.

    The minimum is of whole increments: after another one the increments of a later part begin at its end.
    """
    increment_min = draw(st.sampled_from([1, 6, 30, 60]))
    first: list[dict[str, int]] = [{"hours": draw(st.integers(1, 30)), "price_fen": 60 * draw(fen)}]
    found: WholeRules = {
        "per_hour": {
            "steps": [*(first if draw(st.booleans()) else []), {"price_fen": 60 * draw(fen)}],
            "increment_min": increment_min,
            "minimum_min": increment_min * draw(st.integers(0, 5)),
        },
        "start_up_fen": draw(fen),
        "free_warm_up_min": draw(st.integers(0, 90)),
        "free_cool_down_min": draw(st.integers(0, 90)),
    }
    return {**found, "cap_fen": draw(fen)} if draw(st.booleans()) else found


@given(flat_prices(), starts, durations, moments)
def test_a_split_between_two_tariffs_of_the_same_price_equals_no_split(
    written: WholeRules, start: datetime, minutes: int, at: int
) -> None:
    split = charge(
        written, change({**written, **OTHERWISE}, start + timedelta(minutes=at)), minutes=minutes, start=start
    )
    assert split.amount_fen == charge(written, minutes=minutes, start=start).amount_fen


@given(rules(), starts, durations, moments)
def test_a_change_to_the_same_rules_leaves_every_line_as_it_is(
    written: WholeRules, start: datetime, minutes: int, at: int
) -> None:
    split = charge(written, change(written, start + timedelta(minutes=at)), minutes=minutes, start=start)
    assert split == charge(written, minutes=minutes, start=start)


@given(
    tariffs=st.tuples(rules(), rules(), rules()),
    start=starts,
    at=st.tuples(moments, moments),
    lengths=st.tuples(durations, durations),
)
def test_a_longer_session_never_costs_less_whatever_changes_within_it(
    *, tariffs: tuple[WholeRules, ...], start: datetime, at: tuple[int, int], lengths: tuple[int, int]
) -> None:
    before, *after = tariffs
    changes = [change(new, start + timedelta(minutes=each)) for new, each in zip(after, at, strict=True)]
    shorter, longer = (charge(before, *changes, minutes=each, start=start) for each in sorted(lengths))
    assert 0 <= shorter.amount_fen <= longer.amount_fen


@given(
    tariffs=st.tuples(rules(), rules()),
    now=starts,
    minutes=st.integers(1, 3 * 24 * 60),
    at=moments,
    delay=st.integers(0, 4),
    early=st.integers(0, 59),
)
def test_a_hold_covers_every_session_within_it_whatever_changes(
    *, tariffs: tuple[WholeRules, WholeRules], now: datetime, minutes: int, at: int, delay: int, early: int
) -> None:
    before, after = tariffs
    changes = [change(after, now + timedelta(minutes=at))]
    held_fen = hold_for(parse_rules(before), minutes=minutes, starts_at=now, site_timezone=CHONGQING, changes=changes)
    start = now + timedelta(minutes=delay)
    found = charge(before, *changes, minutes=max(0, minutes - early), start=start, samples=1)
    assert found.amount_fen <= held_fen


@settings(max_examples=25)
@given(rules(), rules(), starts, st.integers(1, 400), st.integers(1, 400))
def test_the_steps_shown_at_the_terminal_know_the_change(
    before: WholeRules, after: WholeRules, start: datetime, minutes: int, at: int
) -> None:
    changes = [change(after, start + timedelta(minutes=at))]
    steps = cost_steps(parse_rules(before), minutes=minutes, started_at=start, site_timezone=CHONGQING, changes=changes)
    assert steps[-1][1] == charge(before, *changes, minutes=minutes, start=start).amount_fen

"""The worked values of the domain, to the fen."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.instruments.models import CustomerClass
from app.instruments.pricing import Charge, LineKind, hold_for, late_cancel_fee, no_show_fee, parse_rules, price
from app.money import yuan

CHONGQING = ZoneInfo("Asia/Shanghai")
MONDAY_9 = datetime(2026, 3, 2, 9, 0, tzinfo=CHONGQING)
FRIDAY_23 = datetime(2026, 3, 6, 23, 0, tzinfo=CHONGQING)
PER_MINUTE = {"per_hour": {"price_fen": 30_00}}
FIRST_HOUR_AND_FURTHER = {
    "per_hour": {"steps": [{"hours": 1, "price_fen": 200_00}, {"price_fen": 50_00}], "increment_min": 60},
    "class_percent": {"company": 125},
    "urgent_percent": 150,
}
WEEKEND = {"per_hour": {"price_fen": 60_00}, "windows": [{"days": ["sat", "sun"], "percent": 75}]}
NIGHT = {"per_hour": {"price_fen": 60_00}, "windows": [{"from": "22:00", "to": "08:00", "percent": 50}]}


def charge(rules: dict[str, Any], *, minutes: float, start: datetime = MONDAY_9, **usage: Any) -> Charge:
    return price(
        parse_rules(rules),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        site_timezone=CHONGQING,
        **usage,
    )


def yuan_for(rules: dict[str, Any], *, minutes: float, start: datetime = MONDAY_9, **usage: Any) -> str:
    return yuan(charge(rules, minutes=minutes, start=start, **usage).amount_fen)


@pytest.mark.parametrize(("minutes", "amount"), [(1, "0.50"), (7, "3.50"), (10, "5.00"), (13, "6.50"), (160, "80.00")])
def test_thirty_an_hour_is_counted_by_the_minute(minutes: int, amount: str) -> None:
    assert yuan_for(PER_MINUTE, minutes=minutes) == amount


def test_first_hour_costs_more_than_each_further_started_hour() -> None:
    assert yuan_for(FIRST_HOUR_AND_FURTHER, minutes=150) == "300.00"


def test_a_company_pays_its_percentage_on_top() -> None:
    assert yuan_for(FIRST_HOUR_AND_FURTHER, minutes=150, customer_class=CustomerClass.COMPANY) == "375.00"


def test_an_own_unit_pays_the_price_as_it_is() -> None:
    assert yuan_for(FIRST_HOUR_AND_FURTHER, minutes=150, customer_class=CustomerClass.OWN_UNIT) == "300.00"


def test_an_urgent_test_is_multiplied() -> None:
    assert yuan_for(FIRST_HOUR_AND_FURTHER, minutes=150, urgent=True) == "450.00"


def test_a_started_hour_counts_as_an_hour() -> None:
    assert yuan_for({"per_hour": {"price_fen": 2000_00, "increment_min": 60}}, minutes=61) == "4,000.00"


def test_a_night_into_the_weekend_is_split_at_midnight() -> None:
    found = charge(WEEKEND, minutes=120, start=FRIDAY_23)
    assert [yuan(line.amount_fen) for line in found.lines] == ["60.00", "45.00"]
    assert yuan(found.amount_fen) == "105.00"


def test_the_weekend_begins_at_the_sites_midnight_whatever_zone_the_moment_is_written_in() -> None:
    assert yuan_for(WEEKEND, minutes=120, start=FRIDAY_23.astimezone(ZoneInfo("UTC"))) == "105.00"


def test_steps_make_long_sessions_cheaper() -> None:
    steps = [
        {"hours": 2, "price_fen": 50_00},
        {"hours": 3, "price_fen": 45_00},
        {"hours": 2, "price_fen": 40_00},
        {"price_fen": 39_00},
    ]
    assert yuan_for({"per_hour": {"steps": steps}}, minutes=600) == "432.00"


@pytest.mark.parametrize(("samples", "amount"), [(0, "0.00"), (3, "600.00"), (4, "760.00"), (10, "1,720.00")])
def test_a_tier_prices_only_the_samples_from_it_on(samples: int, amount: str) -> None:
    rules = {"per_sample": {"tiers": [{"from": 1, "price_fen": 200_00}, {"from": 4, "price_fen": 160_00}]}}
    assert yuan_for(rules, minutes=5, samples=samples) == amount


def test_components_are_counted_for_every_sample() -> None:
    rules = {"per_sample": {"price_fen": 200_00}, "per_component_fen": 80_00}
    assert yuan_for(rules, minutes=5, samples=2, components=3) == "880.00"


@pytest.mark.parametrize(("minutes", "amount"), [(1, "3.00"), (6, "3.00"), (7, "6.00"), (60, "30.00")])
def test_six_minutes_started_are_charged_whole(minutes: int, amount: str) -> None:
    assert yuan_for({"per_hour": {"price_fen": 30_00, "increment_min": 6}}, minutes=minutes) == amount


def test_less_than_the_minimum_costs_the_minimum() -> None:
    assert yuan_for({"per_hour": {"price_fen": 200_00, "minimum_min": 120}}, minutes=20) == "400.00"


def test_switching_on_costs_a_fee_once() -> None:
    rules = {"start_up_fen": 400_00, "per_hour": {"price_fen": 100_00, "increment_min": 60}}
    assert yuan_for(rules, minutes=90) == "600.00"


def test_warm_up_and_cool_down_are_free() -> None:
    rules = {**PER_MINUTE, "free_warm_up_min": 20, "free_cool_down_min": 10}
    assert yuan_for(rules, minutes=90) == "30.00"
    assert yuan_for(rules, minutes=25) == "0.00"


def test_free_warm_up_moves_the_paid_time_into_the_weekend() -> None:
    assert yuan_for({**WEEKEND, "free_warm_up_min": 60}, minutes=120, start=FRIDAY_23) == "45.00"


@pytest.mark.parametrize(("start_hour", "amount"), [(7, "90.00"), (21, "90.00"), (23, "60.00"), (12, "120.00")])
def test_the_night_is_cheaper_also_after_midnight(start_hour: int, amount: str) -> None:
    assert yuan_for(NIGHT, minutes=120, start=MONDAY_9.replace(hour=start_hour)) == amount


def test_a_window_over_midnight_belongs_to_the_days_on_which_it_begins() -> None:
    friday_night = {
        "per_hour": {"price_fen": 60_00},
        "windows": [{"days": ["fri"], "from": "22:00", "to": "06:00", "percent": 0}],
    }
    assert yuan_for(friday_night, minutes=420, start=FRIDAY_23) == "0.00"
    assert yuan_for(friday_night, minutes=60, start=FRIDAY_23 - timedelta(days=1)) == "60.00"
    assert yuan_for(friday_night, minutes=60, start=FRIDAY_23 - timedelta(hours=22)) == "60.00"


def test_the_first_window_that_holds_counts() -> None:
    rules = {**WEEKEND, "windows": [*WEEKEND["windows"], {"from": "00:00", "to": "24:00", "percent": 200}]}
    assert yuan_for(rules, minutes=120, start=FRIDAY_23) == "165.00"


@pytest.mark.parametrize(
    ("part_day", "hours", "amount"),
    [("started", 1, "660.00"), ("started", 25, "1,320.00"), ("half", 1, "330.00"), ("half", 13, "660.00")],
)
def test_part_days_are_charged_as_the_rule_says(part_day: str, hours: int, amount: str) -> None:
    assert yuan_for({"per_day": {"price_fen": 660_00, "part_day": part_day}}, minutes=hours * 60) == amount


@pytest.mark.parametrize(
    ("hours", "amount"),
    [(2, "440.00"), (3, "660.00"), (20, "660.00"), (24, "660.00"), (25, "880.00"), (48, "1,320.00")],
)
def test_a_part_day_by_hours_never_costs_more_than_the_day(hours: int, amount: str) -> None:
    rules = {"per_hour": {"price_fen": 220_00}, "per_day": {"price_fen": 660_00, "part_day": "hours"}}
    assert yuan_for(rules, minutes=hours * 60) == amount


def test_a_cap_ends_the_price_and_says_so() -> None:
    found = charge({**PER_MINUTE, "cap_fen": 50_00}, minutes=160)
    assert yuan(found.amount_fen) == "50.00"
    assert [(line.kind, line.amount_fen) for line in found.lines] == [(LineKind.HOURS, 80_00), (LineKind.CAP, -30_00)]


def test_an_option_is_a_percentage_with_a_name() -> None:
    options = {"entrusted": {"percent": 50, "zh": "委托测试", "en": "entrusted test"}}
    found = charge({**PER_MINUTE, "options": options}, minutes=60, options=["entrusted"])
    assert yuan(found.amount_fen) == "15.00"
    assert "委托测试" in found.lines[0].zh
    assert "entrusted test" in found.lines[0].en


def test_seconds_are_dropped_and_a_started_minute_counts_once() -> None:
    start = MONDAY_9.replace(second=50)
    assert yuan_for(PER_MINUTE, minutes=0, start=start) == "0.50"
    assert yuan_for(PER_MINUTE, minutes=0.5, start=start) == "0.50"
    assert yuan_for(PER_MINUTE, minutes=1.9, start=MONDAY_9) == "0.50"
    assert yuan_for(PER_MINUTE, minutes=2, start=MONDAY_9) == "1.00"


def test_two_sessions_that_meet_within_a_minute_pay_it_once() -> None:
    first = charge(PER_MINUTE, minutes=10.4)
    second = charge(PER_MINUTE, minutes=9.6, start=MONDAY_9 + timedelta(minutes=10.4))
    assert first.amount_fen + second.amount_fen == charge(PER_MINUTE, minutes=20).amount_fen


def test_half_a_fen_is_rounded_up_once_at_the_end() -> None:
    # 1 minute of 0.33 an hour is 0.55 fen; 125% of it, 0.6875 fen, is rounded once and not twice.
    assert charge({"per_hour": {"price_fen": 33}, "class_percent": {"company": 125}}, minutes=1).amount_fen == 1
    # 0.30 an hour for 1 minute: exactly half a fen.
    assert charge({"per_hour": {"price_fen": 30}}, minutes=1).amount_fen == 1


def test_an_hour_that_the_clocks_skip_is_not_charged() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 3, 29, 1, 0, tzinfo=berlin)
    after = datetime(2026, 3, 29, 4, 0, tzinfo=berlin)
    rules = parse_rules({**NIGHT, "windows": [{"from": "03:00", "to": "05:00", "percent": 50}]})
    found = price(rules, started_at=before, ended_at=after, site_timezone=berlin)
    assert [(line.quantity, yuan(line.amount_fen)) for line in found.lines] == [(60, "60.00"), (60, "30.00")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"started_at": MONDAY_9, "ended_at": MONDAY_9 - timedelta(seconds=1)},
        {"started_at": MONDAY_9.replace(tzinfo=None), "ended_at": MONDAY_9},
        {"started_at": MONDAY_9, "ended_at": MONDAY_9, "samples": -1},
        {"started_at": MONDAY_9, "ended_at": MONDAY_9, "options": ["entrusted"]},
    ],
)
def test_impossible_usage_is_an_error_and_never_a_price(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        price(parse_rules(PER_MINUTE), **wrong, site_timezone=CHONGQING)


def test_a_hold_reckons_with_the_dearer_hours_that_begin_in_a_moment() -> None:
    rules = parse_rules(NIGHT)
    before_eight = MONDAY_9.replace(hour=7, minute=58)
    assert hold_for(rules, minutes=60, starts_at=before_eight, site_timezone=CHONGQING) == 60_00


def test_a_hold_reckons_with_one_sample_at_least() -> None:
    rules = parse_rules({"per_sample": {"price_fen": 150_00}})
    assert hold_for(rules, minutes=60, starts_at=MONDAY_9, site_timezone=CHONGQING, samples=0) == 150_00


BOOKED: dict[str, Any] = {
    "booked_from": MONDAY_9,
    "booked_to": MONDAY_9 + timedelta(hours=2),
    "site_timezone": CHONGQING,
}


def test_a_booking_that_nobody_came_to_costs_its_share() -> None:
    rules = parse_rules({**PER_MINUTE, "no_show": {"percent": 50}})
    assert yuan(no_show_fee(rules, **BOOKED).amount_fen) == "30.00"
    assert no_show_fee(parse_rules(PER_MINUTE), **BOOKED).lines == ()


def test_only_a_late_cancellation_costs_its_fee() -> None:
    rules = parse_rules({**PER_MINUTE, "late_cancel": {"within_min": 1440, "fee_fen": 20_00}})
    in_time = late_cancel_fee(rules, cancelled_at=MONDAY_9 - timedelta(days=1), **BOOKED)
    late = late_cancel_fee(rules, cancelled_at=MONDAY_9 - timedelta(hours=23), **BOOKED)
    assert (yuan(in_time.amount_fen), yuan(late.amount_fen)) == ("0.00", "20.00")

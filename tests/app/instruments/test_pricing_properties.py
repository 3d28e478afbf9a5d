"""What must hold for every price rule and every session."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from app.instruments.models import CustomerClass
from app.instruments.price_rules import DAYS, parse_rules
from app.instruments.price_texts import describe
from app.instruments.pricing import cost_steps, hold_for, price

CHONGQING = ZoneInfo("Asia/Shanghai")
fen = st.integers(0, 10_000_00)
percent = st.integers(0, 300)
CLASSES = [None, *CustomerClass]
starts = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001
durations = st.integers(0, 5 * 24 * 60)


@st.composite
def times_of_day(draw: st.DrawFn) -> dict[str, str]:
    first, second = draw(st.lists(st.integers(0, 24 * 60 - 1), min_size=2, max_size=2, unique=True))
    return {name: f"{minute // 60:02}:{minute % 60:02}" for name, minute in (("from", first), ("to", second))}


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"percent": draw(percent), **draw(times_of_day())}
    if draw(st.booleans()):
        found["days"] = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True))
    return found


@st.composite
def hours(draw: st.DrawFn) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"hours": draw(st.integers(1, 30)), "price_fen": draw(fen)} for _ in range(draw(st.integers(0, 3)))
    ]
    return {
        "steps": [*steps, {"price_fen": draw(fen)}],
        "increment_min": draw(st.sampled_from([1, 6, 30, 60])),
        "minimum_min": draw(st.sampled_from([0, 1, 60, 120])),
    }


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "start_up_fen": draw(fen),
        "per_hour": draw(hours()),
        "free_warm_up_min": draw(st.integers(0, 90)),
        "free_cool_down_min": draw(st.integers(0, 90)),
        "class_percent": {"company": draw(percent)},
        "urgent_percent": draw(percent),
        "per_sample": {"tiers": [{"from": 1, "price_fen": draw(fen)}, {"from": 4, "price_fen": draw(fen)}]},
    }
    if draw(st.booleans()):
        found["windows"] = draw(st.lists(windows(), min_size=1, max_size=3))
    if draw(st.booleans()):
        found["per_day"] = {"price_fen": draw(fen), "part_day": "hours"}
    if draw(st.booleans()):
        found["cap_fen"] = draw(fen)
    return found


def fen_for(written: dict[str, Any], *, start: datetime, minutes: int, **usage: Any) -> int:
    return price(
        parse_rules(written),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        site_timezone=CHONGQING,
        **usage,
    ).amount_fen


@given(rules(), starts, durations, durations)
def test_a_longer_session_never_costs_less(written: dict[str, Any], start: datetime, one: int, other: int) -> None:
    shorter, longer = sorted((one, other))
    assert fen_for(written, start=start, minutes=shorter) <= fen_for(written, start=start, minutes=longer)


@given(rules(), starts, durations, st.integers(0, 20))
def test_one_more_sample_never_costs_less(written: dict[str, Any], start: datetime, minutes: int, samples: int) -> None:
    fewer = fen_for(written, start=start, minutes=minutes, samples=samples)
    assert fewer <= fen_for(written, start=start, minutes=minutes, samples=samples + 1)


@given(written=rules(), start=starts, minutes=durations, urgent=st.booleans(), customer=st.sampled_from(CLASSES))
def test_a_charge_is_whole_fen_and_never_negative(
    *, written: dict[str, Any], start: datetime, minutes: int, urgent: bool, customer: CustomerClass | None
) -> None:
    found = price(
        parse_rules(written),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        site_timezone=CHONGQING,
        customer_class=customer,
        samples=2,
        urgent=urgent,
    )
    assert found.amount_fen >= 0
    assert all(type(line.amount_fen) is int for line in found.lines)
    assert all(line.zh and line.en for line in found.lines)


@given(rules(), starts, st.integers(1, 3 * 24 * 60), st.integers(0, 4), st.integers(0, 59))
def test_a_hold_covers_every_session_within_it(
    written: dict[str, Any], now: datetime, minutes: int, delay: int, early: int
) -> None:
    held_fen = hold_for(parse_rules(written), minutes=minutes, starts_at=now, site_timezone=CHONGQING)
    start = now + timedelta(minutes=delay)
    assert fen_for(written, start=start, minutes=max(0, minutes - early), samples=1) <= held_fen


@given(fen, starts, st.integers(2, 3000), st.data())
def test_cutting_a_session_anywhere_costs_the_same_at_a_flat_price(
    price_fen: int, start: datetime, minutes: int, data: st.DataObject
) -> None:
    # A price of whole fen a minute, so that no rounding hides a minute counted twice or not at all.
    written = {"per_hour": {"price_fen": price_fen * 60 % 10**9}}
    cut = data.draw(st.integers(1, minutes - 1))
    first = fen_for(written, start=start, minutes=cut)
    second = fen_for(written, start=start + timedelta(minutes=cut), minutes=minutes - cut)
    assert first + second == fen_for(written, start=start, minutes=minutes)


@given(st.lists(windows(), min_size=1, max_size=3), starts, st.integers(2, 3000), st.data())
def test_cutting_a_session_anywhere_costs_the_same_with_windows(
    written_windows: list[dict[str, Any]], start: datetime, minutes: int, data: st.DataObject
) -> None:
    written = {"per_hour": {"price_fen": 6_000_00}, "windows": written_windows}
    cut = data.draw(st.integers(1, minutes - 1))
    first = fen_for(written, start=start, minutes=cut)
    second = fen_for(written, start=start + timedelta(minutes=cut), minutes=minutes - cut)
    assert first + second == fen_for(written, start=start, minutes=minutes)


@settings(max_examples=25)
@given(rules(), starts, st.integers(1, 400))
def test_the_steps_shown_at_the_terminal_are_the_prices_charged(
    written: dict[str, Any], start: datetime, minutes: int
) -> None:
    steps = cost_steps(parse_rules(written), minutes=minutes, started_at=start, site_timezone=CHONGQING)
    shown = next(cost for minute, cost in reversed(steps) if minute <= minutes)
    assert shown == fen_for(written, start=start, minutes=minutes)


@given(rules())
def test_every_rule_can_be_said_in_both_languages(written: dict[str, Any]) -> None:
    words = describe(parse_rules(written))
    assert words.zh
    assert words.en.isascii()

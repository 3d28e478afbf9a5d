"""What the time of a session costs: by days, by hours in steps and increments, by windows of the local day."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from app.instruments.charges import WHOLE_PERCENT, ChargeLine, Factor, LineKind, charge_line
from app.instruments.price_rules import MINUTES_PER_DAY, PartDay, PerDay, PerHour, PriceRules
from app.money import yuan

HOUR_MIN = 60
HALF_DAY_MIN = 12 * HOUR_MIN
MINUTE = timedelta(minutes=1)


def time_lines(
    rules: PriceRules, factor: Factor, *, start: datetime, billable_min: int, site_timezone: ZoneInfo
) -> Iterator[ChargeLine]:
    """Price the billable minutes from `start`, a moment in UTC."""
    if rules.per_day is None:
        yield from _hours(rules, factor, start=start, billable_min=billable_min, zone=site_timezone)
    elif rules.per_day.part_day is PartDay.HOURS:
        yield from _days_and_hours(
            rules, rules.per_day, factor, start=start, billable_min=billable_min, zone=site_timezone
        )
    elif rules.per_day.part_day is PartDay.HALF:
        yield from _half_days(rules.per_day, factor, half_days=-(-billable_min // HALF_DAY_MIN))
    else:
        yield from _half_days(rules.per_day, factor, half_days=2 * -(-billable_min // MINUTES_PER_DAY))


def charged_min(lines: Iterable[ChargeLine]) -> int:
    """Give for how many minutes these lines pay, with what increments, minimum and part days have added."""
    minutes_each = {LineKind.HOURS: 1, LineKind.DAYS: HALF_DAY_MIN}
    return sum(line.quantity * minutes_each[line.kind] for line in lines)


def _days_and_hours(
    rules: PriceRules, per_day: PerDay, factor: Factor, *, start: datetime, billable_min: int, zone: ZoneInfo
) -> list[ChargeLine]:
    """Whole days at the day's price, the rest by hours until one more day is cheaper."""
    days, rest_min = divmod(billable_min, MINUTES_PER_DAY)
    whole = list(_half_days(per_day, factor, half_days=2 * days))
    if days > 0 and rest_min == 0:
        return whole
    by_hours = [*whole, *_hours(rules, factor, start=start + timedelta(days=days), billable_min=rest_min, zone=zone)]
    one_more_day = list(_half_days(per_day, factor, half_days=2 * (days + 1)))
    return min(by_hours, one_more_day, key=lambda lines: sum(line.amount_fen for line in lines))


def _half_days(per_day: PerDay, factor: Factor, *, half_days: int) -> Iterator[ChargeLine]:
    if half_days:
        days = f"{half_days // 2}{'.5' if half_days % 2 else ''}"
        yield charge_line(
            LineKind.DAYS,
            zh=f"{days} 天 × {yuan(per_day.price_fen)} 元/天",
            en=f"{days} days × {yuan(per_day.price_fen)} yuan/day",
            quantity=half_days,
            unit_price_fen=per_day.price_fen,
            exact_fen=Fraction(half_days * per_day.price_fen, 2),
            factor=factor,
        )


def _hours(
    rules: PriceRules, factor: Factor, *, start: datetime, billable_min: int, zone: ZoneInfo
) -> Iterator[ChargeLine]:
    """One line for each price and percentage that held, however often it changed."""
    if rules.per_hour is None:
        return
    increment_min = rules.per_hour.increment_min
    charged_min = max(-(-billable_min // increment_min) * increment_min, rules.per_hour.minimum_min)
    minutes_at: dict[tuple[int, int], int] = {}
    for step_fen, step_start, step_min in _steps(rules.per_hour, charged_min):
        for percent, piece_min in _percentages(rules, start=start + step_start * MINUTE, minutes=step_min, zone=zone):
            minutes_at[step_fen, percent] = minutes_at.get((step_fen, percent), 0) + piece_min
    for (price_fen, percent), minutes in minutes_at.items():
        share = "" if percent == WHOLE_PERCENT else f" × {percent}%"
        yield charge_line(
            LineKind.HOURS,
            zh=f"机时 {minutes} 分钟 × {yuan(price_fen)} 元/小时{share}",
            en=f"{minutes} min × {yuan(price_fen)} yuan/h{share}",
            quantity=minutes,
            unit_price_fen=price_fen,
            exact_fen=Fraction(minutes * price_fen * percent, HOUR_MIN * WHOLE_PERCENT),
            factor=factor,
        )


def _steps(per_hour: PerHour, charged_min: int) -> Iterator[tuple[int, int, int]]:
    """Cut the charged minutes by the price that holds: (price in fen, first minute, how many)."""
    used_min = 0
    for step in per_hour.steps:
        here_min = charged_min - used_min if step.minutes is None else min(step.minutes, charged_min - used_min)
        if here_min > 0:
            yield step.price_fen, used_min, here_min
        used_min += here_min


def _percentages(rules: PriceRules, *, start: datetime, minutes: int, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Cut minutes by the first window that holds in local time: (percentage, how many)."""
    if not rules.windows:
        yield WHOLE_PERCENT, minutes
        return
    borders = sorted({border for window in rules.windows for border in (window.from_minute, window.to_minute)})
    done_min = 0
    while done_min < minutes:
        # Minutes are added in UTC and looked at in local time, so a change of the clocks cannot hide an hour.
        local = (start + done_min * MINUTE).astimezone(zone)
        minute = local.hour * HOUR_MIN + local.minute
        # Never past the full hour, for there the clocks may change.
        ahead = [*(border for border in borders if border > minute), (local.hour + 1) * HOUR_MIN]
        piece_min = min(min(ahead) - minute, minutes - done_min)
        percent = next(
            (window.percent for window in rules.windows if window.holds(weekday=local.weekday(), minute=minute)),
            WHOLE_PERCENT,
        )
        yield percent, piece_min
        done_min += piece_min

"""Price rules in words, for the catalog, the terminal's screen and the customer who asks."""

from dataclasses import dataclass

from app.instruments.models import CustomerClass
from app.instruments.price_rules import (
    DAYS,
    MINUTES_PER_DAY,
    BookingFee,
    PartDay,
    PerDay,
    PerHour,
    PerSample,
    PriceRules,
    Step,
    Window,
)
from app.money import yuan

CLASS_WORDS = {
    CustomerClass.OWN_UNIT: ("本单位", "own unit"),
    CustomerClass.ACADEMIC: ("高校院所", "universities and institutes"),
    CustomerClass.COMPANY: ("企业", "companies"),
    CustomerClass.OUTSIDE_REGION: ("市外", "outside the region"),
}
_DAY_WORDS = dict(zip(range(len(DAYS)), zip("一二三四五六日", DAYS, strict=True), strict=True))
WHOLE_PERCENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One text in both languages."""

    zh: str
    en: str


def describe(rules: PriceRules) -> Words:
    """Say what a session costs by these rules, part by part."""
    parts: list[Words] = []
    if rules.start_up_fen:
        parts.append(Words(zh=f"开机费 {yuan(rules.start_up_fen)} 元", en=f"start-up {yuan(rules.start_up_fen)} yuan"))
    if rules.per_day is not None:
        parts.append(_per_day(rules.per_day))
    if rules.per_hour is not None:
        parts += _per_hour(rules.per_hour)
    if rules.per_sample is not None:
        parts += _per_sample(rules.per_sample)
    if rules.per_component_fen:
        price = yuan(rules.per_component_fen)
        parts.append(Words(zh=f"每样品每组分 {price} 元", en=f"{price} yuan per component of a sample"))
    parts += [_window(window) for window in rules.windows]
    parts += _free_minutes(rules)
    parts += _percentages(rules)
    parts += _booking(rules)
    if rules.cap_fen is not None:
        parts.append(Words(zh=f"单次封顶 {yuan(rules.cap_fen)} 元", en=f"at most {yuan(rules.cap_fen)} yuan a session"))
    return Words(zh="；".join(part.zh for part in parts), en="; ".join(part.en for part in parts))


def _per_day(per_day: PerDay) -> Words:
    price = yuan(per_day.price_fen)
    zh, en = {
        PartDay.STARTED: ("不足一天按一天计", "a started day counts as a day"),
        PartDay.HALF: ("按半天计", "by half days"),
        PartDay.HOURS: ("不足一天按小时计，不超过一天价格", "a part day by the hour, at most the day's price"),
    }[per_day.part_day]
    return Words(zh=f"{price} 元/天（{zh}）", en=f"{price} yuan/day ({en})")


def _per_hour(per_hour: PerHour) -> list[Words]:
    parts = [_step(step, is_first=place == 0) for place, step in enumerate(per_hour.steps)]
    if per_hour.increment_min > 1:
        parts.append(
            Words(zh=f"按 {per_hour.increment_min} 分钟计时", en=f"in started units of {per_hour.increment_min} min")
        )
    if per_hour.minimum_min:
        parts.append(Words(zh=f"至少 {per_hour.minimum_min} 分钟", en=f"at least {per_hour.minimum_min} min"))
    return parts


def _step(step: Step, *, is_first: bool) -> Words:
    price = yuan(step.price_fen)
    if step.minutes is None:
        return Words(
            zh=f"{price} 元/小时" if is_first else f"以后 {price} 元/小时",
            en=f"{price} yuan/h" if is_first else f"then {price} yuan/h",
        )
    hours = step.minutes // 60
    return Words(
        zh=f"{'前' if is_first else '再'} {hours} 小时 {price} 元/小时",
        en=f"{'first' if is_first else 'next'} {hours} h {price} yuan/h",
    )


def _per_sample(per_sample: PerSample) -> list[Words]:
    zh, en = per_sample.unit_zh, per_sample.unit_en
    return [
        Words(zh=f"{yuan(tier.price_fen)} 元/{zh}", en=f"{yuan(tier.price_fen)} yuan/{en}")
        if tier.from_sample == 1
        else Words(
            zh=f"第 {tier.from_sample} {zh}起 {yuan(tier.price_fen)} 元",
            en=f"from {en} {tier.from_sample} on {yuan(tier.price_fen)} yuan",
        )
        for tier in per_sample.tiers
    ]


def _window(window: Window) -> Words:
    hours = "" if _is_whole_day(window) else f" {_clock(window.from_minute)}-{_clock(window.to_minute)}"
    if len(window.days) == len(DAYS):
        return Words(zh=f"每天{hours} {window.percent}%", en=f"daily{hours} {window.percent}%")
    words = [_DAY_WORDS[day] for day in sorted(window.days)]
    days_zh, days_en = "、".join(f"周{word}" for word, _ in words), ", ".join(word for _, word in words)
    return Words(zh=f"{days_zh}{hours} {window.percent}%", en=f"{days_en}{hours} {window.percent}%")


def _is_whole_day(window: Window) -> bool:
    return window.from_minute == 0 and window.to_minute == MINUTES_PER_DAY


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _free_minutes(rules: PriceRules) -> list[Words]:
    free = [
        (rules.free_warm_up_min, "前 {} 分钟预热免费", "first {} min free for warm-up"),
        (rules.free_cool_down_min, "后 {} 分钟收尾免费", "last {} min free for cool-down"),
    ]
    return [Words(zh=zh.format(minutes), en=en.format(minutes)) for minutes, zh, en in free if minutes]


def _percentages(rules: PriceRules) -> list[Words]:
    named = [(percent, *CLASS_WORDS[customer]) for customer, percent in rules.class_percent.items()]
    named.append((rules.urgent_percent, "加急", "urgent"))
    named += [(option.percent, option.zh, option.en) for option in rules.options.values()]
    return [
        Words(zh=f"{zh} {percent}%", en=f"{en} {percent}%") for percent, zh, en in named if percent != WHOLE_PERCENT
    ]


def _booking(rules: PriceRules) -> list[Words]:
    parts = []
    if rules.no_show is not None:
        zh, en = _fee(rules.no_show)
        parts.append(Words(zh=f"预约未到 {zh}", en=f"booking not kept {en}"))
    if rules.late_cancel is not None:
        zh, en = _fee(rules.late_cancel)
        minutes = rules.late_cancel.within_min
        parts.append(Words(zh=f"开始前 {minutes} 分钟内取消 {zh}", en=f"cancelled within {minutes} min before {en}"))
    return parts


def _fee(fee: BookingFee) -> tuple[str, str]:
    if fee.fee_fen is not None:
        return f"{yuan(fee.fee_fen)} 元", f"{yuan(fee.fee_fen)} yuan"
    return f"{fee.percent}%", f"{fee.percent}%"

"""What a session costs: pure functions over exact fractions, rounded once per charge line, half up (domain.md).

Seconds are dropped from both ends, so two sessions that meet within a minute never pay it twice; a session lasts at
least one minute. A longer session never costs less.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache, partial
from zoneinfo import ZoneInfo

from app.instruments.charges import Charge, ChargeLine, Factor, LineKind, charge_line, factor_of
from app.instruments.models import CustomerClass
from app.instruments.price_rules import BookingFee, PriceRules, RulesError, parse_rules
from app.instruments.tariff_changes import Change, parse_changes, parts_of, time_by_part
from app.instruments.time_prices import MINUTE
from app.money import round_half_up, yuan

__all__ = [
    "Change",
    "Charge",
    "ChargeLine",
    "LineKind",
    "PriceRules",
    "RulesError",
    "cost_steps",
    "hold_for",
    "late_cancel_fee",
    "no_show_fee",
    "parse_changes",
    "parse_rules",
    "price",
]

HOLD_START_SLACK_MIN = 5
"""A session may begin so many minutes after its hold was reckoned, and cheaper hours may have ended by then."""


def price(
    rules: PriceRules,
    *,
    started_at: datetime,
    ended_at: datetime,
    site_timezone: ZoneInfo,
    customer_class: CustomerClass | None = None,
    samples: int = 0,
    components: int = 0,
    urgent: bool = False,
    options: Collection[str] = (),
    changes: Sequence[Change] = (),
) -> Charge:
    """Give the charge of a session from `started_at` to `ended_at`; `components` are counted per sample.

    `changes` split its time. What is counted once a session goes by the rules with which it begins: start-up fee,
    samples, components and free minutes. A cap limits all that is due so far, and takes nothing back.
    Raises ValueError if it ends before it starts, if a moment has no zone, a count is negative or an option unknown.
    """
    start, minutes = _whole_minutes(started_at, ended_at)
    if samples < 0 or components < 0:
        raise ValueError("samples and components are counted from 0")
    factor = partial(factor_of, customer_class=customer_class, urgent=urgent, options=options)
    parts = parts_of(rules, changes, start=start)
    first = parts[0].rules
    billable_from = start + first.free_warm_up_min * MINUTE
    billable_to = max(billable_from, start + (minutes - first.free_cool_down_min) * MINUTE)
    charge = Charge(lines=())
    for part, time in time_by_part(
        parts, factor, billable_from=billable_from, billable_to=billable_to, site_timezone=site_timezone
    ):
        lines = time
        if part is parts[0]:
            lines = (
                *_start_up(first, factor(first)),
                *time,
                *_samples(first, factor(first), samples=samples),
                *_components(first, factor(first), components=samples * components),
            )
        charge = _with(charge, lines, cap_fen=part.rules.cap_fen)
    return charge


def hold_for(
    rules: PriceRules,
    *,
    minutes: int,
    starts_at: datetime,
    site_timezone: ZoneInfo,
    customer_class: CustomerClass | None = None,
    samples: int = 1,
    urgent: bool = False,
    changes: Sequence[Change] = (),
) -> int:
    """Give in fen the most that a session of at most `minutes` can cost that begins within minutes of `starts_at`.

    At least one sample is reckoned, because samples are counted only afterwards.
    """
    first = starts_at.astimezone(UTC)
    return max(
        price(
            rules,
            started_at=first + delay * MINUTE,
            ended_at=first + (delay + minutes) * MINUTE,
            site_timezone=site_timezone,
            customer_class=customer_class,
            samples=max(1, samples),
            urgent=urgent,
            changes=changes,
        ).amount_fen
        for delay in range(HOLD_START_SLACK_MIN + 1 if rules.windows or changes else 1)
    )


def cost_steps(
    rules: PriceRules,
    *,
    minutes: int,
    started_at: datetime,
    site_timezone: ZoneInfo,
    customer_class: CustomerClass | None = None,
    samples: int = 0,
    urgent: bool = False,
    changes: Sequence[Change] = (),
) -> list[tuple[int, int]]:
    """Give (minute, cost in fen) wherever the cost rises: it holds from that minute to before the next.

    A card terminal shows it as the cost so far.
    """
    first = started_at.astimezone(UTC)

    @cache
    def cost_fen(minute: int) -> int:
        return price(
            rules,
            started_at=first,
            ended_at=first + minute * MINUTE,
            site_timezone=site_timezone,
            customer_class=customer_class,
            samples=samples,
            urgent=urgent,
            changes=changes,
        ).amount_fen

    # A longer session never costs less, so nothing rises between two minutes that cost the same.
    spans, rises = [(1, minutes)], [1]
    while spans:
        low, high = spans.pop()
        if cost_fen(low) == cost_fen(high):
            continue
        if high - low == 1:
            rises.append(high)
        else:
            middle = (low + high) // 2
            spans += [(middle, high), (low, middle)]
    return [(minute, cost_fen(minute)) for minute in rises]


def no_show_fee(
    rules: PriceRules,
    *,
    booked_from: datetime,
    booked_to: datetime,
    site_timezone: ZoneInfo,
    customer_class: CustomerClass | None = None,
) -> Charge:
    """Give the fee for a booking that nobody came to; without such a rule it is empty."""
    booked = price(
        rules, started_at=booked_from, ended_at=booked_to, site_timezone=site_timezone, customer_class=customer_class
    )
    return _booking_fee(rules.no_show, booked, zh="预约未到", en="Booking not kept")


def late_cancel_fee(
    rules: PriceRules,
    *,
    cancelled_at: datetime,
    booked_from: datetime,
    booked_to: datetime,
    site_timezone: ZoneInfo,
    customer_class: CustomerClass | None = None,
) -> Charge:
    """Give the fee for cancelling a booking late; in time, or without such a rule, it is empty."""
    if rules.late_cancel is None or booked_from - cancelled_at >= rules.late_cancel.within_min * MINUTE:
        return Charge(lines=())
    booked = price(
        rules, started_at=booked_from, ended_at=booked_to, site_timezone=site_timezone, customer_class=customer_class
    )
    return _booking_fee(rules.late_cancel, booked, zh="逾期取消预约", en="Booking cancelled late")


def _whole_minutes(started_at: datetime, ended_at: datetime) -> tuple[datetime, int]:
    if started_at.tzinfo is None or ended_at.tzinfo is None:
        raise ValueError("a moment without a zone means nothing")
    if ended_at < started_at:
        raise ValueError("a session cannot end before it starts")
    # In UTC, for the difference of two local times forgets a change of the clocks between them.
    start, end = (moment.astimezone(UTC).replace(second=0, microsecond=0) for moment in (started_at, ended_at))
    return start, max(1, (end - start) // MINUTE)


def _start_up(rules: PriceRules, factor: Factor) -> Iterator[ChargeLine]:
    if rules.start_up_fen:
        yield charge_line(
            LineKind.START_UP,
            zh=f"开机费 {yuan(rules.start_up_fen)} 元",
            en=f"Start-up fee {yuan(rules.start_up_fen)} yuan",
            quantity=1,
            unit_price_fen=rules.start_up_fen,
            exact_fen=Fraction(rules.start_up_fen),
            factor=factor,
        )


def _samples(rules: PriceRules, factor: Factor, *, samples: int) -> Iterator[ChargeLine]:
    if rules.per_sample is None:
        return
    tiers = rules.per_sample.tiers
    ends = [tier.from_sample - 1 for tier in tiers[1:]] + [samples]
    for tier, end in zip(tiers, ends, strict=True):
        count = min(end, samples) - (tier.from_sample - 1)
        if count > 0:
            unit_zh, unit_en = rules.per_sample.unit_zh, rules.per_sample.unit_en
            yield charge_line(
                LineKind.SAMPLES,
                zh=f"{count} {unit_zh} × {yuan(tier.price_fen)} 元/{unit_zh}",
                en=f"{count} × {yuan(tier.price_fen)} yuan/{unit_en}",
                quantity=count,
                unit_price_fen=tier.price_fen,
                exact_fen=Fraction(count * tier.price_fen),
                factor=factor,
            )


def _components(rules: PriceRules, factor: Factor, *, components: int) -> Iterator[ChargeLine]:
    if rules.per_component_fen and components:
        yield charge_line(
            LineKind.COMPONENTS,
            zh=f"{components} 组分 × {yuan(rules.per_component_fen)} 元/组分",
            en=f"{components} components × {yuan(rules.per_component_fen)} yuan/component",
            quantity=components,
            unit_price_fen=rules.per_component_fen,
            exact_fen=Fraction(components * rules.per_component_fen),
            factor=factor,
        )


def _with(charge: Charge, lines: tuple[ChargeLine, ...], *, cap_fen: int | None) -> Charge:
    """Add lines to what is due, and take off what goes over the cap: of these lines, never of what was due before."""
    due_fen = charge.amount_fen
    total = Charge(lines=(*charge.lines, *lines))
    if cap_fen is None or total.amount_fen <= max(cap_fen, due_fen):
        return total
    cap = ChargeLine(
        kind=LineKind.CAP,
        zh=f"单次封顶 {yuan(cap_fen)} 元",
        en=f"At most {yuan(cap_fen)} yuan a session",
        quantity=1,
        unit_price_fen=cap_fen,
        amount_fen=max(cap_fen, due_fen) - total.amount_fen,
    )
    return Charge(lines=(*total.lines, cap))


def _booking_fee(fee: BookingFee | None, booked: Charge, *, zh: str, en: str) -> Charge:
    if fee is None:
        return Charge(lines=())
    if fee.fee_fen is not None:
        exact_fen, share = Fraction(fee.fee_fen), ""
    else:
        exact_fen, share = Fraction(booked.amount_fen * (fee.percent or 0), 100), f" {fee.percent}%"
    line = ChargeLine(
        kind=LineKind.BOOKING,
        zh=f"{zh}{share}",
        en=f"{en}{share}",
        quantity=1,
        unit_price_fen=booked.amount_fen if fee.fee_fen is None else fee.fee_fen,
        amount_fen=round_half_up(exact_fen),
    )
    return Charge(lines=(line,))

"""Price rules of an instrument as values, read strictly from JSON: a misspelt key must not make an instrument free.

The reference for people who write them is docs/reference/price-rules.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

from app.instruments.models import CustomerClass

T = TypeVar("T")
PRICE_FEN_MAX = 10**10
DURATION_MIN_MAX = 366 * 24 * 60
PERCENT_MAX = 1000
LIST_LENGTH_MAX = 20
TEXT_LENGTH_MAX = 40
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")


class RulesError(ValueError):
    """The rules cannot be read; `path` names the place of the mistake, e.g. `per_hour.steps[1].hours`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class PartDay(StrEnum):
    """What a day that is not used to its end costs."""

    STARTED = "started"
    HALF = "half"
    HOURS = "hours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A price per hour that holds for so many minutes of the session; None: for the rest of it."""

    price_fen: int
    minutes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerHour:
    """Time by the hour: the steps in order; time is counted in started increments and is never below the minimum."""

    steps: tuple[Step, ...]
    increment_min: int = 1
    minimum_min: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PerDay:
    """Time by the day of 24 hours from the start of the session."""

    price_fen: int
    part_day: PartDay = PartDay.STARTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A price that holds from the n-th sample on, for those samples only."""

    from_sample: int
    price_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PerSample:
    """A price per sample, or per whatever the unit is called."""

    tiers: tuple[Tier, ...]
    unit_zh: str = "样品"
    unit_en: str = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Hours that cost a percentage of the price: on these days, between these minutes of the local day."""

    percent: int
    days: frozenset[int]
    from_minute: int
    to_minute: int

    def holds(self, *, weekday: int, minute: int) -> bool:
        """Say whether a local minute is inside. A window over midnight belongs to the days on which it begins."""
        if self.from_minute < self.to_minute:
            return weekday in self.days and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return weekday in self.days
        return minute < self.to_minute and (weekday - 1) % len(DAYS) in self.days


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A named choice that changes the price to a percentage of it."""

    percent: int
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingFee:
    """What a booking costs that was not used: a fixed fee, or a percentage of the price of the booked time."""

    fee_fen: int | None
    percent: int | None
    within_min: int
    """For late cancelling: how long before the beginning it is late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRules:
    """Everything that makes up the price of one session."""

    start_up_fen: int = 0
    free_warm_up_min: int = 0
    free_cool_down_min: int = 0
    per_hour: PerHour | None = None
    per_day: PerDay | None = None
    per_sample: PerSample | None = None
    per_component_fen: int = 0
    windows: tuple[Window, ...] = ()
    class_percent: Mapping[CustomerClass, int] = field(default_factory=dict)
    urgent_percent: int = 100
    options: Mapping[str, Option] = field(default_factory=dict)
    no_show: BookingFee | None = None
    late_cancel: BookingFee | None = None
    cap_fen: int | None = None


def parse_rules(json: object) -> PriceRules:
    """Read price rules from JSON. Raises RulesError with the path of the first mistake."""
    node = _Node(json, "")
    rules = PriceRules(
        start_up_fen=node.whole("start_up_fen", maximum=PRICE_FEN_MAX),
        free_warm_up_min=node.whole("free_warm_up_min", maximum=DURATION_MIN_MAX),
        free_cool_down_min=node.whole("free_cool_down_min", maximum=DURATION_MIN_MAX),
        per_hour=node.inner("per_hour", _per_hour),
        per_day=node.inner("per_day", _per_day),
        per_sample=node.inner("per_sample", _per_sample),
        per_component_fen=node.whole("per_component_fen", maximum=PRICE_FEN_MAX),
        windows=node.each("windows", _window),
        class_percent=node.inner("class_percent", _class_percent) or {},
        urgent_percent=node.whole("urgent_percent", default=100, maximum=PERCENT_MAX),
        options=node.inner("options", _options) or {},
        no_show=node.inner("no_show", _no_show),
        late_cancel=node.inner("late_cancel", _late_cancel),
        cap_fen=node.whole("cap_fen", maximum=PRICE_FEN_MAX) if node.has("cap_fen") else None,
    )
    node.done()
    if not any(node.has(name) for name in ("start_up_fen", "per_hour", "per_day", "per_sample", "per_component_fen")):
        raise RulesError("", "names no price")
    if rules.windows and rules.per_hour is None:
        raise RulesError("windows", "change the price of hours, and there is none")
    _check_days_and_hours(rules)
    return rules


def _check_days_and_hours(rules: PriceRules) -> None:
    by_hours = rules.per_day is not None and rules.per_day.part_day is PartDay.HOURS
    if by_hours and rules.per_hour is None:
        raise RulesError("per_day.part_day", "hours need per_hour")
    if rules.per_day is not None and rules.per_hour is not None and not by_hours:
        raise RulesError("per_day.part_day", "must be hours beside per_hour, or both would charge the same time")


class _Node:
    """A JSON object being read: every key is asked for once, and what nobody asked for is a mistake."""

    def __init__(self, json: object, path: str) -> None:
        if not isinstance(json, dict) or not all(isinstance(key, str) for key in json):
            raise RulesError(path, "must be an object")
        self._json: dict[str, Any] = json
        self.path = path
        self._asked: set[str] = set()

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def names(self) -> list[str]:
        if len(self._json) > LIST_LENGTH_MAX:
            raise RulesError(self.path, f"has more than {LIST_LENGTH_MAX} entries")
        return list(self._json)

    def has(self, name: str) -> bool:
        return name in self._json

    def take(self, name: str) -> Any:
        self._asked.add(name)
        if name not in self._json:
            raise RulesError(self.at(name), "is missing")
        return self._json[name]

    def whole(self, name: str, *, default: int | None = 0, minimum: int = 0, maximum: int) -> int:
        if not self.has(name) and default is not None:
            return default
        value = self.take(name)
        if type(value) is not int or not minimum <= value <= maximum:
            raise RulesError(self.at(name), f"must be a whole number from {minimum} to {maximum}")
        return value

    def text(self, name: str, *, default: str | None = None) -> str:
        if not self.has(name) and default is not None:
            return default
        value = self.take(name)
        if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH_MAX or not value.isprintable():
            raise RulesError(self.at(name), f"must be a text of 1 to {TEXT_LENGTH_MAX} characters")
        return value

    def inner(self, name: str, read: "Callable[[_Node], T]") -> T | None:
        return self.child(name, read) if self.has(name) else None

    def child(self, name: str, read: "Callable[[_Node], T]") -> T:
        node = _Node(self.take(name), self.at(name))
        found = read(node)
        node.done()
        return found

    def each(self, name: str, read: "Callable[[_Node], T]") -> tuple[T, ...]:
        if not self.has(name):
            return ()
        value = self.take(name)
        if not isinstance(value, list) or not 0 < len(value) <= LIST_LENGTH_MAX:
            raise RulesError(self.at(name), f"must be a list of 1 to {LIST_LENGTH_MAX}")
        found = []
        for place, json in enumerate(value):
            node = _Node(json, f"{self.at(name)}[{place}]")
            found.append(read(node))
            node.done()
        return tuple(found)

    def done(self) -> None:
        for name in self._json:
            if name not in self._asked:
                raise RulesError(self.at(name), "is not a price rule")


def _per_hour(node: _Node) -> PerHour:
    if node.has("steps") == node.has("price_fen"):
        raise RulesError(node.path, "needs either price_fen or steps")
    if node.has("price_fen"):
        steps: tuple[Step, ...] = (Step(price_fen=_price(node), minutes=None),)
    else:
        steps = node.each("steps", _step)
        if steps[-1].minutes is not None or any(step.minutes is None for step in steps[:-1]):
            raise RulesError(node.at("steps"), "the last step, and no other, must be without hours")
    return PerHour(
        steps=steps,
        increment_min=node.whole("increment_min", default=1, minimum=1, maximum=MINUTES_PER_DAY),
        minimum_min=node.whole("minimum_min", maximum=DURATION_MIN_MAX),
    )


def _step(node: _Node) -> Step:
    minutes = node.whole("hours", minimum=1, maximum=DURATION_MIN_MAX // 60) * 60 if node.has("hours") else None
    return Step(price_fen=_price(node), minutes=minutes)


def _per_day(node: _Node) -> PerDay:
    part_day = node.text("part_day", default=PartDay.STARTED)
    if part_day not in list(PartDay):
        raise RulesError(node.at("part_day"), f"must be one of {', '.join(PartDay)}")
    return PerDay(price_fen=_price(node), part_day=PartDay(part_day))


def _per_sample(node: _Node) -> PerSample:
    if node.has("tiers") == node.has("price_fen"):
        raise RulesError(node.path, "needs either price_fen or tiers")
    if node.has("price_fen"):
        tiers: tuple[Tier, ...] = (Tier(from_sample=1, price_fen=_price(node)),)
    else:
        tiers = node.each("tiers", _tier)
        starts = [tier.from_sample for tier in tiers]
        if starts[0] != 1 or any(later <= earlier for earlier, later in pairwise(starts)):
            raise RulesError(node.at("tiers"), "must begin from 1 and rise")
    return PerSample(
        tiers=tiers, unit_zh=node.text("unit_zh", default="样品"), unit_en=node.text("unit_en", default="sample")
    )


def _tier(node: _Node) -> Tier:
    return Tier(
        from_sample=node.whole("from", default=None, minimum=1, maximum=1_000_000),
        price_fen=_price(node),
    )


def _window(node: _Node) -> Window:
    if node.has("from") != node.has("to"):
        raise RulesError(node.path, "needs both from and to, or neither")
    if not node.has("days") and not node.has("from"):
        raise RulesError(node.path, "needs days, or from and to")
    from_minute = _minute_of_day(node, "from") if node.has("from") else 0
    to_minute = _minute_of_day(node, "to") if node.has("to") else MINUTES_PER_DAY
    if from_minute == to_minute:
        raise RulesError(node.at("to"), "must differ from from")
    return Window(
        percent=node.whole("percent", default=None, maximum=PERCENT_MAX),
        days=_days(node),
        from_minute=from_minute,
        to_minute=to_minute,
    )


def _days(node: _Node) -> frozenset[int]:
    if not node.has("days"):
        return frozenset(range(len(DAYS)))
    days = node.take("days")
    if not isinstance(days, list) or not days or any(day not in DAYS for day in days) or len(set(days)) != len(days):
        raise RulesError(node.at("days"), f"must be a list of {', '.join(DAYS)}")
    return frozenset(DAYS.index(day) for day in days)


def _minute_of_day(node: _Node, name: str) -> int:
    found = _TIME_OF_DAY.fullmatch(node.text(name))
    if found is None:
        raise RulesError(node.at(name), "must be a time like 22:00")
    hour, minute = found.group().split(":")
    return int(hour) * 60 + int(minute)


def _class_percent(node: _Node) -> dict[CustomerClass, int]:
    found = {}
    for name in node.names():
        if name not in list(CustomerClass):
            raise RulesError(node.at(name), f"must be one of {', '.join(CustomerClass)}")
        found[CustomerClass(name)] = node.whole(name, maximum=PERCENT_MAX)
    return found


def _options(node: _Node) -> dict[str, Option]:
    found = {}
    for name in node.names():
        if not name.isidentifier() or not name.isascii() or len(name) > TEXT_LENGTH_MAX:
            raise RulesError(node.path, "an option's name is a word of letters, digits and underscores")
        found[name] = node.child(name, _option)
    return found


def _option(node: _Node) -> Option:
    return Option(
        percent=node.whole("percent", default=None, maximum=PERCENT_MAX), zh=node.text("zh"), en=node.text("en")
    )


def _no_show(node: _Node) -> BookingFee:
    return _booking_fee(node, within_min=0)


def _late_cancel(node: _Node) -> BookingFee:
    return _booking_fee(node, within_min=node.whole("within_min", default=None, minimum=1, maximum=DURATION_MIN_MAX))


def _booking_fee(node: _Node, *, within_min: int) -> BookingFee:
    if node.has("fee_fen") == node.has("percent"):
        raise RulesError(node.path, "needs either fee_fen or percent")
    return BookingFee(
        fee_fen=node.whole("fee_fen", maximum=PRICE_FEN_MAX) if node.has("fee_fen") else None,
        percent=node.whole("percent", maximum=PERCENT_MAX) if node.has("percent") else None,
        within_min=within_min,
    )


def _price(node: _Node) -> int:
    return node.whole("price_fen", default=None, maximum=PRICE_FEN_MAX)

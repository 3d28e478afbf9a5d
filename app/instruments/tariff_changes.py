"""A tariff change inside a session: the time before it costs what the old rules say, the time after it what the new.

Nothing is looked up here: the changes are those that were announced at swipe-in and kept with the session.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from app.instruments.charges import ChargeLine, Factor
from app.instruments.price_rules import PerHour, PriceRules, parse_rules
from app.instruments.time_prices import MINUTE, charged_min, time_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Rules that hold from a moment on, until the next change."""

    holds_from: datetime
    rules: PriceRules


def parse_changes(json: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
    """Read the changes that a snapshot keeps. Raises RulesError."""
    return tuple(
        Change(holds_from=datetime.fromisoformat(each["from"]), rules=parse_rules(each["rules"])) for each in json
    )


def parts_of(rules: PriceRules, changes: Sequence[Change], *, start: datetime) -> list[Change]:
    """Give the rules with which a session begins at `start`, a whole minute in UTC, and what changes later.

    A change to the same rules is none. An option agreed at swipe-in goes on although later rules may not have it.
    """
    parts = [Change(holds_from=start, rules=rules)]
    for change in sorted(changes, key=lambda each: each.holds_from):
        moment = change.holds_from.astimezone(UTC).replace(second=0, microsecond=0)
        before = parts[-1].rules
        following = replace(change.rules, options={**before.options, **change.rules.options})
        if moment <= start:
            parts = [Change(holds_from=start, rules=following)]
        elif following != before:
            parts.append(Change(holds_from=moment, rules=following))
    return parts


def time_by_part(
    parts: Sequence[Change],
    factor: Callable[[PriceRules], Factor],
    *,
    billable_from: datetime,
    billable_to: datetime,
    site_timezone: ZoneInfo,
) -> Iterator[tuple[Change, tuple[ChargeLine, ...]]]:
    """Price the billable time of each part that it reaches, the first one always.

    What the last increment or day of a part has paid beyond the change is not charged again by the next part. So no
    minute is paid twice, and a longer session still never costs less.
    """
    paid_to = billable_from
    for part, following in zip_longest(parts, parts[1:]):
        part_from = max(paid_to, part.holds_from)
        part_to = billable_to if following is None else min(billable_to, following.holds_from)
        is_first = part is parts[0]
        if part_to <= part_from and not is_first:
            continue
        lines = tuple(
            time_lines(
                _continued(part.rules, used_min=(part_from - billable_from) // MINUTE),
                factor(part.rules),
                start=part_from,
                billable_min=max(0, (part_to - part_from) // MINUTE),
                site_timezone=site_timezone,
            )
        )
        paid_to = part_from + charged_min(lines) * MINUTE
        yield part, lines if is_first else _since(part.holds_from.astimezone(site_timezone), lines)


def _continued(rules: PriceRules, *, used_min: int) -> PriceRules:
    """Steps and minimum are of the session, not of its part: take off what it has used before."""
    if rules.per_hour is None:
        return rules
    return replace(rules, per_hour=_after(rules.per_hour, used_min=used_min))


def _after(per_hour: PerHour, *, used_min: int) -> PerHour:
    steps, to_drop_min = [], used_min
    for step in per_hour.steps:
        if step.minutes is None:
            steps.append(step)
        else:
            if step.minutes > to_drop_min:
                steps.append(replace(step, minutes=step.minutes - to_drop_min))
            to_drop_min = max(0, to_drop_min - step.minutes)
    return replace(per_hour, steps=tuple(steps), minimum_min=max(0, per_hour.minimum_min - used_min))


def _since(local: datetime, lines: tuple[ChargeLine, ...]) -> tuple[ChargeLine, ...]:
    moment = f"{local:%Y-%m-%d %H:%M}"
    return tuple(replace(line, zh=f"{moment} 起：{line.zh}", en=f"From {moment}: {line.en}") for line in lines)

"""Facts about a claim and the conditions a subsidy rule puts on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FactValue = str | int | bool


class RuleInvalid(ValueError):  # noqa: N818 - a refusal of the data, read by the person who publishes it
    """The rule set cannot be read; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A fact must be one of some values, or a number in [`at_least`, `below`).

    A fact nobody stated meets no condition: who claims, proves.
    """

    fact: str
    one_of: tuple[FactValue, ...] = ()
    at_least: int | None = None
    below: int | None = None

    def holds(self, facts: Mapping[str, FactValue]) -> bool:
        """Say whether the facts meet this condition."""
        value = facts.get(self.fact)
        if self.one_of:
            # True == 1 in Python, but not in a rule.
            return any(type(value) is type(wanted) and value == wanted for wanted in self.one_of)
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.below is None or value < self.below)

    def __str__(self) -> str:
        if self.one_of:
            return f"{self.fact} = {' / '.join(map(_word, self.one_of))}"
        lower = "" if self.at_least is None else f"{self.at_least} ≤ "
        return f"{lower}{self.fact}" + ("" if self.below is None else f" < {self.below}")


def parse_conditions(data: Any, *, where: str) -> tuple[Condition, ...]:
    """Read a list of conditions. Raises RuleInvalid with the place of the mistake."""
    if not isinstance(data, list):
        raise RuleInvalid(f"{where}: a list of conditions is expected")
    return tuple(_parse_condition(item, where=f"{where}[{number}]") for number, item in enumerate(data))


def _parse_condition(data: Any, *, where: str) -> Condition:
    if not isinstance(data, dict) or not isinstance(data.get("fact"), str):
        raise RuleInvalid(f"{where}: a condition names a fact")
    if unknown := data.keys() - {"fact", "in", "at_least", "below"}:
        raise RuleInvalid(f"{where}: unknown field {min(unknown)}")
    values, at_least, below = data.get("in"), data.get("at_least"), data.get("below")
    has_values = isinstance(values, list) and values and all(isinstance(value, str | int) for value in values)
    has_bounds = (at_least is not None or below is not None) and all(
        bound is None or type(bound) is int for bound in (at_least, below)
    )
    if ("in" in data) == ("at_least" in data or "below" in data) or not (has_values or has_bounds):
        raise RuleInvalid(f"{where}: a condition has either a list `in` or whole numbers `at_least`, `below`")
    return Condition(fact=data["fact"], one_of=tuple(values or ()), at_least=at_least, below=below)


def _word(value: FactValue) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

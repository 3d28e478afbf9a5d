"""Subsidy rules as data: what a rule set says, read once and frozen."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar
from unicodedata import category

from app.subsidies.conditions import Condition, RuleInvalid, parse_conditions

AMOUNT_MAX_FEN = 2**53
LIST_LENGTH_MAX = 100
TEXT_LENGTH_MAX = 1000
DEPTH_MAX = 8
# Control characters, and halves of characters that are none.
UNSTORABLE = frozenset({"Cc", "Cs"})
CODE = re.compile(r"[A-Z0-9-]{2,32}")
# No exponent: 1e-999999999 is a short text and an endless number.
RATE = re.compile(r"[0-9]{1,9}([./][0-9]{1,9})?")


class Kind(StrEnum):
    """Whom a rule set pays for what."""

    USER_SUBSIDY = "user_subsidy"
    PROVIDER_REWARD = "provider_reward"
    FIXED_GRANT = "fixed_grant"


class Base(StrEnum):
    """The amount a rate or a step is applied to. There is no gross fee here: it would let a subsidy earn a subsidy."""

    PAID_PRINCIPAL = "paid_principal"
    SERVICE_INCOME = "service_income"
    INSTRUMENT_VALUE = "instrument_value"


class Payment(StrEnum):
    """When the money moves: after each verified record, or in batches that are announced first."""

    AT_ONCE = "at_once"
    BATCHES = "batches"


class BudgetPolicy(StrEnum):
    """What happens when the fund is short."""

    FCFS_PARTIAL = "fcfs_partial"
    FCFS_SKIP = "fcfs_skip"
    WAITING_LIST = "waiting_list"
    PRO_RATA = "pro_rata"


class CapScope(StrEnum):
    """Whose grants count towards a cap."""

    CLAIM = "claim"
    PROJECT = "project"
    ORGANISATION = "organisation"
    USER = "user"
    FUND = "fund"


class CapPeriod(StrEnum):
    """Over what time they count; a year is the calendar year of use at the site."""

    CLAIM = "claim"
    YEAR = "year"
    LIFETIME = "lifetime"


class Unique(StrEnum):
    """What may be claimed for once only."""

    PROJECT = "project"
    INVOICE = "invoice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A rate for those who meet all conditions."""

    when: tuple[Condition, ...]
    rate: Fraction
    title_zh: str
    title_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A fixed amount from a base amount on."""

    from_fen: int
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most so much for one scope in one period."""

    scope: CapScope
    period: CapPeriod
    amount_fen: int

    @property
    def key(self) -> str:
        """The name under which facts state what was granted before."""
        return f"{self.scope}/{self.period}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One version of a rule set; of the tiers that fit, the highest rate wins."""

    code: str
    title_zh: str
    title_en: str
    kind: Kind
    base: Base
    eligible: tuple[Condition, ...]
    tiers: tuple[Tier, ...]
    steps: tuple[Step, ...]
    caps: tuple[Cap, ...]
    unique: tuple[Unique, ...]
    payment: Payment
    window_months: tuple[int, ...]
    notice_days: int
    budget_policy: BudgetPolicy


FIELDS = frozenset(
    {"code", "title_zh", "title_en", "region", "source", "note", "kind", "base", "eligible", "tiers", "steps", "caps"}
    | {"unique", "payment", "window_months", "notice_days", "budget_policy", "documents"}
)

E = TypeVar("E", bound=StrEnum)


def parse_rules(data: Any) -> Rules:
    """Read a rule set as docs/reference/subsidy-rules.md describes it. Raises RuleInvalid, naming the field."""
    if not isinstance(data, dict):
        raise RuleInvalid("a rule set is an object")
    if unknown := data.keys() - FIELDS:
        raise RuleInvalid(f"unknown field {min(unknown)}")
    rules = Rules(
        code=_code(data),
        title_zh=_text(data, "title_zh"),
        title_en=_text(data, "title_en"),
        kind=_member(Kind, data.get("kind"), where="kind"),
        base=_member(Base, data.get("base"), where="base"),
        eligible=parse_conditions(data.get("eligible", []), where="eligible"),
        tiers=tuple(_parse_tier(item, where=f"tiers[{n}]") for n, item in enumerate(_items(data, "tiers"))),
        steps=tuple(_parse_step(item, where=f"steps[{n}]") for n, item in enumerate(_items(data, "steps"))),
        caps=tuple(_parse_cap(item, where=f"caps[{n}]") for n, item in enumerate(_items(data, "caps"))),
        unique=tuple(_member(Unique, item, where="unique") for item in _items(data, "unique")),
        payment=_member(Payment, data.get("payment"), where="payment"),
        window_months=tuple(_whole(item, where="window_months") for item in _items(data, "window_months")),
        notice_days=_whole(data.get("notice_days", 0), where="notice_days"),
        budget_policy=_member(BudgetPolicy, data.get("budget_policy"), where="budget_policy"),
    )
    _check_whole(rules)
    _check_storable(data, where="rule set")
    return rules


def _check_storable(data: Any, *, where: str, depth: int = 0) -> None:
    """Refuse what PostgreSQL cannot keep or nobody could read: no floats, no control characters, nothing endless."""
    if depth > DEPTH_MAX:
        raise RuleInvalid(f"{where}: too deep")
    if isinstance(data, dict | list):
        if len(data) > LIST_LENGTH_MAX:
            raise RuleInvalid(f"{where}: at most {LIST_LENGTH_MAX} entries")
        for name, value in data.items() if isinstance(data, dict) else enumerate(data):
            _check_storable(name, where=where, depth=depth + 1)
            _check_storable(value, where=str(name), depth=depth + 1)
    elif isinstance(data, str):
        if len(data) > TEXT_LENGTH_MAX or any(category(character) in UNSTORABLE for character in data):
            raise RuleInvalid(f"{where}: at most {TEXT_LENGTH_MAX} characters, no control characters")
    elif data is not None and (not isinstance(data, int) or abs(data) > AMOUNT_MAX_FEN):
        raise RuleInvalid(f"{where}: a text, a truth value or a whole number is expected")


def _check_whole(rules: Rules) -> None:
    if bool(rules.tiers) == bool(rules.steps):
        raise RuleInvalid("a rule set has either tiers or steps")
    if list(rules.steps) != sorted(rules.steps, key=lambda step: step.from_fen):
        raise RuleInvalid("steps: in rising order")
    if any(not 1 <= month <= 12 for month in rules.window_months):  # noqa: PLR2004 - the months of a year
        raise RuleInvalid("window_months: 1 to 12")
    if rules.payment == Payment.AT_ONCE:
        # One record at a time can neither wait for its turn nor know what others will ask.
        if rules.budget_policy not in (BudgetPolicy.FCFS_PARTIAL, BudgetPolicy.FCFS_SKIP):
            raise RuleInvalid("budget_policy: payment at once is first come, first served")
        if rules.kind != Kind.USER_SUBSIDY or rules.base != Base.PAID_PRINCIPAL:
            raise RuleInvalid("payment: only a user's subsidy on principal is paid at once")


def _parse_tier(data: Any, *, where: str) -> Tier:
    fields = _object(data, allowed={"when", "rate", "title_zh", "title_en"}, where=where)
    try:
        # A rate is a string on purpose: 0.1 as a JSON number is already not a tenth.
        text = fields.get("rate")
        rate = Fraction(text) if isinstance(text, str) and RATE.fullmatch(text) else None
    except ZeroDivisionError:
        rate = None
    if rate is None or not 0 < rate <= 1:
        raise RuleInvalid(f"{where}.rate: a string above 0 and up to 1, like 0.30 or 1/3")
    return Tier(
        when=parse_conditions(fields.get("when", []), where=f"{where}.when"),
        rate=rate,
        title_zh=_text(fields, "title_zh", where=where),
        title_en=_text(fields, "title_en", where=where),
    )


def _parse_step(data: Any, *, where: str) -> Step:
    fields = _object(data, allowed={"from_fen", "amount_fen"}, where=where)
    return Step(
        from_fen=_whole(fields.get("from_fen"), where=f"{where}.from_fen"),
        amount_fen=_whole(fields.get("amount_fen"), where=f"{where}.amount_fen"),
    )


def _parse_cap(data: Any, *, where: str) -> Cap:
    fields = _object(data, allowed={"scope", "period", "amount_fen"}, where=where)
    return Cap(
        scope=_member(CapScope, fields.get("scope"), where=f"{where}.scope"),
        period=_member(CapPeriod, fields.get("period"), where=f"{where}.period"),
        amount_fen=_whole(fields.get("amount_fen"), where=f"{where}.amount_fen"),
    )


def _object(data: Any, *, allowed: set[str], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise RuleInvalid(f"{where}: an object is expected")
    if unknown := data.keys() - allowed:
        raise RuleInvalid(f"{where}: unknown field {min(unknown)}")
    return data


def _items(data: dict[str, Any], name: str) -> list[Any]:
    items = data.get(name, [])
    if not isinstance(items, list) or len(items) > LIST_LENGTH_MAX:
        raise RuleInvalid(f"{name}: a list of at most {LIST_LENGTH_MAX} is expected")
    return items


def _text(data: dict[str, Any], name: str, *, where: str = "") -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RuleInvalid(f"{where + '.' if where else ''}{name}: a text is expected")
    return value


def _code(data: dict[str, Any]) -> str:
    code = _text(data, "code")
    if CODE.fullmatch(code) is None:
        raise RuleInvalid("code: 2 to 32 capitals, digits or dashes")
    return code


def _whole(value: Any, *, where: str) -> int:
    if type(value) is not int or not 0 <= value <= AMOUNT_MAX_FEN:
        raise RuleInvalid(f"{where}: a whole number from 0 is expected")
    return value


def _member(enum: type[E], value: Any, *, where: str) -> E:
    try:
        return enum(value)
    except ValueError:
        raise RuleInvalid(f"{where}: one of {', '.join(enum)}") from None

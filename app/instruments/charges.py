"""A charge: its lines, each rounded once and explained in both languages, and what multiplies all of them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from app.instruments.models import CustomerClass
from app.instruments.price_rules import PriceRules
from app.money import round_half_up

WHOLE_PERCENT = 100


class LineKind(StrEnum):
    """What a charge line is for."""

    START_UP = "start_up"
    HOURS = "hours"
    DAYS = "days"
    SAMPLES = "samples"
    COMPONENTS = "components"
    CAP = "cap"
    BOOKING = "booking"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """One rounded amount and how it came about; `quantity` counts minutes, half-days, samples or components."""

    kind: LineKind
    zh: str
    en: str
    quantity: int
    unit_price_fen: int
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The price of one session, line by line."""

    lines: tuple[ChargeLine, ...]

    @property
    def amount_fen(self) -> int:
        """The sum to pay."""
        return sum(line.amount_fen for line in self.lines)

    def up_to(self, paid_fen: int) -> "Charge":
        """Give this charge with what was not taken of it as its last line: the lines add up to what was paid."""
        if self.amount_fen <= paid_fen:
            return self
        waived = ChargeLine(
            kind=LineKind.WAIVED,
            zh="超出预扣部分不收取",
            en="Beyond what was held: not charged",
            quantity=1,
            unit_price_fen=self.amount_fen - paid_fen,
            amount_fen=paid_fen - self.amount_fen,
        )
        return Charge(lines=(*self.lines, waived))

    def as_json(self) -> list[dict[str, Any]]:
        """Give the lines as they are kept with a session."""
        return [asdict(line) | {"kind": line.kind.value} for line in self.lines]


@dataclass(frozen=True, slots=True)
class Factor:
    """By what every line is multiplied: customer class, urgency and options, exact, with its words."""

    exact: Fraction
    zh: str
    en: str


def factor_of(
    rules: PriceRules, *, customer_class: CustomerClass | None, urgent: bool, options: Collection[str]
) -> Factor:
    """Multiply the percentages that apply. Raises ValueError for an option that the rules do not have."""
    parts = []
    if customer_class is not None:
        parts.append((rules.class_percent.get(customer_class, WHOLE_PERCENT), "客户类别", "customer class"))
    if urgent:
        parts.append((rules.urgent_percent, "加急", "urgent"))
    for name in sorted(set(options)):
        if name not in rules.options:
            raise ValueError(f"these rules have no option {name}")
        option = rules.options[name]
        parts.append((option.percent, option.zh, option.en))
    exact, zh, en = Fraction(1), "", ""
    for percent, words_zh, words_en in parts:
        if percent != WHOLE_PERCENT:
            exact *= Fraction(percent, WHOLE_PERCENT)
            zh += f" × {percent}%（{words_zh}）"
            en += f" × {percent}% ({words_en})"
    return Factor(exact, zh, en)


def charge_line(
    kind: LineKind, *, zh: str, en: str, quantity: int, unit_price_fen: int, exact_fen: Fraction, factor: Factor
) -> ChargeLine:
    """Make a line of an exact amount: the one place where a charge is rounded, half up."""
    return ChargeLine(
        kind=kind,
        zh=zh + factor.zh,
        en=en + factor.en,
        quantity=quantity,
        unit_price_fen=unit_price_fen,
        amount_fen=round_half_up(exact_fen * factor.exact),
    )

"""Decides what a rule set gives for a claim, and says why, step by step; also when it gives nothing.

Pure: the same rules and facts give the same decision for ever, which is what makes a stored decision checkable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

from app.money import split_largest_remainder, yuan
from app.subsidies.conditions import FactValue
from app.subsidies.rules import Base, BudgetPolicy, Cap, CapPeriod, CapScope, Kind, Rules, Step, Tier


class Reason(StrEnum):
    """Why a decision came out as it did; the last thing that limited it."""

    GRANTED = "granted"
    CAPPED = "capped"
    FUND_LAST = "fund_last"
    OWN_UNIT = "own_unit"
    RELATED_PARTY = "related_party"
    STATUTORY_TEST = "statutory_test"
    NOT_VERIFIED = "not_verified"
    NOT_ELIGIBLE = "not_eligible"
    USED_BEFORE = "used_before"
    NO_TIER = "no_tier"
    NOTHING_PAID = "nothing_paid"
    CAP_REACHED = "cap_reached"
    FUND_EMPTY = "fund_empty"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a claim at the date of use.

    `base_fen`: amounts by `rules.Base`. `values`: facts for conditions. `granted_fen`: what the scope of a cap was
    granted before in its period, by `Cap.key`. `used_before`: what of `rules.Unique` was claimed for already.
    `fund_left_fen`: None where the fund is decided later, in a batch.
    """

    base_fen: Mapping[str, int]
    values: Mapping[str, FactValue]
    granted_fen: Mapping[str, int] = field(default_factory=dict)
    used_before: tuple[str, ...] = ()
    fund_left_fen: int | None = None

    def as_document(self) -> dict[str, Any]:
        """Give the facts as the JSON that is stored with a decision."""
        return {**asdict(self), "used_before": list(self.used_before)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Facts":
        """Read what `as_document` wrote."""
        return cls(**{**document, "used_before": tuple(document["used_before"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStep:
    """One line of the explanation; `amount_fen` is what stands after it."""

    step: str
    amount_fen: int
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is given, what would have been given from a full fund, and every step from one to the other."""

    amount_fen: int
    wanted_fen: int
    reason: Reason
    trace: tuple[TraceStep, ...]


# Excluded everywhere, whatever a rule set says (domain.md, Subsidy rules). The last value: what silence counts as.
EXCLUSIONS: tuple[tuple[str, FactValue, Reason, str, str], ...] = (
    ("own_unit", True, Reason.OWN_UNIT, "本单位使用不补贴", "Use by the own unit earns no subsidy"),
    ("related_party", True, Reason.RELATED_PARTY, "关联方之间不补贴", "Use by a related party earns no subsidy"),
    ("purpose", "statutory_test", Reason.STATUTORY_TEST, "法定检测不补贴", "Statutory tests earn no subsidy"),
    ("verified", False, Reason.NOT_VERIFIED, "机时未经核实", "The use is not verified"),
)


def decide(rules: Rules, facts: Facts) -> Decision:
    """Apply a rule set to the facts of one claim. Rounds down to the fen, once."""
    trace: list[TraceStep] = []
    refused = _refusal(rules, facts)
    if refused is not None:
        return _nothing(*refused, trace=trace)
    base_fen = facts.base_fen.get(rules.base, 0)
    trace.append(_base_step(rules, base_fen=base_fen, facts=facts))
    if base_fen <= 0:
        return _nothing(Reason.NOTHING_PAID, "没有可计补贴的金额", "There is no amount to subsidise", trace=trace)
    rated = _rated(rules, base_fen=base_fen, facts=facts)
    if rated is None:
        return _nothing(Reason.NO_TIER, "不符合任何档次", "No tier fits", trace=trace)
    trace.append(rated)
    wanted_fen, reason = _capped(rules, facts=facts, amount_fen=rated.amount_fen, trace=trace)
    if wanted_fen == 0:
        return Decision(amount_fen=0, wanted_fen=0, reason=reason, trace=tuple(trace))
    return _from_fund(rules, facts=facts, wanted_fen=wanted_fen, reason=reason, trace=trace)


def _refusal(rules: Rules, facts: Facts) -> tuple[Reason, str, str] | None:
    if rules.kind == Kind.USER_SUBSIDY and "verified" not in facts.values:
        return EXCLUSIONS[-1][2:]
    for fact, excluded, reason, zh, en in EXCLUSIONS:
        if fact in facts.values and facts.values[fact] == excluded:
            return reason, zh, en
    for condition in rules.eligible:
        if not condition.holds(facts.values):
            return Reason.NOT_ELIGIBLE, f"不符合条件：{condition}", f"Not eligible: {condition} does not hold"
    for unique in rules.unique:
        if unique in facts.used_before:
            return Reason.USED_BEFORE, f"已补贴过一次：{unique}", f"This {unique} was subsidised before"
    return None


def _nothing(reason: Reason, zh: str, en: str, *, trace: Sequence[TraceStep]) -> Decision:
    last = TraceStep(step=reason, amount_fen=0, zh=zh, en=en)
    return Decision(amount_fen=0, wanted_fen=0, reason=reason, trace=(*trace, last))


BASE_NAMES: dict[Base, tuple[str, str]] = {
    Base.PAID_PRINCIPAL: ("实付本金", "Principal actually paid"),
    Base.SERVICE_INCOME: ("对外服务收入", "Income from external service"),
    Base.INSTRUMENT_VALUE: ("仪器原值", "Original value of the instrument"),
}


def _base_step(rules: Rules, *, base_fen: int, facts: Facts) -> TraceStep:
    zh, en = BASE_NAMES[rules.base]
    zh, en = f"{zh} {yuan(base_fen)} 元", f"{en}: {yuan(base_fen)}"
    fee_fen = facts.values.get("fee_fen")
    if rules.base == Base.PAID_PRINCIPAL and isinstance(fee_fen, int) and fee_fen != base_fen:
        zh, en = f"{zh}（费用 {yuan(fee_fen)} 元）", f"{en} (of a fee of {yuan(fee_fen)})"
    return TraceStep(step="base", amount_fen=base_fen, zh=zh, en=en)


def _rated(rules: Rules, *, base_fen: int, facts: Facts) -> TraceStep | None:
    values = {**facts.values, "base_fen": base_fen}
    fitting = [tier for tier in rules.tiers if all(condition.holds(values) for condition in tier.when)]
    if fitting:
        return _tier_step(max(fitting, key=lambda tier: tier.rate), base_fen=base_fen)
    reached = [step for step in rules.steps if step.from_fen <= base_fen]
    return _fixed_step(reached[-1]) if reached else None


def _tier_step(tier: Tier, *, base_fen: int) -> TraceStep:
    amount_fen = floor_fen(base_fen * tier.rate)
    percent = f"{tier.rate * 100}%" if (tier.rate * 100).denominator == 1 else str(tier.rate)
    return TraceStep(
        step="tier",
        amount_fen=amount_fen,
        zh=f"{tier.title_zh} {percent}：{yuan(amount_fen)} 元",
        en=f"{tier.title_en}, {percent}: {yuan(amount_fen)}",
    )


def _fixed_step(step: Step) -> TraceStep:
    return TraceStep(
        step="step",
        amount_fen=step.amount_fen,
        zh=f"{yuan(step.from_fen)} 元起，定额 {yuan(step.amount_fen)} 元",
        en=f"From {yuan(step.from_fen)} on, fixed at {yuan(step.amount_fen)}",
    )


SCOPE_NAMES: dict[CapScope, tuple[str, str]] = {
    CapScope.CLAIM: ("每次", "claim"),
    CapScope.PROJECT: ("每个项目", "project"),
    CapScope.ORGANISATION: ("每个单位", "organisation"),
    CapScope.USER: ("每位用户", "user"),
    CapScope.FUND: ("资金池", "fund"),
}
PERIOD_NAMES: dict[CapPeriod, tuple[str, str]] = {
    CapPeriod.CLAIM: ("每次", "a claim"),
    CapPeriod.YEAR: ("每年", "a year"),
    CapPeriod.LIFETIME: ("累计", "in all"),
}


def _capped(rules: Rules, *, facts: Facts, amount_fen: int, trace: list[TraceStep]) -> tuple[int, Reason]:
    if amount_fen == 0:
        return 0, Reason.NOTHING_PAID
    reason = Reason.GRANTED
    for cap in rules.caps:
        granted_fen = 0 if cap.period == CapPeriod.CLAIM else facts.granted_fen.get(cap.key, 0)
        left_fen = max(0, cap.amount_fen - granted_fen)
        if left_fen < amount_fen:
            amount_fen = left_fen
            reason = Reason.CAPPED if left_fen else Reason.CAP_REACHED
            trace.append(_cap_step(cap, granted_fen=granted_fen, amount_fen=amount_fen))
    return amount_fen, reason


def _cap_step(cap: Cap, *, granted_fen: int, amount_fen: int) -> TraceStep:
    scope_zh, scope_en = SCOPE_NAMES[cap.scope]
    period_zh, period_en = PERIOD_NAMES[cap.period]
    top, before, left = yuan(cap.amount_fen), yuan(granted_fen), yuan(amount_fen)
    return TraceStep(
        step="cap",
        amount_fen=amount_fen,
        zh=f"{scope_zh}{period_zh}上限 {top} 元，已补贴 {before} 元，余 {left} 元",
        en=f"At most {top} per {scope_en} {period_en}; {before} granted before, {left} left",
    )


def _from_fund(rules: Rules, *, facts: Facts, wanted_fen: int, reason: Reason, trace: Sequence[TraceStep]) -> Decision:
    left_fen = facts.fund_left_fen
    if left_fen is None or left_fen >= wanted_fen:
        return Decision(amount_fen=wanted_fen, wanted_fen=wanted_fen, reason=reason, trace=tuple(trace))
    paid_fen = max(0, left_fen) if rules.budget_policy == BudgetPolicy.FCFS_PARTIAL else 0
    if rules.budget_policy == BudgetPolicy.WAITING_LIST:
        reason, zh, en = Reason.WAITING, "列入等候名单", "on the waiting list"
    elif paid_fen:
        reason, zh, en = Reason.FUND_LAST, f"支付剩余 {yuan(paid_fen)} 元", f"the last {yuan(paid_fen)} is paid"
    else:
        reason, zh, en = Reason.FUND_EMPTY, "不予支付", "nothing is paid"
    step = TraceStep(
        step="fund",
        amount_fen=paid_fen,
        zh=f"资金余额 {yuan(max(0, left_fen))} 元，不足 {yuan(wanted_fen)} 元，{zh}",
        en=f"The fund has {yuan(max(0, left_fen))} left for {yuan(wanted_fen)}: {en}",
    )
    return Decision(amount_fen=paid_fen, wanted_fen=wanted_fen, reason=reason, trace=(*trace, step))


def share_pro_rata(wants_fen: Mapping[str, int], *, budget_fen: int) -> dict[str, int]:
    """Share a budget in proportion to what each wants, exactly: what rounding leaves goes to the largest remainders.

    Nobody gets more than wanted. Of equal remainders the first key in order gets the fen.
    """
    if sum(wants_fen.values()) <= budget_fen:
        return dict(wants_fen)
    keys = sorted(wants_fen)
    return dict(zip(keys, split_largest_remainder(budget_fen, [wants_fen[key] for key in keys]), strict=True))


def decide_batch(rules: Rules, claims: Mapping[str, Facts], *, budget_fen: int) -> dict[str, Decision]:
    """Decide claims together, in the order given, against one budget and the fund policy of the rule set."""
    if rules.budget_policy != BudgetPolicy.PRO_RATA:
        return _decide_in_turn(rules, claims, budget_fen=budget_fen)
    wanted = {key: decide(rules, _with_fund(facts, None)) for key, facts in claims.items()}
    shares_fen = share_pro_rata({key: decision.wanted_fen for key, decision in wanted.items()}, budget_fen=budget_fen)
    return {key: _shared(decision, amount_fen=shares_fen[key]) for key, decision in wanted.items()}


def _decide_in_turn(rules: Rules, claims: Mapping[str, Facts], *, budget_fen: int) -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    for key, facts in claims.items():
        decisions[key] = decide(rules, _with_fund(facts, budget_fen))
        budget_fen -= decisions[key].amount_fen
    return decisions


def _with_fund(facts: Facts, fund_left_fen: int | None) -> Facts:
    return Facts.from_document({**facts.as_document(), "fund_left_fen": fund_left_fen})


def _shared(decision: Decision, *, amount_fen: int) -> Decision:
    if amount_fen == decision.wanted_fen:
        return decision
    step = TraceStep(
        step="pro_rata",
        amount_fen=amount_fen,
        zh=f"资金不足，按比例分配 {yuan(amount_fen)} 元",
        en=f"The fund is short; the share is {yuan(amount_fen)}",
    )
    reason = Reason.FUND_LAST if amount_fen else Reason.FUND_EMPTY
    return Decision(amount_fen=amount_fen, wanted_fen=decision.wanted_fen, reason=reason, trace=(*decision.trace, step))


def trace_document(decision: Decision) -> list[dict[str, Any]]:
    """Give the trace as the JSON that is stored with a decision."""
    return [asdict(step) for step in decision.trace]


def floor_fen(amount: Fraction) -> int:
    """Round down to the fen."""
    return amount.numerator // amount.denominator

"""What a subsidy decision does and says."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.subsidies.conditions import FactValue, RuleInvalid
from app.subsidies.deciding import Facts, Reason, decide, decide_batch, share_pro_rata
from app.subsidies.rules import BudgetPolicy, parse_rules
from app.subsidies.shipped import shipped_rule_sets

CARD = parse_rules(shipped_rule_sets()["CQ-CARD"])
CLAIM = parse_rules(shipped_rule_sets()["CQ-CLAIM"])
MEMBER: dict[str, FactValue] = {
    "verified": True,
    "instrument.collaborative": True,
    "organisation.network_member": True,
    "project.evidence": False,
}
PURPOSEFUL: dict[str, FactValue] = {
    "organisation.region": "重庆",
    "organisation.legal_person": True,
    "purpose": "research",
}


def claim(principal_fen: int = 100_00, **changes: Any) -> Facts:
    return replace(Facts(base_fen={"paid_principal": principal_fen}, values=MEMBER), **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"own_unit": True}, Reason.OWN_UNIT),
        ({"related_party": True}, Reason.RELATED_PARTY),
        ({"purpose": "statutory_test"}, Reason.STATUTORY_TEST),
        ({"verified": False}, Reason.NOT_VERIFIED),
        ({"instrument.collaborative": False}, Reason.NOT_ELIGIBLE),
        ({"organisation.network_member": False}, Reason.NO_TIER),
    ],
)
def test_who_gets_nothing_is_told_why_in_both_languages(changes: dict[str, FactValue], reason: Reason) -> None:
    decision = decide(CARD, claim(values={**MEMBER, **changes}))
    assert (decision.amount_fen, decision.reason) == (0, reason)
    assert decision.trace[-1].zh
    assert decision.trace[-1].en


def test_use_that_nobody_says_is_verified_earns_nothing() -> None:
    values = {name: value for name, value in MEMBER.items() if name != "verified"}
    assert decide(CARD, claim(values=values)).reason == Reason.NOT_VERIFIED


def test_the_trace_leads_from_the_principal_to_the_amount() -> None:
    facts = claim(320_00, values={**MEMBER, "project.level": "municipal", "fee_fen": 500_00}, fund_left_fen=50_00)
    assert [(step.step, step.amount_fen, step.en) for step in decide(CARD, facts).trace] == [
        ("base", 320_00, "Principal actually paid: 320.00 (of a fee of 500.00)"),
        ("tier", 96_00, "Municipal or higher science project, 30%: 96.00"),
        ("fund", 50_00, "The fund has 50.00 left for 96.00: the last 50.00 is paid"),
    ]


def test_a_cap_counts_what_was_granted_before() -> None:
    almost = claim(granted_fen={"organisation/year": 49_999_00})
    assert (decide(CARD, almost).amount_fen, decide(CARD, almost).reason) == (1_00, Reason.CAPPED)
    full = claim(granted_fen={"organisation/year": 50_000_00})
    assert (decide(CARD, full).amount_fen, decide(CARD, full).reason) == (0, Reason.CAP_REACHED)


def test_a_cap_per_claim_forgets_what_was_granted_before() -> None:
    facts = claim(values={**MEMBER, **PURPOSEFUL}, granted_fen={"organisation/claim": 50_000_00})
    assert decide(CLAIM, facts).amount_fen == 20_00


@pytest.mark.parametrize(
    ("policy", "amounts_fen"),
    [
        (BudgetPolicy.FCFS_PARTIAL, [20_00, 10_00, 0]),
        (BudgetPolicy.FCFS_SKIP, [20_00, 0, 4_00]),
        (BudgetPolicy.WAITING_LIST, [20_00, 0, 4_00]),
        (BudgetPolicy.PRO_RATA, [13_63, 13_64, 2_73]),
    ],
)
def test_a_fund_that_is_short_follows_its_policy(policy: BudgetPolicy, amounts_fen: list[int]) -> None:
    claims = {"a": claim(100_00), "b": claim(100_00), "c": claim(20_00)}
    decisions = decide_batch(replace(CARD, budget_policy=policy), claims, budget_fen=30_00)
    assert sorted(decision.amount_fen for decision in decisions.values()) == sorted(amounts_fen)
    assert all(decision.trace[-1].amount_fen == decision.amount_fen for decision in decisions.values())


def test_who_waits_for_the_fund_is_not_refused() -> None:
    decision = decide(replace(CARD, budget_policy=BudgetPolicy.WAITING_LIST), claim(fund_left_fen=1))
    assert (decision.reason, decision.amount_fen, decision.wanted_fen) == (Reason.WAITING, 0, 20_00)


@given(
    principal_fen=st.integers(0, 10**12),
    granted_fen=st.integers(0, 6_000_000),
    fund_left_fen=st.integers(0, 10**9),
    level=st.sampled_from(["none", "enterprise", "municipal", "national"]),
    evidence=st.booleans(),
)
def test_no_decision_exceeds_its_rate_its_cap_or_its_fund(
    *, principal_fen: int, granted_fen: int, fund_left_fen: int, level: str, evidence: bool
) -> None:
    facts = claim(
        principal_fen,
        values={**MEMBER, "project.level": level, "project.evidence": evidence},
        granted_fen={"organisation/year": granted_fen},
        fund_left_fen=fund_left_fen,
    )
    decision = decide(CARD, facts)
    assert 0 <= decision.amount_fen <= min(fund_left_fen, max(0, 5_000_000 - granted_fen))
    assert decision.amount_fen <= Fraction(principal_fen * 3, 10)
    assert decide(CARD, Facts.from_document(facts.as_document())) == decision


@given(
    wants_fen=st.dictionaries(st.text(max_size=3), st.integers(0, 10**10), max_size=12),
    budget_fen=st.integers(0, 10**10),
)
def test_pro_rata_spends_the_budget_to_the_fen_and_no_more_than_wanted(
    wants_fen: dict[str, int], budget_fen: int
) -> None:
    shares_fen = share_pro_rata(wants_fen, budget_fen=budget_fen)
    total_fen = sum(wants_fen.values())
    assert sum(shares_fen.values()) == min(budget_fen, total_fen)
    for key, want_fen in wants_fen.items():
        assert 0 <= shares_fen[key] <= want_fen
        if total_fen > budget_fen:
            assert abs(shares_fen[key] - Fraction(want_fen * budget_fen, total_fen)) < 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base": "paid_fee"}, "base"),
        ({"surprise": 1}, "surprise"),
        ({"tiers": [{"when": [], "rate": 0.1, "title_zh": "一", "title_en": "a"}]}, "tiers[0].rate"),
        ({"tiers": [{"when": [], "rate": "1/0", "title_zh": "一", "title_en": "a"}]}, "tiers[0].rate"),
        ({"tiers": [{"when": [], "rate": "1e-99999999", "title_zh": "一", "title_en": "a"}]}, "tiers[0].rate"),
        ({"tiers": [], "steps": []}, "tiers"),
        ({"eligible": [{"fact": "x"}]}, "eligible[0]"),
        ({"eligible": [{"fact": "x", "in": [1.5]}]}, "eligible[0]"),
        ({"caps": [{"scope": "organisation", "period": "week", "amount_fen": 1}]}, "caps[0].period"),
        ({"caps": [{"scope": "organisation", "period": "year", "amount_fen": True}]}, "caps[0].amount_fen"),
        ({"budget_policy": "pro_rata"}, "budget_policy"),
        ({"window_months": [13]}, "window_months"),
        ({"title_en": " "}, "title_en"),
        ({"code": "小写 code"}, "code"),
        ({"source": "a\x00b"}, "source"),
        ({"source": "\ud800"}, "source"),
        ({"note": 0.5}, "note"),
        ({"documents": [[[[[[[[["deep"]]]]]]]]]}, "deep"),
    ],
)
def test_a_rule_set_with_a_mistake_is_refused_by_the_name_of_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RuleInvalid) as refusal:
        parse_rules({**shipped_rule_sets()["CQ-CARD"], **change})
    assert field in str(refusal.value)


def test_truth_is_not_the_number_one() -> None:
    assert decide(CARD, claim(values={**MEMBER, "instrument.collaborative": 1})).reason == Reason.NOT_ELIGIBLE

"""Every published rule set, expressed in our schema, gives the amounts of its worked examples."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.subsidies.conditions import FactValue
from app.subsidies.deciding import Facts, decide, share_pro_rata
from app.subsidies.rules import Rules, parse_rules
from app.subsidies.shipped import shipped_rule_sets

PUBLISHED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data" / "subsidy_rules.json").read_text(encoding="utf-8")
)
OUR_CODES = {
    "CQ-2000s-TEST": "CQ-CLAIM",
    "SD-2015-VOUCHER": "SD-VOUCHER",
    "SD-2015-PROVIDER": "SD-PROVIDER",
    "AH-2022-RENTER": "AH-RENTER",
    "ZJ-YUHUAN": "ZJ-YUHUAN",
    "FJ-2019-PILOT": "FJ-PILOT",
    "OWNER-DEFAULT": "CQ-CARD",
}
OUR_FACTS = {
    "has_project_evidence": "project.evidence",
    "org.region": "organisation.region",
    "org.network_member": "organisation.network_member",
    "org.band": "organisation.band",
}
EXAMPLES = [
    pytest.param(rule_set["code"], example, id=f"{rule_set['code']}: {example['why']} {number}")
    for rule_set in PUBLISHED["rule_sets"]
    for number, example in enumerate(rule_set["examples"])
]


def facts_of(rules: Rules, example: dict[str, Any]) -> Facts:
    """Facts that the example does not name make the claimant eligible."""
    stated = dict(example)
    fee_fen = stated.pop("fee_fen", 0)
    base_fen = {
        "paid_principal": stated.pop("principal_fen", fee_fen),
        "service_income": stated.pop("service_income_fen", 0),
        "instrument_value": stated.pop("instrument_value_fen", 0),
    }
    granted_fen = {"organisation/year": stated.pop("granted_this_year_fen", 0)}
    used_before = ("project",) if stated.pop("project_claimed_before", False) else ()
    fund_left_fen = stated.pop("fund_left_fen", None)
    values: dict[str, FactValue] = {"verified": True}
    values |= {condition.fact: condition.one_of[0] for condition in rules.eligible}
    values |= {OUR_FACTS.get(name, name): value for name, value in stated.items()}
    return Facts(
        base_fen=base_fen,
        values=values,
        granted_fen=granted_fen,
        used_before=used_before,
        fund_left_fen=fund_left_fen,
    )


@pytest.mark.parametrize(("code", "example"), EXAMPLES)
def test_a_worked_example_comes_out_to_the_fen(code: str, example: dict[str, Any]) -> None:
    rules = parse_rules(shipped_rule_sets()[OUR_CODES[code]])
    decision = decide(rules, facts_of(rules, example["facts"]))
    assert decision.amount_fen == example["subsidy_fen"]
    assert decision.trace
    assert decision.trace[-1].amount_fen == example["subsidy_fen"]


def test_every_published_rule_set_is_expressed() -> None:
    assert {rule_set["code"] for rule_set in PUBLISHED["rule_sets"]} == set(OUR_CODES)
    assert set(OUR_CODES.values()) == set(shipped_rule_sets())


def test_the_published_pro_rata_example_comes_out_to_the_fen() -> None:
    example = PUBLISHED["pro_rata_example"]
    assert share_pro_rata(example["claims_fen"], budget_fen=example["budget_fen"]) == example["result_fen"]


def test_the_pool_of_the_reward_example_is_shared_to_the_fen() -> None:
    """Pool 200,000 with wants 200,000/80,000/0 → 142,857.14/57,142.86/0 (domain.md)."""
    wants_fen = {"a": 20_000_000, "b": 8_000_000, "c": 0}
    assert share_pro_rata(wants_fen, budget_fen=20_000_000) == {"a": 14_285_714, "b": 5_714_286, "c": 0}

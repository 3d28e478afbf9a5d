"""Subsidies, funds and rule sets over HTTP."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.people.models import Role
from app.subsidies.shipped import shipped_rule_sets
from tests.app import builders
from tests.app.subsidies.paying import Till

ROOT = "/api/v1/subsidies"
MEMBER = {"verified": True, "instrument.collaborative": True, "organisation.network_member": True}


@pytest.fixture
def staffed(till: Till) -> Till:
    """One granted subsidy; a manager here, one elsewhere, and the center."""
    till.use_verified(100_00)
    till.pay()
    till.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=till.sub_center_id)
    with till.database.transaction() as session:
        elsewhere = builders.sub_center(session).id
    till.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=elsewhere)
    for name, role in (("clerk", Role.CLERK), ("finance", Role.FINANCE), ("auditor", Role.AUDITOR)):
        till.person(name, role)
    return till


@pytest.mark.usefixtures("staffed")
def test_a_cardholder_reads_her_subsidies_with_their_reasons(client: FlaskClient) -> None:
    holder = builders.bearer(client, "holder")
    mine = client.get(f"{ROOT}/mine", headers=holder).get_json()["decisions"]
    assert [(row["amount_fen"], row["status"], row["rule_code"]) for row in mine] == [(20_00, "granted", "CQ-CARD")]
    assert [step["zh"] for step in mine[0]["trace"]] == ["实付本金 100.00 元", "入网单位 20%：20.00 元"]
    assert client.get(f"{ROOT}/decisions", headers=holder).status_code == 403


@pytest.mark.usefixtures("staffed")
def test_a_sub_center_sees_the_decisions_on_its_instruments_and_no_others(client: FlaskClient) -> None:
    counts = {
        name: len(client.get(f"{ROOT}/decisions", headers=builders.bearer(client, name)).get_json()["decisions"])
        for name in ("manager", "stranger", "auditor")
    }
    assert counts == {"manager": 1, "stranger": 0, "auditor": 1}


def test_a_decision_can_be_decided_again_by_whom_it_concerns(staffed: Till, client: FlaskClient) -> None:
    address = f"{ROOT}/decisions/{staffed.decisions()[0].id}/rerun"
    answer = client.get(address, headers=builders.bearer(client, "auditor")).get_json()
    assert (answer["same"], answer["amount_fen"]) == (True, 20_00)
    assert client.get(address, headers=builders.bearer(client, "stranger")).status_code == 404
    far = f"{ROOT}/decisions/{10**30}/rerun"
    assert client.get(far, headers=builders.bearer(client, "auditor")).status_code == 404


@pytest.mark.usefixtures("staffed")
def test_finance_opens_and_fills_a_fund_and_everybody_sees_what_is_left(client: FlaskClient) -> None:
    finance = builders.bearer(client, "finance")
    body = {"code": "CQ-2", "name_zh": "第二资金", "name_en": "Second fund", "budget_fen_per_year": 5_000_00}
    made = client.post(f"{ROOT}/funds", json=body, headers=finance)
    assert made.status_code == 201
    assert client.post(f"{ROOT}/funds", json=body, headers=finance).get_json()["code"] == "CODE_TAKEN"
    receipts = f"{ROOT}/funds/{made.get_json()['id']}/receipts"
    receipt = {"amount_fen": 9_000_00, "reference": "FB-1"}
    filled = client.post(receipts, json=receipt, headers=finance).get_json()
    assert (filled["held_fen"], filled["left_fen"]) == (9_000_00, 5_000_00)
    assert client.post(receipts, json=receipt, headers=finance).status_code == 409
    assert client.post(receipts, json=receipt, headers=builders.bearer(client, "clerk")).status_code == 403
    seen = client.get(f"{ROOT}/funds", headers=builders.bearer(client, "holder")).get_json()["funds"]
    assert {fund["code"]: fund["left_fen"] for fund in seen}["CQ-2"] == 5_000_00


@pytest.mark.parametrize("amount", ["100", 1.0, True, 0, -1, 2**60, None])
@pytest.mark.usefixtures("staffed")
def test_money_is_a_whole_number_of_fen_or_it_is_refused(client: FlaskClient, amount: Any) -> None:
    finance = builders.bearer(client, "finance")
    answer = client.post(f"{ROOT}/funds/1/receipts", json={"amount_fen": amount, "reference": "FB-9"}, headers=finance)
    assert answer.status_code == 422


def test_a_clerk_publishes_the_next_version_and_a_mistake_is_named(staffed: Till, client: FlaskClient) -> None:
    clerk = builders.bearer(client, "clerk")
    body = dict(shipped_rule_sets()["CQ-CARD"])
    new = {"body": body, "fund_id": staffed.fund_id, "valid_from": "2027-01-01T00:00:00+08:00"}
    made = client.post(f"{ROOT}/rule-sets", json=new, headers=clerk)
    assert (made.status_code, made.get_json()["version"]) == (201, 2)
    assert client.post(f"{ROOT}/rule-sets", json=new, headers=clerk).get_json()["code"] == "RULE_SET_OVERLAP"
    long_ago = {**new, "valid_from": "0001-01-01T00:00:00+14:00"}
    assert client.post(f"{ROOT}/rule-sets", json=long_ago, headers=clerk).status_code == 422
    odd = f"{ROOT}/rule-sets/no-such-code/end"
    assert client.post(odd, json={"valid_to": "2028-01-01T00:00:00+08:00"}, headers=clerk).status_code == 404
    wrong = client.post(f"{ROOT}/rule-sets", json={**new, "body": {**body, "base": "paid_fee"}}, headers=clerk)
    assert (wrong.status_code, wrong.get_json()["code"]) == (422, "RULE_SET_INVALID")
    assert wrong.get_json()["details"]["field"].startswith("base")
    ended = client.post(f"{ROOT}/rule-sets/CQ-CARD/end", json={"valid_to": "2028-01-01T00:00:00+08:00"}, headers=clerk)
    assert ended.get_json()["valid_to"] == "2028-01-01T00:00:00+08:00"
    listed = client.get(f"{ROOT}/rule-sets", headers=clerk).get_json()
    assert [row["version"] for row in listed["rule_sets"]] == [2, 1]
    assert len(listed["shipped"]) == len(shipped_rule_sets())


@pytest.mark.usefixtures("staffed")
def test_a_rule_set_can_be_tried_on_claims_before_it_is_published(client: FlaskClient) -> None:
    body = {**shipped_rule_sets()["CQ-CLAIM"], "budget_policy": "pro_rata"}
    values = {**MEMBER, "organisation.region": "重庆", "organisation.legal_person": True, "purpose": "research"}
    claims = [{"base_fen": {"paid_principal": 100_00}, "values": values}] * 3
    clerk = builders.bearer(client, "clerk")
    answer = client.post(f"{ROOT}/trials", json={"body": body, "claims": claims, "budget_fen": 40_00}, headers=clerk)
    assert [row["amount_fen"] for row in answer.get_json()["decisions"]] == [13_34, 13_33, 13_33]
    assert [row["wanted_fen"] for row in answer.get_json()["decisions"]] == [20_00] * 3
    wrong = {"body": {}, "claims": claims, "budget_fen": 0}
    assert client.post(f"{ROOT}/trials", json=wrong, headers=clerk).get_json()["code"] == "RULE_SET_INVALID"
    for claim in ({"base_fen": {"paid_principal": 1.5}}, {"base_fen": {}, "values": {"verified": [True]}}):
        odd = {"body": body, "claims": [claim], "budget_fen": 0}
        assert client.post(f"{ROOT}/trials", json=odd, headers=clerk).status_code == 422


def test_a_clerk_records_related_parties(staffed: Till, client: FlaskClient) -> None:
    clerk = builders.bearer(client, "clerk")
    pair = {"organisation_id": staffed.organisation_id, "other_id": staffed.unit_organisation_id, "source": "公示系统"}
    assert client.post(f"{ROOT}/related-parties", json=pair, headers=clerk).status_code == 201
    same = {**pair, "other_id": staffed.organisation_id}
    assert client.post(f"{ROOT}/related-parties", json=same, headers=clerk).status_code == 422
    unknown = {**pair, "other_id": 10**9}
    assert client.post(f"{ROOT}/related-parties", json=unknown, headers=clerk).status_code == 404
    staffed.use_verified(100_00)
    staffed.pay()
    assert staffed.decisions()[-1].reason == "related_party"

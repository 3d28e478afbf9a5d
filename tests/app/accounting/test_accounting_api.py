"""The JSON doors: who may do what, and a month's work of an accountant over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app.people.models import Role
from tests.app import builders
from tests.app.accounting.office import Office

BASE = "/api/v1/accounting"
LINES = [{"role": "psp_fee", "debit_fen": 12_34}, {"role": "operating_bank", "credit_fen": 12_34}]


def body(office: Office, **values: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "text": "手续费", "value_on": office.today.isoformat(), "lines": LINES, **values}


def test_a_voucher_goes_from_draft_to_the_trial_balance(office: Office, client: FlaskClient) -> None:
    finance, approver, auditor = (builders.bearer(client, name) for name in ("finance", "approver", "auditor"))
    drafted = client.post(f"{BASE}/drafts", json=body(office), headers=finance)
    assert drafted.status_code == 201, drafted.get_data(as_text=True)
    draft = drafted.get_json()
    seen = client.get(f"{BASE}/drafts/{draft['id']}", headers=approver).get_json()
    assert [line["after_fen"] for line in seen["preview"]] == [12_34, -12_34]
    posted = client.post(f"{BASE}/drafts/{draft['id']}/approve", json={}, headers=approver).get_json()
    assert posted["status"] == "posted"

    voucher = client.get(f"{BASE}/vouchers/{posted['journal_id']}", headers=auditor).get_json()
    assert [line["account"]["code"] for line in voucher["lines"]] == ["6603.01", "1002.03"]
    balance = client.get(f"{BASE}/trial-balance", headers=auditor).get_json()
    assert balance["difference_fen"] == 0
    fees = next(group for group in balance["groups"] if group["role"] == "psp_fee")
    assert fees["sums"] == {"opening_fen": 0, "debits_fen": 12_34, "credits_fen": 0, "closing_fen": 12_34}
    detail = client.get(f"{BASE}/trial-balance/psp_fee", headers=auditor).get_json()
    account_id = detail["accounts"][0]["account"]["id"]
    statement = client.get(f"{BASE}/accounts/{account_id}/statement", headers=auditor).get_json()
    assert [line["balance_fen"] for line in statement["lines"]] == [12_34]
    listed = client.get(f"{BASE}/vouchers?kind=manual_voucher", headers=auditor).get_json()
    assert [each["id"] for each in listed["vouchers"]] == [posted["journal_id"]]

    reversal = {"id": str(uuid4()), "text": "记错", "value_on": office.today.isoformat()}
    waiting = client.post(f"{BASE}/vouchers/{posted['journal_id']}/reversal", json=reversal, headers=finance)
    assert waiting.status_code == 201
    undone = client.post(f"{BASE}/drafts/{reversal['id']}/approve", json={}, headers=approver).get_json()
    assert undone["status"] == "posted"


def test_finance_approves_nothing_and_the_auditor_changes_nothing(office: Office, client: FlaskClient) -> None:
    draft = office.draft(office.fee_wish(1_00))
    doors = [
        ("finance", f"/drafts/{draft.id}/approve", {}),
        ("finance", f"/drafts/{draft.id}/reject", {"reason": "nein"}),
        ("approver", "/drafts", body(office)),
        ("auditor", "/drafts", body(office)),
        ("auditor", f"/drafts/{draft.id}/approve", {}),
        ("auditor", "/months/2026-01/close", None),
        ("approver", "/months/2026-01/close", None),
        ("finance", "/months/2026-01/reopen", None),
    ]
    for name, door, content in doors:
        answer = client.post(f"{BASE}{door}", json=content, headers=builders.bearer(client, name))
        assert (name, door, answer.status_code) == (name, door, 403)


@pytest.mark.parametrize("role", [Role.CLERK, Role.ADMIN, Role.CARDHOLDER, Role.SUB_CENTER_MANAGER])
def test_nobody_else_sees_the_books(office: Office, client: FlaskClient, role: Role) -> None:
    with office.site.database.transaction() as session:
        scope = {"sub_center_id": builders.sub_center(session).id} if role is Role.SUB_CENTER_MANAGER else {}
        builders.person(session, username="outsider", role=role, **scope)
    headers = builders.bearer(client, "outsider")
    account_id = uuid4()
    for door in (
        "/chart",
        "/trial-balance",
        "/trial-balance/cash",
        "/vouchers",
        f"/vouchers/{account_id}",
        f"/accounts/{account_id}/statement",
        "/drafts",
        "/months",
    ):
        assert client.get(f"{BASE}{door}", headers=headers).status_code == 403


def test_odd_questions_are_refused_and_never_fail(office: Office, client: FlaskClient) -> None:
    finance = builders.bearer(client, "finance")
    asked = {
        "/trial-balance?month=2026-13": 422,
        "/trial-balance?since=2026-02-30": 422,
        "/trial-balance?since=2026-02-02&until=2026-02-01": 422,
        "/trial-balance/nothing": 404,
        "/vouchers?after=yesterday": 422,
        "/vouchers?after=2026-10-03T09:00:00~00000000-0000-0000-0000-000000000000": 422,
        f"/vouchers/{uuid4()}": 404,
        f"/accounts/{uuid4()}/statement": 404,
        f"/drafts/{uuid4()}": 404,
    }
    found = {door: client.get(f"{BASE}{door}", headers=finance).status_code for door in asked}
    assert found == asked
    unbalanced = body(office, lines=[LINES[0], {"role": "operating_bank", "credit_fen": 1}])
    answer = client.post(f"{BASE}/drafts", json=unbalanced, headers=finance)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "VOUCHER_UNBALANCED")
    assert client.post(f"{BASE}/months/october/close", headers=finance).status_code == 404

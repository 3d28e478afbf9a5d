"""Rules, policies and answers over JSON do what the pages do, for the same people."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import clock
from app.people.models import Role
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import at

ROOT = "/api/v1/reconciliation"
NOTE = "as the engineers agreed"


@pytest.fixture
def doors(world: World, client: FlaskClient) -> Any:
    """Ask as somebody: (username, method, path, body) -> (status, answer)."""
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=at(130), speed=1.0))
    with world.database.transaction() as session:
        for role in (Role.CLERK, Role.APPROVER, Role.AUDITOR, Role.GROUP_OPERATOR):
            scope = {"group_id": builders.group(session).id} if role is Role.GROUP_OPERATOR else {}
            builders.person(session, username=role.value, role=role, **scope)
        builders.person(session, username="manager", role=Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    headers: dict[str, dict[str, str]] = {}

    def ask(username: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if username not in headers:
            headers[username] = builders.bearer(client, username)
        given = {} if body is None else {"json": body}
        answer = getattr(client, method)(f"{ROOT}{path}", headers=headers[username], **given)
        return answer.status_code, answer.get_json()

    return ask


def test_a_rule_is_laid_down_listed_and_ended_by_who_manages_the_instrument(world: World, doors: Any) -> None:
    wish = {
        "instrument_id": world.instrument_id,
        "kind": "quiet",
        "valid_from": at(0).isoformat(),
        "week": {"days": [0, 6], "from_minute": 1320, "until_minute": 360},
        "note": NOTE,
    }
    assert doors("auditor", "post", "/silence-rules", wish)[0] == 403
    status, made = doors("manager", "post", "/silence-rules", wish)
    assert (status, made["week"], made["ended_at"]) == (201, wish["week"], None)
    assert [each["id"] for each in doors("auditor", "get", "/silence-rules")[1]["rules"]] == [made["id"]]
    assert doors("group_operator", "get", "/silence-rules")[0] == 403
    status, ended = doors("manager", "post", f"/silence-rules/{made['id']}/end", {})
    assert (status, ended["ended_at"] is not None) == (200, True)
    assert doors("manager", "post", f"/silence-rules/{made['id']}/end", {})[1]["code"] == "ALREADY_DECIDED"
    wrong = {**wish, "kind": "background"}
    assert list(doors("manager", "post", "/silence-rules", wrong)[1]["details"]["fields"]) == ["run_s_max"]


def test_a_policy_needs_two_people(world: World, doors: Any) -> None:
    _ = world
    draft = {
        "body": {"verdicts": {"phantom": {"do": "refund", "wait_h": 1}}, "contest_days": 7, "answer_days": 7},
        "valid_from": (at(130) + timedelta(days=1)).isoformat(),
        "note": NOTE,
    }
    status, made = doors("approver", "post", "/policies", draft)
    assert (status, made["status"], made["body"]) == (201, "waiting", draft["body"])
    assert doors("approver", "post", f"/policies/{made['id']}/decision", {"publish": True})[1]["code"] == "SAME_PERSON"
    assert doors("clerk", "post", f"/policies/{made['id']}/decision", {"publish": True})[0] == 403
    assert doors("approver", "post", f"/policies/{made['id']}/withdraw", {})[0] == 200
    made = doors("clerk", "post", "/policies", draft)[1]
    status, published = doors("approver", "post", f"/policies/{made['id']}/decision", {"publish": True})
    assert (status, published["status"], published["version"]) == (200, "published", 2)
    assert len(doors("auditor", "get", "/policies")[1]["policies"]) == 2
    wrong = {**draft, "body": {"verdicts": {"matched": {"do": "refund"}}}}
    assert doors("clerk", "post", "/policies", wrong)[0] == 422


def test_unpaid_use_is_answered_once(world: World, doors: Any) -> None:
    world.use(20, 60, until=120)
    world.reconcile(minutes=120)
    (use,) = doors("auditor", "get", "/unpaid-use")[1]["unpaid_use"]
    path = f"/unpaid-use/{use['id']}/answer"
    assert doors("auditor", "post", path, {"action": "explained", "note": NOTE})[0] == 403
    for wrong in ({"action": "invoice"}, {"action": "explained", "account_number": "A1"}):
        assert doors("clerk", "post", path, {**wrong, "note": NOTE})[0] == 422
    status, answer = doors("clerk", "post", path, {"action": "maintenance", "note": NOTE})
    assert (status, answer["action"], answer["rule_id"] is not None) == (201, "maintenance", True)
    assert doors("clerk", "post", path, {"action": "explained", "note": NOTE})[1]["code"] == "ALREADY_DECIDED"
    world.reconcile(minutes=131)
    assert world.box_verdicts() == ["maintenance"]

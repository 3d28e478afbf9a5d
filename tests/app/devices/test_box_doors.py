"""The JSON doors and commands of boxes: who may do what, and the password is told once."""

import re
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from app import clock
from app.cli import commands
from app.db import Database
from app.devices.models import Alarm, AlarmKind
from app.people.models import Role
from telemetry.boxes import verifiers
from telemetry.passwords import is_password
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX

REQUEST = "7b9f2f0e-0000-4000-8000-000000000001"
DOORS: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    ("get", "/api/v1/boxes", None),
    ("get", "/api/v1/alarms", None),
    ("post", "/api/v1/boxes", {"request_id": REQUEST}),
    ("post", f"/api/v1/boxes/{BOX}/password", {}),
    ("post", "/api/v1/alarms/1/acknowledge", {}),
    ("post", f"/api/v1/boxes/{BOX}/revoke", {}),
)
MANAGER, OPERATOR, CLERK = Role.SUB_CENTER_MANAGER, Role.GROUP_OPERATOR, Role.CLERK
ANSWERS = {
    # In the order of DOORS; a manager acknowledges what she may see.
    Role.ADMIN: (200, 200, 201, 201, 200, 200),
    Role.AUDITOR: (200, 200, 403, 403, 403, 403),
    Role.FINANCE: (200, 200, 403, 403, 403, 403),
    CLERK: (200, 200, 403, 403, 200, 403),
    MANAGER: (200, 200, 403, 403, 200, 403),
    OPERATOR: (403, 403, 403, 403, 403, 403),
    Role.CARDHOLDER: (403, 403, 403, 403, 403, 403),
}


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    with database.transaction() as session:
        session.add(
            Alarm(kind=AlarmKind.SILENT, subject=BOX, box=BOX, opened_at=clock.now(), detail={"heard_at": None})
        )
    return world


def _headers(world: World, client: FlaskClient, role: Role) -> dict[str, str]:
    with world.database.transaction() as session:
        scope: dict[str, Any] = {}
        if role is MANAGER:
            scope["sub_center_id"] = world.sub_center_id
        if role is OPERATOR:
            scope["group_id"] = builders.group(session).id
        builders.person(session, username=role.value, role=role, **scope)
    return builders.bearer(client, role.value)


@pytest.mark.parametrize("role", ANSWERS, ids=str)
def test_each_role_does_what_is_its_own(world: World, client: FlaskClient, role: Role) -> None:
    headers = _headers(world, client, role)
    given = [
        getattr(client, method)(path, headers=headers, **({} if body is None else {"json": body})).status_code
        for method, path, body in DOORS
    ]
    assert tuple(given) == ANSWERS[role]


def test_a_box_is_enrolled_renewed_and_revoked_and_its_password_is_told_once(
    world: World, client: FlaskClient, database: Database
) -> None:
    headers = _headers(world, client, Role.ADMIN)
    body = {"request_id": REQUEST, "channels": 2, "instrument_id": world.instrument_id}
    made = client.post("/api/v1/boxes", json=body, headers=headers).get_json()
    again = client.post("/api/v1/boxes", json=body, headers=headers)
    assert (again.status_code, again.get_json()["details"]) == (409, {"box": made["code"]})
    renewed = client.post(f"/api/v1/boxes/{made['code']}/password", headers=headers).get_json()
    with database.reader() as session:
        verifier = verifiers(session)[made["code"]]
    assert is_password(renewed["password"], verifier=verifier)
    assert not is_password(made["password"], verifier=verifier)

    listed = client.get("/api/v1/boxes?search=cb-", headers=headers)
    assert renewed["password"] not in listed.get_data(as_text=True)
    assert listed.get_json()["total"] == 2
    (box,) = [each for each in listed.get_json()["boxes"] if each["code"] == made["code"]]
    assert [channel["instrument_id"] for channel in box["channels"]] == [world.instrument_id, None]
    revoked = client.post(f"/api/v1/boxes/{made['code']}/revoke", headers=headers).get_json()
    assert revoked["revoked_at"] is not None
    assert client.post(f"/api/v1/boxes/{made['code']}/password", headers=headers).get_json()["code"] == "BOX_REVOKED"


def test_the_commands_do_the_same_at_the_machine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TESTCARD_DATABASE_URL": database_url,
        "TESTCARD_SECRET_KEY": "s" * 32,
        "TESTCARD_KEY_ENCRYPTION_KEY": "00" * 32,
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(commands, ["box", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    enrolled = re.search(r'code = "(cb-\w+)"\npassword = "(\S+)"', run("enrol", "--channels", "2"))
    assert enrolled is not None
    code, password = enrolled.groups()
    assert code in run("list")
    assert password not in run("password", code)
    run("revoke", code)
    assert f"{code}\t-\trevoked" in run("list")
    refused = CliRunner().invoke(commands, ["box", "password", code])
    assert (refused.exit_code, "This collector box has been revoked." in refused.output) == (1, True)
    unknown = CliRunner().invoke(commands, ["box", "enrol", "--instrument", "NOWHERE"])
    assert unknown.exit_code == 1

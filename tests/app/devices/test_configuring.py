"""How a box is to measure: wanted by an administrator, checked field by field, in versions, with its answer."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.db import Database
from app.metrics.reading import read
from app.people import service as people
from app.people.models import Role
from telemetry.commands import Configuration, Threshold
from telemetry.times import to_ms
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, at

DOOR = f"/api/v1/boxes/{BOX}/configuration"
WANTED: dict[str, Any] = {
    "sample_s": 20,
    "batch": 30,
    "heartbeat_s": 120,
    "channels": None,
    "thresholds": [{"channel": 0, "run_w": 60.0, "rest_w": 20.0}],
}
HASH = Configuration(sample_s=20, batch=30, heartbeat_s=120, thresholds={0: Threshold(run_w=60.0, rest_w=20.0)}).hash()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def headers(world: World, client: FlaskClient) -> dict[str, str]:
    with world.database.transaction() as session:
        builders.person(session, username="admin", role=Role.ADMIN)
        builders.person(session, username="auditor", role=Role.AUDITOR)
        builders.person(session, username="manager", role=Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    return builders.bearer(client, "admin")


def test_what_is_wanted_of_a_box_is_kept_in_versions_and_stands_until_its_birth_says_that_it_holds(
    world: World, client: FlaskClient, headers: dict[str, str]
) -> None:
    world.server.says("birth", {"boot": 1, "conn": 1, "channels": 1, "fw": "1", "cfg": "as delivered"})
    before = client.get(DOOR, headers=headers).get_json()
    assert (before["version"], before["configuration"], before["reported_hash"]) == (None, None, "as delivered")
    made = client.post(DOOR, json=WANTED, headers=headers)
    assert made.status_code == 200, made.get_data(as_text=True)
    assert (made.get_json()["version"], made.get_json()["standing"]) == (1, "waiting")
    assert made.get_json()["configuration"] == WANTED
    assert client.post(DOOR, json=WANTED, headers=headers).get_json()["version"] == 1
    world.server.says("birth", {"boot": 1, "conn": 2, "channels": 1, "fw": "1", "cfg": HASH})
    for reader in ("auditor", "manager"):
        seen = client.get(DOOR, headers=builders.bearer(client, reader)).get_json()
        assert (seen["standing"], seen["wanted_hash"], seen["set_by"]) == ("in_force", HASH, "admin")
        assert client.post(DOOR, json=WANTED, headers=builders.bearer(client, reader)).status_code == 403
    assert client.post(DOOR, json={}, headers=headers).get_json()["version"] == 2
    with world.database.reader() as session:
        entries = people.audit_trail(session, subject=f"box:{BOX}")
    assert [(entry.action, entry.detail["version"]) for entry in entries] == [
        ("box.configure", 2),
        ("box.configure", 1),
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sample_s": 0}, "sample_s"),
        ({"sample_s": 60, "batch": 61}, "batch"),
        ({"heartbeat_s": 9}, "heartbeat_s"),
        ({"channels": []}, "channels"),
        ({"channels": [1]}, "channels"),
        ({"thresholds": [{"channel": 1, "run_w": 2.0, "rest_w": 1.0}]}, "thresholds"),
        ({"thresholds": [{"channel": 0, "run_w": 1.0, "rest_w": 2.0}]}, "thresholds"),
    ],
    ids=str,
)
def test_what_no_box_could_obey_is_refused_and_named(
    world: World, client: FlaskClient, headers: dict[str, str], changes: dict[str, Any], field: str
) -> None:
    _ = world
    refused = client.post(DOOR, json={**WANTED, **changes}, headers=headers)
    assert refused.status_code == 422
    assert list(refused.get_json()["details"]["fields"]) == [field]
    assert client.get(DOOR, headers=headers).get_json()["version"] is None


def test_a_revoked_or_unknown_box_is_not_configured(world: World, client: FlaskClient, headers: dict[str, str]) -> None:
    _ = world
    assert client.post(DOOR.replace(BOX, "cb-404"), json=WANTED, headers=headers).status_code == 404
    client.post(f"/api/v1/boxes/{BOX}/revoke", headers=headers)
    assert client.post(DOOR, json=WANTED, headers=headers).get_json()["code"] == "BOX_REVOKED"


def test_what_a_box_says_of_itself_stands_on_the_list_and_in_the_metrics(
    world: World, client: FlaskClient, headers: dict[str, str]
) -> None:
    said = {"boot": 1, "conn": 1, "up": 9.0, "t": to_ms(at(0)), "sync": 0, "lost": 7}
    world.server.says(
        "birth", {**said, "channels": 1, "fw": "1", "cfg": "x", "epoch": "the file", "new": 1, "indicative": [0]}
    )
    world.server.says("hb", {**said, "up": 19.0, "seq": 0, "buf": 0, "doubts": {"0": ["stuck"]}})
    (box,) = client.get("/api/v1/boxes", headers=headers).get_json()["boxes"]
    assert (box["is_clock_set"], box["given_up_messages"]) == (False, 7)
    assert (box["boot_count_id"], box["is_boot_count_new"]) == ("the file", True)
    assert (box["channels"][0]["doubts"], box["channels"][0]["is_indicative"]) == (["stuck"], True)
    samples = {sample.name: sample.value for sample in read(world.database, at=at(1))}
    assert samples["boxes_clock_unset"] == samples["boxes_in_doubt"] == 1
    assert (samples["box_given_up_messages"], samples["boxes_not_as_configured"]) == (7, 0)

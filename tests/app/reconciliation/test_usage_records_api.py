"""The doors of usage records: lists, feed, hours, page and files, each within the reader's walls."""

import csv
import io
import json
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from app import sealing
from app.db import Database
from app.people.models import Role
from app.reconciliation.records.cli import usage_commands
from app.sessions.models import CardSession
from app.settings import Settings
from tests.app import builders
from tests.app.subsidies.paying import Till
from tests.ledger.sealed import settle
from tests.telemetry.wire import at

ROOT = "/api/v1/usage-records"
DAYS = "since=2026-05-01&until=2026-05-31"


@pytest.fixture
def till(database: Database) -> Till:
    """Five uses: one fell, one is the unit's own, one was corrected."""
    till = Till(database)
    charges = [till.use_verified(principal) for principal in (10_000, 20_000, 30_000, 40_000)]
    charges.append(till.use_verified(5_000, customer_class="own_unit"))
    till.let_fall(charges[3])
    with database.transaction() as session:
        row = session.get_one(CardSession, charges[0])
        row.amount_fen = row.paid_principal_fen = 9_000
    till.verify(charges[0])
    till.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=till.sub_center_id)
    with database.transaction() as session:
        other = builders.sub_center(session)
        builders.person(session, username="stranger", role=Role.SUB_CENTER_MANAGER, sub_center_id=other.id)
    settle(database)
    return till


def get(client: FlaskClient, path: str, username: str, **query: Any) -> Any:
    answer = client.get(f"{ROOT}{path}", query_string=query, headers=builders.bearer(client, username))
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def amounts(page: Any) -> list[int]:
    return [each["record"]["amount_fen"] for each in page["usage_records"]]


def test_pages_by_cursor_are_the_whole_list_newest_first(till: Till, client: FlaskClient) -> None:
    _ = till
    assert amounts(get(client, "", "manager")) == [5_000, 30_000, 20_000, 9_000]
    pages, after = [], ""
    while True:
        page = get(client, "", "manager", limit=1, after=after)
        pages += amounts(page)
        if not (after := page["next"]):
            break
    assert pages == [5_000, 30_000, 20_000, 9_000]


@pytest.mark.usefixtures("till")
def test_the_list_is_narrowed_and_its_totals_are_those_of_the_list(till: Till, client: FlaskClient) -> None:
    for query, wanted in (
        ({"external": "true"}, [30_000, 20_000, 9_000]),
        ({"customer_class": "own_unit"}, [5_000]),
        ({"verified": "false"}, [40_000, 40_000, 10_000]),
        ({"by_person": "true"}, []),
        ({"unit_id": till.unit_id, "sub_center_id": till.sub_center_id}, [5_000, 30_000, 20_000, 9_000]),
        ({"organisation_id": till.organisation_id}, [5_000, 30_000, 20_000, 9_000]),
        ({"instrument_id": till.instrument_id + 1}, []),
        ({"since": at(150).isoformat(), "until": at(250).isoformat()}, [30_000, 20_000]),
    ):
        page = get(client, "", "manager", **query)
        assert sorted(amounts(page)) == sorted(wanted), query
        totals = get(client, "/totals", "manager", **query)
        assert (totals["records"], totals["amount_fen"]) == (len(wanted), sum(wanted)), query


def test_everybody_sees_the_own_records_and_nobody_elses(till: Till, client: FlaskClient, settings: Settings) -> None:
    assert len(amounts(get(client, "", "holder"))) == 4
    assert amounts(get(client, "", "stranger")) == []
    assert get(client, "/totals", "stranger")["records"] == 0
    stranger = builders.bearer(client, "stranger")
    assert client.get(f"{ROOT}/{till.charges[0]}", headers=stranger).status_code == 404
    assert client.get(f"{ROOT}/{till.charges[0]}/proof", headers=stranger).status_code == 404
    assert client.get(ROOT).status_code == 401
    assert [each["record"]["version"] for each in get(client, f"/{till.charges[0]}", "holder")] == [1, 2]
    sealing.seal_due(till.database, key=sealing.seal_key(settings.key_encryption_key))
    assert len(get(client, f"/{till.charges[0]}/proof", "holder")) == 2
    holder = builders.bearer(client, "holder")
    hours = {"since": at(0).isoformat(), "until": at(600).isoformat()}
    assert client.get(f"{ROOT}/hours", query_string=hours, headers=holder).status_code == 403
    feed = get(client, "/changes", "stranger")
    assert (feed["changes"], feed["complete"]) == ([], True)


def test_a_copy_that_follows_the_feed_is_the_list(till: Till, client: FlaskClient) -> None:
    copy: dict[str, Any] = {}

    def follow(after: str) -> str:
        while True:
            page = get(client, "/changes", "manager", limit=2, after=after)
            for each in page["changes"]:
                known = copy.get(each["record"]["session"])
                if known is None or known["version"] < each["record"]["version"]:
                    copy[each["record"]["session"]] = each["record"]
            after = page["next"]
            if page["complete"]:
                return after

    after = follow("")
    assert sorted(each["amount_fen"] for each in copy.values() if not each["withdrawn"]) == [
        5_000,
        9_000,
        20_000,
        30_000,
    ]
    till.let_fall(till.charges[1])
    settle(till.database)
    assert follow(after) != after
    assert copy[str(till.charges[1])]["withdrawn"] is True
    headers = builders.bearer(client, "manager")
    for wrong in ("x", "1~2", f"-1~{UUID(int=0)}", "~"):
        assert client.get(f"{ROOT}/changes", query_string={"after": wrong}, headers=headers).status_code == 422, wrong
    assert client.get(ROOT, query_string={"after": "2026-05-01T00:00:00~1"}, headers=headers).status_code == 422


@pytest.mark.usefixtures("till")
def test_hours_of_a_time_say_what_was_external(client: FlaskClient) -> None:
    hours = {"since": at(0).isoformat(), "until": at(90).isoformat()}
    (line,) = get(client, "/hours", "manager", **hours)["instruments"]
    assert (line["uses"], line["charged_s"], line["external_s"]) == (1, 30 * 60, 30 * 60)


def test_the_page_and_its_files_show_the_same_records(till: Till, client: FlaskClient) -> None:
    _ = till
    with client.session_transaction() as cookie:
        cookie["log_in"] = builders.bearer(client, "manager")["Authorization"].removeprefix("Bearer ")
    page = client.get(f"/usage-records?{DAYS}&lang=en").get_data(as_text=True)
    assert page.count("Evidence<span") == 4
    external = client.get(f"/usage-records?{DAYS}&scope=external").get_data(as_text=True)
    assert external.count("/charges/") == 3
    with client.get(f"/usage-records?{DAYS}&scope=external&format=csv&lang=en") as answer:
        rows = list(csv.DictReader(io.StringIO(answer.get_data().decode("utf-8-sig"))))
    assert [row["Amount"] for row in rows] == ["300.00", "200.00", "90.00", "590.00"]
    with client.get(f"/usage-records?{DAYS}&format=xlsx") as answer:
        assert answer.get_data()[:2] == b"PK"


def test_the_commands_verify_prove_and_write_the_records(
    till: Till, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.exports.command as at_the_machine  # noqa: PLC0415
    import app.reconciliation.records.cli as commands  # noqa: PLC0415

    monkeypatch.setattr(commands, "prepare", lambda: settings)
    monkeypatch.setattr(at_the_machine, "prepare", lambda: settings)
    sealing.seal_due(till.database, key=sealing.seal_key(settings.key_encryption_key))
    run = CliRunner().invoke
    verified = run(usage_commands, ["verify", "--json"])
    assert (verified.exit_code, json.loads(verified.output)) == (0, {"records": 7, "findings": []})
    proofs = json.loads(run(usage_commands, ["prove", str(till.charges[3])]).output)
    assert [proof["document"]["withdrawn"] for proof in proofs] == [False, True]
    assert run(usage_commands, ["prove", str(UUID(int=5))]).exit_code == 1
    lines = run(usage_commands, ["export", "--all-versions"]).output.splitlines()
    assert len(lines) == 7
    assert json.loads(lines[0])["record"]["format"] == "testcard-usage-record-v1"
    table = run(usage_commands, ["export", "--format", "csv", "--language", "en"])
    assert table.exit_code == 0
    rows = csv.DictReader(io.StringIO(table.stdout_bytes.decode("utf-8-sig")))
    assert [row["Amount"] for row in rows] == ["50.00", "300.00", "200.00", "90.00"]
    assert run(usage_commands, ["export", "--format", "csv", "--all-versions"]).exit_code == 2

"""Prometheus reads every stage, with the token and without it nothing; the reference says what the code says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from app import jobs, web
from app.db import Database
from app.devices.boxes import watching
from app.devices.models import AlarmKind
from app.metrics.catalogue import METRICS
from app.reconciliation.models import ChargeVerdict
from app.settings import Settings
from app.worker import JOBS
from telemetry.errors import DeadReason
from tests.app.reconciliation.world import World
from tests.telemetry.wire import BOX, at, minute

TOKEN = "a token for Prometheus alone, 32 characters and more"
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def open_app(app_: Flask, settings: Settings) -> Flask:
    with app_.app_context():
        web.equip(app_, database=web.database(), settings=replace(settings, metrics_token=TOKEN))
    return app_


def scrape(flask: Flask) -> Samples:
    answer = flask.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for sample in family.samples
    }


def test_without_the_token_nobody_reads_and_without_a_setting_there_is_nothing_to_read(
    app_: Flask, settings: Settings
) -> None:
    client = app_.test_client()
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    assert client.get("/metrics").status_code == 404
    with app_.app_context():
        web.equip(app_, database=web.database(), settings=replace(settings, metrics_token=TOKEN))
    assert client.get("/metrics").status_code == 401
    for header in ("Bearer wrong", "Bearer ", f"Basic {TOKEN}", "Bearer é"):
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 401


def test_an_empty_service_gives_every_metric_and_zero_for_what_has_not_happened(open_app: Flask) -> None:
    found = scrape(open_app)
    names = {name for name, _ in found}
    assert {metric.name for metric in METRICS if metric.labels != ("job",)} <= names
    assert {labels[0] for name, labels in found if name == "testcard_alarms_open"} == {each.value for each in AlarmKind}
    assert {labels[0] for name, labels in found if name == "testcard_dead_letters_unseen"} == {
        each.value for each in DeadReason
    }
    assert {labels[0] for name, labels in found if name == "testcard_charge_verdicts"} == {
        each.value for each in ChargeVerdict
    }
    assert all(value == 0 for value in found.values())


def test_what_happened_from_the_message_to_the_verdict_is_counted(open_app: Flask, database: Database) -> None:
    world = World(database)
    charge = world.charge(10, 70)
    world.charge(200, 260)
    world.use(10, 70, until=130)
    world.server.measured([minute(1, 5.0), minute(140, 5.0)])  # one again, and nine are missing
    world.server.says("m", b"17", received_at=at(131))
    world.server.says("hb", {"boot": 1, "conn": 1, "seq": 141, "buf": 12}, received_at=at(140))
    world.reconcile(minutes=131)
    sums = jobs.JobSums()
    sums.add("reconcile", done=2, duration_s=0.5, at=at(131))
    sums.add("reconcile", done=None, duration_s=0.25, at=at(132))
    sums.add("reconcile", done=3, duration_s=0.25, at=at(133))
    for _ in range(2):  # what was taken is not counted again
        database.run(lambda session: jobs.write(session, sums.take()))
    database.run(lambda session: watching.watch(session, at=at(300), limit=10))

    found = scrape(open_app)
    assert world.verdict(charge) == "matched"
    expected = {
        ("testcard_ingest_received_total", ()): 130 + 2 + 1 + 1,
        ("testcard_ingest_stored_total", ()): 131,
        ("testcard_ingest_duplicates_total", ()): 1,
        ("testcard_ingest_dead_letters_total", ()): 1,
        ("testcard_dead_letters_unseen", ("not_an_object",)): 1,
        ("testcard_boxes", ("enrolled",)): 1,
        ("testcard_boxes", ("placed",)): 1,
        ("testcard_box_missing_messages", ()): 11,
        ("testcard_box_backlog_messages", ()): 12,
        ("testcard_charge_verdicts", ("matched",)): 1,
        ("testcard_run_verdicts", ("covered",)): 1,
        ("testcard_usage_records", ()): 1,
        ("testcard_alarms_open", ("silent",)): 1,
        ("testcard_job_runs_total", ("reconcile",)): 3,
        ("testcard_job_failures_total", ("reconcile",)): 1,
        ("testcard_job_done_total", ("reconcile",)): 5,
        ("testcard_job_seconds_total", ("reconcile",)): 1.0,
        ("testcard_job_newest_duration_seconds", ("reconcile",)): 0.25,
        ("testcard_job_newest_success_timestamp_seconds", ("reconcile",)): at(133).timestamp(),
    }
    assert {key: found[key] for key in expected} == expected
    assert found["testcard_unsealed_rows", ()] > 0
    assert found["testcard_reconciliation_due", ()] >= 1
    assert BOX


def test_the_wait_of_a_batch_is_from_its_oldest_receipt_to_its_storing(open_app: Flask, database: Database) -> None:
    from telemetry.ingest import store  # noqa: PLC0415
    from tests.telemetry.wire import arrival  # noqa: PLC0415

    World(database)
    with database.transaction() as session:
        store(session, [arrival(minute(1, 5.0)), arrival(minute(2, 5.0))], now=at(3))
    found = scrape(open_app)
    assert found["testcard_ingest_newest_wait_seconds", ()] == 119
    assert found["testcard_ingest_wait_seconds_total", ()] == 119
    assert found["testcard_ingest_newest_batch_timestamp_seconds", ()] == at(2).timestamp() + 1


def test_the_reference_names_every_metric_with_kind_and_labels() -> None:
    text = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(testcard_\w+)` \| (\w+) \| ([\w, –]+) \|", text, re.MULTILINE)
    assert rows == [(metric.name, metric.kind.value, ", ".join(metric.labels) or "–") for metric in METRICS]


def test_the_reference_names_every_alarm_and_its_limits() -> None:
    text = (REFERENCE / "alarms.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [kind.value for kind in AlarmKind]
    for figure in (
        f"{watching.CLOCK_S_MAX} s",
        f"{watching.BACKLOG_MESSAGES_MIN} messages",
        f"{watching.STUCK_WINDOW.seconds // 3600} hours",
        f"{watching.LEASE_LOST_AFTER_S} s",
        f"{watching.INGEST_QUIET_AFTER.seconds // 60} minutes",
    ):
        assert figure in text, figure


def test_every_job_of_the_worker_has_a_name_of_its_own() -> None:
    names = [job.name for job in JOBS]
    assert len(names) == len(set(names))
    assert "watch_boxes" in names

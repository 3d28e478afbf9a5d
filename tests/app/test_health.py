"""Readiness is green only while the service can do its work."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app import health
from app.db import Database
from tests.owner import as_owner


def test_a_living_process_says_so_without_its_database(lone_client: FlaskClient) -> None:
    assert lone_client.get("/health").status_code == 200
    answer = lone_client.get("/ready")
    assert answer.status_code == 503
    assert answer.get_json()["checks"] == {
        "database_writes": False,
        "schema_is_current": False,
        "clock_agrees": False,
        "disk_has_space": True,
    }


def test_a_service_that_can_do_its_work_is_ready(client: FlaskClient) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 200
    assert set(answer.get_json()["checks"].values()) == {True}


def test_a_database_that_takes_no_writes_is_not_ready(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        as_owner(session)
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    assert client.get("/ready").get_json()["checks"]["database_writes"] is False


def test_an_older_schema_is_not_ready(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        as_owner(session)
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert client.get("/ready").get_json()["checks"]["schema_is_current"] is False


def test_a_full_disk_is_not_ready(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1024))
    assert client.get("/ready").get_json()["checks"]["disk_has_space"] is False


def test_a_clock_that_disagrees_with_the_database_is_not_ready(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() - 60)
    assert client.get("/ready").get_json()["checks"]["clock_agrees"] is False


def test_the_folder_of_the_site_need_not_exist_yet(database: Database, tmp_path: Path) -> None:
    assert health.run_checks(database, var_dir=tmp_path / "not" / "yet")["disk_has_space"] is True

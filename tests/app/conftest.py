"""The application over a fresh database, and a client that speaks to it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, web
from app.db import Database
from app.settings import Settings

NO_DATABASE_URL = "postgresql://nobody@127.0.0.1:9/none"


def settings_for(*, database_url: str, var_dir: Path) -> Settings:
    """Settings of a small site over one database."""
    return Settings(
        var_dir=var_dir,
        database_url=database_url,
        secret_key="a secret for tests alone, 32 characters and more",
        key_encryption_key=bytes(range(32)),
        public_url="http://localhost",
        site_timezone=ZoneInfo("Asia/Shanghai"),
        secure_cookies=False,
        clock_anchor=None,
        mqtt_host="127.0.0.1",
        mqtt_port=1883,
        mqtt_username="ingest",
        mqtt_password="",
        mqtt_tls=False,
        mqtt_ca_file=None,
        ingest_sets=1,
        psp_base_url="http://127.0.0.1:9",
        psp_api_key="sk_test_x",
        psp_api_version="2026-09-30",
        psp_webhook_secrets=("whsec_test",),
        psp_timeout_s=1.0,
        metrics_token="",
        log_format="text",
        login_lifetime=timedelta(hours=12),
        chart_file=None,
        top_up_fen_min=10_00,
        top_up_fen_max=999_999_99,
        person_balance_cap_fen=5_000_00,
        cash_fen_max_organisation=5_000_00,
        cash_fen_max_person=50_000_00,
        # Tests tap faster than people, at a clock that may stand still.
        taps_per_terminal_max=1_000_000,
        taps_per_card_max=1_000_000,
    )


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return settings_for(database_url=database_url, var_dir=tmp_path)


@pytest.fixture(scope="session")
def equipped_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """One application for the whole run, because building it costs more than most tests."""
    return create_app(settings_for(database_url=NO_DATABASE_URL, var_dir=tmp_path_factory.mktemp("var")))


@pytest.fixture
def app_(equipped_app: Flask, settings: Settings) -> Iterator[Flask]:
    """The application with a database and the settings of this test."""
    database = Database(settings.database_url)
    web.equip(equipped_app, database=database, settings=settings)
    yield equipped_app
    database.close()


@pytest.fixture
def own_app(settings: Settings) -> Iterator[Flask]:
    """An application of this test alone, for tests that add doors to it."""
    flask = create_app(settings)
    yield flask
    with flask.app_context():
        web.database().close()


@pytest.fixture
def client(app_: Flask) -> FlaskClient:
    return app_.test_client()


@pytest.fixture
def lone_app(tmp_path: Path) -> Flask:
    """The application without a database, for what is decided before it: quick, because none must be copied."""
    return create_app(settings_for(database_url=NO_DATABASE_URL, var_dir=tmp_path))


@pytest.fixture(scope="session")
def lone_client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client without cookies of one such application for the whole run."""
    lone = create_app(settings_for(database_url=NO_DATABASE_URL, var_dir=tmp_path_factory.mktemp("var")))
    return lone.test_client(use_cookies=False)

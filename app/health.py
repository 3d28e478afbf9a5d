"""Whether this process lives (/health) and whether it can do its work (/ready).

A probe of `select 1` stays green on a full disk, so readiness commits a write, and looks at the free disk, the schema
and the two clocks as well (reliability.md, finding 6).
"""

import shutil
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path

import sqlalchemy.exc
import structlog
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import web
from app.db import Database
from migrations import alembic_config

FREE_DISK_BYTES_MIN = 256 * 1024 * 1024
CLOCK_SKEW_S_MAX = 2.0

blueprint = Blueprint("health", __name__)
log = structlog.get_logger(__name__)


@blueprint.get("/health")
def health() -> Response:
    """Say that the process answers; restart it if it does not."""
    return jsonify(status="alive")


@blueprint.get("/ready")
def ready() -> Response:
    """Say whether to send requests here: 200, or 503 with the checks that failed."""
    checks = run_checks(web.database(), var_dir=web.settings().var_dir)
    response = jsonify(status="ready" if all(checks.values()) else "not ready", checks=checks)
    response.status_code = HTTPStatus.OK if all(checks.values()) else HTTPStatus.SERVICE_UNAVAILABLE
    return response


def run_checks(database: Database, *, var_dir: Path) -> dict[str, bool]:
    """Run every check of readiness, each by itself, so that the answer names all that is wrong."""
    return {
        "database_writes": _in_database(database, _writes),
        "schema_is_current": _in_database(database, _schema_is_current),
        "clock_agrees": _in_database(database, _clock_agrees),
        "disk_has_space": _free_bytes(var_dir) >= FREE_DISK_BYTES_MIN,
    }


def _in_database(database: Database, check: Callable[[Session], bool]) -> bool:
    try:
        return database.run(check)
    except sqlalchemy.exc.SQLAlchemyError as error:
        log.warning("not_ready", check=check.__name__, error=type(getattr(error, "orig", None) or error).__name__)
        return False


def _writes(session: Session) -> bool:
    """Write a record to the write-ahead log; its commit waits for the disk as every other commit does."""
    session.execute(text("SELECT pg_logical_emit_message(true, 'ready', '')"))
    # The record alone would be written by a database that takes no others.
    return str(session.execute(text("SHOW transaction_read_only")).scalar_one()) == "off"


def _schema_is_current(session: Session) -> bool:
    found = session.scalars(text("SELECT version_num FROM alembic_version")).all()
    return set(found) == _expected_heads()


@cache
def _expected_heads() -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(alembic_config("")).get_heads())


def _clock_agrees(session: Session) -> bool:
    """Compare with the machine's own clock, never a simulated one: holds expire by the database's clock."""
    before_s = time.time()
    database_s = float(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return before_s - CLOCK_SKEW_S_MAX <= database_s <= time.time() + CLOCK_SKEW_S_MAX


def _free_bytes(folder: Path) -> int:
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free

"""Keeps the embedded broker's users the boxes that are enrolled: who is new comes in, who is revoked is out."""

import threading
from pathlib import Path

import sqlalchemy.exc
import structlog

from app.db import Database
from telemetry import boxes, broker

EVERY_S = 1.0

log = structlog.get_logger(__name__)


def keep(database: Database, *, users_file: Path, stop: threading.Event) -> None:
    """Bring the users file up to date every second until `stop` is set.

    While the database is away, or the disk full, it stays as it is. So an old password holds
    at most a second longer than the change of it.
    """
    while not stop.wait(EVERY_S):
        try:
            bring_up_to_date(database, users_file=users_file)
        except (sqlalchemy.exc.SQLAlchemyError, OSError, ValueError) as error:
            log.warning("roster_not_kept", error=type(error).__name__)


def bring_up_to_date(database: Database, *, users_file: Path) -> bool:
    """Let exactly the enrolled boxes in; says whether that changed anything."""
    with database.reader() as session:
        verifiers = boxes.verifiers(session)
    return broker.replace_boxes(users_file, verifiers=verifiers)

"""The service: everything that joins ledger, telemetry and card terminals."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Build the web application; without settings they are read from the environment.

    Raises settings.SettingsError. The import waits until here because every module of `app` imports this file,
    and the worker, the ingest and the ledger's jobs have no use for a web framework.
    """
    from app.factory import build  # noqa: PLC0415 - see above

    return build(settings)

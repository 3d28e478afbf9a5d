"""The schema's history, over the tables of ledger, telemetry and app; run from Python, so no alembic.ini."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def alembic_config(database_url: str) -> Config:
    """Give Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the database to the newest schema; doing it again changes nothing."""
    command.upgrade(alembic_config(database_url), "head")

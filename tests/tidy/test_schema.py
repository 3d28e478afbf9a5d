"""The migrations and the models say the same."""

from alembic import command

from app.db import Database
from migrations import alembic_config, upgrade


def test_the_migrations_make_exactly_the_tables_of_the_models(database_url: str, database: Database) -> None:
    _ = database
    command.check(alembic_config(database_url))


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    command.check(alembic_config(database_url))

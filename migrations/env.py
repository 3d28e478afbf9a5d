"""What Alembic runs: one history over three packages, each with its own MetaData and its own schema."""

from alembic import context
from sqlalchemy import MetaData, create_engine

import app.tables  # noqa: F401 - registers every table of app
import ledger.models
import telemetry.models
from app.db import Base, Database

TARGETS: list[MetaData] = [ledger.models.Base.metadata, telemetry.models.Base.metadata, Base.metadata]
SCHEMAS = {metadata.schema for metadata in TARGETS}
# Every migration waits for its locks at most this long, so that it never queues the service behind itself.
LOCK_TIMEOUT = "SET lock_timeout = '10s'"


def _include_name(name: str | None, kind: str, _parents: object) -> bool:
    return name in SCHEMAS if kind == "schema" else True


engine = create_engine(Database.driver_url(context.config.attributes["database_url"]))
with engine.connect() as connection:
    connection.exec_driver_sql(LOCK_TIMEOUT)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=TARGETS,
        include_schemas=True,
        include_name=_include_name,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()

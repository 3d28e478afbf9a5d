"""The three schemas: each package keeps its tables to itself."""

from alembic import op

revision = "0000"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for schema in ("ledger", "telemetry", "app"):
        op.execute(f"CREATE SCHEMA {schema}")

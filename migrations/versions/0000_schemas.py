"""The three schemas, each package's own, and the role with which the service works in them."""

from alembic import op

revision = "0000"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole server: another database's migration may have made this one, or be making it now.
ROLE = """
DO $$
BEGIN
    CREATE ROLE testcard_service NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'testcard_service', 'MEMBER') THEN
        EXECUTE format('GRANT testcard_service TO %I', current_user);
    END IF;
END
$$
"""
# Whoever migrates owns the tables; the service may read and write them, but in `ledger` only add (0001 says what else).
RIGHTS = """
GRANT USAGE ON SCHEMA ledger, telemetry, app TO testcard_service;
GRANT SELECT ON alembic_version TO testcard_service;
ALTER DEFAULT PRIVILEGES IN SCHEMA telemetry, app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO testcard_service;
ALTER DEFAULT PRIVILEGES IN SCHEMA ledger GRANT SELECT, INSERT ON TABLES TO testcard_service;
ALTER DEFAULT PRIVILEGES IN SCHEMA ledger, telemetry, app GRANT USAGE, SELECT ON SEQUENCES TO testcard_service
"""


def upgrade() -> None:
    for schema in ("ledger", "telemetry", "app"):
        op.execute(f"CREATE SCHEMA {schema}")
    op.execute(ROLE)
    op.execute(RIGHTS)

"""The rights of whoever owns the tables: what the service itself never has."""

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session


def as_owner(session: Session | Connection) -> None:
    """Lay down the service's role until the transaction ends."""
    session.execute(text("SET LOCAL ROLE NONE"))


def owner_does(session: Session | Connection, statement: str) -> None:
    """Run one statement with the owner's rights."""
    as_owner(session)
    session.execute(text(statement))


def without_triggers(session: Session | Connection) -> None:
    """Do what only a superuser can until the transaction ends: no trigger and no foreign key holds him."""
    as_owner(session)
    session.execute(text("SET LOCAL session_replication_role = replica"))

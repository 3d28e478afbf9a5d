"""A site with two database logins: one owns the tables and migrates, the other serves and can only add to the books."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from app.db import Database
from ledger import NewAccount, NewTransfer, create_accounts, create_transfers
from migrations import upgrade


@pytest.fixture
def logins(server_url: str, maintenance: Engine) -> Iterator[tuple[str, str]]:
    """The addresses of a fresh database for its owner, who is no superuser, and for the service."""
    name = f"rights_{uuid4().hex[:12]}"
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE ROLE {name}_owner LOGIN CREATEROLE"))
        connection.execute(text(f"CREATE ROLE {name}_web LOGIN"))
        connection.execute(text(f"GRANT testcard_service TO {name}_owner WITH ADMIN OPTION"))
        connection.execute(text(f"CREATE DATABASE {name} OWNER {name}_owner"))
    address = server_url.format(name=name)
    yield address.replace("postgres@", f"{name}_owner@"), address.replace("postgres@", f"{name}_web@")
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE {name}_web"))
        connection.execute(text(f"DROP ROLE {name}_owner"))


def test_the_owner_migrates_and_the_service_posts_but_cannot_change_what_it_posted(logins: tuple[str, str]) -> None:
    owner, web = logins
    upgrade(owner)
    with psycopg.connect(owner) as connection:
        connection.execute(f"GRANT testcard_service TO {web.split('//')[1].split('@')[0]}")
    database = Database(web)
    bank, shop = uuid4(), uuid4()
    accounts = [NewAccount(id=id_, code=1) for id_ in (bank, shop)]
    new = NewTransfer(id=uuid4(), debit_account_id=bank, credit_account_id=shop, amount_fen=1, code=1)
    assert all(result.ok for result in database.run(lambda session: create_accounts(session, accounts)))
    assert database.run(lambda session: create_transfers(session, [new]))[0].ok
    database.close()
    for statement in (
        "UPDATE ledger.transfers SET amount_fen = 2",
        "DELETE FROM ledger.transfers",
        "ALTER TABLE ledger.transfers DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP TABLE ledger.transfers",
        "DELETE FROM app.audit_entry",
    ):
        with psycopg.connect(web) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_a_login_without_the_role_serves_nothing(logins: tuple[str, str]) -> None:
    owner, web = logins
    upgrade(owner)
    database = Database(web)
    with pytest.raises(Exception, match="permission denied"), database.reader() as session:
        session.execute(text("SELECT count(*) FROM ledger.transfers"))
    database.close()

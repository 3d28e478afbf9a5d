"""The commands with which the person at the machine seals, proves and mends the books."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import structlog
from click.testing import CliRunner, Result
from sqlalchemy import text
from sqlalchemy.engine import Engine

import ledger
from app.cli import commands
from app.db import Database
from ledger import NewAccount, NewTransfer
from migrations import upgrade
from tests.ledger.sealed import settle
from tests.owner import without_triggers

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "check_proof.py"


class Shop:
    """Two accounts and somebody at the machine."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.database = Database(database_url)
        self.bank, self.card = uuid4(), uuid4()
        accounts = [NewAccount(id=id_, code=1001) for id_ in (self.bank, self.card)]
        assert all(result.ok for result in self.database.run(lambda session: ledger.create_accounts(session, accounts)))

    def pay(self, amount_fen: int = 100) -> UUID:
        wish = NewTransfer(
            id=uuid4(), debit_account_id=self.bank, credit_account_id=self.card, amount_fen=amount_fen, code=1
        )
        assert self.database.run(lambda session: ledger.create_transfers(session, [wish]))[0].ok
        settle(self.database)
        return wish.id

    def command(self, line: str, *, database_url: str = "", key: str = "17" * 32) -> Result:
        environment = {
            "TESTCARD_DATABASE_URL": database_url or self.database_url,
            "TESTCARD_SECRET_KEY": "a secret for tests alone, 32 characters and more",
            "TESTCARD_KEY_ENCRYPTION_KEY": key,
        }
        return CliRunner(env=environment).invoke(commands, ["ledger", *line.split()], catch_exceptions=False)

    def forge(self, statement: str, **values: Any) -> None:
        with self.database.transaction() as session:
            without_triggers(session)
            session.execute(text(statement), values)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    shop = Shop(database_url)
    yield shop
    shop.database.close()


def test_books_are_sealed_and_verified_and_the_newest_block_can_be_published(shop: Shop) -> None:
    assert shop.command("head").output == "no block yet\n"
    shop.pay()
    sealed = shop.command("seal")
    assert sealed.output.startswith("3 rows sealed; 1:")
    head = shop.command("head").output.split()[0]
    assert head in sealed.output
    shop.pay()
    verified = shop.command(f"verify --head {head}")
    assert verified.exit_code == 0
    assert "books balance; every sealed row stands as it was written (3 rows in 1 blocks, 1 rows not" in verified.output


def test_a_touched_row_is_told_in_sentences_and_as_json(shop: Shop) -> None:
    paid = shop.pay()
    shop.command("seal")
    shop.forge("UPDATE ledger.transfers SET amount_fen = 1000 WHERE id = :id", id=paid)
    told = shop.command("verify")
    assert told.exit_code == 1
    assert f"NOT SO: A sealed row stands as it was sealed. {paid}" in told.output
    assert "must be: transfer of block 1: amount_fen 100\n" in told.output
    assert "stands:  amount_fen 1000\n" in told.output
    document = json.loads(shop.command("verify --json").output)
    assert document["findings"][0]["check"] == "row_changed"
    assert document["findings"][0]["row_id"] == str(paid)
    assert document["head"]["number"] == document["blocks"] == 1


def test_blocks_that_were_cut_off_are_missed_by_the_published_head(shop: Shop) -> None:
    shop.pay()
    shop.command("seal")
    head = shop.command("head").output.split()[0]
    shop.forge("DELETE FROM ledger.seals")
    assert shop.command("verify").exit_code == 0
    missed = shop.command(f"verify --head {head}")
    assert missed.exit_code == 1
    assert "The log holds the block that was published." in missed.output
    assert shop.command("verify --head 1:abc").exit_code == 2
    assert shop.command(f"verify --head x:{'0' * 64}").exit_code == 2


def test_seals_of_an_earlier_key_are_believed_when_its_public_half_is_given(shop: Shop) -> None:
    shop.pay()
    shop.command("seal", key="42" * 32)
    public_key, key_id = shop.command("public-key", key="42" * 32).output.split()
    unknown = shop.command("verify")
    assert unknown.exit_code == 1
    assert key_id in unknown.output
    assert shop.command(f"verify --public-key {public_key}").exit_code == 0
    assert shop.command("verify --public-key 12").exit_code == 2


def test_a_proof_is_printed_that_the_script_accepts_with_the_printed_key(shop: Shop, tmp_path: Path) -> None:
    paid = shop.pay()
    refused = shop.command(f"prove {paid}")
    assert refused.exit_code == 1
    assert "is not sealed yet" in refused.output
    shop.command("seal")
    shop.pay()
    shop.command("seal")
    proof = tmp_path / "proof.json"
    proof.write_text(shop.command(f"prove {paid} --until 2").output)
    public_key = shop.command("public-key").output.split()[0]
    head = shop.command("head").output.split()[0]
    with proof.open() as document:
        checked = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(SCRIPT), public_key], stdin=document, capture_output=True, text=True, check=False
        )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.strip().endswith(head)


def test_after_a_move_to_another_server_the_command_that_helps_is_named(shop: Shop) -> None:
    shop.pay()
    shop.command("seal")
    assert shop.command("adopt").output == "the books know this server already\n"
    shop.forge("UPDATE ledger.clusters SET system_identifier = 1")
    refused = shop.command("seal")
    assert refused.exit_code == 1
    assert "testcard ledger adopt" in refused.output
    assert shop.command("adopt").output == "the books have adopted this server\n"
    shop.pay()
    assert shop.command("seal").output.startswith("1 rows sealed; 2:")
    assert shop.command("verify").exit_code == 0


def test_derived_tables_are_made_anew_and_then_verified(shop: Shop) -> None:
    shop.pay()
    shop.forge("UPDATE ledger.balances SET debits_posted_fen = 7")
    assert shop.command("verify").exit_code == 1
    rebuilt = shop.command("rebuild")
    assert rebuilt.exit_code == 0
    assert rebuilt.output.startswith("2 balances and 0 holds made anew\nbooks balance")


def test_what_needs_the_owner_is_refused_to_the_login_that_serves(server_url: str, maintenance: Engine) -> None:
    name = f"rights_{uuid4().hex[:12]}"
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE ROLE {name}_owner LOGIN CREATEROLE"))
        connection.execute(text(f"CREATE ROLE {name}_web LOGIN"))
        connection.execute(text(f"GRANT testcard_service TO {name}_owner WITH ADMIN OPTION"))
        connection.execute(text(f"CREATE DATABASE {name} OWNER {name}_owner"))
    address = server_url.format(name=name)
    owner, web = (address.replace("postgres@", f"{name}_{login}@") for login in ("owner", "web"))
    upgrade(owner)
    with psycopg.connect(owner) as connection:
        connection.execute(f"GRANT testcard_service TO {name}_web")
    shop = Shop(web)
    shop.pay()
    assert shop.command("seal").exit_code == 0
    for line in ("rebuild", "adopt"):
        refused = shop.command(line)
        assert refused.exit_code == 1
        assert "needs the login that owns the tables" in refused.output
        assert "Traceback" not in refused.output
    assert shop.command("rebuild", database_url=owner).exit_code == 0
    assert shop.command("adopt", database_url=owner).exit_code == 0
    shop.database.close()
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE {name}_web"))
        connection.execute(text(f"DROP ROLE {name}_owner"))

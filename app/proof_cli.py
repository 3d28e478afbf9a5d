"""The commands that seal the books, prove them, and make anew what follows from them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click
import sqlalchemy.exc

import ledger
from app import sealing
from app.db import Database
from app.settings import Settings
from app.starting import prepare

NO_RIGHT = "42501"
HASH_DIGITS = 64


class PublishedBlock(click.ParamType[ledger.Published]):
    """A block as `head` prints it: its number, a colon, its hash."""

    name = "NUMBER:HASH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ledger.Published:
        """Read the two parts; a mistake is told in a sentence."""
        number, _, digest = str(value).partition(":")
        try:
            if len(digest) == HASH_DIGITS:
                return ledger.Published(int(number), bytes.fromhex(digest))
        except ValueError:
            pass
        return self.fail(f"{value!r} is no block: give a number, a colon and {HASH_DIGITS} hex digits", param, ctx)


class PublicKey(click.ParamType[bytes]):
    """A public key as `public-key` prints it."""

    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Read the hex digits; a mistake is told in a sentence."""
        try:
            key = bytes.fromhex(str(value))
        except ValueError:
            key = b""
        if len(key) != sealing.KEY_BYTES:
            self.fail(f"{value!r} is no public key: give {2 * sealing.KEY_BYTES} hex digits", param, ctx)
        return key


@click.command()
def seal() -> None:
    """Seal everything that is committed and closed; the worker does the same every few seconds."""
    with _opened() as (database, settings):
        key, sealed = sealing.seal_key(settings.key_encryption_key), 0
        try:
            while done := sealing.seal_due(database, key=key):
                sealed += done
        except ledger.StrangeClusterError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{sealed} rows sealed; {_head(database)}")


@click.command()
@click.option("--head", "published", type=PublishedBlock(), help="A block that was published: the log must hold it.")
@click.option("--public-key", "keys", type=PublicKey(), multiple=True, help="A key that signed in earlier times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of sentences.")
def verify(*, published: ledger.Published | None, keys: tuple[bytes, ...], as_json: bool) -> None:
    """Prove from outside that the books balance and stand as they were written; exit 1 and name what does not."""
    with _opened() as (database, settings):
        key = sealing.seal_key(settings.key_encryption_key)
        found = sealing.verify(database, key=key, published=published, other_keys=keys)
    if as_json:
        head = None if found.head is None else {"number": found.head.number, "hash": found.head.hash.hex()}
        click.echo(json.dumps({**asdict(found), "head": head}, default=str, indent=2))
    else:
        for finding in found.findings:
            click.echo(sentence(finding))
        _echo_summary(found)
    sys.exit(1 if found.findings else 0)


@click.command()
@click.argument("row_id", metavar="ID", type=click.UUID)
@click.option("--until", "until_block", type=int, metavar="NUMBER", help="Lead on to this later block.")
def prove(row_id: UUID, *, until_block: int | None) -> None:
    """Print the proof of a transfer, a journal or a document as JSON, for docs/check_proof.py."""
    with _opened() as (database, _settings), database.reader() as session:
        try:
            proof = ledger.prove(session, row_id, until_block=until_block)
        except ledger.NotSealedError as error:
            raise click.ClickException(str(error)) from error
    click.echo(json.dumps([proof], ensure_ascii=False, indent=2))


@click.command()
def head() -> None:
    """Print the newest block's number, hash and time: publish it daily where you cannot change it yourself."""
    with _opened() as (database, _settings):
        click.echo(_head(database))


@click.command("public-key")
def public_key() -> None:
    """Print the key with which the seals' signatures can be checked, and its name on the seals."""
    key = sealing.seal_key(prepare().key_encryption_key)
    click.echo(f"{key.public_key.hex()}  {key.key_id}")


@click.command()
def adopt() -> None:
    """Let numbers go on after the books were restored into another database server (docs/how-to/proof.md)."""
    with _opened() as (database, _settings), _owner_rights(), database.owner() as session:
        is_new = ledger.adopt(session)
    click.echo("the books have adopted this server" if is_new else "the books know this server already")


@click.command()
@click.pass_context
def rebuild(context: click.Context) -> None:
    """Make all balances and holds anew from the facts, then verify."""
    with _opened() as (database, _settings), _owner_rights(), database.owner() as session:
        made = ledger.rebuild(session)
    click.echo(f"{made.accounts} balances and {made.holds} holds made anew")
    context.invoke(verify, published=None, keys=(), as_json=False)


COMMANDS = (seal, verify, prove, head, public_key, adopt, rebuild)


def sentence(finding: ledger.Finding) -> str:
    """Say what was found, for a person."""
    row = f" {finding.row_id}" if finding.row_id is not None else ""
    return f"NOT SO: {finding.sentence}{row}\n    must be: {finding.derived}\n    stands:  {finding.found}"


def _echo_summary(found: ledger.Verification) -> None:
    sealed = f"{found.sealed_rows} rows in {found.blocks} blocks, {found.unsealed_rows} rows not sealed yet"
    if found.findings:
        click.echo(f"{len(found.findings)} findings ({sealed})")
    else:
        click.echo(f"books balance; every sealed row stands as it was written ({sealed})")


def _head(database: Database) -> str:
    with database.reader() as session:
        newest = ledger.newest_seal(session)
    if newest is None:
        return "no block yet"
    return f"{newest.number}:{newest.hash.hex()}  {newest.sealed_at:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _opened() -> Iterator[tuple[Database, Settings]]:
    settings = prepare()
    database = Database(settings.database_url)
    try:
        yield database, settings
    finally:
        database.close()


@contextmanager
def _owner_rights() -> Iterator[None]:
    """Explain what is missing when the login may not do what only the tables' owner may."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != NO_RIGHT:
            raise
        raise click.ClickException(
            "This needs the login that owns the tables, the one that runs `migrate`: set TESTCARD_DATABASE_URL to it"
            " for this command. Nothing was changed."
        ) from error

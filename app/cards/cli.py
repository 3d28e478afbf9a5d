"""The commands `testcard keys …`: the versions of the master keys, their rotation, a new key-encryption key."""

import os
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock, crypto_box
from app.cards import keys
from app.db import Database
from app.devices.models import ServerKey
from app.starting import prepare

ACTOR = f"console:{os.environ.get('USER', 'unknown')}"


@click.group(name="keys")
def keys_commands() -> None:
    """The master keys of the cards. No command prints a key."""


@keys_commands.command(name="list")
def list_versions() -> None:
    """Print the versions of the master keys and how many chips have keys of each."""
    for line in _run(keys.versions):
        click.echo(f"version {line.version}  made {line.created_at:%Y-%m-%d %H:%M} UTC  chips {line.chips}")


@keys_commands.command()
@click.confirmation_option(prompt="New and renewed cards will get keys of a new version. Go on?")
def rotate() -> None:
    """Make the next version of all five master keys. Cards in use keep theirs until they are renewed."""
    values, at = prepare(), clock.now()
    version = _run(
        lambda session: keys.rotate(session, key_encryption_key=values.key_encryption_key, actor=ACTOR, at=at)
    )
    click.echo(f"version {version} is in use from now on")


@keys_commands.command()
def rewrap() -> None:
    """Wrap every secret of the database with the key-encryption key of the settings.

    Before: put the new key into TESTCARD_KEY_ENCRYPTION_KEY and the one before into TESTCARD_OLD_KEY_ENCRYPTION_KEY.
    """
    values, at = prepare(), clock.now()
    if not values.old_key_encryption_key:
        raise click.ClickException("TESTCARD_OLD_KEY_ENCRYPTION_KEY is missing: it opens what is to be wrapped anew.")

    def work(session: Session) -> int:
        pair = {
            "old_key_encryption_key": values.old_key_encryption_key,
            "key_encryption_key": values.key_encryption_key,
        }
        return keys.rewrap(session, **pair, actor=ACTOR, at=at) + _rewrap_server_keys(session, **pair)

    try:
        changed = _run(work)
    except crypto_box.WrongKeyError as error:
        raise click.ClickException(f"{error}; nothing was changed.") from error
    click.echo(f"{changed} secrets are wrapped with the new key; the old one opens none of them any more")


def _rewrap_server_keys(session: Session, *, old_key_encryption_key: bytes, key_encryption_key: bytes) -> int:
    changed = 0
    for row in session.scalars(select(ServerKey).with_for_update()):
        found = crypto_box.rewrap(
            row.wrapped_private_key,
            old_key=old_key_encryption_key,
            key=key_encryption_key,
            purpose=f"server key {row.key_id}",
        )
        if found is not None:
            row.wrapped_private_key = found
            changed += 1
    return changed


def _run(work: Any) -> Any:
    database = Database(prepare().database_url)
    try:
        return database.run(work)
    finally:
        database.close()

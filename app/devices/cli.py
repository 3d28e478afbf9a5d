"""`testcard box …`: what an administrator does to boxes at the machine itself, by the services the pages use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import uuid4

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.devices.boxes import enrolment
from app.devices.boxes.enrolment import BoxPassword
from app.devices.boxes.listing import BoxLine, lines_of
from app.errors import TEXTS, Code, Refusal
from app.instruments.models import Instrument
from app.starting import prepare
from telemetry.models import Box

ACTOR = "system:command-line"
T = TypeVar("T")


@click.group(name="box")
def box_commands() -> None:
    """Collector boxes: enrol, renew the password, revoke, list."""


@box_commands.command(name="enrol")
@click.option("--channels", type=int, default=1, show_default=True)
@click.option("--instrument", help="Code of the instrument that channel 0 meters.")
def enrol(channels: int, instrument: str | None) -> None:
    """Enrol a box and print its password, which is told only now."""

    def work(session: Session) -> BoxPassword:
        instrument_id = None
        if instrument is not None:
            instrument_id = session.scalar(select(Instrument.id).where(Instrument.code == instrument))
            if instrument_id is None:
                raise Refusal(Code.NOT_FOUND)
        return enrolment.enrol_box(
            session,
            request_id=uuid4(),
            channels=channels,
            instrument_id=instrument_id,
            actor=ACTOR,
            at=clock.now(),
        )

    _print_password(_run(work))


@box_commands.command(name="password")
@click.argument("code")
def password(code: str) -> None:
    """Give a box a new password and print it, which is told only now."""
    _print_password(_run(lambda session: enrolment.rotate_password(session, code=code, actor=ACTOR, at=clock.now())))


@box_commands.command(name="revoke")
@click.argument("code")
def revoke(code: str) -> None:
    """Take no more messages of a box, for good."""
    _run(lambda session: enrolment.revoke_box(session, code=code, actor=ACTOR, at=clock.now()))
    click.echo(f"{code} is revoked")


@box_commands.command(name="list")
def list_() -> None:
    """Print the boxes: code, instruments, when last heard, missing messages, open alarms."""
    with _database() as database, database.reader() as session:
        for line in lines_of(session, session.scalars(select(Box).order_by(Box.code)), at=clock.now()):
            click.echo("\t".join(_words(line)))


def _words(line: BoxLine) -> tuple[str, ...]:
    places = ",".join(each.place.instrument.code for each in line.channels if each.place is not None)
    heard = "-" if line.heard_at is None else line.heard_at.isoformat(timespec="seconds")
    revoked = "revoked" if line.box.revoked_at is not None else "in service"
    return line.box.code, places or "-", revoked, heard, f"missing {line.missing}", f"alarms {line.alarms}"


def _print_password(made: BoxPassword) -> None:
    click.echo(f'code = "{made.box.code}"\npassword = "{made.password}"')


def _run(work: Callable[[Session], T]) -> T:
    with _database() as database:
        try:
            return database.run(work)
        except Refusal as refusal:
            raise click.ClickException(TEXTS[Code(refusal.code)].en) from refusal


@contextmanager
def _database() -> Iterator[Database]:
    database = Database(prepare().database_url)
    try:
        yield database
    finally:
        database.close()

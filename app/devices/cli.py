"""`testcard box …` and `testcard terminal …`: what an administrator does at the machine, by the same services."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import uuid4

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.devices import service
from app.devices.boxes import enrolment
from app.devices.boxes.enrolment import BoxPassword
from app.devices.boxes.listing import BoxLine, lines_of
from app.devices.models import Revocation, Terminal
from app.devices.service import EnrolmentCode
from app.errors import TEXTS, Code, Refusal
from app.instruments.models import Instrument
from app.starting import prepare
from telemetry.models import Box

ACTOR = "system:command-line"
LIST_MAX = 10_000
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


@click.group(name="terminal")
def terminal_commands() -> None:
    """Card terminals: make, approve, revoke, replace, list."""


@terminal_commands.command(name="new")
@click.argument("code")
@click.argument("instrument")
def new_terminal(code: str, instrument: str) -> None:
    """Make a terminal for an instrument, and print the one-time code with which it enrols."""

    def work(session: Session) -> EnrolmentCode:
        instrument_id = session.scalar(select(Instrument.id).where(Instrument.code == instrument))
        if instrument_id is None:
            raise Refusal(Code.NOT_FOUND)
        return service.create_terminal(session, code=code, instrument_id=instrument_id, actor=ACTOR, at=clock.now())

    _print_code(_run(work))


@terminal_commands.command(name="code")
@click.argument("code")
def terminal_code(code: str) -> None:
    """Print a fresh one-time code for a terminal that has not enrolled yet."""
    _print_code(
        _run(
            lambda session: service.new_enrolment_code(
                session, terminal_id=_terminal(session, code).id, actor=ACTOR, at=clock.now()
            )
        )
    )


@terminal_commands.command(name="approve")
@click.argument("code")
@click.argument("fingerprint")
def approve(code: str, fingerprint: str) -> None:
    """Take a terminal whose screen shows this FINGERPRINT; its last three groups are enough."""
    _run(
        lambda session: service.approve(
            session, terminal_id=_terminal(session, code).id, fingerprint=fingerprint, actor=ACTOR, at=clock.now()
        )
    )
    click.echo(f"{code} is taken")


@terminal_commands.command(name="revoke")
@click.argument("code")
@click.option("--why", type=click.Choice([str(each) for each in Revocation]), default="retired", show_default=True)
def revoke_terminal(code: str, why: str) -> None:
    """Stop trusting a terminal, for good."""
    _run(
        lambda session: service.revoke(
            session, terminal_id=_terminal(session, code).id, why=Revocation(why), actor=ACTOR, at=clock.now()
        )
    )
    click.echo(f"{code} is revoked")


@terminal_commands.command(name="replace")
@click.argument("code")
@click.argument("new_code")
@click.option("--why", type=click.Choice([str(each) for each in Revocation]), default="replaced", show_default=True)
def replace_terminal(code: str, new_code: str, why: str) -> None:
    """Revoke a terminal, and make NEW_CODE with a key of its own in its place."""
    _print_code(
        _run(
            lambda session: service.replace_key(
                session,
                terminal_id=_terminal(session, code).id,
                code=new_code,
                why=Revocation(why),
                actor=ACTOR,
                at=clock.now(),
            )
        )
    )


@terminal_commands.command(name="list")
def list_terminals() -> None:
    """Print the terminals: code, instrument, status, fingerprint, when last heard, what they owe."""
    with _database() as database, database.reader() as session:
        for each in service.terminals(session, limit=LIST_MAX):
            heard = "-" if each.last_seen_at is None else each.last_seen_at.isoformat(timespec="seconds")
            words = (each.code, each.instrument.code, each.status, service.fingerprint_of(each) or "-", heard)
            click.echo("\t".join((*words, f"unsent {each.unsent}", f"reader {each.reader or '-'}")))


def _terminal(session: Session, code: str) -> Terminal:
    found = session.scalar(select(Terminal).where(Terminal.code == code))
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def _print_code(made: EnrolmentCode) -> None:
    click.echo(f"{made.terminal.code}: {made.code}  (until {made.expires_at.isoformat(timespec='seconds')})")


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

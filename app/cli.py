"""The `testcard` command: one door for every process of the service and for the people who run it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

import migrations
from app import clock, ingest_cli, proof_cli, settings
from app.accounting import cli as books_cli
from app.cards.cli import keys_commands
from app.db import Database
from app.devices.cli import box_commands, terminal_commands
from app.ledger_cli import ledger_commands
from app.reconciliation.cli import reconcile
from app.reconciliation.records.cli import usage_commands
from app.starting import prepare, stop_on_signal


def main() -> None:
    """Run the command; mistakes in the settings are told in one sentence each, without a traceback."""
    try:
        commands()
    except settings.SettingsError as error:
        click.echo(str(error), err=True)
        # Starting again cannot help: a supervisor leaves a child alone that ends so.
        sys.exit(os.EX_CONFIG)


@click.group(name="testcard")
def commands() -> None:
    """The analysis-test card service."""


commands.add_command(ledger_commands)
commands.add_command(box_commands)
commands.add_command(terminal_commands)
commands.add_command(ingest_cli.ingest)
commands.add_command(ingest_cli.broker)
commands.add_command(reconcile)
commands.add_command(usage_commands)
commands.add_command(keys_commands)
for command in (*proof_cli.COMMANDS, *books_cli.COMMANDS):
    ledger_commands.add_command(command)


@commands.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    migrations.upgrade(prepare().database_url)


@commands.command()
def worker() -> None:
    """Run the jobs; start as many as you like, one leads."""
    from app import worker as worker_process  # noqa: PLC0415 - only this process needs the scheduler

    values = prepare()
    database = Database(values.database_url)
    worker_process.run(database, values, stop_on_signal())
    database.close()


@commands.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app import create_app  # noqa: PLC0415 - only this command builds the web application

    click.echo(create_app().test_client().get("/api/v1/openapi.json").get_data(as_text=True))


@commands.command()
@click.option("--var", type=click.Path(path_type=Path), default=Path("var"), show_default=True)
@click.option("--speed", type=float, default=30.0, show_default=True, help="How much faster than life.")
@click.option("--port", type=int, default=8000, show_default=True)
def demo(var: Path, speed: float, port: int) -> None:
    """Start everything on this machine with a small Chongqing that lives by itself; Ctrl-C stops it."""
    from app.demo import run  # noqa: PLC0415 - production never loads the demonstration

    sys.exit(run.run(folder=var, speed=speed, port=port, stop=stop_on_signal()))


@commands.command(name="try")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of sentences.")
@click.option("--speed", type=float, default=90.0, show_default=True, help="How much faster than life.")
def try_(*, as_json: bool, speed: float) -> None:
    """Do the main job once, headless, on the embedded defaults; exit 0 only if all of it held."""
    from app.demo import story  # noqa: PLC0415 - production never loads the demonstration

    sys.exit(story.run(as_json=as_json, speed=speed))


@commands.group()
def simulate() -> None:
    """Things of the demonstration that stand outside the service."""


@simulate.command()
@click.option("--plan", type=click.Path(path_type=Path, exists=True), required=True)
def boxes(plan: Path) -> None:
    """Run the collector boxes of a plan; each replays a real power trace."""
    from app.demo import boxes as box_process  # noqa: PLC0415 - production never loads the demonstration

    box_process.run(_read_plan(plan), anchor=_simulated_clock(), stop=stop_on_signal())


@simulate.command()
@click.option("--plan", type=click.Path(path_type=Path, exists=True), required=True)
def visitors(plan: Path) -> None:
    """Let simulated people tap their cards at the terminals of a plan."""
    from app.demo import visitors as visitor_process  # noqa: PLC0415 - production never loads the demonstration

    visitor_process.run(_read_plan(plan), anchor=_simulated_clock(), stop=stop_on_signal())


def _read_plan(path: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return plan


def _simulated_clock() -> clock.Anchor:
    values = prepare()
    if values.clock_anchor is None:
        raise settings.SettingsError("TESTCARD_CLOCK_ANCHOR is missing: simulations need a simulated clock")
    return clock.Anchor.parse(values.clock_anchor)


if __name__ == "__main__":
    main()

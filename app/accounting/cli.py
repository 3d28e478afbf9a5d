"""The commands `testcard ledger export` and `trial-balance`: the books for whoever is at the machine."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO

import click

DAY = click.DateTime(["%Y-%m-%d"])
OUT = click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; else standard output.")
LANGUAGE = click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)


@click.command()
@click.option("--format", "form", type=click.Choice(["beancount", "hledger", "xlsx", "csv"]), required=True)
@click.option("--since", type=DAY, help="First day, for xlsx and csv; else the first of all.")
@click.option("--until", type=DAY, help="Last day, included; else today.")
@OUT
@LANGUAGE
def export(*, form: str, since: datetime | None, until: datetime | None, out: Path | None, language: str) -> None:
    """Write the books up to a day: whole, for beancount or hledger, or line by line as a table."""
    from app.accounting import printing  # noqa: PLC0415 - no other process of the service needs the pages' words

    first, last = (None if each is None else each.date() for each in (since, until))
    printing.print_books(form=form, first=first, last=last, out=out, language=language)


@click.command(name="trial-balance")
@click.option("--month", default="", help="2026-10; else the present month.")
@click.option("--since", default="", help="First day, 2026-10-01, instead of a month.")
@click.option("--until", default="", help="Last day, included.")
@click.option(
    "--format", "form", type=click.Choice(["table", "xlsx", "csv", "pdf"]), default="table", show_default=True
)
@OUT
@LANGUAGE
def trial_balance(*, month: str, since: str, until: str, form: str, out: Path | None, language: str) -> None:
    """Show what every code of the chart stood at, moved, and stands at; exit 1 if the sum is not 0."""
    from app.accounting import printing  # noqa: PLC0415 - no other process of the service needs the pages' words

    days = {"month": month, "since": since, "until": until}
    sys.exit(0 if printing.print_trial_balance(days, form=form, out=out, language=language) else 1)


@click.command(name="open")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option(
    "--value-on", type=DAY, required=True, help="The day for which it counts: the last one of the old system."
)
@click.option("--actor", required=True, help="Who brings it; the vouchers name her.")
def open_books(*, file: TextIO, value_on: datetime, actor: str) -> None:
    """Post the opening balances of FILE, a CSV; bringing it again posts only what does not stand yet."""
    from app.accounting import bringing  # noqa: PLC0415 - no other process of the service needs it

    sys.exit(0 if bringing.bring_opening(file, value_on=value_on.date(), actor=actor) else 1)


COMMANDS = (export, trial_balance, open_books)

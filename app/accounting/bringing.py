"""Opening balances brought by a command, with a word on what became of every line that did not go through."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import TextIO

import click

import ledger
from app import clock, money
from app.accounting import service
from app.books import Book, BookRole
from app.db import Database
from app.errors import Refusal
from app.starting import prepare


def bring_opening(file: TextIO, *, value_on: date, actor: str) -> bool:
    """Check the file, post it, and say what came of it; gives whether all its lines stand."""
    values = prepare()
    database = Database(values.database_url)
    try:
        with database.reader() as session:
            lines = service.read_opening(session, file)
            service.check_value_date(session, value_on, zone=values.site_timezone, at=clock.now())
        value_at = service.value_moment(value_on, zone=values.site_timezone)
        with ledger.PostingQueue(database.connect) as queue:
            counts = _tell(service.post_opening(queue, lines, value_at=value_at, actor=actor))
        with database.reader() as session:
            left_fen = ledger.balances(session, [opening := Book(BookRole.OPENING).id])[opening].debit_balance_fen
    except service.OpeningError as error:
        raise click.ClickException("nothing was posted\n" + "\n".join(error.mistakes)) from error
    except Refusal as refusal:
        raise click.ClickException(f"nothing was posted: {refusal.code}") from refusal
    finally:
        database.close()
    click.echo(f"posted: {counts['posted']}, there before: {counts['before']}, refused: {counts['refused']}")
    click.echo(f"the account of the opening stands at {money.yuan(left_fen)}")
    return counts["refused"] == 0


def _tell(opened: Iterable[service.Opened]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in opened:
        result = each.result
        if result.ok:
            counts["before" if result.replayed else "posted"] += 1
        else:
            counts["refused"] += 1
            click.echo(f"line {each.line.place} ({each.line.reference}): {result.failed or result.status}", err=True)
    return counts

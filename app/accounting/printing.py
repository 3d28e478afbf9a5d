"""The books written by a command instead of a page: longer files, and a trial balance for a terminal."""

import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO

import click
import flask_babel
from sqlalchemy.orm import Session

import ledger
from app import clock, create_app, money, web
from app.accounting import service, sheets
from app.accounting.spans import days_span, read_span
from app.errors import Refusal
from app.exports import FileFormat, Form, Sheet, TooManyLinesError, write_file, write_text
from app.fields import YEAR_MIN
from app.starting import prepare

LOCALES = {"zh": "zh_Hans_CN", "en": "en"}
# Nobody waits at a browser; an XLSX page ends at 1,048,576 rows.
LINES_MAX = {FileFormat.XLSX: 1_000_000, FileFormat.CSV: 100_000_000, FileFormat.PDF: 20_000}
PROGRAMS = {"beancount": ledger.write_beancount, "hledger": ledger.write_hledger}
GAP = "  "
WIDE = "WF"


def print_books(*, form: str, first: date | None, last: date | None, out: Path | None, language: str) -> None:
    """Write everything of these days: for beancount or hledger from the beginning, else line by line as a table."""
    with _books(language) as session, _opened(out) as file:
        zone = web.settings().site_timezone
        until_day = last or clock.now().astimezone(zone).date()
        span = days_span(first or date(YEAR_MIN, 1, 1), until_day, zone=zone)
        if form in PROGRAMS:
            write, names = PROGRAMS[form], service.plain_text_names
            write_text(lambda text: write(session, text, names=names, until=span.until, zone=zone), file)
        else:
            wanted = service.Wanted(since=span.since, until=span.until)
            vouchers = service.all_vouchers(session, wanted, zone=zone)
            _write(sheets.vouchers_sheet(vouchers, span=span), FileFormat(form), file)


def print_trial_balance(days: Mapping[str, str], *, form: str, out: Path | None, language: str) -> bool:
    """Write the trial balance, as a table for a terminal or as a file; say whether its sum is 0."""
    with _books(language) as session, _opened(out) as file:
        try:
            span = read_span(days, zone=web.settings().site_timezone, at=clock.now())
        except Refusal as refusal:
            raise click.UsageError(f"{refusal.code}: {refusal.details}") from refusal
        balance = service.trial_balance(session, since=span.since, until=span.until)
        sheet = sheets.trial_sheet(balance, span=span)
        if form == "table":
            file.write(_table(sheet).encode())
        else:
            _write(sheet, FileFormat(form), file)
        return balance.difference_fen == 0


@contextmanager
def _books(language: str) -> Iterator[Session]:
    """Open the books of this site for reading, the words in that language."""
    with create_app(prepare()).app_context(), flask_babel.force_locale(LOCALES[language]):
        try:
            with web.database().reader() as session:
                yield session
        finally:
            web.database().close()


@contextmanager
def _opened(out: Path | None) -> Iterator[BinaryIO]:
    """Open what is to be written. What ends early leaves no file that looks whole."""
    if out is None:
        yield sys.stdout.buffer
        return
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _write(sheet: Sheet, form: FileFormat, file: BinaryIO) -> None:
    try:
        write_file(sheet, form, file, lines_max=LINES_MAX[form])
    except TooManyLinesError as error:
        raise click.ClickException(f"{form} cannot hold it: {error}; choose fewer days, or csv") from error


def _table(sheet: Sheet) -> str:
    """Write a table for a terminal, where a Chinese character takes two places."""
    right = [column.form is Form.MONEY for column in sheet.columns]
    rows = [[column.title for column in sheet.columns]]
    rows += [
        [money.yuan(cell) if isinstance(cell, int) else str(cell or "") for cell in row.cells] for row in sheet.rows
    ]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = [
        GAP.join(_padded(cell, width, on_the_right=side) for cell, width, side in zip(row, widths, right, strict=True))
        for row in rows
    ]
    facts = [f"{label}: {value}" for label, value in sheet.facts]
    return "\n".join((sheet.title, *facts, "", *(line.rstrip() for line in lines), "", sheet.note, ""))


def _padded(text: str, width: int, *, on_the_right: bool) -> str:
    blanks = " " * (width - _width(text))
    return f"{blanks}{text}" if on_the_right else f"{text}{blanks}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in WIDE else 1 for letter in text)

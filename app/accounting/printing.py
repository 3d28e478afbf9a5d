"""The books written by a command instead of a page: longer files, and a trial balance for a terminal."""

import unicodedata
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import click

import ledger
from app import clock, money, web
from app.accounting import service, sheets
from app.errors import Refusal
from app.exports import FileFormat, Form, Sheet, write_text
from app.exports.command import opened, site, write_sheet
from app.fields import YEAR_MIN
from app.spans import days_span, read_span

PROGRAMS = {"beancount": ledger.write_beancount, "hledger": ledger.write_hledger}
GAP = "  "
WIDE = "WF"


def print_books(*, form: str, first: date | None, last: date | None, out: Path | None, language: str) -> None:
    """Write everything of these days: for beancount or hledger from the beginning, else line by line as a table."""
    with site(language) as session, opened(out) as file:
        zone = web.settings().site_timezone
        until_day = last or clock.now().astimezone(zone).date()
        span = days_span(first or date(YEAR_MIN, 1, 1), until_day, zone=zone)
        if form in PROGRAMS:
            write, names = PROGRAMS[form], service.plain_text_names
            write_text(lambda text: write(session, text, names=names, until=span.until, zone=zone), file)
        else:
            wanted = service.Wanted(since=span.since, until=span.until)
            vouchers = service.all_vouchers(session, wanted, zone=zone)
            write_sheet(sheets.vouchers_sheet(vouchers, span=span), FileFormat(form), file)


def print_trial_balance(days: Mapping[str, str], *, form: str, out: Path | None, language: str) -> bool:
    """Write the trial balance, as a table for a terminal or as a file; say whether its sum is 0."""
    with site(language) as session, opened(out) as file:
        try:
            span = read_span(days, zone=web.settings().site_timezone, at=clock.now())
        except Refusal as refusal:
            raise click.UsageError(f"{refusal.code}: {refusal.details}") from refusal
        balance = service.trial_balance(session, since=span.since, until=span.until)
        sheet = sheets.trial_sheet(balance, span=span)
        if form == "table":
            file.write(_table(sheet).encode())
        else:
            write_sheet(sheet, FileFormat(form), file)
        return balance.difference_fen == 0


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

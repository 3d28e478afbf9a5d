"""A table as CSV that Excel opens with Chinese intact and in which no text can act as a formula."""

import csv
from datetime import datetime
from typing import TextIO

from app import money
from app.exports.sheets import Cell, Form, Sheet, counted

BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet may take for the beginning of a formula, or skip before one (OWASP, CSV injection).
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(sheet: Sheet, out: TextIO, *, lines_max: int) -> None:
    """Write the columns' titles and the rows; facts and note are left out, so that programs can read the file.

    Open `out` with newline="" and UTF-8. Raises TooManyLinesError.
    """
    out.write(BYTE_ORDER_MARK)
    writer = csv.writer(out)
    writer.writerow([harmless(column.title) for column in sheet.columns])
    for row in counted(sheet.rows, lines_max=lines_max):
        writer.writerow([_text(cell, column.form) for cell, column in zip(row.cells, sheet.columns, strict=True)])


def harmless(text: str) -> str:
    """Give a text that no spreadsheet takes for a formula: a leading apostrophe keeps it text."""
    return f"'{text}" if text.startswith(RISKY) else text


def _text(cell: Cell, form: Form) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        # A number stays a number, also below zero: nothing but digits can come of it.
        return money.yuan(cell).replace(",", "") if form is Form.MONEY else str(cell)
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%S")
    return harmless(str(cell))

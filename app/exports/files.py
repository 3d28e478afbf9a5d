"""The one way from a table to a file of any format."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO

from app.exports.comma import write_csv
from app.exports.paper import write_pdf
from app.exports.sheets import FileFormat, Sheet
from app.exports.workbook import write_xlsx


def write_file(sheet: Sheet, form: FileFormat, out: BinaryIO, *, lines_max: int | None = None) -> None:
    """Write the table in that format, unless told otherwise as long as a browser may wait. Raises TooManyLinesError."""
    most = form.lines_max if lines_max is None else lines_max
    if form is FileFormat.CSV:
        write_text(lambda text: write_csv(sheet, text, lines_max=most), out)
    elif form is FileFormat.XLSX:
        write_xlsx(sheet, out, lines_max=most)
    else:
        write_pdf(sheet, out, lines_max=most)


def write_text(write: Callable[[TextIO], Any], out: BinaryIO) -> None:
    """Let `write` write UTF-8 text into a file of bytes, which stays open."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    write(text)
    text.detach()

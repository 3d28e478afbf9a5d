"""Tables written by a command instead of a page: longer files, in the language that is asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import flask_babel
from sqlalchemy.orm import Session

from app import create_app, web
from app.exports import FileFormat, Sheet, TooManyLinesError, write_file
from app.starting import prepare

LOCALES = {"zh": "zh_Hans_CN", "en": "en"}
# Nobody waits at a browser; an XLSX page ends at 1,048,576 rows.
LINES_MAX = {FileFormat.XLSX: 1_000_000, FileFormat.CSV: 100_000_000, FileFormat.PDF: 20_000}


@contextmanager
def site(language: str) -> Iterator[Session]:
    """Open the site's database for reading, the words in that language."""
    with create_app(prepare()).app_context(), flask_babel.force_locale(LOCALES[language]):
        try:
            with web.database().reader() as session:
                yield session
        finally:
            web.database().close()


@contextmanager
def opened(out: Path | None) -> Iterator[BinaryIO]:
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


def write_sheet(sheet: Sheet, form: FileFormat, file: BinaryIO) -> None:
    """Write a table; one that the format cannot hold is told in a sentence."""
    try:
        write_file(sheet, form, file, lines_max=LINES_MAX[form])
    except TooManyLinesError as error:
        raise click.ClickException(f"{form} cannot hold it: {error}; choose fewer days, or csv") from error

"""What a table is before it becomes a file: its title, its columns, and rows that come one after another."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

Cell = str | int | date | datetime | None


class Form(StrEnum):
    """How the cells of a column are to be read. MONEY is an integer of fen; MOMENT is already in the zone to show."""

    TEXT = "text"
    MONEY = "money"
    COUNT = "count"
    DAY = "day"
    MOMENT = "moment"


class Tone(StrEnum):
    """What a row is among the others."""

    PLAIN = "plain"
    GROUP = "group"
    TOTAL = "total"


class FileFormat(StrEnum):
    """The files a table can become."""

    CSV = "csv"
    XLSX = "xlsx"
    PDF = "pdf"

    @property
    def media_type(self) -> str:
        """Give the content type."""
        return {
            FileFormat.CSV: "text/csv; charset=utf-8",
            FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            FileFormat.PDF: "application/pdf",
        }[self]

    @property
    def lines_max(self) -> int:
        """Give how many rows somebody at a browser may wait for; paper is for reading."""
        return {FileFormat.CSV: 500_000, FileFormat.XLSX: 50_000, FileFormat.PDF: 3_000}[self]


class Column(NamedTuple):
    """One column; `width` is its share of the page and, as characters, of a spreadsheet. Paper may leave it out."""

    title: str
    form: Form = Form.TEXT
    width: int = 12
    on_paper: bool = True


class Row(NamedTuple):
    """One row: a cell for each column, None where there is nothing to say."""

    cells: tuple[Cell, ...]
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table that somebody takes away.

    `facts` stand above it (label, value), `note` below it; `stem` is the file's name without its ending, in ASCII.
    `page_word` makes the words for a page and the number of pages.
    """

    title: str
    stem: str
    facts: tuple[tuple[str, str], ...] = ()
    columns: tuple[Column, ...]
    rows: Iterable[Row]
    note: str = ""
    page_word: Callable[[int, int], str] = "{} / {}".format
    missing_word: str = "〓: "
    """What stands before the list of characters that the printed font lacks."""


class TooManyLinesError(Exception):
    """The table is longer than its file may be; nothing of it should be used."""

    def __init__(self, lines_max: int) -> None:
        super().__init__(f"more than {lines_max} lines")
        self.lines_max = lines_max


def counted(rows: Iterable[Row], *, lines_max: int) -> Iterable[Row]:
    """Give the rows on, and raise TooManyLinesError at the first one too many."""
    for number, row in enumerate(rows, start=1):
        if number > lines_max:
            raise TooManyLinesError(lines_max)
        yield row

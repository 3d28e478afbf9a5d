"""A table as a PDF of A4 pages, its font embedded: what is printed, signed and filed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfgen.canvas import Canvas

from app import money
from app.exports.lettering import NAME, WRITING, lettering, lines_of, printable, width_of
from app.exports.sheets import Cell, Column, Form, Row, Sheet, Tone, counted

MARGIN, FOOT = 36.0, 44.0
TITLE, FACT, HEAD, BODY, SMALL = 15.0, 9.0, 8.5, 8.5, 7.5
LEADING = 1.4
PADDING = 3.0
LINES_IN_CELL_MAX = 12
# Up to this width in characters a table stands upright on the page.
UPRIGHT_WIDTH_MAX = 100
INK, QUIET, RULE = (0.06, 0.15, 0.18), (0.32, 0.38, 0.42), (0.75, 0.8, 0.82)
GROUNDS = {Tone.GROUP: (0.918, 0.949, 0.953), Tone.TOTAL: (0.867, 0.91, 0.918)}


def write_pdf(sheet: Sheet, out: BinaryIO, *, lines_max: int) -> None:
    """Write the table on as many pages as it needs, its head on each. Raises TooManyLinesError."""
    with WRITING:
        lettering()
        _Paper(sheet).write(out, lines_max=lines_max)


@dataclass(slots=True)
class _Paper:
    """One document while it is being written; `y` is where the next line stands, counted from the foot of the page."""

    sheet: Sheet
    columns: list[Column] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    canvas: Any = None
    widths: list[float] = field(default_factory=list)
    size: tuple[float, float] = A4
    y: float = 0.0
    missing: set[str] = field(default_factory=set)

    def write(self, out: BinaryIO, *, lines_max: int) -> None:
        self.places = [place for place, column in enumerate(self.sheet.columns) if column.on_paper]
        self.columns = [self.sheet.columns[place] for place in self.places]
        total = sum(column.width for column in self.columns)
        self.size = A4 if total <= UPRIGHT_WIDTH_MAX else landscape(A4)
        self.widths = [column.width / total * (self.size[0] - 2 * MARGIN) for column in self.columns]
        self.canvas = _Numbered(out, pagesize=self.size, initialFontName=NAME, page_word=self.sheet.page_word)
        self.canvas.setTitle(self.sheet.title)
        self._begin()
        for row in counted(self.sheet.rows, lines_max=lines_max):
            self._row(row)
        self._end()
        self.canvas.showPage()
        self.canvas.save()

    def _begin(self) -> None:
        self.y = self.size[1] - MARGIN - TITLE
        self._text(MARGIN, self.sheet.title, size=TITLE)
        self.y -= TITLE * 0.5
        for label, value in self.sheet.facts:
            for line in self._broken(f"{label}  {value}", size=FACT, width=self.size[0] - 2 * MARGIN):
                self.y -= FACT * LEADING
                self._text(MARGIN, line, size=FACT, ink=QUIET)
        self.y -= FACT
        self._head()

    def _head(self) -> None:
        titles = Row(cells=tuple(column.title for column in self.sheet.columns), tone=Tone.GROUP)
        self._put(titles, size=HEAD)

    def _row(self, row: Row) -> None:
        lines = self._lines(row, size=BODY)
        if self.y - _height(lines, BODY) < FOOT:
            self.canvas.showPage()
            self.y = self.size[1] - MARGIN
            self._head()
        self._put(row, size=BODY, lines=lines)

    def _end(self) -> None:
        """Write the note, and which characters could not be printed."""
        notes = [self.sheet.note] if self.sheet.note else []
        if self.missing:
            named = ", ".join(f"U+{ord(each):04X}" for each in sorted(self.missing))
            notes.append(f"{self.sheet.missing_word}{named}")
        self.y -= SMALL
        for note in notes:
            for line in self._broken(note, size=SMALL, width=self.size[0] - 2 * MARGIN):
                self.y -= SMALL * LEADING
                if self.y < FOOT:
                    self.canvas.showPage()
                    self.y = self.size[1] - MARGIN - SMALL
                self._text(MARGIN, line, size=SMALL, ink=QUIET)

    def _put(self, row: Row, *, size: float, lines: list[list[str]] | None = None) -> None:
        lines = lines if lines is not None else self._lines(row, size=size)
        height = _height(lines, size)
        if row.tone in GROUNDS:
            self.canvas.setFillColorRGB(*GROUNDS[row.tone])
            self.canvas.rect(MARGIN, self.y - height, sum(self.widths), height, stroke=0, fill=1)
        left = MARGIN
        for column, width, cell_lines in zip(self.columns, self.widths, lines, strict=True):
            for number, line in enumerate(cell_lines):
                baseline = self.y - PADDING - size - number * size * LEADING
                shift = width - PADDING - width_of(line, size=size) if _on_the_right(column) else PADDING
                self._draw(left + shift, baseline, line, size=size, ink=INK)
            left += width
        self.y -= height
        self.canvas.setStrokeColorRGB(*RULE)
        self.canvas.setLineWidth(0.4)
        self.canvas.line(MARGIN, self.y, MARGIN + sum(self.widths), self.y)

    def _lines(self, row: Row, *, size: float) -> list[list[str]]:
        """Break every cell of a row into lines; an endless text is cut, and a … says so."""
        found = []
        for column, width, place in zip(self.columns, self.widths, self.places, strict=True):
            lines = self._broken(_written(row.cells[place], column), size=size, width=width - 2 * PADDING)
            if len(lines) > LINES_IN_CELL_MAX:
                lines = [*lines[: LINES_IN_CELL_MAX - 1], "…"]
            found.append(lines)
        return found

    def _broken(self, text: str, *, size: float, width: float) -> list[str]:
        return lines_of(printable(text, missing=self.missing), size=size, width=width)

    def _text(self, x: float, text: str, *, size: float, ink: tuple[float, float, float] = INK) -> None:
        self._draw(x, self.y, printable(text, missing=self.missing), size=size, ink=ink)

    def _draw(self, x: float, y: float, text: str, *, size: float, ink: tuple[float, float, float]) -> None:
        self.canvas.setFillColorRGB(*ink)
        self.canvas.setFont(NAME, size)
        self.canvas.drawString(x, y, text)


class _Numbered(Canvas):
    """A canvas that keeps its pages until it knows how many there are, so that each can say it."""

    def __init__(self, *arguments: Any, page_word: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self._page_word = page_word
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - the library's name
        """Keep the page."""
        self._kept.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined] # the library's own way, which its types leave out

    def save(self) -> None:
        """Write all pages with their numbers."""
        for number, page in enumerate(self._kept, start=1):
            self.__dict__.update(page)
            self.setFillColorRGB(*QUIET)
            self.setFont(NAME, SMALL)
            self.drawRightString(self._pagesize[0] - MARGIN, FOOT - 18, self._page_word(number, len(self._kept)))  # type: ignore[attr-defined]
            super().showPage()
        super().save()


def _height(lines: list[list[str]], size: float) -> float:
    return max(len(each) for each in lines) * size * LEADING + 2 * PADDING


def _on_the_right(column: Column) -> bool:
    return column.form in (Form.MONEY, Form.COUNT)


def _written(cell: Cell, column: Column) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return money.yuan(cell) if column.form is Form.MONEY else str(cell)
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M")
    return str(cell)

"""A table as an XLSX workbook: real numbers and dates, nothing that is a formula, written row by row."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO

from xlsxwriter import Workbook

from app.exports.sheets import Cell, Column, Form, Sheet, Tone, counted

MONEY, DAY, MOMENT = "#,##0.00;[Red]-#,##0.00", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
NUMBERS = {Form.MONEY: MONEY, Form.DAY: DAY, Form.MOMENT: MOMENT, Form.COUNT: "0", Form.TEXT: "@"}
NAME_LENGTH_MAX = 31
FORBIDDEN_IN_NAME = str.maketrans(dict.fromkeys("[]:*?/\\'", " "))
# Texts stay texts: nothing that a person typed becomes a formula, a link or a number.
OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "default_date_format": MOMENT,
}


def write_xlsx(sheet: Sheet, out: BinaryIO, *, lines_max: int) -> None:
    """Write title, facts, table and note on one page of a workbook. Raises TooManyLinesError."""
    with Workbook(out, OPTIONS) as book:
        page = book.add_worksheet(sheet.title.translate(FORBIDDEN_IN_NAME)[:NAME_LENGTH_MAX])
        page.set_landscape()
        page.set_paper(9)  # A4
        page.fit_to_pages(1, 0)
        for place, column in enumerate(sheet.columns):
            page.set_column(place, place, column.width)
        head = _put_head(page, sheet, book=book)
        page.freeze_panes(head, 0)
        page.repeat_rows(head - 1)
        looks = {tone: [book.add_format(_look(column, tone)) for column in sheet.columns] for tone in Tone}
        forms = [column.form for column in sheet.columns]
        line = head
        for row in counted(sheet.rows, lines_max=lines_max):
            for place, (cell, form, look) in enumerate(zip(row.cells, forms, looks[row.tone], strict=True)):
                _put(page, line, place, cell, form=form, look=look)
            line += 1
        if sheet.note:
            page.write_string(line + 1, 0, sheet.note)


def _put_head(page: Any, sheet: Sheet, *, book: Workbook) -> int:
    page.write_string(0, 0, sheet.title, book.add_format({"bold": True, "font_size": 14}))
    for line, (label, value) in enumerate(sheet.facts, start=1):
        page.write_string(line, 0, f"{label}: {value}")
    head = len(sheet.facts) + 2
    for place, column in enumerate(sheet.columns):
        align = "right" if column.form in (Form.MONEY, Form.COUNT) else "left"
        look = book.add_format({"bold": True, "bottom": 1, "bg_color": "#F2F6F7", "align": align})
        page.write_string(head - 1, place, column.title, look)
    return head


def _look(column: Column, tone: Tone) -> dict[str, Any]:
    ground = {Tone.GROUP: {"bold": True, "bg_color": "#EAF2F3"}, Tone.TOTAL: {"bold": True, "bg_color": "#DDE8EA"}}
    return {"num_format": NUMBERS[column.form], "valign": "top", **ground.get(tone, {})}


def _put(page: Any, line: int, place: int, cell: Cell, *, form: Form, look: Any) -> None:
    if cell is None:
        page.write_blank(line, place, None, look)
    elif isinstance(cell, int):
        # Exact: yuan of two decimals, written by their digits.
        page.write_number(line, place, Decimal(cell).scaleb(-2) if form is Form.MONEY else cell, look)
    elif isinstance(cell, datetime | date):
        page.write_datetime(line, place, cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell, look)
    else:
        page.write_string(line, place, cell, look)

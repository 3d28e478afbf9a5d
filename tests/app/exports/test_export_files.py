"""A table that becomes a file says in it what it said before, and no text in it acts."""

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import load_workbook
from pypdf import PdfReader

from app.exports import Column, FileFormat, Form, Row, Sheet, Tone, TooManyLinesError, write_file
from app.exports.lettering import lines_of, width_of

RARE = "㛃喆堃镕𬭚𬭛𪨰𫖯𣲘龘䶮"
COLUMNS = (
    Column("日期", Form.DAY, 10),
    Column("摘要", Form.TEXT, 30),
    Column("金额", Form.MONEY, 12),
    Column("时间", Form.MOMENT, 16),
    Column("笔数", Form.COUNT, 6),
)
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
ROWS = (
    Row((date(2026, 10, 3), "柜台充值", 123_456_789, datetime(2026, 10, 3, 9, 5, 1, tzinfo=UTC), 3)),
    Row((date(2026, 10, 4), "=1+1", -5, None, 0)),
    Row((None, "合计", 123_456_784, None, 3), Tone.TOTAL),
)
SHEET = Sheet(title="记账凭证清单", stem="vouchers", facts=(("期间", "2026-10"),), columns=COLUMNS, rows=ROWS)


def written(sheet: Sheet, form: FileFormat) -> io.BytesIO:
    out = io.BytesIO()
    write_file(sheet, form, out)
    out.seek(0)
    return out


def csv_of(sheet: Sheet) -> list[list[str]]:
    text = written(sheet, FileFormat.CSV).read().decode()
    assert text.startswith("\ufeff"), "Excel needs the byte order mark to see UTF-8"
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def xlsx_of(sheet: Sheet) -> Any:
    return load_workbook(written(sheet, FileFormat.XLSX)).active


def pdf_of(sheet: Sheet) -> PdfReader:
    return PdfReader(written(sheet, FileFormat.PDF))


def text_of(pdf: PdfReader) -> str:
    return "".join(page.extract_text() for page in pdf.pages).replace("\n", "")


def one_text(text: str) -> Sheet:
    return replace(SHEET, columns=(COLUMNS[1],), rows=[Row((text,))])


def test_csv_keeps_numbers_as_numbers_and_makes_formulas_text() -> None:
    assert csv_of(SHEET) == [
        ["日期", "摘要", "金额", "时间", "笔数"],
        ["2026-10-03", "柜台充值", "1234567.89", "2026-10-03 09:05:01", "3"],
        ["2026-10-04", "'=1+1", "-0.05", "", "0"],
        ["", "合计", "1234567.84", "", "3"],
    ]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00")))
@example("-2+3|cmd")
@example("＝A1")
@example("\t=A1")
def test_no_text_in_a_csv_begins_as_a_formula_does_and_none_is_lost(text: str) -> None:
    found = csv_of(one_text(text))[1][0] if text else ""
    assert not found.startswith(RISKY)
    assert found.removeprefix("'") == text.removeprefix("'")


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_an_amount_in_a_csv_is_the_amount(amount_fen: int) -> None:
    rows = csv_of(replace(SHEET, columns=(COLUMNS[2],), rows=[Row((amount_fen,))]))
    assert int(rows[1][0].replace(".", "")) == amount_fen
    assert rows[1][0].lstrip("-").replace(".", "").isdigit()


def test_an_xlsx_has_real_numbers_and_dates_and_no_formula() -> None:
    page = xlsx_of(SHEET)
    rows = list(page.iter_rows(values_only=True))
    assert rows[0][0] == "记账凭证清单"
    assert rows[1][0] == "期间: 2026-10"
    table = rows[rows.index(("日期", "摘要", "金额", "时间", "笔数")) + 1 :]
    assert [str(cell) for cell in table[0]] == [
        "2026-10-03 00:00:00",
        "柜台充值",
        "1234567.89",
        "2026-10-03 09:05:01",
        "3",
    ]
    assert table[1][1:3] == ("=1+1", -0.05)
    assert {cell.data_type for row in page.iter_rows() for cell in row} <= {"s", "n", "d", "inlineStr"}


def test_a_pdf_embeds_its_font_and_gives_its_text_back_rare_characters_too() -> None:
    pdf = pdf_of(one_text(RARE))
    assert RARE in text_of(pdf)
    resources: Any = pdf.pages[0]["/Resources"]
    assert resources["/Font"]
    for font in resources["/Font"].values():
        assert "/FontFile2" in font.get_object()["/FontDescriptor"]


def test_a_character_that_the_font_lacks_is_marked_and_named() -> None:
    text = text_of(pdf_of(replace(one_text("\U00020bb7野家"), missing_word="缺字: ")))
    assert "〓野家" in text
    assert "缺字: U+20BB7" in text


def test_a_column_may_be_left_out_on_paper_only() -> None:
    narrow = replace(SHEET, columns=(COLUMNS[0], COLUMNS[1]._replace(on_paper=False), *COLUMNS[2:]))
    text = text_of(pdf_of(narrow))
    assert "柜台充值" not in text
    assert "1,234,567.89" in text
    assert csv_of(narrow)[1][1] == "柜台充值"


def test_a_long_pdf_repeats_its_head_and_counts_its_pages() -> None:
    pdf = pdf_of(replace(SHEET, rows=[ROWS[0]] * 120, page_word="第 {} 页，共 {} 页".format))
    assert len(pdf.pages) > 2
    for number, page in enumerate(pdf.pages, start=1):
        text = page.extract_text()
        assert "摘要" in text
        assert f"第 {number} 页，共 {len(pdf.pages)} 页" in text
    assert text_of(pdf).count("柜台充值") == 120


@given(st.text(alphabet="重庆大学，。AB12 -", min_size=1, max_size=200))
def test_a_broken_text_fits_its_column_and_says_the_same(text: str) -> None:
    lines = lines_of(text, size=8.5, width=60)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    # A closing mark hangs over rather than to begin a line.
    assert all(width_of(line.rstrip("，。"), size=8.5) <= 60 for line in lines)


@pytest.mark.parametrize("form", FileFormat)
def test_a_table_too_long_for_its_file_is_refused_at_the_first_line_too_many(form: FileFormat) -> None:
    taken = 0

    def endless() -> Iterable[Row]:
        nonlocal taken
        while True:
            taken += 1
            yield ROWS[0]

    sheet = replace(SHEET, rows=endless())
    with pytest.raises(TooManyLinesError) as refused:
        write_file(sheet, form, io.BytesIO(), lines_max=50)
    assert (refused.value.lines_max, taken) == (50, 51)

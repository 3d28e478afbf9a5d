"""The faces of cards as a PDF: number with its check digit, name, last day; ten to a page, or labels to stick on."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, BinaryIO, TypeAlias

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from app.cards.models import Card
from app.exports.lettering import NAME, WRITING, lettering, printable, width_of

CARDS_MAX = 200
Ink: TypeAlias = tuple[float, float, float]
INK, QUIET, BAND = (0.06, 0.15, 0.18), (0.32, 0.38, 0.42), (0.0, 0.36, 0.41)
GROUP_DIGITS = 4


class Form(StrEnum):
    """What the sheet is for."""

    FACES = "faces"
    """Printed on card stock and cut: 85.6 mm × 54 mm, as ISO/IEC 7810 ID-1 says."""
    LABELS = "labels"
    """Stuck on cards that are printed already: 63.5 mm × 38.1 mm, three by seven."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a form divides the page, in points."""

    columns: int
    rows: int
    width: float
    height: float


GRIDS = {Form.FACES: Grid(2, 5, 85.6 * mm, 54 * mm), Form.LABELS: Grid(3, 7, 63.5 * mm, 38.1 * mm)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What stands on one card."""

    number: str
    holder: str
    customer: str
    expires_on: date


def face_of(card: Card) -> Face:
    """Give what stands on a card; account and holder must be loaded."""
    organisation = card.account.organisation
    return Face(
        number=card.face_number,
        holder=card.holder.name,
        customer="" if organisation is None else organisation.name_zh,
        expires_on=card.expires_on,
    )


def grouped(number: str) -> str:
    """Write a number in groups of four, as people read it out."""
    return " ".join(number[place : place + GROUP_DIGITS] for place in range(0, len(number), GROUP_DIGITS))


def write_pdf(faces: list[Face], out: BinaryIO, *, form: Form, title: str) -> None:
    """Write the sheet, its font embedded."""
    grid = GRIDS[form]
    with WRITING:
        lettering()
        canvas: Any = Canvas(out, pagesize=A4)
        canvas.setTitle(title)
        for place, face in enumerate(faces):
            if place and place % (grid.columns * grid.rows) == 0:
                canvas.showPage()
            left, bottom = _corner(place % (grid.columns * grid.rows), grid)
            _draw(canvas, face, grid, left=left, bottom=bottom, title=title)
        canvas.showPage()
        canvas.save()


def _corner(place: int, grid: Grid) -> tuple[float, float]:
    margin_x = (A4[0] - grid.columns * grid.width) / 2
    margin_y = (A4[1] - grid.rows * grid.height) / 2
    column, row = place % grid.columns, place // grid.columns
    return margin_x + column * grid.width, A4[1] - margin_y - (row + 1) * grid.height


def _draw(canvas: Any, face: Face, grid: Grid, *, left: float, bottom: float, title: str) -> None:
    inset, unit = 5 * mm, grid.height / 54
    canvas.setLineWidth(0.3)
    canvas.setStrokeColorRGB(*QUIET)
    canvas.rect(left, bottom, grid.width, grid.height, stroke=1, fill=0)
    canvas.setFillColorRGB(*BAND)
    canvas.rect(left, bottom + grid.height - 12 * unit, grid.width, 12 * unit, stroke=0, fill=1)
    room = grid.width - 2 * inset
    _text(canvas, left + inset, bottom + grid.height - 8.2 * unit, title, size=5 * unit, ink=(1, 1, 1), room=room)
    number_size = 6.2 * unit
    _text(canvas, left + inset, bottom + 24 * unit, grouped(face.number), size=number_size, ink=INK, room=room)
    _text(canvas, left + inset, bottom + 14 * unit, face.holder, size=4.6 * unit, ink=INK, room=room)
    last_day = f"{face.expires_on:%Y-%m-%d}"
    line = f"{face.customer}  {last_day}" if face.customer else last_day
    _text(canvas, left + inset, bottom + 7 * unit, line, size=3.4 * unit, ink=QUIET, room=room)


def _text(
    canvas: Any, x: float, y: float, text: str, *, size: float, ink: tuple[float, float, float], room: float
) -> None:
    """Write one line, smaller where it would not fit."""
    shown = printable(text, missing=set())
    wide = width_of(shown, size=size)
    canvas.setFillColorRGB(*ink)
    canvas.setFont(NAME, size if wide <= room else size * room / wide)
    canvas.drawString(x, y, shown)

"""The letters of printed documents: one embedded font with the Chinese characters in use, and how they fill a line.

Noto Sans SC has the unified ideographs and their extension A whole (27,500 characters) and of the later extensions what
the official list of 2013 (通用规范汉字表) asks for. A character it lacks is printed as 〓, and the document names it.
"""

import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

NAME = "NotoSansSC"
FILE = Path(__file__).parent / "fonts" / "NotoSansSC-Regular.ttf"
MISSING = "〓"
BEYOND_BMP = re.compile(r"<([0-9A-F]{5,6})>")
# The font object keeps what each document uses, so documents are written one after another.
WRITING = threading.Lock()
# A line may end before or after any Chinese character; Latin words and numbers stay whole where they fit.
PIECE = re.compile(r"\s+|[!-~\u00a0-\u02ff]+|.", re.DOTALL)
# No line begins with these.
CLOSING = frozenset("，。、；：？！）》」』】〕”’…—")


class Lettering(TTFont):
    """A font whose text can be copied and searched beyond the basic plane too, where the library writes others."""

    def addObjects(self, doc: Any) -> None:  # noqa: N802 - the library's name
        """Write the font's objects, with characters beyond the basic plane as UTF-16 in the map back to text."""
        super().addObjects(doc)
        for name, found in doc.idToObject.items():
            if name.startswith("toUnicodeCMap:"):
                found.content = BEYOND_BMP.sub(_utf_16, found.content)


def _utf_16(found: re.Match[str]) -> str:
    return f"<{chr(int(found[1], 16)).encode('utf-16-be').hex().upper()}>"


@cache
def lettering() -> Lettering:
    """Give the font, read once in a process."""
    font = Lettering(NAME, str(FILE))
    pdfmetrics.registerFont(font)
    return font


def printable(text: str, *, missing: set[str]) -> str:
    """Give a text in letters that the font has; what it lacks becomes 〓 and is added to `missing`."""
    known = lettering().face.charToGlyph
    lacking = {each for each in text if ord(each) not in known and each not in "\n\t"}
    missing |= lacking
    return "".join(MISSING if each in lacking else " " if each in "\n\t" else each for each in text)


def width_of(text: str, *, size: float) -> float:
    """Give how wide a text is in points."""
    width: float = lettering().stringWidth(text, size)
    return width


def lines_of(text: str, *, size: float, width: float) -> list[str]:
    """Break a text into lines of at most that width; a word longer than a line is cut."""
    lines, line = [], ""
    for piece in _pieces(text, size=size, width=width):
        if line and width_of(line + piece, size=size) > width and piece not in CLOSING:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()]


def _pieces(text: str, *, size: float, width: float) -> Iterator[str]:
    for piece in PIECE.findall(text):
        if width_of(piece, size=size) <= width:
            yield piece
        else:
            yield from piece

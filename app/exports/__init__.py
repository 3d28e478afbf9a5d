"""Tables as files that people take away: CSV, XLSX and PDF, written row by row from one description of the table."""

from app.exports.files import write_file, write_text
from app.exports.sheets import Cell, Column, FileFormat, Form, Row, Sheet, Tone, TooManyLinesError

__all__ = [
    "Cell",
    "Column",
    "FileFormat",
    "Form",
    "Row",
    "Sheet",
    "Tone",
    "TooManyLinesError",
    "write_file",
    "write_text",
]

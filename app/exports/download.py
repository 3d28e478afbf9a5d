"""A table or a text as a file in a browser: written whole first, so that a failure is a page and no half file."""

import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO

from flask import Response, request, send_file

from app.errors import Code, Refusal
from app.exports import FileFormat, Sheet, TooManyLinesError, write_file, write_text

# Up to so many bytes stay in memory.
SPOOL_BYTES_MAX = 1024 * 1024
PARAMETER = "format"


def wanted_format() -> FileFormat | None:
    """Give the file that `?format=` asks for; None where a page is wanted. Raises Refusal VALIDATION_FAILED."""
    asked = request.args.get(PARAMETER, "")
    if not asked:
        return None
    try:
        return FileFormat(asked)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={PARAMETER: [", ".join(FileFormat)]}) from error


def send_sheet(sheet: Sheet, form: FileFormat) -> Response:
    """Answer with the table as a file. Raises Refusal EXPORT_TOO_LARGE."""
    out = _spool()
    try:
        write_file(sheet, form, out)
    except TooManyLinesError as error:
        out.close()
        raise Refusal(Code.EXPORT_TOO_LARGE, maximum_lines=error.lines_max) from error
    return _send(out, name=f"{sheet.stem}.{form}", media_type=form.media_type)


def send_text(write: Callable[[TextIO], Any], *, name: str) -> Response:
    """Answer with what `write` writes, as a UTF-8 text file."""
    out = _spool()
    write_text(write, out)
    return _send(out, name=name, media_type="text/plain; charset=utf-8")


def _spool() -> BinaryIO:
    # Closed with the answer, which the server does when the last byte has left.
    return tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES_MAX)  # type: ignore[return-value] # it is one but by name


def _send(out: BinaryIO, *, name: str, media_type: str) -> Response:
    out.seek(0)
    return send_file(out, mimetype=media_type, as_attachment=True, download_name=name, max_age=0)

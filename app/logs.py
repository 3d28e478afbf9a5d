"""Structured logs: one line an event, the request's id on each, no secret and no full card number on any."""

import logging
import re
import sys
import time
import uuid
from typing import Any, TextIO

import structlog
from flask import Flask, Response, g, has_request_context, request
from structlog.typing import EventDict, WrappedLogger

TEXT_LENGTH_MAX = 200
SECRET_NAMES = frozenset({"authorization", "cookie", "password", "pin", "secret", "token"})
LIBRARY_LEVELS = {
    "werkzeug": logging.WARNING,  # every request is logged once, by us
    "apscheduler": logging.ERROR,  # it warns whenever a job takes longer than its pause, which is no news
    "amqtt": logging.WARNING,
    "transitions": logging.WARNING,
}
QUIET_PATHS = ("/health", "/ready", "/static/")
# Card and bank account numbers; a UUID or a moment never has so many digits in a row.
_LONG_NUMBER = re.compile(r"(?<![0-9A-Za-z-])\d{6,15}(\d{4})(?![0-9A-Za-z-])")

log = structlog.get_logger(__name__)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is at that moment, so that a supervisor or a test may exchange it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        _ = value


def configure(log_format: str, *, level: int = logging.INFO) -> None:
    """Send the logs of our code and of the libraries to standard error, as `json` or as `text`. May be called again."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    if log_format == "json":
        renderers: list[Any] = [structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        renderers = [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _Stderr)] + [handler]
    root.setLevel(level)
    for name, quieter in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, quieter))


def redact(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Hide secrets, all but the last four digits of long numbers, and payloads; cut texts but for tracebacks."""
    _ = logger, name
    for key, value in event.items():
        if key in SECRET_NAMES:
            event[key] = "***"
        elif isinstance(value, str):
            is_short = key == "exception" or len(value) <= TEXT_LENGTH_MAX
            event[key] = _LONG_NUMBER.sub(r"***\1", value if is_short else _cut(value))
        elif isinstance(value, bytes):
            event[key] = f"<{len(value)} bytes>"
    return event


def request_id() -> str:
    """Give the id of the present request, as it stands in the log and in the answer's X-Request-Id."""
    return str(g.request_id) if has_request_context() and "request_id" in g else ""


def install(flask: Flask) -> None:
    """Give every request an id and one line in the log."""

    def before() -> None:
        g.request_id = uuid.uuid4().hex
        g.started_s = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    def after(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id()
        if not request.path.startswith(QUIET_PATHS):
            duration_ms = round((time.monotonic() - g.started_s) * 1000, 1)
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                duration_ms=duration_ms,
                person_id=g.get("person_id"),
            )
        return response

    flask.before_request(before)
    flask.after_request(after)


def _cut(text: str) -> str:
    return f"{text[:TEXT_LENGTH_MAX]}… ({len(text)} characters)"

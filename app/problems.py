"""How a refusal or a fault is answered: problem+json to a program, a page with the same sentence to a person."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

import sqlalchemy.exc
import structlog
from flask import Flask, Response, jsonify, render_template, request
from flask_babel import get_locale
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed

from app import clock, logs
from app.errors import TEXTS, Code, Refusal, RefusalText
from app.fields import WordsSchema
from card_terminal import protocol

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
# Doors for programs: they never read the cookie, and their errors are JSON.
PROGRAM_PATHS = ("/api/", "/terminal/", "/webhooks/", "/health", "/ready", "/metrics")

View = TypeVar("View", bound=Callable[..., Any])
log = structlog.get_logger(__name__)

_CODE_OF_STATUS = {
    HTTPStatus.UNAUTHORIZED: Code.NOT_LOGGED_IN,
    HTTPStatus.FORBIDDEN: Code.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: Code.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.PAYLOAD_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Code.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE: Code.TRY_AGAIN,
}


class ProblemSchema(Schema):
    """What every refused request is answered (RFC 9457, with our own members)."""

    code = fields.String(
        required=True, metadata={"description": "From a closed list; programs decide by it.", "example": "NOT_FOUND"}
    )
    title = fields.String(required=True, metadata={"description": "The English sentence once more."})
    status = fields.Integer(required=True, metadata={"example": 404})
    message = fields.Nested(WordsSchema, required=True, metadata={"description": "What happened."})
    advice = fields.Nested(WordsSchema, required=True, metadata={"description": "What to do about it."})
    retry = fields.Boolean(required=True, metadata={"description": "Whether the same request may succeed later."})
    details = fields.Dict(required=True, metadata={"description": "Values behind the refusal, e.g. fields by name."})
    reference = fields.String(metadata={"description": "Names this answer in the service's log."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A refusal or fault ready to be answered."""

    code: str
    text: RefusalText
    status: int
    details: dict[str, Any]
    headers: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Give the body for programs."""
        return {
            "code": self.code,
            "title": self.text.en,
            "status": self.status,
            "message": {"zh": self.text.zh, "en": self.text.en},
            "advice": {"zh": self.text.advice_zh, "en": self.text.advice_en},
            "retry": self.text.retry,
            "details": self.details,
            "reference": logs.request_id(),
        }


def install(flask: Flask) -> None:
    """Answer refusals, database faults and mistakes of our own; HTTP errors reach `of_http_error` by flask-smorest."""
    flask.register_error_handler(Refusal, of_refusal)
    flask.register_error_handler(protocol.ProtocolError, _of_protocol_error)
    flask.register_error_handler(sqlalchemy.exc.OperationalError, _of_database_trouble)
    flask.register_error_handler(sqlalchemy.exc.InterfaceError, _of_database_trouble)
    flask.register_error_handler(sqlalchemy.exc.TimeoutError, _of_database_trouble)
    flask.register_error_handler(Exception, _of_mistake)


def is_for_programs(path: str) -> bool:
    """Say whether this address is a door for programs rather than a page."""
    return path.startswith(PROGRAM_PATHS)


def of_refusal(refusal: Refusal) -> Response:
    """Answer what a service refused."""
    return answer(refusal.code, details=refusal.details)


def of_http_error(error: HTTPException) -> Response:
    """Answer an error of HTTP itself: no such address, wrong method, fields that do not validate."""
    if isinstance(error, InternalServerError):
        return _of_mistake(error.original_exception or error)
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    data = getattr(error, "data", None) or {}
    code = _CODE_OF_STATUS.get(status, Code.VALIDATION_FAILED)
    headers = dict(data.get("headers") or {})
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return answer(code, status=status, details=_details(data), headers=headers)


def answer(
    code: StrEnum,
    *,
    status: int | None = None,
    details: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with a code of the closed lists, as JSON or as a page by the address asked for."""
    text = text_of(code)
    problem = Problem(
        code=str(code), text=text, status=status or text.status, details=details or {}, headers=dict(headers or {})
    )
    if text.retry:
        problem.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    if problem.status == HTTPStatus.UNAUTHORIZED and is_for_programs(request.path):
        problem.headers.setdefault("WWW-Authenticate", "Bearer")
    response = _as_json(problem) if is_for_programs(request.path) else _as_page(problem)
    response.status_code = problem.status
    response.headers.update(problem.headers)
    return response


def text_of(code: StrEnum) -> RefusalText:
    """Give the texts of a code from either closed list, the service's or the terminals'."""
    if isinstance(code, protocol.RefusalCode):
        said = protocol.refusal(code)
        return RefusalText(
            said.http_status, said.message.en, said.message.zh, said.advice.en, said.advice.zh, retry=said.retry
        )
    return TEXTS[Code(code)]


def refuses(blueprint: Any, *codes: StrEnum) -> Callable[[View], View]:
    """Document which refusals a JSON view may answer; codes that share a status share an entry."""

    def decorate(view: View) -> View:
        for status in sorted({text_of(code).status for code in codes}):
            sentences = "; ".join(f"{code}: {text_of(code).en}" for code in codes if text_of(code).status == status)
            view = blueprint.alt_response(
                status, schema=ProblemSchema, content_type=CONTENT_TYPE, description=sentences
            )(view)
        return view

    return decorate


def _as_json(problem: Problem) -> Response:
    response = jsonify(problem.as_json())
    response.content_type = CONTENT_TYPE
    return response


def _as_page(problem: Problem) -> Response:
    chinese = str(get_locale()).startswith("zh")
    return Response(
        render_template(
            "problem.html",
            code=problem.code,
            status=problem.status,
            sentence=problem.text.zh if chinese else problem.text.en,
            advice=problem.text.advice_zh if chinese else problem.text.advice_en,
            details=problem.details,
            reference=logs.request_id() if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        )
    )


def _details(data: dict[str, Any]) -> dict[str, Any]:
    """Turn webargs' {location: {field: [messages]}} into {"fields": {field: [messages]}}."""
    messages = data.get("messages")
    if not isinstance(messages, dict):
        return {}
    found: dict[str, Any] = {}
    for location, by_field in messages.items():
        found.update(by_field if isinstance(by_field, dict) else {location: by_field})
    return {"fields": {str(name): why for name, why in found.items()}}


def _of_protocol_error(error: protocol.ProtocolError) -> Response:
    """Answer a terminal in its own protocol's shape."""
    log.info("terminal_refused", code=str(error.code), detail=error.detail)
    response = jsonify(protocol.refuse(error.code, server_time=int(clock.now().timestamp() * 1000)))
    response.status_code = protocol.refusal(error.code).http_status
    return response


def _of_database_trouble(error: Exception) -> Response:
    """Answer that the database is away, restarting or too busy: nothing was committed, so a retry is safe."""
    log.warning("database_trouble", error=type(getattr(error, "orig", None) or error).__name__)
    return answer(Code.TRY_AGAIN)


def _of_mistake(error: BaseException) -> Response:
    """Answer a mistake of our own with a reference that stands in the log beside the traceback."""
    log.error("unexpected_error", exc_info=error)
    return answer(Code.INTERNAL)

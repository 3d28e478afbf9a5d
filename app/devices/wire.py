"""How terminal messages come in over HTTP: one body, one answer, and never a fault for a wrong message."""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, jsonify, request
from sqlalchemy.orm import Session

from app import clock
from app.devices import limits, messages
from app.devices.messages import Answered, Guard, Question
from app.web import database, settings
from card_terminal import protocol
from card_terminal.protocol import MessageError, ProtocolError, RefusalCode

log = structlog.get_logger(__name__)

WORDS = {
    "type": "object",
    "required": ["zh", "en"],
    "properties": {"zh": {"type": "string"}, "en": {"type": "string"}},
}
REFUSAL = {
    "type": "object",
    "required": ["ok", "code", "number", "message", "advice", "retry", "server_time"],
    "properties": {
        "ok": {"const": False},
        "code": {"type": "string", "enum": [str(code) for code in protocol.RefusalCode]},
        "number": {"type": "integer", "description": "Read out on the phone."},
        "message": WORDS,
        "advice": WORDS,
        "retry": {"type": "boolean", "description": "Whether the same may succeed later."},
        "server_time": {"type": "integer", "description": "Milliseconds since 1970, UTC."},
    },
}
ANSWER = {"type": "object", "required": ["ok"], "properties": {"ok": {"const": True}}}
JWS = {"type": "string", "minLength": 1, "maxLength": 65536, "description": "Compact JWS, EdDSA, kid = device id."}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": JWS},
    "additionalProperties": False,
    "example": {"message": "eyJhbGciOiJFZERTQSIsImtpZCI6Ii4uLiJ9.e30.AA"},
}
EVENTS = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "maxItems": protocol.EVENTS_PER_REQUEST_MAX, "items": JWS}
    },
    "additionalProperties": False,
    "example": {"messages": ["eyJhbGciOiJFZERTQSIsImtpZCI6Ii4uLiJ9.e30.AA"]},
}
REFUSED_STATUSES = sorted({protocol.refusal(code).http_status for code in protocol.RefusalCode})


def documented(summary: str, *, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give what the OpenAPI document says of one message; the payloads' own shapes are `card_terminal.protocol`."""
    refusals = {
        str(status): {
            "description": f"Refused: {', '.join(_codes(status))}",
            "content": {"application/json": {"schema": REFUSAL}},
        }
        for status in REFUSED_STATUSES
    }
    answer = {"description": "The answer", "content": {"application/json": {"schema": ANSWER}}}
    return {
        "summary": summary,
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body or MESSAGE}}},
        "responses": {"200": answer, **refusals},
    }


def answer_query(name: str, question: Question, *, at: datetime, guard: Guard | None = None) -> Response:
    """Answer the query in the present request, once for each message; see `messages.answer_query`."""
    return answer_message(
        lambda session, message: messages.answer_query(
            session, message=message, name=name, at=at, question=question, guard=guard
        )
    )


def answer_message(work: Callable[[Session, str], Answered]) -> Response:
    """Answer the one message of the present request with what `work` makes of it, in a transaction of its own."""

    def read_and_work() -> Answered:
        message = protocol.read_message_body(read_body())
        return database().run(lambda session: work(session, message))

    return answer(read_and_work)


def answer_enrolment(work: Callable[[Session, str], Answered], *, at: datetime) -> Response:
    """Answer who brings a one-time code; an address that brought too many wrong ones is told to wait (RETRY)."""
    key, limit = f"wrong code {request.remote_addr}", settings().wrong_codes_max

    def read_and_work() -> Answered:
        message = protocol.read_message_body(read_body())
        with database().reader() as session:
            if limits.reached(session, key, limit=limit, window=limits.TEN_MINUTES, at=at):
                raise ProtocolError(RefusalCode.RETRY, "too many wrong codes from this address")
        try:
            return database().run(lambda session: work(session, message))
        except ProtocolError as error:
            if error.code is RefusalCode.ENROLMENT_CODE_INVALID:
                database().run(lambda session: limits.count(session, key, window=limits.TEN_MINUTES, at=at))
            raise

    return answer(read_and_work)


def answer(work: Callable[[], Answered]) -> Response:
    """Answer with what `work` gives, or with the refusal it raises."""
    try:
        answered = work()
    except ProtocolError as error:
        # The detail may quote what was sent, so only its beginning goes to the log.
        log.info("terminal_refused", code=str(error.code), detail=error.detail[:120])
        answered = messages.refused(error.code, at=clock.now())
    return respond(answered)


def respond(answered: Answered) -> Response:
    """Give an answer to Flask."""
    response = jsonify(answered.body)
    response.status_code = answered.status
    return response


def read_body() -> object:
    """Give the JSON of the request. Raises MessageError."""
    if request.content_length is not None and request.content_length > protocol.BODY_BYTES_MAX:
        raise MessageError("the body is too long")
    content = request.get_data()
    if len(content) > protocol.BODY_BYTES_MAX:
        raise MessageError("the body is too long")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MessageError("the body is no JSON we read") from error


def _codes(status: int) -> list[str]:
    return [str(code) for code in protocol.RefusalCode if protocol.refusal(code).http_status == HTTPStatus(status)]

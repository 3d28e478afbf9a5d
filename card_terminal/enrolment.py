"""A new device introduces itself: a one-time code, its key, and a fingerprint that an administrator compares."""

import threading
from collections.abc import Callable
from http import HTTPStatus

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card_terminal import APP_VERSION
from card_terminal.client import TRY_TIMEOUT_S, ServerTime, Transport
from card_terminal.clock import Clock
from card_terminal.identity import Identity, keep_identity, load_identity
from card_terminal.protocol import (
    EnrolAnswer,
    Enrolment,
    MessageError,
    fingerprint,
    read_answer,
    read_refusal,
    sign_enrolment,
)
from card_terminal.store import Store

_PAUSE_S = 2.0

_log = structlog.get_logger(__name__)


class EnrolmentError(Exception):
    """The server does not take this device in; the message says why."""


def enrol(
    store: Store,
    *,
    key: Ed25519PrivateKey,
    code: str | None,
    transport: Transport,
    clock: Clock,
    stopping: threading.Event,
    on_wait: Callable[[], None] = lambda: None,
    door: str = Enrolment.NAME,
) -> Identity | None:
    """Give who this device is, introducing it at the server's `door` if it is new; None if it was stopped meanwhile.

    A server that does not answer is waited for, with a call of `on_wait` at every try. Raises EnrolmentError when there
    is no code, or it is refused.
    """
    identity = load_identity(store, key=key)
    if identity is not None:
        return identity
    if code is None:
        raise EnrolmentError("This device is new: an administrator must give it an enrolment code (--enrol-code).")
    _log.info("enrolling", fingerprint=fingerprint(key.public_key()))
    server_time = ServerTime(clock)
    while not stopping.is_set():
        # Code and key make the same device of it however often it is asked, so an answer may be lost.
        message = sign_enrolment(code=code, st=server_time.now_ms(), app_version=APP_VERSION, key=key)
        reply = transport.post(door, body={"message": message}, timeout_s=TRY_TIMEOUT_S)
        answer = _read(reply, server_time=server_time)
        if answer is not None:
            keep_identity(store, answer)
            _log.info("enrolled", device_id=answer.device_id, status=str(answer.status))
            return load_identity(store, key=key)
        on_wait()
        stopping.wait(_PAUSE_S)
    return None


def _read(reply: tuple[int, object] | None, *, server_time: ServerTime) -> EnrolAnswer | None:
    if reply is None:
        return None
    status, content = reply
    try:
        if status == HTTPStatus.OK:
            return read_answer(EnrolAnswer, content)
        refusal = read_refusal(content)
    except MessageError:
        return None
    if refusal.retry:
        server_time.learn(refusal.server_time)
        return None
    raise EnrolmentError(f"{refusal.message.zh} / {refusal.message.en} ({refusal.number})")

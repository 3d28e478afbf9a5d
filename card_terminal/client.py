"""Questions to the server: three tries in eight seconds, the same bytes each time, and an honest outcome."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID, uuid4

import requests
from urllib3.exceptions import HTTPError

from card_terminal.clock import Clock
from card_terminal.identity import Identity
from card_terminal.protocol import (
    BODY_BYTES_MAX,
    PATH_PREFIX,
    EventsAnswer,
    MessageError,
    Query,
    QueryBody,
    RefusalAnswer,
    RefusalCode,
    read_answer,
    read_events_answer,
    read_refusal,
    sign_query,
)
from card_terminal.protocol.answers import AnswerShape

TRIES = 3
DEADLINE_S = 8.0
CONNECT_TIMEOUT_S = 2.0
TRY_TIMEOUT_S = 2.5
PAUSE_BETWEEN_TRIES_S = 0.2

# Refusals that the server gives before it looks at the question, and so does not remember as its answer.
_NOT_REMEMBERED = {RefusalCode.CLOCK_SKEW, RefusalCode.RETRY, RefusalCode.DEVICE_PENDING, RefusalCode.SIG_INVALID}

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[AnswerT]):
    """The server did what was asked."""

    answer: AnswerT


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server said no. `certain` is false when an earlier try may have been heard and done nevertheless."""

    refusal: RefusalAnswer
    certain: bool

    @property
    def code(self) -> RefusalCode | None:
        """The code, if this program knows it."""
        return self.refusal.known_code


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing was heard that can be relied on: the question may have been answered, or not."""


Outcome: TypeAlias = Answered[AnswerT] | Refused | NoAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A signed question: these very bytes are sent at every try."""

    name: str
    mid: UUID
    message: str


class ServerTime:
    """An estimate of the server's time, carried by the clock that does not jump."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.wall_ms() - clock.mono_ms()

    def now_ms(self) -> int:
        """Give the estimate, in epoch ms."""
        return self._clock.mono_ms() + self._offset_ms

    def wall_ms(self) -> int:
        """Give what the machine's own wall clock shows, right or wrong."""
        return self._clock.wall_ms()

    def learn(self, server_time_ms: int) -> None:
        """Believe the server."""
        self._offset_ms = server_time_ms - self._clock.mono_ms()


class Transport:
    """Posts JSON, and gives (status, JSON) or None; it never raises. Each thread has its own connections."""

    def __init__(self, server_url: str) -> None:
        self._url = server_url.rstrip("/") + PATH_PREFIX
        self._local = threading.local()

    def post(self, name: str, *, body: dict[str, object], timeout_s: float) -> tuple[int, object] | None:
        """Ask once; `timeout_s` bounds each silence. None means that nothing usable came back, for whatever reason."""
        timeouts_s = (min(CONNECT_TIMEOUT_S, timeout_s), timeout_s)
        try:
            with self._session().post(
                self._url + name, json=body, timeout=timeouts_s, stream=True, allow_redirects=False
            ) as response:
                content = response.raw.read(BODY_BYTES_MAX + 1, decode_content=True)
                if len(content) > BODY_BYTES_MAX:
                    return None
                return response.status_code, json.loads(content)
        except (requests.RequestException, HTTPError, OSError, ValueError, RecursionError):
            return None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # a proxy of somebody's shell must not decide about money
        return session


class Client:
    """Signs and asks. It keeps nothing: what must outlive a kill is handed out through `before_send`."""

    def __init__(
        self, *, transport: Transport, identity: Identity, server_time: ServerTime, pause: Callable[[float], None]
    ) -> None:
        self._transport = transport
        self._identity = identity
        self._server_time = server_time
        self._pause = pause

    def ask(
        self,
        body: QueryBody,
        shape: type[AnswerShape],
        *,
        tries: int = TRIES,
        before_send: Callable[[Prepared], None] | None = None,
    ) -> Outcome[AnswerShape]:
        """Ask, and once more with corrected time if the server finds our clock wrong."""
        outcome = self._prepare_and_send(body, shape, tries=tries, before_send=before_send)
        if isinstance(outcome, Refused) and outcome.code is RefusalCode.CLOCK_SKEW and outcome.certain:
            self._server_time.learn(outcome.refusal.server_time)
            outcome = self._prepare_and_send(body, shape, tries=tries, before_send=before_send)
        return outcome

    def _prepare_and_send(
        self,
        body: QueryBody,
        shape: type[AnswerShape],
        *,
        tries: int,
        before_send: Callable[[Prepared], None] | None,
    ) -> Outcome[AnswerShape]:
        query = Query(mid=uuid4(), st=self._server_time.now_ms(), body=body)
        message = sign_query(query, key=self._identity.key, device_id=self._identity.device_id)
        prepared = Prepared(name=body.NAME, mid=query.mid, message=message)
        if before_send is not None:
            before_send(prepared)
        return self.send(prepared, shape, tries=tries)

    def send(
        self, prepared: Prepared, shape: type[AnswerShape], *, tries: int = TRIES, uncertain: bool = False
    ) -> Outcome[AnswerShape]:
        """Send the same bytes until something usable comes back, at most `tries` times in DEADLINE_S.

        `uncertain` says that these bytes may have been sent before.
        """
        give_up_at = time.monotonic() + DEADLINE_S
        outcome: Outcome[AnswerShape] = NoAnswer()
        for attempt in range(tries):
            if attempt:
                self._pause(PAUSE_BETWEEN_TRIES_S)
            timeout_s = min(TRY_TIMEOUT_S, give_up_at - time.monotonic())
            if timeout_s <= 0:
                break
            reply = self._transport.post(prepared.name, body={"message": prepared.message}, timeout_s=timeout_s)
            outcome = _read(reply, shape, uncertain=uncertain)
            uncertain = uncertain or isinstance(outcome, NoAnswer)
            if not isinstance(outcome, NoAnswer) and not _is_passing(outcome):
                return outcome
        return outcome

    def deliver(self, messages: list[str]) -> EventsAnswer | RefusalAnswer | None:
        """Send events once; None means that nothing usable came back."""
        reply = self._transport.post("events", body={"messages": messages}, timeout_s=TRY_TIMEOUT_S)
        if reply is None:
            return None
        status, content = reply
        try:
            return read_events_answer(content) if status == HTTPStatus.OK else read_refusal(content)
        except MessageError:
            return None


def _read(reply: tuple[int, object] | None, shape: type[AnswerShape], *, uncertain: bool) -> Outcome[AnswerShape]:
    if reply is None:
        return NoAnswer()
    status, content = reply
    try:
        if status == HTTPStatus.OK:
            return Answered(answer=read_answer(shape, content))
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            refusal = read_refusal(content)
            certain = not uncertain or (refusal.known_code is not None and refusal.known_code not in _NOT_REMEMBERED)
            return Refused(refusal=refusal, certain=certain)
    except MessageError:
        pass
    return NoAnswer()


def _is_passing(outcome: Answered[AnswerT] | Refused) -> bool:
    return isinstance(outcome, Refused) and outcome.code is RefusalCode.RETRY

"""Brings the journal to the server, in order, until all of it is acknowledged, and keeps in touch every minute."""

import threading
import time
from collections.abc import Callable
from uuid import UUID

import structlog

from card_terminal import APP_VERSION
from card_terminal.client import Answered, Client, Refused, ServerTime
from card_terminal.configuration import Configuration
from card_terminal.journal import Journal
from card_terminal.offline.book import OfflineBook
from card_terminal.protocol import (
    EVENTS_PER_REQUEST_MAX,
    Config,
    ConfigAnswer,
    EventsAnswer,
    Hello,
    HelloAnswer,
    OfflineListAnswer,
    OfflineListQuery,
    ProtocolError,
    ReaderState,
    RefusalAnswer,
    RefusalCode,
    SessionState,
)

_log = structlog.get_logger(__name__)

_OVER = {SessionState.ENDED, SessionState.REVERSED}


class Delivery:
    """May be called from any thread; two calls never overlap, so events never overtake each other."""

    def __init__(
        self,
        *,
        journal: Journal,
        client: Client,
        server_time: ServerTime,
        configuration: Configuration,
        on_session_over: Callable[[UUID], None],
        offline: OfflineBook | None = None,
    ) -> None:
        self._journal = journal
        self._client = client
        self._server_time = server_time
        self._configuration = configuration
        self._on_session_over = on_session_over
        self._offline = offline
        self._lock = threading.Lock()
        self.is_online = False
        self.last_refusal: RefusalAnswer | None = None

    def deliver(self, *, within_s: float | None = None) -> bool:
        """Send what is owed; true when nothing is owed any more. What is left after `within_s` is for the next call."""
        until_s = None if within_s is None else time.monotonic() + within_s
        if not self._lock.acquire(timeout=-1 if within_s is None else within_s):
            return False
        try:
            while messages := self._journal.unsent(limit=EVENTS_PER_REQUEST_MAX):
                before = self._journal.acked_seq()
                if until_s is not None and time.monotonic() >= until_s:
                    return False
                if not self._deliver_batch(messages) or self._journal.acked_seq() <= before:
                    return False
            return True
        finally:
            self._lock.release()

    def _deliver_batch(self, messages: list[str]) -> bool:
        answer = self._client.deliver(messages)
        self.is_online = answer is not None
        if isinstance(answer, EventsAnswer):
            self._journal.acknowledge(answer)
            self.last_refusal = None
            return True
        if answer is not None:
            self.last_refusal = answer
            _log.warning("events_refused", code=answer.code, count=len(messages))
            if answer.acked_seq is not None:
                self._believe(answer.acked_seq)
        return False

    def say_hello(self, *, reader: ReaderState) -> bool:
        """Tell the server how we are, and learn its time and what it has; true when it answered."""
        session = self._journal.session()
        with self._lock:
            hello = Hello(
                app_version=APP_VERSION,
                boot=self._journal.boot,
                last_seq=self._journal.last_seq(),
                unsent=self._journal.unsent_count(),
                reader=reader,
                config_version=self._configuration.version,
                session_id=session.session_id if session else None,
                offline_version=self._offline.version if self._offline else 0,
                wall_ms=self._server_time.wall_ms(),
            )
            outcome = self._client.ask(hello, HelloAnswer, tries=1)
            self.is_online = isinstance(outcome, Answered | Refused)
            if not isinstance(outcome, Answered):
                if isinstance(outcome, Refused):
                    self._hear_refusal(outcome)
                return False
            self._learn(outcome.answer)
        if session is not None and outcome.answer.session_state in _OVER:
            self._on_session_over(session.session_id)
        return True

    def _hear_refusal(self, refused: Refused) -> None:
        self.last_refusal = refused.refusal
        if refused.code is RefusalCode.DEVICE_REVOKED and self._offline is not None:
            self._offline.drop()

    def _learn(self, answer: HelloAnswer) -> None:
        self.last_refusal = None
        self._server_time.learn(answer.server_time)
        self._believe(answer.acked_seq)
        if answer.config_version > self._configuration.version:
            self._fetch_configuration()
        if self._offline is not None:
            self._offline.learn(answer.server_time)
            if answer.offline_version > self._offline.version:
                self._fetch_offline_list(self._offline)

    def _believe(self, acked_seq: int) -> None:
        """Go on from where the server is: after a restore it may need what it once had."""
        last_seq = self._journal.last_seq()
        if acked_seq > last_seq:
            # This disk was put back to an earlier day, and its new events take numbers that are used. Send them all the
            # same: the server keeps both for a person to weigh, and a charge that is doubted is better than one lost.
            _log.error("journal_older_than_server", last_seq=last_seq, acked_seq=acked_seq)
        elif acked_seq != self._journal.acked_seq():
            self._journal.rewind(acked_seq)

    def _fetch_offline_list(self, offline: OfflineBook) -> None:
        asked_mono_ms = offline.clocks().mono_ms
        query = OfflineListQuery(have_version=offline.version, sealing_key=offline.public_sealing_key)
        outcome = self._client.ask(query, OfflineListAnswer, tries=1)
        if not isinstance(outcome, Answered):
            return
        answer = outcome.answer
        try:
            offline.take(answer.offline_list, server_time_ms=answer.server_time, asked_mono_ms=asked_mono_ms)
        except ProtocolError as error:
            _log.error("offline_list_refused", reason=str(error))

    def _fetch_configuration(self) -> None:
        outcome = self._client.ask(Config(have_version=self._configuration.version), ConfigAnswer, tries=1)
        if not isinstance(outcome, Answered):
            return
        try:
            self._configuration.offer(outcome.answer.config)
        except ProtocolError as error:
            _log.error("configuration_refused", reason=str(error))

"""The running program: one thread for the terminal, one that keeps in touch with the server, one for the page."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from uuid import UUID

import structlog

from card_terminal.clock import Clock
from card_terminal.delivery import Delivery
from card_terminal.journal import Journal
from card_terminal.protocol import ReaderState
from card_terminal.readers import Reading
from card_terminal.terminal import Terminal

HELLO_EVERY_MS = 60_000
INBOX_LENGTH_MAX = 100

_TICK_MS = 1_000
_TICK_S_MIN = 0.02
_TICK_S_MAX = 0.5
_POLL_S = 0.3
_BACK_OFF_S_MAX = 20.0

_log = structlog.get_logger(__name__)


class BusyError(Exception):
    """More waits to be done than a person could have asked for."""


class Program:
    """Brings everything that happens to the terminal's one thread."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._inbox: queue.Queue[tuple[Callable[[Terminal], None], Future[None]]] = queue.Queue(INBOX_LENGTH_MAX)
        self.stopping = threading.Event()
        self.reader_state = ReaderState.OK

    def submit(self, work: Callable[[Terminal], None]) -> "Future[None]":
        """Have something done in the terminal's thread; the future is done when its effect shows. Raises BusyError."""
        done: Future[None] = Future()
        try:
            self._inbox.put_nowait((work, done))
        except queue.Full:
            raise BusyError from None
        return done

    def tapped(self, reading: Reading) -> None:
        """Take a reading from any thread; one too many is dropped, as the person will tap again."""
        try:
            self.submit(lambda terminal: terminal.tap(reading))
        except BusyError:
            _log.warning("tap_dropped")

    def reader_changed(self, state: ReaderState, detail: str) -> None:
        """Take from any thread that the reader went or came; what it did at first is no change if it works."""
        if state is self.reader_state:
            return
        self.reader_state = state
        try:
            self.submit(lambda terminal: terminal.reader_changed(state, detail=detail))
        except BusyError:
            _log.warning("reader_change_dropped", state=str(state))

    def session_over(self, session_id: UUID) -> None:
        """Take the server's word, from any thread, that a session is over; one too many comes again in a minute."""
        try:
            self.submit(lambda terminal: terminal.close_from_server(session_id))
        except BusyError:
            _log.warning("session_over_dropped", session_id=str(session_id))

    def run(self, terminal: Terminal, *, supervise: Callable[[], None] = lambda: None) -> None:
        """Run the terminal until `stopping` is set, and look after the other threads at every turn.

        What goes wrong here ends the process, to be started anew.
        """
        terminal.recover()
        while not self.stopping.is_set():
            try:
                work, done = self._inbox.get(timeout=self._patience_s(terminal))
            except queue.Empty:
                pass
            else:
                work(terminal)
                done.set_result(None)
            terminal.tick()
            supervise()

    def _patience_s(self, terminal: Terminal) -> float:
        wait_ms = _TICK_MS
        if terminal.screen.until_mono_ms is not None:
            wait_ms = min(wait_ms, terminal.screen.until_mono_ms - self._clock.mono_ms())
        return min(max(self._clock.real_s(wait_ms), _TICK_S_MIN), _TICK_S_MAX)

    def keep_in_touch(self, delivery: Delivery, journal: Journal) -> None:
        """Deliver and say hello until `stopping` is set; silence makes it patient, never silent itself."""
        next_hello_ms = 0
        pause_s = _POLL_S
        while not self.stopping.is_set():
            try:
                heard = journal.unsent_count() == 0 or delivery.deliver()
                if heard and self._clock.mono_ms() >= next_hello_ms:
                    heard = delivery.say_hello(reader=self.reader_state)
                    next_hello_ms = self._clock.mono_ms() + HELLO_EVERY_MS if heard else 0
            except Exception:  # noqa: BLE001 - outermost loop: a full disk today must not silence us for good
                _log.exception("keeping_in_touch_failed")
                heard = False
            pause_s = _POLL_S if heard else min(pause_s * 2, _BACK_OFF_S_MAX)
            self.stopping.wait(pause_s)

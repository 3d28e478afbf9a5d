"""What readers of real cards have in common: a thread that watches, and a word for each change of their state."""

import threading
from abc import ABC, abstractmethod

import structlog

from card_terminal.protocol import ReaderState
from card_terminal.readers.reading import ReadingSink, StateSink

_STOP_S = 5

_log = structlog.get_logger(__name__)


class WatchingReader(ABC):
    """A reader whose own thread gives what it sees."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._state: ReaderState | None = None

    def start(self, sink: ReadingSink, *, on_state: StateSink | None = None) -> threading.Thread:
        """Give every card to `sink` and every change of state to `on_state`, from the thread that this gives."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, args=(sink, on_state), name="reader", daemon=True)
        self._thread.start()
        return self._thread

    def stop(self) -> None:
        """Give no more readings, and let go of the card."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=_STOP_S)
            self._thread = None

    @abstractmethod
    def _watch(self, sink: ReadingSink, on_state: StateSink | None) -> None:
        """Watch until `_stopping` is set, whatever goes wrong."""

    def _tell(self, state: ReaderState, on_state: StateSink | None, *, detail: str) -> None:
        if state is self._state or self._stopping.is_set():
            return
        self._state = state
        _log.info("reader_state", state=str(state), detail=detail)
        if on_state is not None:
            on_state(state, detail)

"""Keeps the program's threads alive, and tells systemd so: a dead one is started anew, or the process ends."""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

DEATHS_MAX = 5
WITHIN_S = 600.0
_US_PER_S = 1_000_000

_log = structlog.get_logger(__name__)


class LostThreadError(Exception):
    """A thread dies again and again: only a new process may help, and systemd starts one."""


@dataclass(slots=True)
class _Kept:
    name: str
    start: Callable[[], threading.Thread]
    thread: threading.Thread
    deaths_s: list[float] = field(default_factory=list)


class Supervisor:
    """Watches threads from the one that must not die, the terminal's own."""

    def __init__(
        self, *, now_s: Callable[[], float] = time.monotonic, is_stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._now_s = now_s
        self._is_stopping = is_stopping
        self._kept: list[_Kept] = []
        self.restarts = 0
        """How many threads were started anew since the process began."""

    def keep(
        self, name: str, start: Callable[[], threading.Thread], *, running: threading.Thread | None = None
    ) -> threading.Thread:
        """Keep a thread alive: `start` gives it running, now unless it is `running` already, and when it has died."""
        thread = running or start()
        self._kept.append(_Kept(name=name, start=start, thread=thread))
        return thread

    def check(self) -> None:
        """Start what has died anew. Raises LostThreadError for one that died DEATHS_MAX times within WITHIN_S."""
        for kept in self._kept:
            # In this order: a thread that was told to stop died after the telling.
            if not kept.thread.is_alive() and not self._is_stopping():
                self._start_anew(kept)

    def join(self, name: str) -> None:
        """Wait until a thread that was told to stop has done so."""
        for kept in self._kept:
            if kept.name == name and kept.thread.is_alive():
                kept.thread.join()

    def _start_anew(self, kept: _Kept) -> None:
        now_s = self._now_s()
        kept.deaths_s = [each for each in kept.deaths_s if now_s - each < WITHIN_S] + [now_s]
        if len(kept.deaths_s) >= DEATHS_MAX:
            raise LostThreadError(f"The thread {kept.name} died {DEATHS_MAX} times within {WITHIN_S:.0f} s.")
        _log.error("thread_started_anew", thread=kept.name, deaths=len(kept.deaths_s))
        kept.thread = kept.start()
        self.restarts += 1


class Notifier:
    """Speaks systemd's notification protocol (sd_notify(3)); without systemd it says nothing."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        watchdog_us = os.environ.get("WATCHDOG_USEC", "")
        # Twice within its patience, as systemd asks for.
        self._every_s = int(watchdog_us) / _US_PER_S / 2 if watchdog_us.isdigit() else 0.0
        self._now_s = now_s
        self._next_s = 0.0

    def ready(self) -> None:
        """Say that the page is up."""
        self._send(b"READY=1")

    def alive(self) -> None:
        """Say that the program goes on; as often as the watchdog wants it, however often this is called."""
        if self._every_s and self._now_s() >= self._next_s:
            self._next_s = self._now_s() + self._every_s
            self._send(b"WATCHDOG=1")

    def _send(self, state: bytes) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state, address)
        except OSError as error:
            _log.warning("systemd_not_told", error=type(error).__name__)

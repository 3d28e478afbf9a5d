"""Runs the processes of one machine as children: starts them in order, restarts what dies, stops them in reverse."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

STOP_TIMEOUT_S = 15.0
RESTART_PAUSE_S = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_AFTER_S = 30.0
POLL_S = 0.1
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: a person must put something right before starting again can help."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One child: what to run, and how to see that it is ready for those that come after it."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    ready_timeout_s: float = 60.0
    gives_up_on: frozenset[int] = frozenset({EXIT_CONFIGURATION})
    """The exit statuses after which it is not started again."""


class StartError(Exception):
    """A child did not become ready, or gave up; the message says where its own words are."""


class _Child:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at_s = 0.0
        self.deaths = 0
        self.gave_up = False

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """The children of this process. `start` and `stop` are called from one thread; a second one watches."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "log"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._roster = folder / "processes.json"
        self._children: dict[str, _Child] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._stop_leftovers()

    def start(self, program: Program) -> None:
        """Start a child and wait until it is ready. Raises StartError if it gives up or takes too long."""
        child = _Child(program)
        with self._lock:
            self._children[program.name] = child
            self._spawn(child)
        if not self._watcher.is_alive():
            self._watcher.start()
        deadline = time.monotonic() + program.ready_timeout_s
        while not program.is_ready():
            if time.monotonic() > deadline or child.gave_up or self._stopping.is_set():
                raise StartError(f"{program.name} did not start; see {self._log_path(program)}")
            time.sleep(POLL_S)

    def kill(self, name: str) -> None:
        """Kill a child the hard way, as a power cut would; the watcher starts it again."""
        with self._lock:
            process = self._children[name].process
        if process is not None:
            _signal_family(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop all children, the last started first, and wait for them."""
        self._stopping.set()
        with self._lock:
            for child in reversed(self._children.values()):
                self._stop_one(child)
        self._roster.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Give the names of all children in the order of their start."""
        return list(self._children)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._lock:
                for child in self._children.values():
                    if not child.is_alive() and not child.gave_up and not self._stopping.is_set():
                        self._restart_when_due(child)

    def _restart_when_due(self, child: _Child) -> None:
        status = child.process.returncode if child.process is not None else None
        if status in child.program.gives_up_on:
            child.gave_up = True
            log.error(
                "child_gave_up", name=child.program.name, exit_status=status, words=str(self._log_path(child.program))
            )
            return
        lived_s = time.monotonic() - child.started_at_s
        if lived_s > STEADY_AFTER_S:
            child.deaths = 0
        if lived_s < RESTART_PAUSE_S[min(child.deaths, len(RESTART_PAUSE_S) - 1)]:
            return
        child.deaths += 1
        log.warning("child_restarted", name=child.program.name, exit_status=status, deaths=child.deaths)
        self._spawn(child)

    def _spawn(self, child: _Child) -> None:
        with self._log_path(child.program).open("ab") as log_file:
            child.process = subprocess.Popen(  # noqa: S603 - the arguments are this package's own
                list(child.program.arguments),
                env={**os.environ, **child.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                # A Ctrl-C at the terminal is for the supervisor, which stops its children in order.
                start_new_session=True,
            )
        child.started_at_s = time.monotonic()
        self._write_roster()

    def _stop_one(self, child: _Child) -> None:
        if child.process is None:
            return
        if child.is_alive():
            child.process.terminate()
            try:
                child.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("child_killed", name=child.program.name)
        _signal_family(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def _log_path(self, program: Program) -> Path:
        return self._logs / f"{program.name}.log"

    def _write_roster(self) -> None:
        pids = [child.process.pid for child in self._children.values() if child.process is not None]
        self._roster.write_text(json.dumps([[pid, _started_at(pid)] for pid in pids]))

    def _stop_leftovers(self) -> None:
        """Stop children that outlived a killed supervisor, so that the second start meets no strangers."""
        if not self._roster.exists():
            return
        for pid, started_at in json.loads(self._roster.read_text() or "[]"):
            if started_at is not None and _started_at(pid) == started_at:
                _signal_family(pid, signal.SIGKILL)
        self._roster.unlink()


def _started_at(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _signal_family(pid: int, number: signal.Signals) -> None:
    """Signal a child and all it started: each child leads its own process group."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return

"""A thread that died is started anew; one that cannot live ends the process, and systemd hears both."""

import re
import socket
import threading
from pathlib import Path

import pytest

from card_terminal import settings
from card_terminal.__main__ import EXIT_CONFIGURATION
from card_terminal.supervision import DEATHS_MAX, WITHIN_S, LostThreadError, Notifier, Supervisor

DOCS = Path(__file__).parents[2] / "docs" / "how-to"


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def dead() -> threading.Thread:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return thread


def test_a_dead_thread_is_started_anew_and_counted() -> None:
    started: list[threading.Thread] = []
    stop = threading.Event()

    def start() -> threading.Thread:
        thread = threading.Thread(target=stop.wait)
        thread.start()
        started.append(thread)
        return thread

    supervisor = Supervisor()
    supervisor.keep("reader", start, running=dead())
    assert started == []
    supervisor.check()
    supervisor.check()
    assert (len(started), supervisor.restarts) == (1, 1)
    stop.set()
    supervisor.join("reader")
    assert not started[0].is_alive()


def test_what_was_told_to_stop_is_not_started_anew() -> None:
    supervisor = Supervisor(is_stopping=lambda: True)
    supervisor.keep("messenger", dead)
    supervisor.check()
    assert supervisor.restarts == 0


def test_a_thread_that_dies_again_and_again_ends_the_process_but_one_that_dies_now_and_then_does_not() -> None:
    clock = Clock()
    supervisor = Supervisor(now_s=clock)
    supervisor.keep("messenger", dead)
    for _ in range(3 * DEATHS_MAX):
        supervisor.check()
        clock.now_s += WITHIN_S / (DEATHS_MAX - 2)
    clock.now_s += WITHIN_S
    for _ in range(DEATHS_MAX - 1):
        supervisor.check()
    with pytest.raises(LostThreadError, match="messenger"):
        supervisor.check()


def test_systemd_hears_that_the_program_is_ready_and_lives_as_often_as_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        clock = Clock()
        notifier = Notifier(now_s=clock)
        notifier.ready()
        for _ in range(100):
            notifier.alive()
            clock.now_s += 1
        heard = []
        while True:
            try:
                heard.append(systemd.recv(100))
            except BlockingIOError:
                break
    assert heard == [b"READY=1", *[b"WATCHDOG=1"] * 4]


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready()
    notifier.alive()


def test_the_guide_names_no_setting_that_the_program_does_not_know() -> None:
    guide = (DOCS / "terminal.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^TERMINAL_([A-Z_]+)=", guide, flags=re.MULTILINE))
    assert {"SERVER", "DATA", "READER", "ENROL_CODE"} <= named
    known = set(re.findall(r'env\.\w+\("([A-Z_]+)"', Path(settings.__file__).read_text(encoding="utf-8")))
    assert named <= known
    unit = (DOCS / "testcard-terminal.service").read_text(encoding="utf-8")
    assert f"RestartPreventExitStatus={EXIT_CONFIGURATION}" in unit

"""How long a person waits with a card on the reader: from the tap to the decision, through everything that is real.

A chip in software lies on vpcd; pcscd, pyscard, the terminal's threads, HTTP, gunicorn and PostgreSQL are what they are
at an instrument. The tap is the moment at which PC/SC reports the card; what passes before it is the polling of vpcd
and pcscd, which a reader with an interrupt has not, and is printed apart.
"""

import argparse
import importlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from app import clock
from app.demo.site import Ports, Site
from app.devices import service as devices
from app.settings import Settings
from bench import report
from card_terminal.flow import State
from card_terminal.readers.ntag424 import EmulatedChip
from card_terminal.readers.pcsc import PcscReader
from card_terminal.readers.reading import Reading, ReadingSink
from card_terminal.terminal import Timing
from tests.app import taps
from tests.app.cards.bench import new_bench
from tests.card_terminal.live_terminal import LiveTerminal
from tests.card_terminal.virtual_reader import READER, LyingCard, Pcscd, place_of_run, wait_until, what_is_missing

TAPS = 30
WARM_UP = 5
PRINCIPAL_FEN = 1_000_000_00
# Nothing waits for a person, and no tap is taken for the one before.
PATIENT = Timing(debounce_ms=0, lying_ms=0, confirm_ms=600_000, passing_ms=600_000, receipt_ms=600_000)

Result = TypeVar("Result")


class WatchedReader(PcscReader):
    """Notes when PC/SC reported a card."""

    reported_at = 0.0

    def _meet(self, reader: str, sink: ReadingSink) -> None:
        self.reported_at = time.perf_counter()
        super()._meet(reader, sink)


@dataclass(kw_only=True)
class Times:
    """What each tap took, in ms."""

    noticed: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    decided: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)


class Desk:
    """One terminal on the virtual reader, and a person with one card who starts and ends as fast as she can."""

    def __init__(self, terminal: LiveTerminal, chip: EmulatedChip, *, port: int) -> None:
        self._terminal, self._chip, self._port = terminal, chip, port
        self._reader = terminal.reader = WatchedReader(READER)
        self._read_at = self._server_s = 0.0
        self._decided = threading.Event()
        self._decided_at = 0.0
        terminal.take = self._take  # type: ignore[method-assign]
        terminal.transport.post = self._timed(terminal.transport.post)  # type: ignore[method-assign]
        terminal.start()

    def visit(self, times: Times) -> None:
        """Start and end one session."""
        worked_s = processor_s()
        put_at = self._tap(State.CONFIRM)
        times.processor.append(ms(processor_s() - worked_s))
        times.noticed.append(ms(self._reader.reported_at - put_at))
        times.read.append(ms(self._read_at - self._reader.reported_at))
        times.decided.append(ms(self._decided_at - self._reader.reported_at))
        times.server.append(ms(self._server_s))
        asked_at = time.perf_counter()
        self._terminal.do(lambda terminal: terminal.confirm())
        times.held.append(ms(time.perf_counter() - asked_at))
        assert self._terminal.screen.state is State.ACTIVE, self._terminal.screen
        self._tap(State.ENDING)
        times.ended.append(ms(self._decided_at - self._reader.reported_at))
        self._terminal.do(lambda terminal: terminal.confirm())
        wait_until(lambda: self._terminal.journal.unsent_count() == 0, what="the end is told")
        self._terminal.do(lambda terminal: terminal.back())

    def _tap(self, state: State) -> float:
        self._decided.clear()
        self._server_s = 0.0
        put_at = time.perf_counter()
        card = LyingCard(self._chip, port=self._port)
        assert self._decided.wait(timeout=30), self._terminal.screen
        assert self._terminal.screen.state is state, self._terminal.screen
        card.take_away()
        return put_at

    def _take(self, reading: Reading) -> None:
        self._read_at = time.perf_counter()
        self._terminal.program.submit(lambda terminal: terminal.tap(reading)).add_done_callback(self._decide)

    def _decide(self, _done: object) -> None:
        self._decided_at = time.perf_counter()
        self._decided.set()

    def _timed(self, post: Callable[..., Result]) -> Callable[..., Result]:
        def timed(*values: Any, **named: Any) -> Result:
            started = time.perf_counter()
            try:
                return post(*values, **named)
            finally:
                self._server_s += time.perf_counter() - started

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench NAME=terminal")
    parser.add_argument("--taps", type=int, default=TAPS)
    options = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        raise SystemExit(missing)
    folder = Path(tempfile.mkdtemp(prefix="testcard-bench-"))
    # Nobody taps as often as this.
    os.environ.update(TESTCARD_TAPS_PER_CARD_MAX="100000", TESTCARD_TAPS_PER_TERMINAL_MAX="100000")
    site = Site(folder, speed=1, ports=Ports.near(8400))
    pcscd = Pcscd(place=place_of_run())
    try:
        pcscd.start()
        # No person's hand is as quick as this one.
        site.environment.update(TESTCARD_TAPS_PER_TERMINAL_MAX="1000000", TESTCARD_TAPS_PER_CARD_MAX="1000000")
        database, settings = site.start_storage(), site.settings()
        site.start_service({})
        measure(site, database, settings, pcscd=pcscd, folder=folder, count=options.taps)
    finally:
        pcscd.close()
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(site: Site, database: Any, settings: Settings, *, pcscd: Pcscd, folder: Path, count: int) -> None:
    client: Any = importlib.import_module("bench.try").Client(site.url)  # `try` is a word of the language
    center = taps.new_site(database, settings, client)
    counter = new_bench(database, client)
    counter.settings = settings
    chip = EmulatedChip(uid=bytes.fromhex("04112233445566"))
    card = counter.issue(chip)
    database.run(lambda session: taps.put_money(session, card.account_id, principal_fen=PRINCIPAL_FEN))
    instrument_id = center.terminal().instrument_id
    made = database.run(
        lambda session: devices.create_terminal(
            session, code="T-bench", instrument_id=instrument_id, actor="bench", at=clock.now()
        )
    )
    terminal = LiveTerminal(folder / "terminal", url=site.url, code=made.code, timing=PATIENT)
    taps.approve(database, made.terminal.id)
    desk = Desk(terminal, chip, port=pcscd.port)
    for _ in range(WARM_UP):
        desk.visit(Times())
    times = Times()
    for _ in range(count):
        desk.visit(times)
    terminal.stop()
    say(times)


def say(times: Times) -> None:
    """Print what was found."""
    rows = [
        ("card put down until PC/SC reports it (polling)", times.noticed),
        ("connect, and read the UID", times.read),
        ("tap to decision", times.decided),
        ("of it at the server, three questions", times.server),
        ("processor time meanwhile, all processes", times.processor),
        ("hold, after the confirmation", times.held),
        ("tap to the end's countdown, no server", times.ended),
    ]
    report.table(
        [(name, *(report.quantile(values, share) for share in (0.5, 0.9, 0.99))) for name, values in rows],
        head=("what", "p50 ms", "p90 ms", "p99 ms"),
    )
    median, server = report.quantile(times.decided, 0.5), report.quantile(times.server, 0.5)
    report.summary(
        "terminal",
        {
            "tap_to_decision_ms_median": median,
            "tap_to_decision_ms_p99": report.quantile(times.decided, 0.99),
            "tap_to_decision_and_hold_ms_median": report.quantile(
                [decided + held for decided, held in zip(times.decided, times.held, strict=True)], 0.5
            ),
            "processor_ms_median": report.quantile(times.processor, 0.5),
            "server_share": server / median,
        },
    )


def processor_s() -> float:
    """Give the processor time that this process and all that it has started have used: what no load can hide."""
    here = psutil.Process()
    used = 0.0
    for process in [here, *here.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            used += spent.user + spent.system
    return used


def ms(duration_s: float) -> float:
    """Give a duration in milliseconds."""
    return duration_s * 1000


if __name__ == "__main__":
    main()

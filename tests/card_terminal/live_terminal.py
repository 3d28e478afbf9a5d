"""A terminal as it really runs, in this process: the reader's thread, the terminal's own, the messenger, real HTTP."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from card_terminal.client import Client, ServerTime, Transport
from card_terminal.clock import Clock, MachineClock
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.enrolment import enrol
from card_terminal.flow import State
from card_terminal.identity import load_key, load_sealing_key
from card_terminal.journal import Journal
from card_terminal.offline.book import OfflineBook
from card_terminal.offline.desk import OfflineDesk
from card_terminal.program import Program
from card_terminal.readers import Reading
from card_terminal.readers.pcsc import PcscReader
from card_terminal.screen import Screen
from card_terminal.store import Store
from card_terminal.terminal import Terminal, Timing
from tests.card_terminal.virtual_reader import READER, wait_until

# Short, for nobody stands there who must read; the order of things is the same.
QUICK = Timing(debounce_ms=300, lying_ms=0, confirm_ms=200, pin_ms=20_000, passing_ms=4_000, receipt_ms=4_000)


class ShiftedClock(MachineClock):
    """The machine's clock, but for what a test has turned it by."""

    def __init__(self) -> None:
        super().__init__(None)
        self.mono_by_ms = 0
        self.wall_by_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.wall_by_ms

    def mono_ms(self) -> int:
        return super().mono_ms() + self.mono_by_ms

    def pass_by(self, duration_ms: int) -> None:
        """Let time have passed, by both."""
        self.mono_by_ms += duration_ms
        self.wall_by_ms += duration_ms


class LiveTerminal:
    """Enrolled with `code` at the server at `url`, on the virtual reader, until it is stopped."""

    def __init__(
        self, folder: Path, *, url: str, code: str, timing: Timing = QUICK, clock: Clock | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        clock, key = clock or MachineClock(None), load_key(folder)
        self.program = Program(clock=clock)
        self.transport = Transport(url)
        self._store = Store(folder / "journal.sqlite")
        identity = enrol(
            self._store, key=key, code=code, transport=self.transport, clock=clock, stopping=self.program.stopping
        )
        assert identity is not None
        self.identity = identity
        self.journal = Journal(self._store, clock=clock, identity=identity)
        server_time = ServerTime(clock)
        client = Client(transport=self.transport, identity=identity, server_time=server_time, pause=time.sleep)
        configuration = Configuration(self._store, server_key=identity.server_key)
        self.offline = OfflineBook(self._store, clock=clock, identity=identity, sealing_key=load_sealing_key(folder))
        self.delivery = Delivery(
            journal=self.journal,
            client=client,
            server_time=server_time,
            configuration=configuration,
            on_session_over=self.program.session_over,
            offline=self.offline,
        )
        self.terminal = Terminal(
            clock=clock,
            journal=self.journal,
            client=client,
            delivery=self.delivery,
            configuration=configuration,
            mark_key=bytes(32),
            timing=timing,
            offline=OfflineDesk(self.offline),
        )
        self.reader: PcscReader = PcscReader(READER)
        self._threads = [
            threading.Thread(target=self.program.run, args=(self.terminal,), daemon=True),
            threading.Thread(target=self.program.keep_in_touch, args=(self.delivery, self.journal), daemon=True),
        ]

    def start(self) -> None:
        """Let its threads run, and wait for the reader."""
        for thread in self._threads:
            thread.start()
        self.reader.start(self.take, on_state=self.program.reader_changed)
        wait_until(lambda: self.reader.is_watching, what="the reader")

    def stop(self) -> None:
        """Stop them, as SIGTERM does."""
        self.reader.stop()
        self.program.stopping.set()
        for thread in self._threads:
            thread.join(timeout=20)
        self._store.close()

    @property
    def screen(self) -> Screen:
        """What it shows now."""
        return self.terminal.screen

    def wait_for(self, state: State, *, code: str | None = None) -> Screen:
        """Wait until it shows a state, for this reason if one is given."""
        wait_until(lambda: self.screen.state is state, what=lambda: f"{state}, shown is {self.screen}")
        screen = self.screen
        assert code is None or (screen.notice is not None and screen.notice.code == code), screen
        return screen

    def do(self, work: Callable[[Terminal], None]) -> None:
        """Do what a finger on the page does."""
        self.program.submit(work).result(timeout=20)

    def take(self, reading: Reading) -> None:
        """Take what the reader gives."""
        self.program.tapped(reading)

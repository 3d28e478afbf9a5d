"""A small world for the terminal: a wire that can fail, a store that can die, and a station with all its parts."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from card_terminal.client import Client, ServerTime
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.flow import State
from card_terminal.identity import Identity, keep_identity, load_identity, load_key, load_sealing_key
from card_terminal.journal import Journal
from card_terminal.offline.book import OfflineBook
from card_terminal.offline.desk import OfflineDesk
from card_terminal.protocol import (
    ReaderState,
    RefusalCode,
    TypedCard,
    refusal,
    refuse,
)
from card_terminal.readers import Reading
from card_terminal.store import Store
from card_terminal.terminal import Terminal, Timing
from card_terminal.view import Viewer
from tests.card_terminal.honest_server import HonestServer, TurnedClock


class Killed(BaseException):
    """The process dies here: nothing of the terminal's memory survives."""


@dataclass
class Wire:
    """Carries messages to the server; its `faults` come one by one: down, late, lost, error, garbage, busy, or none."""

    server: HonestServer
    faults: list[str] = field(default_factory=list)
    is_down: bool = False
    before: Callable[[str], None] = lambda _place: None
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    late: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def post(self, name: str, *, body: dict[str, Any], timeout_s: float) -> tuple[int, object] | None:
        assert timeout_s > 0
        fault = self.faults.pop(0) if self.faults else ""
        self.before(f"before {name} is sent")
        if fault == "late":
            self.late.append((name, body))
            return None
        if self.is_down or fault == "down":
            return None
        self.sent.append((name, body))
        if fault == "error":
            return 500, {"message": "Internal Server Error"}
        if fault == "busy":
            code = RefusalCode.RETRY
            return refusal(code).http_status, refuse(code, server_time=self.server.now_ms())
        answer = self.server.handle(name, body)
        self.before(f"after {name} was done")
        if fault == "lost":
            return None
        return (200, ["what?"]) if fault == "garbage" else answer


class WatchedStore(Store):
    """Dies, if the test wants it, just before or just after a transaction."""

    def __init__(self, path: Path, *, before: Callable[[str], None]) -> None:
        self._before = before
        super().__init__(path)
        # These deaths are of processes, which the disk survives; waiting for it would only make the tests slow.
        self._connection.execute("PRAGMA synchronous = OFF")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self._before("before a transaction")
        with super().transaction() as connection:
            yield connection
        self._before("after a transaction")


class Station:
    """One terminal with its disk; `restart` is what a person or systemd does after a kill."""

    def __init__(self, folder: Path, *, server: HonestServer, wire: Wire, clock: TurnedClock) -> None:
        self.folder, self.server, self.wire, self.clock = folder, server, wire, clock
        folder.mkdir(exist_ok=True)
        self.key = load_key(folder)
        server.devices["terminal-1"] = self.key.public_key()
        self.store: Store | None = None
        self.start()

    def start(self) -> None:
        self.store = WatchedStore(self.folder / "journal.sqlite", before=self._step)
        if load_identity(self.store, key=self.key) is None:
            keep_identity(self.store, self.server.enrol_answer())
        identity = load_identity(self.store, key=self.key)
        assert identity is not None
        self._build(self.store, identity)

    def _step(self, place: str) -> None:
        self.wire.before(place)

    def _build(self, store: Store, identity: Identity) -> None:
        self.journal = Journal(store, clock=self.clock, identity=identity)
        self.server_time = ServerTime(self.clock)
        wire: Any = self.wire
        self.client = Client(
            transport=wire, identity=identity, server_time=self.server_time, pause=lambda _seconds: None
        )
        self.configuration = Configuration(store, server_key=identity.server_key)
        self.over: list[UUID] = []
        self.offline = OfflineBook(
            store, clock=self.clock, identity=identity, sealing_key=load_sealing_key(self.folder)
        )
        self.delivery = Delivery(
            journal=self.journal,
            client=self.client,
            server_time=self.server_time,
            configuration=self.configuration,
            on_session_over=self.over.append,
            offline=self.offline,
        )
        self.terminal = Terminal(
            clock=self.clock,
            journal=self.journal,
            client=self.client,
            delivery=self.delivery,
            configuration=self.configuration,
            mark_key=bytes(32),
            timing=Timing(),
            offline=OfflineDesk(self.offline),
        )
        self.viewer = Viewer(
            clock=self.clock,
            journal=self.journal,
            configuration=self.configuration,
            delivery=self.delivery,
            identity=identity,
            offline=self.offline,
        )

    def restart(self) -> None:
        if self.store is not None:
            self.store.close()
        self.start()
        self.terminal.recover()

    # What people and time do

    def shows(self, state: State) -> bool:
        return self.terminal.screen.state is state

    def tap(self, card: str, *, pin: str | None = None, minutes: int | None = None) -> None:
        shown = TypedCard(number=card)
        self.terminal.tap(Reading(card=shown, identity=card, pin=pin, minutes=minutes))

    def wait(self, duration_ms: int, *, step_ms: int = 1_000) -> None:
        left_ms = duration_ms
        while left_ms > 0:
            self.clock.turn(min(step_ms, left_ms))
            left_ms -= step_ms
            self.terminal.tick()

    def keep_in_touch(self) -> None:
        self.delivery.deliver()
        self.delivery.say_hello(reader=ReaderState.OK)
        for session_id in self.over:
            self.terminal.close_from_server(session_id)

    def view(self) -> dict[str, Any]:
        return self.viewer.view(self.terminal.screen)

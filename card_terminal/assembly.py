"""The parts of a running terminal, put together once its identity is known."""

import secrets
import time
from dataclasses import dataclass

from card_terminal.client import Client, ServerTime, Transport
from card_terminal.clock import Clock
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.identity import Identity, load_sealing_key
from card_terminal.journal import Journal
from card_terminal.offline.book import OfflineBook
from card_terminal.offline.desk import OfflineDesk
from card_terminal.program import Program
from card_terminal.settings import Settings
from card_terminal.store import Store
from card_terminal.terminal import Terminal, Timing
from card_terminal.view import Viewer

_MARK_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the program's threads work with."""

    journal: Journal
    delivery: Delivery
    terminal: Terminal
    viewer: Viewer


def assemble(
    settings: Settings, *, clock: Clock, store: Store, identity: Identity, transport: Transport, program: Program
) -> Parts:
    """Give the parts of the terminal whose journal is `store`."""
    journal = Journal(store, clock=clock, identity=identity)
    server_time = ServerTime(clock)
    client = Client(transport=transport, identity=identity, server_time=server_time, pause=time.sleep)
    configuration = Configuration(store, server_key=identity.server_key)
    sealing_key = load_sealing_key(settings.data_dir)
    offline = OfflineBook(store, clock=clock, identity=identity, sealing_key=sealing_key)
    delivery = Delivery(
        journal=journal,
        client=client,
        server_time=server_time,
        configuration=configuration,
        on_session_over=program.session_over,
        offline=offline,
    )
    terminal = Terminal(
        clock=clock,
        journal=journal,
        client=client,
        delivery=delivery,
        configuration=configuration,
        mark_key=_mark_key(store),
        timing=Timing(confirm_ms=settings.confirm_s * 1000),
        offline=OfflineDesk(offline),
    )
    viewer = Viewer(
        clock=clock,
        journal=journal,
        configuration=configuration,
        delivery=delivery,
        identity=identity,
        offline=offline,
        reader_state=lambda: program.reader_state,
    )
    return Parts(journal=journal, delivery=delivery, terminal=terminal, viewer=viewer)


def _mark_key(store: Store) -> bytes:
    """The secret under which this terminal remembers whose card it was, so that no UID stands in its files."""
    kept = store.fact("mark_key")
    if kept is None:
        kept = secrets.token_hex(_MARK_KEY_BYTES)
        store.keep(mark_key=kept)
    return bytes.fromhex(kept)

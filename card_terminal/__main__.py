"""Start the terminal: `testcard-terminal --help`."""

import fcntl
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from card_terminal.client import Client, ServerTime, Transport
from card_terminal.clock import MachineClock
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.enrolment import EnrolmentError, enrol
from card_terminal.identity import Identity, load_key, load_sealing_key
from card_terminal.journal import Journal
from card_terminal.kiosk.server import Kiosk, Page
from card_terminal.offline.book import OfflineBook
from card_terminal.offline.desk import OfflineDesk
from card_terminal.program import Program
from card_terminal.readers import Reader, ReaderError
from card_terminal.readers.choosing import real_reader
from card_terminal.readers.simulated import SimulatedReader
from card_terminal.settings import Settings, SettingsError, load
from card_terminal.store import Store
from card_terminal.supervision import LostThreadError, Notifier, Supervisor
from card_terminal.terminal import Terminal, Timing
from card_terminal.view import Viewer

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again would not help
EXIT_SOFTWARE = 70  # EX_SOFTWARE: starting again may help
READER_THREAD = "reader"
_MARK_KEY_BYTES = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal stops it; the exit code is 78 when a person must put something right first."""
    try:
        settings = load(sys.argv[1:] if arguments is None else arguments)
        _set_up_logs(settings)
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(settings):
            return _run(settings)
    except (SettingsError, EnrolmentError, ReaderError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except LostThreadError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SOFTWARE


def _run(settings: Settings) -> int:
    clock = MachineClock(settings.clock_anchor)
    program = Program(clock=clock)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: program.stopping.set())
    store = Store(settings.data_dir / "journal.sqlite")
    key = load_key(settings.data_dir)
    simulated = SimulatedReader(settings.cards_dir) if settings.simulate else None
    reader = simulated or real_reader(settings.reader, device=settings.reader_device)
    page = Page(program=program, reader=simulated, key=key)
    supervisor, notifier = Supervisor(is_stopping=program.stopping.is_set), Notifier()
    page.restarts = lambda: supervisor.restarts
    with Kiosk(page, port=settings.kiosk_port) as kiosk:
        transport = Transport(settings.server_url)
        code = settings.enrolment_code
        notifier.ready()
        identity = enrol(
            store,
            key=key,
            code=code,
            transport=transport,
            clock=clock,
            stopping=program.stopping,
            on_wait=notifier.alive,
        )
        if identity is None:
            return 0
        supervisor.keep("kiosk", kiosk.serve, running=kiosk.thread)
        if simulated is None:
            supervisor.keep("reader", partial(_start_reader, reader, program=program))
        else:
            reader.start(program.tapped, on_state=program.reader_changed)
        try:
            _work(
                settings,
                clock=clock,
                store=store,
                identity=identity,
                transport=transport,
                program=program,
                page=page,
                supervisor=supervisor,
                notifier=notifier,
            )
        finally:
            reader.stop()
    store.close()
    return 0


def _work(
    settings: Settings,
    *,
    clock: MachineClock,
    store: Store,
    identity: Identity,
    transport: Transport,
    program: Program,
    page: Page,
    supervisor: Supervisor,
    notifier: Notifier,
) -> None:
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
    page.show(terminal, viewer=viewer)

    def start_messenger() -> threading.Thread:
        messenger = threading.Thread(target=program.keep_in_touch, args=(delivery, journal), name="messenger")
        messenger.start()
        return messenger

    def supervise() -> None:
        supervisor.check()
        notifier.alive()

    supervisor.keep("messenger", start_messenger)
    try:
        program.run(terminal, supervise=supervise)
    finally:
        program.stopping.set()
        supervisor.join("messenger")


def _start_reader(reader: Reader, *, program: Program) -> threading.Thread:
    reader.stop()
    reader.start(program.tapped, on_state=program.reader_changed)
    threads = (each for each in threading.enumerate() if each.name == READER_THREAD)
    return next(threads, threading.Thread(name=READER_THREAD))


def _mark_key(store: Store) -> bytes:
    """The secret under which this terminal remembers whose card it was, so that no UID stands in its files."""
    kept = store.fact("mark_key")
    if kept is None:
        kept = secrets.token_hex(_MARK_KEY_BYTES)
        store.keep(mark_key=kept)
    return bytes.fromhex(kept)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two processes on one journal would number events twice."""
    with (settings.data_dir / "terminal.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"Another terminal already runs on {settings.data_dir}.") from None
        yield


def _set_up_logs(settings: Settings) -> None:
    human = settings.log_format == "text"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())

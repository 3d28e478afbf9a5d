"""Start the terminal: `testcard-terminal --help`."""

import fcntl
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from card_terminal.assembly import assemble
from card_terminal.client import Transport
from card_terminal.clock import MachineClock
from card_terminal.enrolment import EnrolmentError, enrol
from card_terminal.identity import Identity, load_key
from card_terminal.kiosk.server import Kiosk, Page
from card_terminal.program import Program
from card_terminal.readers import Reader, ReaderError
from card_terminal.readers.choosing import real_reader
from card_terminal.readers.simulated import SimulatedReader
from card_terminal.readers.watching import WatchingReader
from card_terminal.settings import Settings, SettingsError, load
from card_terminal.store import Store
from card_terminal.supervision import LostThreadError, Notifier, Supervisor

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again would not help
EXIT_SOFTWARE = 70  # EX_SOFTWARE: starting again may help


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
    reader: Reader = simulated or real_reader(settings.reader, device=settings.reader_device)
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
        if isinstance(reader, WatchingReader):
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
    parts = assemble(settings, clock=clock, store=store, identity=identity, transport=transport, program=program)
    page.show(parts.terminal, viewer=parts.viewer)

    def start_messenger() -> threading.Thread:
        messenger = threading.Thread(
            target=program.keep_in_touch, args=(parts.delivery, parts.journal), name="messenger"
        )
        messenger.start()
        return messenger

    def supervise() -> None:
        supervisor.check()
        notifier.alive()

    supervisor.keep("messenger", start_messenger)
    try:
        program.run(parts.terminal, supervise=supervise)
    finally:
        program.stopping.set()
        supervisor.join("messenger")


def _start_reader(reader: WatchingReader, *, program: Program) -> threading.Thread:
    reader.stop()
    return reader.start(program.tapped, on_state=program.reader_changed)


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

"""`testcard-station`: the station's program, from its enrolment to the last card; `--simulate` needs no hardware."""

import argparse
import queue
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from card_terminal import station
from card_terminal.client import Client, ServerTime, Transport
from card_terminal.clock import MachineClock
from card_terminal.enrolment import EnrolmentError, enrol
from card_terminal.identity import load_key
from card_terminal.protocol import ReaderState
from card_terminal.readers import ReaderError, Reading
from card_terminal.readers.apdu import ApduCard
from card_terminal.readers.kept import KeptChip
from card_terminal.readers.ntag424 import EmulatedChip
from card_terminal.readers.pcsc import PcscReader
from card_terminal.store import Store

_CHIP_FORM = "0123456789abcdefghijklmnopqrstuvwxyz-_"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the station until it is told to stop; gives the exit code."""
    options = _parser().parse_args(arguments)
    # Standard output is the screen.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    data: Path = options.data
    data.mkdir(parents=True, exist_ok=True)
    clock, transport, store = MachineClock(), Transport(options.server), Store(data / "station.db")
    try:
        identity = enrol(
            store,
            key=load_key(data),
            code=options.enrol_code,
            transport=transport,
            clock=clock,
            stopping=stopping,
            door="station/enroll",
        )
        if identity is None:
            return 0
        client = Client(transport=transport, identity=identity, server_time=ServerTime(clock), pause=time.sleep)
        with ExitStack() as at_the_end:
            next_card = _cards(options, stopping, at_the_end=at_the_end)
            station.serve(client, next_card=next_card, show=_print, stopping=stopping)
    except (EnrolmentError, ReaderError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return 1
    finally:
        store.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="testcard-station", description="A personalisation station at the counter.")
    parser.add_argument("--server", metavar="URL", default="http://127.0.0.1:8000", help="the service's address")
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("var/station"), help="where the key is kept")
    parser.add_argument("--enrol-code", metavar="CODE", help="the one-time code of a new station")
    parser.add_argument(
        "--simulate", metavar="DIR", type=Path, help="chips are files here; type a name to put one down"
    )
    parser.add_argument("--reader-device", metavar="NAME", default="", help="a part of the reader's name on PC/SC")
    return parser


def _cards(
    options: argparse.Namespace, stopping: threading.Event, *, at_the_end: ExitStack
) -> Callable[[], ApduCard | None]:
    if options.simulate is None:
        reader = PcscReader(options.reader_device)
        at_the_end.callback(reader.stop)
        return _cards_on(reader)
    folder: Path = options.simulate
    folder.mkdir(parents=True, exist_ok=True)
    return lambda: _typed_chip(folder, stopping)


def _cards_on(reader: PcscReader) -> Callable[[], ApduCard | None]:
    """Give each chip once when it is put on the reader."""
    put_down: queue.Queue[ApduCard] = queue.Queue()

    def take(reading: Reading) -> None:
        if reading.chip is None:
            _print("此卡不能制作", "This kind of card cannot be made")
        else:
            put_down.put(reading.chip)

    def tell(state: ReaderState, _detail: str) -> None:
        if state is ReaderState.DOWN:
            _print("读卡器未连接", "The reader does not answer")
        else:
            _print("请放上卡片", "Put a card on the reader")

    reader.start(take, on_state=tell)

    def next_card() -> ApduCard | None:
        try:
            return put_down.get(timeout=station.POLL_S)
        except queue.Empty:
            return None

    return next_card


def _typed_chip(folder: Path, stopping: threading.Event) -> ApduCard | None:
    """Wait for a name; a chip without a file is taken fresh from the box. What it has become is kept at once."""
    name = sys.stdin.readline()
    if not name:
        stopping.set()
        return None
    name = name.strip().lower()
    if not name or set(name) - set(_CHIP_FORM):
        return None
    path = folder / f"{name}.chip"
    chip = EmulatedChip.load(path) if path.exists() else EmulatedChip(uid=b"\x04" + secrets.token_bytes(6))
    return KeptChip(chip, path)


def _print(text_zh: str, text_en: str) -> None:
    print(f"{text_zh} / {text_en}", flush=True)  # noqa: T201 - this is its screen


if __name__ == "__main__":
    sys.exit(main())

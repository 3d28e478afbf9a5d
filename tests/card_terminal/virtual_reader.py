"""A PC/SC reader without hardware: pcscd of our own with vpcd's driver, and chips in software that lie on it.

vpcd listens on all interfaces, so this is for tests alone.
"""

import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from card_terminal.readers.apdu import CardGoneError
from card_terminal.readers.ntag424 import ATR, EmulatedChip
from card_terminal.readers.pcsc import GET_UID

DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
# libpcsclite reads this once in a process, so all readers of a test run meet at one place.
SOCKET_VARIABLE = "PCSCLITE_CSOCK_NAME"
READER = "Virtual"

AS_NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}

_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4
_PATIENCE_S = 60


def what_is_missing() -> str | None:
    """Give why no virtual reader can be had on this machine; None if it can."""
    if shutil.which("pcscd") is None or not DRIVER.exists():
        return "pcscd and vsmartcard-vpcd are not installed (bash .ci/install-packages)"
    try:
        import smartcard  # noqa: F401, PLC0415 - it is not there everywhere
    except ImportError:
        return "pyscard is not installed (bash .ci/install-packages, then make test)"
    return None


class Pcscd:
    """A pcscd as systemd would start it, but as an ordinary user: as whoever runs the tests, and as nobody for root."""

    def __init__(self, *, place: Path) -> None:
        self.port = free_ports()
        self._place = place
        # Not in the folder of the test, which is for nobody but who runs it.
        self._folder = Path(tempfile.mkdtemp(prefix="testcard-pcscd-"))
        self._folder.chmod(0o755)
        self._configuration = self._folder / "reader.conf.d"
        self._configuration.mkdir()
        (self._configuration / "vpcd").write_text(
            f'FRIENDLYNAME "Virtual PCD"\nDEVICENAME /dev/null:0x{self.port:X}\nLIBPATH {DRIVER}\n'
            f"CHANNELID 0x{self.port:X}\n"
        )
        self._log = self._folder / "pcscd.log"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        place.unlink(missing_ok=True)
        self._listener.bind(str(place))
        self._listener.listen(16)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; the socket waits for it, so nobody need wait."""
        number = self._listener.fileno()
        # LISTEN_PID is that of the program that takes the shell's place.
        command = f"LISTEN_PID=$$ LISTEN_FDS=1 exec pcscd --foreground --config {self._configuration} 3<&{number}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["bash", "-c", command],  # noqa: S607
                pass_fds=[number],
                stdout=log,
                stderr=log,
                **(AS_NOBODY if os.geteuid() == 0 else {}),
            )
        wait_until(lambda: can_connect(self.port), what=lambda: f"vpcd listens: {self._log.read_text()[-500:]}")

    def stop(self) -> None:
        """Stop it as systemd does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=_PATIENCE_S)
            self._process = None

    def close(self) -> None:
        """Stop it, and take its place away."""
        self.stop()
        self._listener.close()
        self._place.unlink(missing_ok=True)
        shutil.rmtree(self._folder)


class LyingCard:
    """A chip on the reader, until it is taken away; `UID` only is a copy that speaks no command at all."""

    def __init__(self, chip: EmulatedChip, *, port: int) -> None:
        self.chip = chip
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        self._wire.settimeout(None)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def take_away(self) -> None:
        """Lift the card."""
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=_PATIENCE_S)
        # pcscd looks a few times a second; a card that comes back sooner never went.
        wait_until(is_empty, what="the reader is empty")

    def _serve(self) -> None:
        with suppress(OSError, EOFError, CardGoneError):
            while True:
                message = self._read(struct.unpack(">H", self._read(2))[0])
                answer = self._control(message[0]) if len(message) == 1 else self._apdu(message)
                if answer is not None:
                    self._wire.sendall(struct.pack(">H", len(answer)) + answer)
        self.chip.leave_field()
        self._wire.close()

    def _control(self, what: int) -> bytes | None:
        if what in (_OFF, _RESET):
            self.chip.leave_field()
        return ATR if what == _ATR else None

    def _apdu(self, apdu: bytes) -> bytes:
        # The reader answers this one; the chip never sees it.
        return self.chip.uid + b"\x90\x00" if apdu == GET_UID else self.chip.transmit(apdu)

    def _read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            # vpcd sends length and content apart, and would wait 40 ms for a lazy acknowledgement in between.
            self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            part = self._wire.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content


def free_ports() -> int:
    """Give the first of two neighbouring free ports: vpcd takes one for each of its two slots."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if not can_connect(port) and not can_connect(port + 1):
            return port


def can_connect(port: int) -> bool:
    """Tell whether somebody listens there, without being taken for a card."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - as vpcd does; it is closed at once
        except OSError:
            return True
    return False


def is_empty() -> bool:
    """Tell whether PC/SC says that no card lies on the reader."""
    from smartcard import scard  # noqa: PLC0415 - it is not there everywhere

    _result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    try:
        _result, readers = scard.SCardListReaders(context, [])
        _result, states = scard.SCardGetStatusChange(context, 0, [(readers[0], scard.SCARD_STATE_UNAWARE)])
        return bool(states[0][1] & scard.SCARD_STATE_EMPTY)
    finally:
        scard.SCardReleaseContext(context)


def wait_until(is_so: Callable[[], bool], *, what: Callable[[], str] | str) -> None:
    """Wait, but not for ever."""
    until = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, f"waited in vain: {what if isinstance(what, str) else what()}"
        time.sleep(0.01)


def place_of_run() -> Path:
    """Give the one socket of this process, as the environment has it or as it will have it from now on."""
    if SOCKET_VARIABLE not in os.environ:
        os.environ[SOCKET_VARIABLE] = f"/tmp/testcard-pcscd-{os.getpid()}.comm"  # noqa: S108 - a socket's path is short
    return Path(os.environ[SOCKET_VARIABLE])

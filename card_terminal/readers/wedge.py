"""A reader that types: it poses as a keyboard, and what it types is a UID, a card's address or a card's number.

What it types is a copy of what it read, so it proves as little: no card is ever believed by such a reader without the
server, and no session begins with it while the server is away.
"""

import errno
import fcntl
import os
import re
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from card_terminal.protocol import ReaderState, SunCard, TypedCard, UidCard
from card_terminal.readers.reading import ReaderError, Reading, ReadingSink, StateSink
from card_terminal.readers.watching import WatchingReader

STDIN = "-"
LINE_CHARACTERS_MAX = 500

_UID = re.compile(r"([0-9A-Fa-f]{8}|[0-9A-Fa-f]{14}|[0-9A-Fa-f]{20})")
_ADDRESS = re.compile(r"https?://[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]{16}")

# linux/input.h: the time of an event, its type, its code, its value; on 32 bits the time is shorter.
_EVENT = struct.Struct("llHHi")
_KEY, _PRESSED, _RELEASED = 1, 1, 0
_GRAB = 0x40044590  # EVIOCGRAB: the keys go to us alone, not also into the page
_ENTER = {28, 96}
_SHIFT = {42, 54}
_ROWS = (
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
)
_KEYPAD = {71: "7", 72: "8", 73: "9", 75: "4", 76: "5", 77: "6", 79: "1", 80: "2", 81: "3", 82: "0"}
_PLAIN = {first + place: key for first, keys, _ in _ROWS for place, key in enumerate(keys)} | _KEYPAD
_SHIFTED = {first + place: key for first, _, keys in _ROWS for place, key in enumerate(keys)} | _KEYPAD

_WAIT_S = 0.5

_log = structlog.get_logger(__name__)


def read_typed(line: str) -> Reading | None:
    """Give what a line means; None if it is nothing that a card shows. A UID is hexadecimal, never decimal.

    An address is another one at each reading, so only the server can tell whose session a tap with it ends.
    """
    line = line.strip()
    if _ADDRESS.fullmatch(line) and len(line) <= LINE_CHARACTERS_MAX:
        return Reading(card=SunCard(uri=line), identity=line)
    if _NUMBER.fullmatch(line):
        return Reading(card=TypedCard(number=line), identity=line)
    if _UID.fullmatch(line):
        return Reading(card=UidCard(uid=line.upper()), identity=line.upper())
    return None


class Typewriter:
    """Makes lines of key events, on the layout of the United States, as such readers are set."""

    def __init__(self) -> None:
        self._line = ""
        self._shift = False

    def press(self, event: bytes) -> str | None:
        """Take one event of the kernel; give the line when it ends."""
        *_, kind, code, value = _EVENT.unpack(event)
        if kind != _KEY:
            return None
        if code in _SHIFT:
            self._shift = value != _RELEASED
        elif value == _PRESSED and code in _ENTER:
            line, self._line = self._line, ""
            return line
        elif value == _PRESSED:
            self._line = (self._line + (_SHIFTED if self._shift else _PLAIN).get(code, ""))[-LINE_CHARACTERS_MAX:]
        return None


class WedgeReader(WatchingReader):
    """Reads `device`, such as /dev/input/by-id/…-event-kbd, or the lines of standard input for `-`."""

    def __init__(self, device: str) -> None:
        super().__init__()
        if not device:
            raise ReaderError("A reader that types needs its device: --reader-device /dev/input/by-id/…-event-kbd")
        self._device = device

    def _watch(self, sink: ReadingSink, on_state: StateSink | None) -> None:
        while not self._stopping.is_set():
            try:
                with _opened(self._device) as number:
                    self._tell(ReaderState.OK, on_state, detail=self._device)
                    for line in self._lines(number):
                        self._take(line, sink)
                detail = "the device gives no more"
                is_over = self._device == STDIN
            except OSError as error:
                detail = errno.errorcode.get(error.errno or 0, "unknown")
                is_over = False
            self._tell(ReaderState.DOWN, on_state, detail=detail)
            # An input that has ended never comes back; the thread stays, because one that ends is started anew.
            self._stopping.wait(None if is_over else _WAIT_S)

    def _take(self, line: str, sink: ReadingSink) -> None:
        reading = read_typed(line)
        if reading is None:
            _log.info("typed_no_card", characters=len(line))
        else:
            sink(reading)

    def _lines(self, number: int) -> Iterator[str]:
        keys, pending = Typewriter(), b""
        while not self._stopping.is_set():
            if not select.select([number], [], [], _WAIT_S)[0]:
                continue
            content = os.read(number, 64 * _EVENT.size)
            if not content:
                return
            pending += content
            if self._device == STDIN:
                *lines, pending = pending.split(b"\n")
                pending = pending[-LINE_CHARACTERS_MAX:]
                yield from (line.decode("ascii", "replace") for line in lines)
                continue
            while len(pending) >= _EVENT.size:
                event, pending = pending[: _EVENT.size], pending[_EVENT.size :]
                line = keys.press(event)
                if line is not None:
                    yield line


@contextmanager
def _opened(device: str) -> Iterator[int]:
    if device == STDIN:
        yield sys.stdin.fileno()
        return
    number = os.open(Path(device), os.O_RDONLY | os.O_NONBLOCK)
    try:
        try:
            fcntl.ioctl(number, _GRAB, 1)
        except OSError:
            _log.warning("keys_not_ours_alone", device=device)
        yield number
    finally:
        os.close(number)

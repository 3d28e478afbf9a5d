"""Which reader a terminal or a station has, by the name in its settings."""

from enum import StrEnum

from card_terminal.readers.pcsc import PcscReader
from card_terminal.readers.watching import WatchingReader
from card_terminal.readers.wedge import WedgeReader


class ReaderKind(StrEnum):
    """The readers of real cards."""

    PCSC = "pcsc"
    WEDGE = "wedge"


def real_reader(kind: ReaderKind, *, device: str) -> WatchingReader:
    """Give the reader; `device` is part of its name on PC/SC, and of a wedge its file. Raises ReaderError."""
    return PcscReader(device) if kind is ReaderKind.PCSC else WedgeReader(device)

"""What a reader gives: the card as it is shown to the server, and what this terminal recognises it by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from card_terminal.protocol import CardShown, ReaderState
from card_terminal.readers.apdu import ApduCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One tap. `identity` is the UID that the reader saw, or a typed number; it never leaves the terminal.

    `chip` is the card itself while it lies on the reader, of a class that proves itself; it may be gone at any APDU.
    `pin` and `minutes` are what a person without hands would enter next: simulated readers bring them along.
    """

    card: CardShown
    identity: str
    chip: ApduCard | None = field(default=None, repr=False)
    pin: str | None = field(default=None, repr=False)
    minutes: int | None = None


ReadingSink: TypeAlias = Callable[[Reading], None]
StateSink: TypeAlias = Callable[[ReaderState, str], None]
"""Is told of every change, with a detail for the log."""


class ReaderError(Exception):
    """This reader cannot work here until a person has done something; the text says what."""


class Reader(Protocol):
    """A source of taps."""

    def start(self, sink: ReadingSink, *, on_state: StateSink | None = None) -> object:
        """Give every reading to `sink` from now on, and every change of state to `on_state`, from any thread."""

    def stop(self) -> None:
        """Give no more readings."""

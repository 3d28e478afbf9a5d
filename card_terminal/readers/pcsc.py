"""A contactless reader on PC/SC (pyscard and pcscd), watched by a loop of our own that outlives both.

pyscard's own monitor dies silently with pcscd, and a context that lost its daemon still calls itself valid. So every
error but a timeout lets go of everything and begins anew, and what a reader shows then is where it starts from, no tap:
a card that lies there while the daemon or this program restarts must not end a session.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from card_terminal.crypto.keys import UID_BYTES
from card_terminal.protocol import CardShown, Ev2Card, ReaderState, UidCard
from card_terminal.readers.apdu import CardGoneError
from card_terminal.readers.reading import ReaderError, Reading, ReadingSink, StateSink
from card_terminal.readers.watching import WatchingReader

# PC/SC part 3: the reader itself answers with what anticollision gave it.
GET_UID = bytes.fromhex("FFCA000000")

_OK = b"\x90\x00"
_STATUS_BYTES = 2
# PC/SC part 3, 3.1.3.2.3: the ATR of a card that speaks no ISO 14443-4 names the workgroup's list of storage cards.
_STORAGE_CARD = bytes.fromhex("4F0CA000000306")
_WAIT_MS = 500
_AGAIN_S = 0.5
_COUNTER_SHIFT = 16

_log = structlog.get_logger(__name__)


class PcscCard:
    """A card that lies on a reader, with a connection of its own; any thread may talk to it."""

    def __init__(self, reader: str) -> None:
        """Connect to the card on `reader`, and ask for its UID. Raises CardGoneError."""
        self._scard = _scard()
        self._lock = threading.Lock()
        # Of its own, because a context waits for one thing at a time, and the loop waits for changes.
        self._context = _checked(self._scard.SCardEstablishContext(self._scard.SCARD_SCOPE_SYSTEM))
        self._is_open = True
        try:
            self._handle, self._protocol = _checked(
                self._scard.SCardConnect(
                    self._context,
                    reader,
                    self._scard.SCARD_SHARE_SHARED,
                    self._scard.SCARD_PROTOCOL_T0 | self._scard.SCARD_PROTOCOL_T1,
                ),
                values=2,
            )
            *_, self.atr = _checked(self._scard.SCardStatus(self._handle), values=4)
            self.atr = bytes(self.atr)
            answer = self.transmit(GET_UID)
        except BaseException:
            self.release()
            raise
        self.uid = answer[:-2] if answer[-2:] == _OK else b""

    def transmit(self, apdu: bytes) -> bytes:
        """Give the card's answer with its two status bytes. Raises CardGoneError."""
        with self._lock:
            if not self._is_open:
                raise CardGoneError("taken away")
            answer = bytes(_checked(self._scard.SCardTransmit(self._handle, self._protocol, list(apdu))))
        if len(answer) < _STATUS_BYTES:
            # Some drivers call it a success when the card went before it answered.
            raise CardGoneError("no answer")
        return answer

    def release(self) -> None:
        """Let go of the card. It must be done by hand: what the garbage collector finds is reset at its whim."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            if hasattr(self, "_handle"):
                self._scard.SCardDisconnect(self._handle, self._scard.SCARD_UNPOWER_CARD)
            self._scard.SCardReleaseContext(self._context)

    def shown(self) -> CardShown:
        """Give the card as it is shown to the server: as one that can prove itself, or as the UID that it is."""
        if len(self.uid) == UID_BYTES and _STORAGE_CARD not in self.atr:
            return Ev2Card(uid=self.uid.hex().upper(), atr=self.atr.hex().upper())
        return UidCard(uid=self.uid.hex().upper())


class PcscReader(WatchingReader):
    """The first reader whose name holds `name`; it may come, go, and come back."""

    def __init__(self, name: str = "") -> None:
        super().__init__()
        _scard()
        self._name = name
        self._card: PcscCard | None = None

    @property
    def is_watching(self) -> bool:
        """Whether the reader is there, so that the next card that comes will be seen."""
        return self._state is ReaderState.OK

    def _watch(self, sink: ReadingSink, on_state: StateSink | None) -> None:
        while not self._stopping.is_set():
            try:
                with _context() as context:
                    self._watch_context(context, sink=sink, on_state=on_state)
            except CardGoneError as error:
                self._tell(ReaderState.DOWN, on_state, detail=str(error))
            except Exception:  # noqa: BLE001 - outermost loop: without it nobody could tap again until a restart
                _log.exception("reader_watch_failed")
                self._tell(ReaderState.DOWN, on_state, detail="see the log")
            finally:
                self._let_go()
            self._stopping.wait(_AGAIN_S)

    def _watch_context(self, context: Any, *, sink: ReadingSink, on_state: StateSink | None) -> None:
        """Watch until something is wrong. Raises CardGoneError, which here speaks of the reader or of the daemon."""
        scard = _scard()
        reader = self._find(context)
        state = _changed(scard.SCardGetStatusChange(context, 0, [(reader, scard.SCARD_STATE_UNAWARE)]))
        self._tell(ReaderState.OK, on_state, detail=reader)
        while not self._stopping.is_set():
            before = state
            result, states = scard.SCardGetStatusChange(context, _WAIT_MS, [(reader, state)])
            if result == scard.SCARD_E_TIMEOUT:
                continue
            state = _changed((result, states))
            if state & (scard.SCARD_STATE_UNKNOWN | scard.SCARD_STATE_UNAVAILABLE):
                raise CardGoneError(f"{reader} was unplugged")
            if _comings(before) == _comings(state):
                continue
            self._let_go()
            if state & scard.SCARD_STATE_PRESENT and not state & scard.SCARD_STATE_MUTE:
                self._meet(reader, sink)

    def _find(self, context: Any) -> str:
        result, readers = _scard().SCardListReaders(context, [])
        found = [reader for reader in readers if self._name in reader] if result == _scard().SCARD_S_SUCCESS else []
        if not found:
            raise CardGoneError(f"there is no reader{' named ' if self._name else ''}{self._name}")
        return str(min(found))

    def _meet(self, reader: str, sink: ReadingSink) -> None:
        try:
            card = PcscCard(reader)
        except CardGoneError as error:
            _log.info("card_gone_at_once", detail=str(error))
            return
        self._card = card
        if not card.uid:
            _log.warning("reader_gives_no_uid", reader=reader)
            return
        shown = card.shown()
        chip = card if isinstance(shown, Ev2Card) else None
        sink(Reading(card=shown, identity=card.uid.hex().upper(), chip=chip))

    def _let_go(self) -> None:
        if self._card is not None:
            self._card.release()
            self._card = None


def _scard() -> Any:
    """Give pyscard's own layer. Raises ReaderError where it is not installed."""
    try:
        # Here, because the terminal must start without it, and because it reads PCSCLITE_CSOCK_NAME when it is loaded.
        from smartcard import scard  # noqa: PLC0415
    except ImportError as error:
        raise ReaderError(
            "PC/SC needs pyscard: pip install --require-hashes -r requirements-pcsc.txt"
            " (--simulate tries everything without a reader)"
        ) from error
    return scard


@contextmanager
def _context() -> Iterator[Any]:
    scard = _scard()
    context = _checked(scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM))
    try:
        yield context
    finally:
        scard.SCardReleaseContext(context)


def _checked(result: Any, *, values: int = 1) -> Any:
    """Give what a call of PC/SC gave besides its result code. Raises CardGoneError for any code but success."""
    code, *found = result
    if code != _scard().SCARD_S_SUCCESS:
        raise CardGoneError(_scard().SCardGetErrorMessage(code))
    return found[0] if values == 1 else found


def _changed(result: Any) -> int:
    """Give the state of the one reader that was asked about. Raises CardGoneError."""
    ((_reader, state, _atr),) = _checked(result)
    return int(state & ~_scard().SCARD_STATE_CHANGED)


def _comings(state: int) -> int:
    """Give how often cards came and went, which pcscd counts in the upper half of a state."""
    return state >> _COUNTER_SHIFT

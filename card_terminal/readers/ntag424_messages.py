"""The card's side of APDUs and of EV2 secure messaging, for the chip in software."""

import hmac
from dataclasses import dataclass, field, replace

from card_terminal.crypto.aes import aes_cmac, decrypt_cbc, encrypt_block, encrypt_cbc, pad, unpad
from card_terminal.crypto.ev2 import MAC_BYTES, Mode

_HEADER_BYTES = 4
_COMMAND_LABEL, _ANSWER_LABEL = b"\xa5\x5a", b"\x5a\xa5"


class RefusedError(Exception):
    """The chip refuses; `status` is its two bytes."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = bytes.fromhex(status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command APDU in its parts."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    le: int | None


def parse_apdu(apdu: bytes) -> Command:
    """Read a short APDU. Raises RefusedError 6700."""
    if len(apdu) < _HEADER_BYTES:
        raise RefusedError("6700")
    cla, ins, p1, p2 = apdu[:_HEADER_BYTES]
    rest = apdu[_HEADER_BYTES:]
    if len(rest) <= 1:
        return Command(cla=cla, ins=ins, p1=p1, p2=p2, data=b"", le=rest[0] if rest else None)
    data, end = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
    if len(data) != rest[0] or len(end) > 1:
        raise RefusedError("6700")
    return Command(cla=cla, ins=ins, p1=p1, p2=p2, data=data, le=end[0] if end else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSession:
    """What the chip keeps of a session."""

    ti: bytes
    k_enc: bytes = field(repr=False)
    k_mac: bytes = field(repr=False)
    key_no: int
    counter: int = 0

    def open(self, ins: int, *, header: bytes, rest: bytes, mode: Mode) -> bytes:
        """Give the plain data of a command. Raises RefusedError 911E for a wrong MAC or padding."""
        if mode is Mode.PLAIN:
            return rest
        data, mac = rest[:-MAC_BYTES], rest[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self.mac(bytes([ins]), header + data, counter=self.counter)):
            raise RefusedError("911E")
        if mode is Mode.MAC or not data:
            return data
        try:
            return unpad(decrypt_cbc(data, key=self.k_enc, iv=self.iv(_COMMAND_LABEL, counter=self.counter)))
        except ValueError as error:
            raise RefusedError("911E") from error

    def mac(self, code: bytes, content: bytes, *, counter: int) -> bytes:
        """Give the 8 bytes that protect a command or an answer."""
        return aes_cmac(code + counter.to_bytes(2, "little") + self.ti + content, key=self.k_mac)[1::2]

    def iv(self, label: bytes, *, counter: int) -> bytes:
        """Give the IV of a command or of an answer."""
        return encrypt_block((label + self.ti + counter.to_bytes(2, "little")).ljust(16, b"\x00"), key=self.k_enc)


def reply(session: CardSession, data: bytes, *, mode: Mode) -> tuple[bytes, CardSession]:
    """Give the protected answer, and the session after it."""
    after = replace(session, counter=session.counter + 1)
    if mode is Mode.PLAIN:
        return data + b"\x91\x00", after
    if mode is Mode.FULL and data:
        data = encrypt_cbc(pad(data), key=session.k_enc, iv=session.iv(_ANSWER_LABEL, counter=after.counter))
    return data + session.mac(b"\x00", data, counter=after.counter) + b"\x91\x00", after

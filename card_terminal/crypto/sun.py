"""Secure dynamic messages of NTAG 424 DNA (NXP AN12196): a card that writes its own proof into the URL it shows."""

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from card_terminal.crypto.aes import BLOCK_BYTES, aes_cmac, decrypt_cbc, encrypt_block, encrypt_cbc
from card_terminal.crypto.keys import UID_BYTES

COUNTER_MAX = 2**24 - 1
MAC_BYTES = 8

_COUNTER_BYTES = 3
# PICC data tag: UID mirrored, counter mirrored, UID of 7 bytes.
_PICC_TAG = 0xC7
_SESSION_ENCRYPTION = bytes.fromhex("C33C00010080")
_SESSION_MAC = bytes.fromhex("3CC300010080")


class SunError(ValueError):
    """What was read is no secure dynamic message, or was not made with the expected key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PiccData:
    """What a card says of itself: its UID of 7 bytes, and how often it has been read."""

    uid: bytes
    counter: int

    @property
    def uid_hex(self) -> str:
        """The UID as 14 hex digits in anticollision order, the only way in which we write one."""
        return self.uid.hex().upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class SunMessage:
    """The two parts of a message that this system's cards write: encrypted PICC data (`e`) and MAC (`c`)."""

    encrypted: bytes
    mac: bytes


def parse_sun_uri(uri: str) -> SunMessage:
    """Take `e` and `c` out of the URI that a card showed. Raises SunError."""
    try:
        values = parse_qs(urlsplit(uri).query, max_num_fields=10)
    except ValueError as error:
        raise SunError("unreadable URI") from error
    return SunMessage(
        encrypted=_hex_value(values, "e", byte_count=BLOCK_BYTES), mac=_hex_value(values, "c", byte_count=MAC_BYTES)
    )


def _hex_value(values: dict[str, list[str]], name: str, *, byte_count: int) -> bytes:
    given = values.get(name, [])
    if len(given) != 1 or re.fullmatch(rf"[0-9A-Fa-f]{{{byte_count * 2}}}", given[0]) is None:
        raise SunError(f"{name} must stand once, with {byte_count * 2} hex digits")
    return bytes.fromhex(given[0])


def read_picc_data(encrypted: bytes, *, k_meta: bytes) -> PiccData:
    """Decrypt PICC data with the meta read key. Raises SunError: another key, or a card set up otherwise."""
    if len(encrypted) != BLOCK_BYTES:
        raise SunError("PICC data has 16 bytes")
    plain = decrypt_cbc(encrypted, key=k_meta)
    if plain[0] != _PICC_TAG:
        raise SunError("made with another key, or without UID and counter")
    counter_start = 1 + UID_BYTES
    counter = int.from_bytes(plain[counter_start : counter_start + _COUNTER_BYTES], "little")
    return PiccData(uid=plain[1:counter_start], counter=counter)


def encrypt_picc_data(picc: PiccData, *, k_meta: bytes, filling: bytes) -> bytes:
    """Do the card's part of `read_picc_data`; `filling` is five random bytes."""
    return encrypt_cbc(bytes([_PICC_TAG]) + picc.uid + _counter_bytes(picc.counter) + filling, key=k_meta)


def sun_mac(picc: PiccData, *, k_file: bytes, mac_input: bytes = b"") -> bytes:
    """Give the 8 bytes that a card with `k_file` writes: every second byte of the CMAC under this reading's own key.

    `mac_input` are the ASCII bytes of the URI between the two offsets of the card's file settings; ours are equal.
    """
    return aes_cmac(mac_input, key=session_mac_key(picc, k_file=k_file))[1::2]


def verify_sun_mac(mac: bytes, *, picc: PiccData, k_file: bytes, mac_input: bytes = b"") -> bool:
    """Tell whether `mac` was made by a card with `k_file` for this UID and counter, in constant time.

    The counter must also be greater than the last one seen: that is the caller's to remember.
    """
    return hmac.compare_digest(mac, sun_mac(picc, k_file=k_file, mac_input=mac_input))


def decrypt_file_data(encrypted: bytes, *, picc: PiccData, k_file: bytes) -> bytes:
    """Decrypt the part of the file that a card mirrors enciphered. Raises ValueError on a part of a block."""
    key = session_encryption_key(picc, k_file=k_file)
    iv = encrypt_block(_counter_bytes(picc.counter).ljust(BLOCK_BYTES, b"\x00"), key=key)
    return decrypt_cbc(encrypted, key=key, iv=iv)


def session_encryption_key(picc: PiccData, *, k_file: bytes) -> bytes:
    """Give KSesSDMFileReadENC (AN12196, SV1)."""
    return aes_cmac(_SESSION_ENCRYPTION + picc.uid + _counter_bytes(picc.counter), key=k_file)


def session_mac_key(picc: PiccData, *, k_file: bytes) -> bytes:
    """Give KSesSDMFileReadMAC (AN12196, SV2)."""
    return aes_cmac(_SESSION_MAC + picc.uid + _counter_bytes(picc.counter), key=k_file)


def _counter_bytes(counter: int) -> bytes:
    return counter.to_bytes(_COUNTER_BYTES, "little")

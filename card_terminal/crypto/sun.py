"""Secure dynamic messages of NTAG 424 DNA (NXP AN12196): a card that writes its own proof into the URL it shows."""

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from card_terminal.crypto import lrp
from card_terminal.crypto.aes import BLOCK_BYTES, aes_cmac, decrypt_cbc, encrypt_block, encrypt_cbc
from card_terminal.crypto.keys import UID_BYTES

COUNTER_MAX = 2**24 - 1
MAC_BYTES = 8

_COUNTER_BYTES = 3
_SESSION_ENCRYPTION = bytes.fromhex("C33C00010080")
_SESSION_MAC = bytes.fromhex("3CC300010080")
_SESSION_LRP = bytes.fromhex("00010080")
_SESSION_LRP_END = bytes.fromhex("1EE1")
_LRP_COUNTER_BYTES = 8
# The PICC data tag: UID mirrored, counter mirrored, length of the UID.
_UID_BIT, _COUNTER_BIT, _UID_LENGTH = 0x80, 0x40, 0x0F


class SunError(ValueError):
    """What was read is no secure dynamic message, or was not made with the expected key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredData:
    """What a card says of itself; it may have been told to keep either to itself."""

    uid: bytes | None
    counter: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PiccData(MirroredData):
    """What our cards say of themselves: the UID of 7 bytes, and how often they have been read."""

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


def decrypt_picc_data(encrypted: bytes, *, k_meta: bytes) -> MirroredData:
    """Decrypt PICC data of any card with its meta read key, in AES mode. Raises SunError for another key."""
    if len(encrypted) != BLOCK_BYTES:
        raise SunError("PICC data has 16 bytes")
    return read_plain_picc_data(decrypt_cbc(encrypted, key=k_meta))


def decrypt_picc_data_lrp(encrypted: bytes, *, k_meta: bytes) -> MirroredData:
    """Decrypt PICC data of a card in LRP mode: 8 random bytes that count, then one block. Raises SunError."""
    if len(encrypted) != _LRP_COUNTER_BYTES + BLOCK_BYTES:
        raise SunError("PICC data in LRP mode has 24 bytes")
    counter, block = encrypted[:_LRP_COUNTER_BYTES], encrypted[_LRP_COUNTER_BYTES:]
    return read_plain_picc_data(lrp.decrypt(block, key=k_meta, counter=counter, padded=False))


def read_plain_picc_data(plain: bytes) -> MirroredData:
    """Read deciphered PICC data: a tag that says what follows, UID, counter, random filling. Raises SunError."""
    tag, rest = plain[0], plain[1:]
    has_uid, has_counter = bool(tag & _UID_BIT), bool(tag & _COUNTER_BIT)
    if (has_uid and tag & _UID_LENGTH != UID_BYTES) or tag & ~(_UID_BIT | _COUNTER_BIT | _UID_LENGTH):
        raise SunError("made with another key")
    if not (has_uid or has_counter):
        raise SunError("made with another key, or without UID and counter")
    uid, rest = (rest[:UID_BYTES], rest[UID_BYTES:]) if has_uid else (None, rest)
    return MirroredData(uid=uid, counter=int.from_bytes(rest[:_COUNTER_BYTES], "little") if has_counter else None)


def read_picc_data(encrypted: bytes, *, k_meta: bytes) -> PiccData:
    """Decrypt PICC data of one of our cards. Raises SunError: another key, or a card set up otherwise."""
    found = decrypt_picc_data(encrypted, k_meta=k_meta)
    if found.uid is None or found.counter is None:
        raise SunError("made with another key, or without UID and counter")
    return PiccData(uid=found.uid, counter=found.counter)


def plain_picc_data(*, uid: str, counter: str) -> PiccData:
    """Read UID and counter as mirrored plain: 14 and 6 hex digits, most significant first. Raises SunError."""
    if re.fullmatch(r"[0-9A-Fa-f]{14}", uid) is None or re.fullmatch(r"[0-9A-Fa-f]{6}", counter) is None:
        raise SunError("a UID has 14 hex digits, a counter 6")
    return PiccData(uid=bytes.fromhex(uid), counter=int(counter, 16))


def encrypt_picc_data(picc: PiccData, *, k_meta: bytes, filling: bytes) -> bytes:
    """Do the card's part of `read_picc_data`; `filling` is five random bytes."""
    return encrypt_mirrored(picc, k_meta=k_meta, filling=filling)


def encrypt_mirrored(picc: MirroredData, *, k_meta: bytes, filling: bytes) -> bytes:
    """Do the card's part of `decrypt_picc_data`; `filling` is random and as long as what must be filled, or longer."""
    tag = (_UID_BIT | UID_BYTES if picc.uid is not None else 0) | (_COUNTER_BIT if picc.counter is not None else 0)
    plain = bytes([tag]) + _mirrored(picc)
    return encrypt_cbc((plain + filling)[:BLOCK_BYTES].ljust(BLOCK_BYTES, b"\x00"), key=k_meta)


def sun_mac(picc: MirroredData, *, k_file: bytes, mac_input: bytes = b"") -> bytes:
    """Give the 8 bytes that a card with `k_file` writes: every second byte of the CMAC under this reading's own key.

    `mac_input` are the ASCII bytes of the file between the two offsets of the card's settings, SDMMACInputOffset and
    SDMMACOffset, as they were read; in ours the two are equal.
    """
    return aes_cmac(mac_input, key=session_mac_key(picc, k_file=k_file))[1::2]


def verify_sun_mac(mac: bytes, *, picc: MirroredData, k_file: bytes, mac_input: bytes = b"") -> bool:
    """Tell whether `mac` was made by a card with `k_file` for this UID and counter, in constant time.

    The counter must also be greater than the last one seen: that is the caller's to remember.
    """
    return hmac.compare_digest(mac, sun_mac(picc, k_file=k_file, mac_input=mac_input))


def sun_mac_lrp(picc: MirroredData, *, k_file: bytes, mac_input: bytes = b"") -> bytes:
    """Do as `sun_mac` for a card in LRP mode."""
    return lrp.lrp_cmac(mac_input, key=session_master_key_lrp(picc, k_file=k_file))[1::2]


def decrypt_file_data(encrypted: bytes, *, picc: PiccData, k_file: bytes) -> bytes:
    """Decrypt the part of the file that a card mirrors enciphered. Raises ValueError on a part of a block."""
    key = session_encryption_key(picc, k_file=k_file)
    return decrypt_cbc(encrypted, key=key, iv=_file_iv(picc, key=key))


def encrypt_file_data(plain: bytes, *, picc: PiccData, k_file: bytes) -> bytes:
    """Do the card's part of `decrypt_file_data`."""
    key = session_encryption_key(picc, k_file=k_file)
    return encrypt_cbc(plain, key=key, iv=_file_iv(picc, key=key))


def decrypt_file_data_lrp(encrypted: bytes, *, picc: PiccData, k_file: bytes) -> bytes:
    """Do as `decrypt_file_data` for a card in LRP mode."""
    key, counter = session_master_key_lrp(picc, k_file=k_file), _counter_bytes(picc.counter) + bytes(_COUNTER_BYTES)
    return lrp.decrypt(encrypted, key=key, counter=counter, key_number=1, padded=False)


def session_encryption_key(picc: MirroredData, *, k_file: bytes) -> bytes:
    """Give KSesSDMFileReadENC (AN12196, SV1)."""
    return aes_cmac(_session_vector(_SESSION_ENCRYPTION, picc), key=k_file)


def session_mac_key(picc: MirroredData, *, k_file: bytes) -> bytes:
    """Give KSesSDMFileReadMAC (AN12196, SV2)."""
    return aes_cmac(_session_vector(_SESSION_MAC, picc), key=k_file)


def session_master_key_lrp(picc: MirroredData, *, k_file: bytes) -> bytes:
    """Give the master key of one reading of a card in LRP mode, from which MAC and encryption are made."""
    vector = _SESSION_LRP + _mirrored(picc)
    filled = vector + bytes(-(len(vector) + len(_SESSION_LRP_END)) % BLOCK_BYTES)
    return lrp.lrp_cmac(filled + _SESSION_LRP_END, key=k_file)


def _session_vector(label: bytes, picc: MirroredData) -> bytes:
    vector = label + _mirrored(picc)
    return vector + bytes(-len(vector) % BLOCK_BYTES)


def _mirrored(picc: MirroredData) -> bytes:
    return (picc.uid or b"") + (b"" if picc.counter is None else _counter_bytes(picc.counter))


def _file_iv(picc: PiccData, *, key: bytes) -> bytes:
    return encrypt_block(_counter_bytes(picc.counter).ljust(BLOCK_BYTES, b"\x00"), key=key)


def _counter_bytes(counter: int) -> bytes:
    return counter.to_bytes(_COUNTER_BYTES, "little")

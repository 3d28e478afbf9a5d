"""A dynamic file whole: what a card writes into it at a reading, and how the reader proves it, for any SDM settings."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from card_terminal.crypto import sun
from card_terminal.crypto.files import KEY_FREE, KEY_NEVER, SdmSettings
from card_terminal.crypto.sun import MirroredData, PiccData, SunError

_UID_DIGITS, _COUNTER_DIGITS, _PICC_DIGITS, _MAC_DIGITS = 14, 6, 32, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenFile:
    """What a dynamic file proved: who wrote it, in which reading, and the part of it that was enciphered."""

    picc: MirroredData
    file_data: bytes | None


def mirror(content: bytes, *, sdm: SdmSettings, picc: PiccData, keys: Mapping[int, bytes], filling: bytes) -> bytes:
    """Give the file as a card in AES mode shows it at this reading; `filling` is five random bytes.

    Raises KeyError where a key is missing, ValueError for settings that do not fit the file.
    """
    file = bytearray(content)
    said = MirroredData(
        uid=picc.uid if sdm.mirrors_uid else None, counter=picc.counter if sdm.mirrors_counter else None
    )
    if sdm.picc_data_offset is not None:
        encrypted = sun.encrypt_mirrored(said, k_meta=keys[sdm.meta_read], filling=filling)
        _put(file, sdm.picc_data_offset, encrypted.hex())
    if sdm.uid_offset is not None:
        _put(file, sdm.uid_offset, picc.uid.hex())
    if sdm.counter_offset is not None:
        _put(file, sdm.counter_offset, f"{picc.counter:06x}")
    if sdm.file_read == KEY_NEVER or sdm.mac_offset is None:
        return bytes(file)
    k_file = keys[sdm.file_read]
    if sdm.encrypted_offset is not None and sdm.encrypted_length is not None:
        plain = content[sdm.encrypted_offset : sdm.encrypted_offset + sdm.encrypted_length // 2]
        _put(file, sdm.encrypted_offset, sun.encrypt_file_data(plain, picc=picc, k_file=k_file).hex())
    mac = sun.sun_mac(said, k_file=k_file, mac_input=bytes(file[sdm.mac_input_offset : sdm.mac_offset]))
    _put(file, sdm.mac_offset, mac.hex())
    return bytes(file)


def prove_file(
    content: bytes, *, sdm: SdmSettings, k_meta: bytes | None, k_file: bytes, uid: bytes | None = None
) -> ProvenFile:
    """Prove what was read from a dynamic file. `k_meta` is needed where UID and counter are enciphered.

    `uid` helps where the file does not mirror it. Raises SunError: another key, another UID, a changed byte.
    """
    said = _said(content, sdm=sdm, k_meta=k_meta)
    if uid is not None and said.uid is not None and said.uid != uid:
        raise SunError("written by another card")
    if sdm.mac_offset is None:
        raise SunError("a file without a MAC proves nothing")
    mac = _hex(content, sdm.mac_offset, _MAC_DIGITS)
    expected = sun.sun_mac(said, k_file=k_file, mac_input=content[sdm.mac_input_offset : sdm.mac_offset])
    if not hmac.compare_digest(mac, expected):
        raise SunError("wrong MAC")
    if sdm.encrypted_offset is None or sdm.encrypted_length is None:
        return ProvenFile(picc=said, file_data=None)
    known = uid or said.uid
    if known is None or said.counter is None:
        raise SunError("an enciphered part cannot be opened without UID and counter")
    encrypted = _hex(content, sdm.encrypted_offset, sdm.encrypted_length)
    picc = PiccData(uid=known, counter=said.counter)
    return ProvenFile(picc=said, file_data=sun.decrypt_file_data(encrypted, picc=picc, k_file=k_file))


def _said(content: bytes, *, sdm: SdmSettings, k_meta: bytes | None) -> MirroredData:
    if sdm.picc_data_offset is not None:
        if k_meta is None:
            raise SunError("UID and counter are enciphered, and no key was given")
        return sun.decrypt_picc_data(_hex(content, sdm.picc_data_offset, _PICC_DIGITS), k_meta=k_meta)
    plain = sdm.meta_read == KEY_FREE
    uid = _hex(content, sdm.uid_offset, _UID_DIGITS) if plain and sdm.uid_offset is not None else None
    counter = _hex(content, sdm.counter_offset, _COUNTER_DIGITS) if plain and sdm.counter_offset is not None else None
    return MirroredData(uid=uid, counter=None if counter is None else int.from_bytes(counter))


def _hex(content: bytes, offset: int, digits: int) -> bytes:
    try:
        found = bytes.fromhex(content[offset : offset + digits].decode("ascii"))
    except ValueError as error:
        raise SunError("the file has no hex digits where its settings say so") from error
    if len(found) * 2 != digits:
        raise SunError("the file is shorter than its settings say")
    return found


def _put(file: bytearray, offset: int, text: str) -> None:
    written = text.upper().encode("ascii")
    if offset + len(written) > len(file):
        raise ValueError("the offsets lie outside of the file")
    file[offset : offset + len(written)] = written

"""EV2 mutual authentication and secure messaging of NTAG 424 DNA and DESFire (NXP AN12196, AN12321): the reader's side.

Everything is a value: a server can keep a session between two APDUs that a terminal relays, and no key leaves it.
"""

import hmac
import zlib
from dataclasses import dataclass, field, replace
from enum import StrEnum

from card_terminal.crypto.aes import BLOCK_BYTES, aes_cmac, decrypt_cbc, encrypt_block, encrypt_cbc, pad, unpad, xor

COUNTER_MAX = 0xFFFF
KEY_BYTES = 16
MAC_BYTES = 8

_TI_BYTES = 4
_CAPABILITY_BYTES = 12
_STATUS_BYTES = 2
_OK = bytes.fromhex("9100")
_MORE = bytes.fromhex("91AF")
_DATA_BYTES_MAX = 255


class Ev2Error(Exception):
    """The card answered what a genuine card with this key would not; the text says at which step."""


class StatusError(Ev2Error):
    """The card refused with a status word; `status` is its two bytes."""

    def __init__(self, status: bytes) -> None:
        super().__init__(f"the card refused with {status.hex().upper()}")
        self.status = status


class Mode(StrEnum):
    """How a command and its answer are protected (CommMode)."""

    PLAIN = "plain"
    MAC = "mac"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """An authentication that waits for the card's second answer. `session` is the one it follows, if it is no first."""

    key: bytes = field(repr=False)
    key_no: int
    rnd_a: bytes = field(repr=False)
    rnd_b: bytes = field(repr=False)
    session: "SecureSession | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSession:
    """What both ends share after an authentication; `counter` is that of the next command."""

    ti: bytes
    k_enc: bytes = field(repr=False)
    k_mac: bytes = field(repr=False)
    key_no: int
    counter: int = 0


def authenticate_first(key_no: int, *, capabilities: bytes = b"") -> bytes:
    """Give the APDU that begins AuthenticateEV2First; `capabilities` are the reader's (PCDcap2), up to 6 bytes."""
    return apdu(0x71, bytes([key_no, len(capabilities)]) + capabilities)


def authenticate_non_first(key_no: int) -> bytes:
    """Give the APDU that begins AuthenticateEV2NonFirst, within a session that goes on."""
    return apdu(0x77, bytes([key_no]))


def answer_challenge(
    response: bytes, *, key: bytes, key_no: int, rnd_a: bytes, session: SecureSession | None = None
) -> tuple[bytes, Challenge]:
    """Give the second APDU for the card's first answer; `rnd_a` is 16 random bytes. Raises Ev2Error.

    `session` is the running one for AuthenticateEV2NonFirst, and absent for AuthenticateEV2First.
    """
    encrypted = _body(response, expected=_MORE)
    if len(encrypted) != BLOCK_BYTES:
        raise Ev2Error("the challenge must have 16 bytes")
    rnd_b = decrypt_cbc(encrypted, key=key)
    proof = encrypt_cbc(rnd_a + _rotated(rnd_b), key=key)
    return apdu(0xAF, proof), Challenge(key=key, key_no=key_no, rnd_a=rnd_a, rnd_b=rnd_b, session=session)


def finish_authentication(response: bytes, *, challenge: Challenge) -> SecureSession:
    """Give the session if the card has proved that it knows the key. Raises Ev2Error."""
    encrypted = _body(response, expected=_OK)
    ti_bytes = 0 if challenge.session else _TI_BYTES
    length = BLOCK_BYTES if challenge.session else _TI_BYTES + BLOCK_BYTES + _CAPABILITY_BYTES
    if len(encrypted) != length:
        raise Ev2Error(f"the card's proof must have {length} bytes")
    plain = decrypt_cbc(encrypted, key=challenge.key)
    if not hmac.compare_digest(plain[ti_bytes : ti_bytes + BLOCK_BYTES], _rotated(challenge.rnd_a)):
        raise Ev2Error("the card does not know the key")
    k_enc, k_mac = session_keys(challenge.key, rnd_a=challenge.rnd_a, rnd_b=challenge.rnd_b)
    if challenge.session:
        return replace(challenge.session, k_enc=k_enc, k_mac=k_mac, key_no=challenge.key_no)
    return SecureSession(ti=plain[:_TI_BYTES], k_enc=k_enc, k_mac=k_mac, key_no=challenge.key_no)


def session_keys(key: bytes, *, rnd_a: bytes, rnd_b: bytes) -> tuple[bytes, bytes]:
    """Give KSesAuthENC and KSesAuthMAC (AN12196, SV1 and SV2)."""
    context = rnd_a[:2] + xor(rnd_a[2:8], rnd_b[:6]) + rnd_b[6:] + rnd_a[8:]
    encryption = aes_cmac(bytes.fromhex("A55A00010080") + context, key=key)
    return encryption, aes_cmac(bytes.fromhex("5AA500010080") + context, key=key)


def command(session: SecureSession, *, ins: int, mode: Mode, header: bytes = b"", data: bytes = b"") -> bytes:
    """Give the APDU of a command; `header` is never enciphered. Raises Ev2Error when the counter is used up."""
    if session.counter >= COUNTER_MAX:
        raise Ev2Error("the session is used up")
    if mode is Mode.FULL and data:
        iv = _iv(session, label=bytes.fromhex("A55A"), counter=session.counter)
        data = encrypt_cbc(pad(data), key=session.k_enc, iv=iv)
    if mode is Mode.PLAIN:
        return apdu(ins, header + data)
    return apdu(ins, header + data + _mac(session, bytes([ins]), counter=session.counter, content=header + data))


def read_response(session: SecureSession, response: bytes, *, mode: Mode) -> tuple[bytes, SecureSession]:
    """Give the answer's plain data, and the session as it is after this command.

    Raises StatusError when the card refused, Ev2Error when the answer was not made in this session. After either the
    session is over: the card has ended it too.
    """
    content = _body(response, expected=_OK)
    after = replace(session, counter=session.counter + 1)
    if mode is Mode.PLAIN:
        return content, after
    encrypted, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
    expected = _mac(session, _OK[1:], counter=after.counter, content=encrypted)
    if not hmac.compare_digest(mac, expected):
        raise Ev2Error("the answer's MAC is wrong")
    if mode is Mode.MAC or not encrypted:
        return encrypted, after
    iv = _iv(session, label=bytes.fromhex("5AA5"), counter=after.counter)
    try:
        return unpad(decrypt_cbc(encrypted, key=session.k_enc, iv=iv)), after
    except ValueError as error:
        raise Ev2Error("the answer cannot be deciphered") from error


# Commands before and outside of an authentication


def select_application(name: bytes) -> bytes:
    """Give the ISO APDU that selects an application by its name, and ends any authentication; it answers 9000."""
    return bytes([0x00, 0xA4, 0x04, 0x0C, len(name)]) + name + b"\x00"


def select_file(file_id: int) -> bytes:
    """Give the ISO APDU that selects a file by its ISO id, such as E104 for NDEF; it answers 9000."""
    return bytes.fromhex("00A4000C02") + file_id.to_bytes(2) + b"\x00"


def read_binary(*, offset: int, length: int) -> bytes:
    """Give the ISO APDU that reads the selected file; `length` 0 asks for all there is up to 256 bytes."""
    return bytes.fromhex("00B0") + offset.to_bytes(2) + bytes([length])


def get_version() -> bytes:
    """Give the APDU of GetVersion; the card answers in three parts, the next ones asked for by `more`."""
    return apdu(0x60)


def more() -> bytes:
    """Give the APDU that asks for the next part of an answer that ended in 91AF."""
    return apdu(0xAF)


def get_key_version(key_no: int, *, session: SecureSession | None = None) -> bytes:
    """Give the APDU of GetKeyVersion; in a session its answer is read in mode MAC, else it is plain."""
    if session is None:
        return apdu(0x64, bytes([key_no]))
    return command(session, ins=0x64, mode=Mode.MAC, header=bytes([key_no]))


def get_file_settings(file_no: int, *, session: SecureSession | None = None) -> bytes:
    """Give the APDU of GetFileSettings; in a session its answer is read in mode MAC, else it is plain."""
    if session is None:
        return apdu(0xF5, bytes([file_no]))
    return command(session, ins=0xF5, mode=Mode.MAC, header=bytes([file_no]))


def plain_answer(response: bytes, *, expected: bytes = _OK) -> bytes:
    """Give the data of an answer outside of a session. Raises StatusError unless it ended as expected."""
    return _body(response, expected=expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipVersion:
    """What GetVersion tells: the maker, the kind of chip, its storage, and the UID."""

    vendor: int
    hardware_type: int
    hardware_major: int
    software_major: int
    storage: int
    uid: bytes

    @property
    def is_ntag_424_dna(self) -> bool:
        """Whether this is the chip that our personalisation knows."""
        return self.vendor == _NXP and self.hardware_type == _NTAG and self.hardware_major in _NTAG_424_MAJORS


_NXP = 0x04
_NTAG = 0x04
# 30h is NTAG 424 DNA, 40h its TagTamper brother (NT4H2421Gx and NT4H2421Tx, table of GetVersion).
_NTAG_424_MAJORS = (0x30, 0x40)
_VERSION_PART_BYTES = 7


def read_version(hardware: bytes, software: bytes, production: bytes) -> ChipVersion:
    """Read the three parts of GetVersion, without their status words. Raises Ev2Error."""
    if (
        len(hardware) != _VERSION_PART_BYTES
        or len(software) != _VERSION_PART_BYTES
        or len(production) < _VERSION_PART_BYTES
    ):
        raise Ev2Error("GetVersion has three parts of at least 7 bytes")
    return ChipVersion(
        vendor=hardware[0],
        hardware_type=hardware[1],
        hardware_major=hardware[3],
        software_major=software[3],
        storage=hardware[5],
        uid=production[:7],
    )


# Commands of a session


def get_card_uid(session: SecureSession) -> bytes:
    """Give the APDU of GetCardUID; its answer is read in mode FULL."""
    return command(session, ins=0x51, mode=Mode.FULL)


def write_data(session: SecureSession, data: bytes, *, file_no: int, offset: int, mode: Mode) -> bytes:
    """Give the APDU of WriteData; its answer is read in the same mode."""
    header = bytes([file_no]) + offset.to_bytes(3, "little") + len(data).to_bytes(3, "little")
    return command(session, ins=0x8D, mode=mode, header=header, data=data)


def read_data(session: SecureSession, *, file_no: int, offset: int, length: int, mode: Mode) -> bytes:
    """Give the APDU of ReadData; its answer is read in the same mode."""
    header = bytes([file_no]) + offset.to_bytes(3, "little") + length.to_bytes(3, "little")
    return command(session, ins=0xAD, mode=mode, header=header)


def get_file_counters(session: SecureSession, *, file_no: int) -> bytes:
    """Give the APDU of GetFileCounters, the SDM read counter; its answer is read in mode FULL."""
    return command(session, ins=0xF6, mode=Mode.FULL, header=bytes([file_no]))


def change_file_settings(session: SecureSession, settings: bytes, *, file_no: int) -> bytes:
    """Give the APDU of ChangeFileSettings; its answer is read in mode FULL."""
    return command(session, ins=0x5F, mode=Mode.FULL, header=bytes([file_no]), data=settings)


def change_key(session: SecureSession, new_key: bytes, *, key_no: int, version: int, old_key: bytes) -> bytes:
    """Give the APDU of ChangeKey.

    The answer is read in mode FULL, but after changing the key of the session itself the card says a bare 9100, to be
    read in mode PLAIN, and the session is over.
    """
    if key_no == session.key_no:
        data = new_key + bytes([version])
    else:
        data = xor(new_key, old_key) + bytes([version]) + crc32nk(new_key)
    return command(session, ins=0xC4, mode=Mode.FULL, header=bytes([key_no]), data=data)


def ends_session(session: SecureSession, *, key_no: int) -> bool:
    """Tell whether changing this key ends the session: the card then answers a bare 9100."""
    return key_no == session.key_no


def crc32nk(key: bytes) -> bytes:
    """Give the check sum of a new key: CRC-32 without the last inversion, least byte first."""
    return (zlib.crc32(key) ^ 0xFFFFFFFF).to_bytes(4, "little")


def apdu(ins: int, data: bytes = b"") -> bytes:
    """Wrap a native command as ISO 7816-4. Raises Ev2Error above 255 bytes, which need chaining."""
    if len(data) > _DATA_BYTES_MAX:
        raise Ev2Error("too long for one APDU")
    length = bytes([len(data)]) if data else b""
    return bytes([0x90, ins, 0x00, 0x00]) + length + data + b"\x00"


def _body(response: bytes, *, expected: bytes) -> bytes:
    status = response[-_STATUS_BYTES:]
    if status != expected:
        raise StatusError(status)
    return response[:-_STATUS_BYTES]


def _rotated(value: bytes) -> bytes:
    return value[1:] + value[:1]


def _iv(session: SecureSession, *, label: bytes, counter: int) -> bytes:
    block = label + session.ti + counter.to_bytes(2, "little")
    return encrypt_block(block.ljust(BLOCK_BYTES, b"\x00"), key=session.k_enc)


def _mac(session: SecureSession, code: bytes, *, counter: int, content: bytes) -> bytes:
    message = code + counter.to_bytes(2, "little") + session.ti + content
    return aes_cmac(message, key=session.k_mac)[1::2]

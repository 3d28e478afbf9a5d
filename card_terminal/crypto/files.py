"""The settings of a file on NTAG 424 DNA as values and as bytes: who may do what, and what is mirrored where.

The layout is that of NT4H2421Gx, sections 10.7.1 and 10.7.2: GetFileSettings answers with the type and the size, which
ChangeFileSettings leaves out.
"""

from dataclasses import dataclass, fields
from enum import IntEnum

from card_terminal.crypto.ev2 import Mode

NDEF_FILE_NO = 2
NDEF_FILE_BYTES = 256
KEY_FREE = 0xE
KEY_NEVER = 0xF

_SDM_ENABLED = 0x40
_MODES = {0b00: Mode.PLAIN, 0b10: Mode.PLAIN, 0b01: Mode.MAC, 0b11: Mode.FULL}
_MODE_BITS = {Mode.PLAIN: 0b00, Mode.MAC: 0b01, Mode.FULL: 0b11}
_KEYS = 5
_OFFSET_BYTES = 3


class SdmOption(IntEnum):
    """The bits of the SDM options."""

    UID = 0x80
    COUNTER = 0x40
    COUNTER_LIMIT = 0x20
    ENCRYPTED_FILE_DATA = 0x10
    TAMPER_STATUS = 0x08
    ASCII = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRights:
    """The key number that each use of a file asks for; KEY_FREE: nobody's, KEY_NEVER: not at all."""

    read: int
    write: int
    read_write: int
    change: int

    def to_bytes(self) -> bytes:
        """Give the two bytes of the settings."""
        return bytes([self.read_write << 4 | self.change, self.read << 4 | self.write])

    @classmethod
    def from_bytes(cls, two: bytes) -> "AccessRights":
        """Read the two bytes of the settings."""
        return cls(read=two[1] >> 4, write=two[1] & 0xF, read_write=two[0] >> 4, change=two[0] & 0xF)


@dataclass(frozen=True, slots=True, kw_only=True)
class SdmSettings:
    """What a file mirrors when nobody has authenticated. Offsets count from the file's first byte.

    `meta_read` is the key that enciphers UID and counter, KEY_FREE where they stand plain, `file_read` the key under
    which the MAC and the enciphered part of the file are made, `counter_read` the one that GetFileCounters asks for.
    """

    meta_read: int
    file_read: int
    counter_read: int = KEY_NEVER
    mirrors_uid: bool = True
    mirrors_counter: bool = True
    uid_offset: int | None = None
    counter_offset: int | None = None
    picc_data_offset: int | None = None
    tamper_status_offset: int | None = None
    mac_input_offset: int | None = None
    encrypted_offset: int | None = None
    encrypted_length: int | None = None
    mac_offset: int | None = None
    counter_limit: int | None = None

    @property
    def options(self) -> int:
        """The byte of options; UID, counter and MAC are always written in ASCII."""
        chosen = [
            (self.mirrors_uid, SdmOption.UID),
            (self.mirrors_counter, SdmOption.COUNTER),
            (self.counter_limit is not None, SdmOption.COUNTER_LIMIT),
            (self.encrypted_offset is not None, SdmOption.ENCRYPTED_FILE_DATA),
            (self.tamper_status_offset is not None, SdmOption.TAMPER_STATUS),
        ]
        return int(SdmOption.ASCII) | sum(int(option) for on, option in chosen if on)

    def to_bytes(self) -> bytes:
        """Give options, access rights and offsets. Raises ValueError where an offset is missing or one too many."""
        rights = bytes([0xF0 | self.counter_read, self.meta_read << 4 | self.file_read])
        named = offsets_of(self.options, meta_read=self.meta_read, file_read=self.file_read)
        values = {name: getattr(self, name) for name in named}
        unused = [each.name for each in fields(self) if each.name in _OFFSETS and each.name not in named]
        if None in values.values() or any(getattr(self, name) is not None for name in unused):
            raise ValueError(f"these settings need exactly the offsets {', '.join(named)}")
        return (
            bytes([self.options])
            + rights
            + b"".join(each.to_bytes(_OFFSET_BYTES, "little") for each in values.values())
        )


_OFFSETS = (
    "uid_offset",
    "counter_offset",
    "picc_data_offset",
    "tamper_status_offset",
    "mac_input_offset",
    "encrypted_offset",
    "encrypted_length",
    "mac_offset",
    "counter_limit",
)


def offsets_of(options: int, *, meta_read: int, file_read: int) -> tuple[str, ...]:
    """Name the offsets that these options have, in the order of the bytes."""
    plain, with_mac = meta_read == KEY_FREE, file_read != KEY_NEVER
    encrypted = with_mac and bool(options & SdmOption.ENCRYPTED_FILE_DATA)
    present = (
        plain and bool(options & SdmOption.UID),
        plain and bool(options & SdmOption.COUNTER),
        meta_read < _KEYS,
        bool(options & SdmOption.TAMPER_STATUS),
        with_mac,
        encrypted,
        encrypted,
        with_mac,
        bool(options & SdmOption.COUNTER_LIMIT),
    )
    return tuple(name for name, there in zip(_OFFSETS, present, strict=True) if there)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """How a file may be reached. `size` is what GetFileSettings tells, and None in what ChangeFileSettings is told."""

    mode: Mode
    access: AccessRights
    sdm: SdmSettings | None = None
    size: int | None = None

    def to_bytes(self) -> bytes:
        """Give the data of ChangeFileSettings."""
        option = _MODE_BITS[self.mode] | (_SDM_ENABLED if self.sdm else 0)
        return bytes([option]) + self.access.to_bytes() + (self.sdm.to_bytes() if self.sdm else b"")

    def to_answer(self) -> bytes:
        """Give the answer of GetFileSettings for a standard data file."""
        changeable, size = self.to_bytes(), self.size or 0
        return b"\x00" + changeable[:3] + size.to_bytes(_OFFSET_BYTES, "little") + changeable[3:]

    def mode_for(self, *, write: bool) -> Mode:
        """Give the mode in which an authenticated read or write must be sent: where only free access opens, plain."""
        doors = (self.access.write if write else self.access.read, self.access.read_write)
        return Mode.PLAIN if all(door in (KEY_FREE, KEY_NEVER) for door in doors) else self.mode


def read_file_settings(answer: bytes) -> FileSettings:
    """Read the answer of GetFileSettings for a standard data file. Raises ValueError."""
    if len(answer) < 7 or answer[0] != 0:  # noqa: PLR2004 - type, option, rights, size
        raise ValueError("no settings of a standard data file")
    size = int.from_bytes(answer[4:7], "little")
    return parse_change(answer[1:4] + answer[7:], size=size)


def parse_change(data: bytes, *, size: int | None = None) -> FileSettings:
    """Read the data of ChangeFileSettings. Raises ValueError."""
    if len(data) < 3:  # noqa: PLR2004 - option and rights
        raise ValueError("file settings have at least three bytes")
    access = AccessRights.from_bytes(data[1:3])
    rest = data[3:]
    if not data[0] & _SDM_ENABLED:
        if rest:
            raise ValueError("offsets without SDM")
        return FileSettings(mode=_MODES[data[0] & 0b11], access=access, size=size)
    return FileSettings(mode=_MODES[data[0] & 0b11], access=access, sdm=_read_sdm(rest), size=size)


def _read_sdm(data: bytes) -> SdmSettings:
    if len(data) < 3:  # noqa: PLR2004 - options and rights
        raise ValueError("SDM settings have at least three bytes")
    options, meta_read, file_read = data[0], data[2] >> 4, data[2] & 0xF
    named = offsets_of(options, meta_read=meta_read, file_read=file_read)
    offsets = data[3:]
    if len(offsets) != _OFFSET_BYTES * len(named):
        raise ValueError(f"these SDM options have the offsets {', '.join(named)}")
    values = {
        name: int.from_bytes(offsets[place * _OFFSET_BYTES : (place + 1) * _OFFSET_BYTES], "little")
        for place, name in enumerate(named)
    }
    return SdmSettings(
        meta_read=meta_read,
        file_read=file_read,
        counter_read=data[1] & 0xF,
        mirrors_uid=bool(options & SdmOption.UID),
        mirrors_counter=bool(options & SdmOption.COUNTER),
        **values,
    )

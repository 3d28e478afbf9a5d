"""An NTAG 424 DNA in software, as NT4H2421Gx describes it: what stays in it, what a reset ends, how tears leave it.

For demonstrations, for the personalisation station without hardware, and for tests: it knows nothing of our server.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from card_terminal.crypto import ev2, files, mirroring
from card_terminal.crypto.aes import decrypt_cbc, encrypt_cbc
from card_terminal.crypto.files import KEY_FREE, KEY_NEVER, FileSettings
from card_terminal.crypto.keys import APPLICATION_NAME
from card_terminal.crypto.sun import PiccData
from card_terminal.readers.apdu import CardGoneError
from card_terminal.readers.ntag424_messages import CardSession, Command, RefusedError, parse_apdu, reply

ATR = bytes.fromhex("3B8180018080")
KEYS = 5
SEQUENCE_FAILURES_MAX = 50
TOTAL_FAILURES_MAX = 1000
TOTAL_FAILURES_FORGIVEN = 10

_CC_FILE = "001720010000FF0406E104010000000506E10500808283000000000000000000"
# Content and settings of the three files as the maker leaves them.
_FACTORY = {1: (_CC_FILE, "0000E0"), 2: ("00" * 256, "00E0EE"), 3: ("007E" + "00" * 126, "033023")}
_FILE_IDS = {0xE103: 1, 0xE104: 2, 0xE105: 3}
_BY_NAME = 0x04
_VERSION = ("04040230001105", "04040201021105")


class Tear(StrEnum):
    """Where a card leaves the field: the command never comes, is half done, or its answer never arrives."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(kw_only=True)
class File:
    """One of the three files, with who may reach it."""

    content: bytearray
    settings: FileSettings


@dataclass(kw_only=True)
class EmulatedChip:
    """One chip. `transmit` raises CardGoneError at the APDU that `tear` names; at the next it is in the field again."""

    uid: bytes
    keys: list[bytes] = field(default_factory=lambda: [bytes(ev2.KEY_BYTES)] * KEYS, repr=False)
    key_versions: list[int] = field(default_factory=lambda: [0] * KEYS)
    files: dict[int, File] = field(default_factory=lambda: _factory_files())  # noqa: PLW0108 - it stands below
    read_counter: int = 0
    failures: list[int] = field(default_factory=lambda: [0] * KEYS)
    total_failures: list[int] = field(default_factory=lambda: [0] * KEYS)
    apdus: list[bytes] = field(default_factory=list, repr=False)
    """What was sent since the chip was made, for those who count."""
    atr: bytes = ATR
    _tear: tuple[int, Tear] | None = None
    _selected: int | None = None
    _session: CardSession | None = None
    _pending: tuple[int, bytes, bytes, bool] | None = None
    _version_part: int | None = None
    _shown: bytes | None = None

    def tear(self, at: int, how: Tear) -> None:
        """Leave the field at the APDU with this number from now on, counted from 0."""
        self._tear = (at, how)

    def leave_field(self) -> None:
        """Lose everything that lives from the field only."""
        self._selected = self._session = self._pending = self._version_part = self._shown = self._tear = None

    def transmit(self, apdu: bytes) -> bytes:
        """Give the chip's answer. Raises CardGoneError where it is torn."""
        self.apdus.append(apdu)
        how = self._torn()
        if how is Tear.BEFORE:
            self.leave_field()
            raise CardGoneError("taken away before the command")
        if how is Tear.DURING:
            self._half_done(apdu)
            self.leave_field()
            raise CardGoneError("taken away during the command")
        answer = self._answer(apdu)
        if how is Tear.AFTER:
            self.leave_field()
            raise CardGoneError("taken away before the answer")
        return answer

    def to_json(self) -> dict[str, Any]:
        """Give what stays in the chip without a field."""
        return {
            "uid": self.uid.hex().upper(),
            "keys": [key.hex() for key in self.keys],
            "key_versions": self.key_versions,
            "files": {
                str(number): {"content": bytes(each.content).hex(), "settings": each.settings.to_bytes().hex()}
                for number, each in self.files.items()
            },
            "read_counter": self.read_counter,
            "failures": self.failures,
            "total_failures": self.total_failures,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "EmulatedChip":
        """Read what `to_json` gave."""
        found = {
            int(number): _file(bytes.fromhex(each["content"]), bytes.fromhex(each["settings"]))
            for number, each in stored["files"].items()
        }
        return cls(
            uid=bytes.fromhex(stored["uid"]),
            keys=[bytes.fromhex(key) for key in stored["keys"]],
            key_versions=list(stored["key_versions"]),
            files=found,
            read_counter=stored["read_counter"],
            failures=list(stored["failures"]),
            total_failures=list(stored["total_failures"]),
        )

    def save(self, path: Path) -> None:
        """Keep the chip in a file."""
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(self.to_json(), indent=1), encoding="ascii")
        unfinished.rename(path)

    @classmethod
    def load(cls, path: Path) -> "EmulatedChip":
        """Take a chip out of a file. Raises FileNotFoundError, and ValueError or KeyError for a broken one."""
        return cls.from_json(json.loads(path.read_text(encoding="ascii")))

    def _torn(self) -> Tear | None:
        if self._tear is None:
            return None
        left, how = self._tear
        self._tear = (left - 1, how)
        return how if left == 0 else None

    def _half_done(self, apdu: bytes) -> None:
        """Do half of a write; all else in the chip is done whole or not at all, by its own anti-tearing."""
        before = {number: bytes(each.content) for number, each in self.files.items()}
        if apdu[1] != _Ins.WRITE_DATA:
            return
        self._answer(apdu)
        for number, each in self.files.items():
            after = bytes(each.content)
            changed = [place for place, byte in enumerate(after) if byte != before[number][place]]
            for place in changed[len(changed) // 2 :]:
                each.content[place] = before[number][place]

    def _answer(self, apdu: bytes) -> bytes:
        try:
            command = parse_apdu(apdu)
            if command.cla == 0x00:
                return self._iso(command)
            return self._native(command)
        except RefusedError as refused:
            # A refused native command ends the session (9.1.10); ISO commands leave it.
            if apdu[:1] == b"\x90":
                self._session = self._pending = self._version_part = None
            return refused.status

    def _iso(self, command: Command) -> bytes:
        if command.ins == _Ins.ISO_SELECT:
            return self._select(command)
        if command.ins == _Ins.ISO_READ:
            if self._selected is None or self._session is not None:
                raise RefusedError("6986")
            offset = command.p1 << 8 | command.p2
            return self._read(self._selected, offset=offset, length=command.le or 256) + b"\x90\x00"
        raise RefusedError("6D00")

    def _select(self, command: Command) -> bytes:
        self._session = self._pending = self._version_part = self._shown = None
        if command.p1 == _BY_NAME and command.data == APPLICATION_NAME:
            self._selected = None
            return b"\x90\x00"
        file_no = _FILE_IDS.get(int.from_bytes(command.data)) if command.p1 == 0x00 else None
        if file_no is None:
            raise RefusedError("6A82")
        self._selected = file_no
        return b"\x90\x00"

    def _native(self, command: Command) -> bytes:
        doing: dict[int, Callable[[Command], bytes]] = {
            _Ins.GET_VERSION: self._get_version,
            _Ins.MORE: self._more,
            _Ins.AUTHENTICATE_FIRST: self._authenticate,
            _Ins.AUTHENTICATE_NON_FIRST: self._authenticate,
            _Ins.GET_KEY_VERSION: self._get_key_version,
            _Ins.GET_FILE_SETTINGS: self._get_file_settings,
            _Ins.GET_CARD_UID: self._get_card_uid,
            _Ins.GET_FILE_COUNTERS: self._get_file_counters,
            _Ins.READ_DATA: self._read_data,
            _Ins.WRITE_DATA: self._write_data,
            _Ins.CHANGE_FILE_SETTINGS: self._change_file_settings,
            _Ins.CHANGE_KEY: self._change_key,
        }
        if command.ins not in doing:
            raise RefusedError("911C")
        if command.ins != _Ins.MORE:
            self._pending = self._version_part = None
        return doing[command.ins](command)

    # Without an authentication

    def _get_version(self, _command: Command) -> bytes:
        self._version_part = 1
        return bytes.fromhex(_VERSION[0]) + b"\x91\xaf"

    def _more(self, command: Command) -> bytes:
        if self._pending is not None:
            return self._finish(command)
        if self._version_part == 1:
            self._version_part = 2
            return bytes.fromhex(_VERSION[1]) + b"\x91\xaf"
        if self._version_part == 2:  # noqa: PLR2004 - the last of three parts
            self._version_part = None
            return self.uid + bytes.fromhex("CF5CD455604321") + b"\x91\x00"
        raise RefusedError("91CA")

    def _authenticate(self, command: Command) -> bytes:
        first = command.ins == _Ins.AUTHENTICATE_FIRST
        if not first and self._session is None:
            raise RefusedError("919D")
        key_no = command.data[0] if command.data else KEYS
        if key_no >= KEYS:
            raise RefusedError("9140")
        if self.total_failures[key_no] >= TOTAL_FAILURES_MAX:
            raise RefusedError("919D")
        if self.failures[key_no] >= SEQUENCE_FAILURES_MAX:
            raise RefusedError("91AD")
        # What is taken away in the middle has not proved anything: it counts as a failure until it is finished.
        self.failures[key_no] += 1
        self.total_failures[key_no] += 1
        rnd_b = secrets.token_bytes(16)
        running = self._session
        self._session = None if first else running
        self._pending = (key_no, rnd_b, secrets.token_bytes(4), first)
        return encrypt_cbc(rnd_b, key=self.keys[key_no]) + b"\x91\xaf"

    def _finish(self, command: Command) -> bytes:
        assert self._pending is not None  # noqa: S101 - `_more` looked
        key_no, rnd_b, ti, first = self._pending
        self._pending = None
        key = self.keys[key_no]
        if len(command.data) != 32:  # noqa: PLR2004 - two blocks
            raise RefusedError("917E")
        plain = decrypt_cbc(command.data, key=key)
        rnd_a = plain[:16]
        if plain[16:] != rnd_b[1:] + rnd_b[:1]:
            raise RefusedError("91AE")
        self.failures[key_no] = 0
        self.total_failures[key_no] = max(0, self.total_failures[key_no] - 1 - TOTAL_FAILURES_FORGIVEN)
        k_enc, k_mac = ev2.session_keys(key, rnd_a=rnd_a, rnd_b=rnd_b)
        proof = rnd_a[1:] + rnd_a[:1]
        self._shown = None
        if first or self._session is None:
            self._session = CardSession(ti=ti, k_enc=k_enc, k_mac=k_mac, key_no=key_no)
            return encrypt_cbc(ti + proof + bytes(12), key=key) + b"\x91\x00"
        self._session = replace(self._session, k_enc=k_enc, k_mac=k_mac, key_no=key_no)
        return encrypt_cbc(proof, key=key) + b"\x91\x00"

    # With or without

    def _get_key_version(self, command: Command) -> bytes:
        data, header = self._open(command, header_bytes=1, mode=ev2.Mode.MAC)
        key_no = header[0] if header else KEYS
        if data or key_no >= KEYS:
            raise RefusedError("9140")
        return self._reply(bytes([self.key_versions[key_no]]), mode=ev2.Mode.MAC)

    def _get_file_settings(self, command: Command) -> bytes:
        _data, header = self._open(command, header_bytes=1, mode=ev2.Mode.MAC)
        file = self._file(header[0] if header else 0)
        settings = replace(file.settings, size=len(file.content))
        return self._reply(settings.to_answer(), mode=ev2.Mode.MAC)

    def _read_data(self, command: Command) -> bytes:
        file_no = command.data[0] if command.data else 0
        settings = self._file(file_no).settings
        mode = settings.mode_for(write=False) if self._session else ev2.Mode.PLAIN
        _data, header = self._open(command, header_bytes=7, mode=mode)
        self._check(settings.access.read, settings.access.read_write)
        offset, length = int.from_bytes(header[1:4], "little"), int.from_bytes(header[4:7], "little")
        return self._reply(self._read(file_no, offset=offset, length=length or 256), mode=mode)

    def _write_data(self, command: Command) -> bytes:
        file_no = command.data[0] if command.data else 0
        file = self._file(file_no)
        mode = file.settings.mode_for(write=True) if self._session else ev2.Mode.PLAIN
        data, header = self._open(command, header_bytes=7, mode=mode)
        self._check(file.settings.access.write, file.settings.access.read_write)
        offset, length = int.from_bytes(header[1:4], "little"), int.from_bytes(header[4:7], "little")
        if length != len(data):
            raise RefusedError("917E")
        if offset + length > len(file.content):
            raise RefusedError("91BE")
        file.content[offset : offset + length] = data
        return self._reply(b"", mode=mode)

    # In a session only

    def _get_card_uid(self, command: Command) -> bytes:
        self._need_session()
        self._open(command, header_bytes=0, mode=ev2.Mode.FULL)
        return self._reply(self.uid, mode=ev2.Mode.FULL)

    def _get_file_counters(self, command: Command) -> bytes:
        self._need_session()
        _data, header = self._open(command, header_bytes=1, mode=ev2.Mode.FULL)
        sdm = self._file(header[0]).settings.sdm
        if sdm is None:
            raise RefusedError("919D")
        self._check(sdm.counter_read)
        return self._reply(self.read_counter.to_bytes(3, "little") + bytes(2), mode=ev2.Mode.FULL)

    def _change_file_settings(self, command: Command) -> bytes:
        session = self._need_session()
        data, header = self._open(command, header_bytes=1, mode=ev2.Mode.FULL)
        file = self._file(header[0])
        if file.settings.access.change not in (session.key_no, KEY_FREE):
            raise RefusedError("919D")
        try:
            settings = files.parse_change(data)
        except ValueError as error:
            raise RefusedError("919E") from error
        file.settings = settings
        if settings.sdm is not None:
            self.read_counter = 0
        return self._reply(b"", mode=ev2.Mode.FULL)

    def _change_key(self, command: Command) -> bytes:
        session = self._need_session()
        data, header = self._open(command, header_bytes=1, mode=ev2.Mode.FULL)
        key_no = header[0] if header else KEYS
        if key_no >= KEYS:
            raise RefusedError("9140")
        if session.key_no != 0:
            raise RefusedError("919D")
        if key_no == session.key_no:
            if len(data) != 17:  # noqa: PLR2004 - key and version
                raise RefusedError("917E")
            self._set_key(key_no, data[:16], version=data[16])
            self._session = None
            return b"\x91\x00"
        if len(data) != 21:  # noqa: PLR2004 - key, version, check sum
            raise RefusedError("917E")
        key = bytes(a ^ b for a, b in zip(data[:16], self.keys[key_no], strict=True))
        if ev2.crc32nk(key) != data[17:]:
            raise RefusedError("911E")
        self._set_key(key_no, key, version=data[16])
        return self._reply(b"", mode=ev2.Mode.FULL)

    def _set_key(self, key_no: int, key: bytes, *, version: int) -> None:
        self.keys[key_no], self.key_versions[key_no] = key, version
        self.failures[key_no] = self.total_failures[key_no] = 0

    def _read(self, file_no: int, *, offset: int, length: int) -> bytes:
        file = self._file(file_no)
        if self._session is None and file.settings.access.read != KEY_FREE:
            raise RefusedError("919D")
        content = bytes(file.content)
        sdm = file.settings.sdm
        if sdm is not None and self._session is None:
            if self._shown is None:
                # Counted once for each time the file is opened, not for each part of it that is read.
                self.read_counter += 1
                self._shown = mirroring.mirror(
                    content,
                    sdm=sdm,
                    picc=PiccData(uid=self.uid, counter=self.read_counter),
                    keys=dict(enumerate(self.keys)),
                    filling=secrets.token_bytes(15),
                )
            content = self._shown
        if offset >= len(content):
            raise RefusedError("91BE")
        return content[offset : offset + length]

    def _file(self, file_no: int) -> File:
        if file_no not in self.files:
            raise RefusedError("91F0")
        return self.files[file_no]

    def _check(self, *rights: int) -> None:
        holds = KEY_NEVER if self._session is None else self._session.key_no
        if KEY_FREE not in rights and holds not in rights:
            raise RefusedError("919D")

    def _need_session(self) -> CardSession:
        if self._session is None:
            raise RefusedError("919D")
        return self._session

    def _open(self, command: Command, *, header_bytes: int, mode: ev2.Mode) -> tuple[bytes, bytes]:
        """Give data and header of a command, checked and deciphered as the session asks for."""
        header, rest = command.data[:header_bytes], command.data[header_bytes:]
        if self._session is None:
            return rest, header
        return self._session.open(command.ins, header=header, rest=rest, mode=mode), header

    def _reply(self, data: bytes, *, mode: ev2.Mode) -> bytes:
        if self._session is None:
            return data + b"\x91\x00"
        answer, self._session = reply(self._session, data, mode=mode)
        return answer


class _Ins:
    ISO_SELECT = 0xA4
    ISO_READ = 0xB0
    GET_VERSION = 0x60
    MORE = 0xAF
    AUTHENTICATE_FIRST = 0x71
    AUTHENTICATE_NON_FIRST = 0x77
    GET_KEY_VERSION = 0x64
    GET_FILE_SETTINGS = 0xF5
    GET_CARD_UID = 0x51
    GET_FILE_COUNTERS = 0xF6
    READ_DATA = 0xAD
    WRITE_DATA = 0x8D
    CHANGE_FILE_SETTINGS = 0x5F
    CHANGE_KEY = 0xC4


def _factory_files() -> dict[int, File]:
    return {
        number: _file(bytes.fromhex(content), bytes.fromhex(settings))
        for number, (content, settings) in _FACTORY.items()
    }


def _file(content: bytes, settings: bytes) -> File:
    return File(content=bytearray(content), settings=files.parse_change(settings))

"""What a station's chip is told, tap by tap: the server makes every APDU and reads every answer, the station relays.

The order is that of terminal.md: versions first, so that a key is chosen and never tried; one authentication; the UID
proved; only then is anything written, the personalisation key last; then new key and dynamic message are proved. A tap
that was torn anywhere is taken up by the next one, because every write may be done twice and the chip itself says which
keys it has.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from card_terminal.crypto import ev2, files, mirroring, ndef, sun
from card_terminal.crypto.ev2 import Challenge, Ev2Error, Mode, SecureSession, StatusError
from card_terminal.crypto.keys import APPLICATION_NAME, KeySlot

NDEF_FILE_ID = 0xE104
ISO_OK = b"\x90\x00"
MORE = b"\x91\xaf"
OK = b"\x91\x00"
SLOW = b"\x91\xad"
SLOTS = tuple(KeySlot)
# K0 opens all the rest: while it is the old one, a torn chip can be taken up where it was left.
WRITTEN_FIRST = (KeySlot.META_READ, KeySlot.SUN_MAC, KeySlot.ONLINE, KeySlot.OFFLINE)


class Stage(StrEnum):
    """How far a tap has come; named after what the chip was asked last."""

    VERSIONS = "versions"
    CHALLENGE = "challenge"
    AUTHENTICATED = "authenticated"
    UID = "uid"
    WRITTEN = "written"
    LAST_KEY = "last_key"
    NEW_CHALLENGE = "new_challenge"
    NEW_KEY = "new_key"
    READ = "read"
    DONE = "done"


class Trouble(StrEnum):
    """Why a tap ends before the card is done."""

    GONE = "gone"
    """Taken away; the next tap goes on."""
    NOT_A_CHIP = "not_a_chip"
    OTHER_CHIP = "other_chip"
    CHIP_TAKEN = "chip_taken"
    KEYS_UNKNOWN = "keys_unknown"
    KEY_REFUSED = "key_refused"
    PATIENCE = "patience"
    """So many authentications came to nothing that one more could slow or lock the chip."""
    SLOWED = "slowed"
    UID_WRONG = "uid_wrong"
    ANSWER_WRONG = "answer_wrong"
    MESSAGE_WRONG = "message_wrong"


class TapEnded(Exception):  # noqa: N818 - an outcome of a tap, not a fault
    """The tap is over before its end; the text is for the log."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(f"{trouble}: {detail}")
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the chip is to become: keys of this version, and a file with this address."""

    key_version: int
    base_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """What must be remembered between two messages of one tap; it holds session keys, so it is kept wrapped."""

    uid: bytes
    stage: Stage = Stage.VERSIONS
    key_versions: tuple[int, ...] = ()
    file_mode: Mode = Mode.PLAIN
    rnd_a: bytes = field(default=b"", repr=False)
    rnd_b: bytes = field(default=b"", repr=False)
    session: SecureSession | None = field(default=None, repr=False)
    changes: tuple[KeySlot, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        session = self.session
        return {
            "uid": self.uid.hex(),
            "stage": self.stage.value,
            "key_versions": list(self.key_versions),
            "file_mode": self.file_mode.value,
            "rnd_a": self.rnd_a.hex(),
            "rnd_b": self.rnd_b.hex(),
            "changes": [int(slot) for slot in self.changes],
            "session": session
            and [session.ti.hex(), session.k_enc.hex(), session.k_mac.hex(), session.key_no, session.counter],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Tap":
        """Read what `to_json` gave."""
        session = None
        if kept["session"]:
            ti, k_enc, k_mac, key_no, counter = kept["session"]
            session = SecureSession(
                ti=bytes.fromhex(ti),
                k_enc=bytes.fromhex(k_enc),
                k_mac=bytes.fromhex(k_mac),
                key_no=key_no,
                counter=counter,
            )
        return cls(
            uid=bytes.fromhex(kept["uid"]),
            stage=Stage(kept["stage"]),
            key_versions=tuple(kept["key_versions"]),
            file_mode=Mode(kept["file_mode"]),
            rnd_a=bytes.fromhex(kept["rnd_a"]),
            rnd_b=bytes.fromhex(kept["rnd_b"]),
            session=session,
            changes=tuple(KeySlot(slot) for slot in kept["changes"]),
        )


# A key of this chip by slot and version; raises TapEnded KEYS_UNKNOWN for a version that we never made.
KeyOf = Callable[[KeySlot, int], bytes]
Answers = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to send next, and what to remember; at DONE nothing, and `counter` is what the card's message said."""

    apdus: tuple[bytes, ...]
    tap: Tap
    counter: int = 0


def begin(uid: bytes) -> Step:
    """Ask a chip what it is, which keys it has, and how its file is set: nothing that needs a key."""
    apdus = (
        ev2.select_application(APPLICATION_NAME),
        ev2.get_version(),
        ev2.more(),
        ev2.more(),
        *(ev2.get_key_version(int(slot)) for slot in SLOTS),
        ev2.get_file_settings(files.NDEF_FILE_NO),
    )
    return Step(apdus=apdus, tap=Tap(uid=uid))


def read_versions(tap: Tap, answers: Answers) -> Tap:
    """Read what the chip is and has. Raises TapEnded: GONE, NOT_A_CHIP, OTHER_CHIP."""
    try:
        _all_there(answers, 4 + len(SLOTS) + 1)
        if answers[0] != ISO_OK:
            raise TapEnded(Trouble.NOT_A_CHIP, "no such application")
        version = ev2.read_version(
            ev2.plain_answer(answers[1], expected=MORE),
            ev2.plain_answer(answers[2], expected=MORE),
            ev2.plain_answer(answers[3]),
        )
        key_versions = tuple(ev2.plain_answer(each) for each in answers[4 : 4 + len(SLOTS)])
        settings = files.read_file_settings(ev2.plain_answer(answers[-1]))
    except (Ev2Error, ValueError) as error:
        raise TapEnded(Trouble.NOT_A_CHIP, str(error)) from error
    if not version.is_ntag_424_dna or any(len(each) != 1 for each in key_versions):
        raise TapEnded(Trouble.NOT_A_CHIP, "another kind of chip")
    if version.uid != tap.uid:
        raise TapEnded(Trouble.UID_WRONG, "GetVersion and the reader name two UIDs")
    return replace(tap, key_versions=tuple(each[0] for each in key_versions), file_mode=settings.mode_for(write=True))


def ask_challenge(tap: Tap) -> Step:
    """Begin the one authentication of this tap with the key that the chip says it has."""
    return Step(apdus=(ev2.authenticate_first(int(KeySlot.PERSONALISATION)),), tap=replace(tap, stage=Stage.CHALLENGE))


def go_on(tap: Tap, answers: Answers, *, aim: Aim, key_of: KeyOf) -> Step:
    """Read the answers to what was sent last, and give what comes next. Raises TapEnded."""
    try:
        return _NEXT[tap.stage](tap, answers, aim, key_of)
    except StatusError as error:
        raise TapEnded(
            Trouble.SLOWED if error.status == SLOW else _REFUSED.get(tap.stage, Trouble.ANSWER_WRONG), str(error)
        ) from error
    except Ev2Error as error:
        raise TapEnded(_REFUSED.get(tap.stage, Trouble.ANSWER_WRONG), str(error)) from error


def _answer_challenge(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _ = aim
    _all_there(answers, 1)
    rnd_a = os.urandom(ev2.KEY_BYTES)
    key = key_of(KeySlot.PERSONALISATION, tap.key_versions[0])
    apdu, challenge = ev2.answer_challenge(answers[0], key=key, key_no=0, rnd_a=rnd_a)
    return Step(apdus=(apdu,), tap=replace(tap, stage=Stage.AUTHENTICATED, rnd_a=rnd_a, rnd_b=challenge.rnd_b))


def _ask_uid(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _ = aim
    session = _finished(tap, answers, key=key_of(KeySlot.PERSONALISATION, tap.key_versions[0]))
    return Step(apdus=(ev2.get_card_uid(session),), tap=replace(tap, stage=Stage.UID, session=session))


def read_uid(tap: Tap, answers: Answers) -> Tap:
    """Prove the UID: enciphered, and the one that the reader saw. Raises TapEnded UID_WRONG, GONE."""
    try:
        _all_there(answers, 1)
        uid, session = ev2.read_response(_session(tap), answers[0], mode=Mode.FULL)
    except Ev2Error as error:
        raise TapEnded(Trouble.ANSWER_WRONG, str(error)) from error
    if uid != tap.uid:
        raise TapEnded(Trouble.UID_WRONG, "the chip's own UID is another than the reader saw")
    return replace(tap, session=session)


def write(tap: Tap, *, aim: Aim, key_of: KeyOf) -> Step:
    """Write file, settings and the keys that are not new yet; each command counts on the one before."""
    template, session = ndef.card_template(aim.base_uri), _session(tap)
    content = template.content.ljust(_written_bytes(template.content), b"\x00")
    apdus = [ev2.write_data(session, content, file_no=files.NDEF_FILE_NO, offset=0, mode=tap.file_mode)]
    session = _counted(session)
    apdus.append(ev2.change_file_settings(session, template.settings.to_bytes(), file_no=files.NDEF_FILE_NO))
    changes = tuple(slot for slot in WRITTEN_FIRST if tap.key_versions[slot] != aim.key_version)
    for slot in changes:
        session = _counted(session)
        apdus.append(_change(session, slot, tap=tap, aim=aim, key_of=key_of))
    return Step(apdus=tuple(apdus), tap=replace(tap, stage=Stage.WRITTEN, changes=changes))


def _change_last_key(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _all_there(answers, 2 + len(tap.changes))
    session = _session(tap)
    _data, session = ev2.read_response(session, answers[0], mode=tap.file_mode)
    for answer in answers[1:]:
        _data, session = ev2.read_response(session, answer, mode=Mode.FULL)
    after = replace(tap, session=session, stage=Stage.LAST_KEY)
    if tap.key_versions[0] == aim.key_version:
        return _read(after)
    return Step(apdus=(_change(session, KeySlot.PERSONALISATION, tap=tap, aim=aim, key_of=key_of),), tap=after)


def _ask_new_challenge(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _ = aim, key_of
    _all_there(answers, 1)
    ev2.read_response(_session(tap), answers[0], mode=Mode.PLAIN)
    apdus = (ev2.select_application(APPLICATION_NAME), ev2.authenticate_first(int(KeySlot.PERSONALISATION)))
    return Step(apdus=apdus, tap=replace(tap, stage=Stage.NEW_CHALLENGE, session=None))


def _answer_new_challenge(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _all_there(answers, 2)
    rnd_a = os.urandom(ev2.KEY_BYTES)
    key = key_of(KeySlot.PERSONALISATION, aim.key_version)
    apdu, challenge = ev2.answer_challenge(answers[1], key=key, key_no=0, rnd_a=rnd_a)
    return Step(apdus=(apdu,), tap=replace(tap, stage=Stage.NEW_KEY, rnd_a=rnd_a, rnd_b=challenge.rnd_b))


def _prove_new_key(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    session = _finished(tap, answers, key=key_of(KeySlot.PERSONALISATION, aim.key_version))
    return _read(replace(tap, session=session))


def _read(tap: Tap) -> Step:
    """Read the file as a phone does: without an authentication, so that the chip writes its proof into it."""
    apdus = (
        ev2.select_application(APPLICATION_NAME),
        ev2.select_file(NDEF_FILE_ID),
        ev2.read_binary(offset=0, length=0),
    )
    return Step(apdus=apdus, tap=replace(tap, stage=Stage.READ, session=None))


def _prove_message(tap: Tap, answers: Answers, aim: Aim, key_of: KeyOf) -> Step:
    _all_there(answers, 3)
    template = ndef.card_template(aim.base_uri)
    sdm = template.settings.sdm
    try:
        if answers[2][-2:] != ISO_OK or sdm is None:
            raise sun.SunError("the file cannot be read")
        content = answers[2][:-2]
        proven = mirroring.prove_file(
            content,
            sdm=sdm,
            k_meta=key_of(KeySlot.META_READ, aim.key_version),
            k_file=key_of(KeySlot.SUN_MAC, aim.key_version),
            uid=tap.uid,
        )
        if proven.picc.uid is None or proven.picc.counter is None:
            raise sun.SunError("without UID or counter")
        if not ndef.read_uri(content).startswith(f"{aim.base_uri}?e="):
            raise sun.SunError("another address")
    except ValueError as error:
        raise TapEnded(Trouble.MESSAGE_WRONG, str(error)) from error
    return Step(apdus=(), tap=replace(tap, stage=Stage.DONE), counter=proven.picc.counter)


_NEXT: dict[Stage, Callable[[Tap, Answers, Aim, KeyOf], Step]] = {
    Stage.CHALLENGE: _answer_challenge,
    Stage.AUTHENTICATED: _ask_uid,
    Stage.WRITTEN: _change_last_key,
    Stage.LAST_KEY: _ask_new_challenge,
    Stage.NEW_CHALLENGE: _answer_new_challenge,
    Stage.NEW_KEY: _prove_new_key,
    Stage.READ: _prove_message,
}
_REFUSED = {
    Stage.CHALLENGE: Trouble.KEY_REFUSED,
    Stage.AUTHENTICATED: Trouble.KEY_REFUSED,
    Stage.NEW_CHALLENGE: Trouble.KEY_REFUSED,
    Stage.NEW_KEY: Trouble.KEY_REFUSED,
}


def _change(session: SecureSession, slot: KeySlot, *, tap: Tap, aim: Aim, key_of: KeyOf) -> bytes:
    return ev2.change_key(
        session,
        key_of(slot, aim.key_version),
        key_no=int(slot),
        version=aim.key_version,
        old_key=key_of(slot, tap.key_versions[slot]),
    )


def _finished(tap: Tap, answers: Answers, *, key: bytes) -> SecureSession:
    _all_there(answers, 1)
    challenge = Challenge(key=key, key_no=0, rnd_a=tap.rnd_a, rnd_b=tap.rnd_b)
    return ev2.finish_authentication(answers[0], challenge=challenge)


def _session(tap: Tap) -> SecureSession:
    if tap.session is None:
        raise TapEnded(Trouble.ANSWER_WRONG, "no session")
    return tap.session


def _counted(session: SecureSession) -> SecureSession:
    return replace(session, counter=session.counter + 1)


def _written_bytes(content: bytes) -> int:
    """Overwrite what an earlier, longer address may have left, as far as one APDU reaches."""
    return max(len(content), min(128, files.NDEF_FILE_BYTES))


def _all_there(answers: Answers, expected: int) -> None:
    """Refuse fewer answers than questions: the station stops at the first bad one, or the card was taken away."""
    if len(answers) > expected:
        raise TapEnded(Trouble.ANSWER_WRONG, "more answers than questions")
    if len(answers) < expected:
        last = answers[-1][-2:] if answers else b""
        if last in (b"", OK, MORE, ISO_OK):
            raise TapEnded(Trouble.GONE, f"{len(answers)} of {expected} answers")
        raise StatusError(last)

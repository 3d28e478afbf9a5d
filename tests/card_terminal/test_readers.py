"""Readers without hardware: what a keyboard types, and cards that are files, whole chips among them."""

import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card_terminal.crypto import ev2
from card_terminal.crypto.keys import APPLICATION_NAME
from card_terminal.protocol import Ev2Card, ReaderState, SunCard, TypedCard, UidCard
from card_terminal.protocol.shapes import parse, to_dict
from card_terminal.readers import ReaderError, Reading
from card_terminal.readers.apdu import ApduCard, CardGoneError
from card_terminal.readers.pcsc import PcscCard
from card_terminal.readers.simulated import SimulatedReader, UnknownCardError
from card_terminal.readers.wedge import Typewriter, WedgeReader, read_typed
from tests.card_terminal.virtual_reader import wait_until

EVENT = struct.Struct("llHHi")
KEYS = tuple(bytes([number] * 16) for number in range(5))
URI = "https://card.example/c?e=0123456789ABCDEF&c=00"


def pressed(text: str) -> bytes:
    """What the kernel gives when a reader types this and Enter."""
    codes = {
        **dict(zip("1234567890-=", range(2, 14), strict=True)),
        **dict(zip("qwertyuiop", range(16, 26), strict=True)),
        **dict(zip("asdfghjkl;'", range(30, 41), strict=True)),
        **dict(zip("zxcvbnm,./", range(44, 54), strict=True)),
    }
    shifted = {"?": "/", ":": ";", "&": "7", **{letter.upper(): letter for letter in "abcdefghijklmnopqrstuvwxyz"}}
    events = []
    for character in text:
        key = codes[shifted.get(character, character)]
        keys = [(42, 1), (key, 1), (key, 0), (42, 0)] if character in shifted else [(key, 1), (key, 0)]
        events += [EVENT.pack(0, 0, 1, code, value) + EVENT.pack(0, 0, 0, 0, 0) for code, value in keys]
    return b"".join([*events, EVENT.pack(0, 0, 1, 28, 1), EVENT.pack(0, 0, 1, 28, 0)])


@pytest.mark.parametrize(
    ("line", "card"),
    [
        (URI, SunCard(uri=URI)),
        ("9156000000000004", TypedCard(number="9156000000000004")),
        ("04a1b2c3d4e5f6", UidCard(uid="04A1B2C3D4E5F6")),
        ("04A1B2C3", UidCard(uid="04A1B2C3")),
        ("1234567890", None),
        ("hello", None),
        ("", None),
    ],
)
def test_a_line_is_an_address_a_number_a_uid_or_nothing(line: str, card: object) -> None:
    reading = read_typed(line + "\r")
    assert (reading and reading.card) == card
    assert reading is None or reading.chip is None, "what was typed proves nothing"


@given(st.text(max_size=600))
def test_whatever_is_typed_is_a_message_of_the_protocol_or_nothing(line: str) -> None:
    reading = read_typed(line)
    if reading is not None:
        content = to_dict(reading.card)
        content.pop("class")
        assert parse(type(reading.card), content) == reading.card


def test_keys_become_lines_with_shift_and_without() -> None:
    keys, content = Typewriter(), pressed(URI) + pressed("04a1b2c3")
    lines = [keys.press(content[place : place + EVENT.size]) for place in range(0, len(content), EVENT.size)]
    assert [line for line in lines if line] == [URI, "04a1b2c3"]


def test_a_wedge_comes_goes_and_comes_back(tmp_path: Path) -> None:
    device = tmp_path / "kbd"
    reader, readings, states = WedgeReader(str(device)), [], []  # type: ignore[var-annotated] # filled by the reader
    reader.start(readings.append, on_state=lambda state, _detail: states.append(state))
    wait_until(lambda: states == [ReaderState.DOWN], what="it is not there yet")
    os.mkfifo(device)
    # A pipe that this process keeps open for reading, too, takes what is written before the reader opens it.
    number = os.open(device, os.O_RDWR)
    wait_until(lambda: states[-1] is ReaderState.OK, what="it is there")
    os.write(number, pressed("04a1b2c3"))
    wait_until(lambda: bool(readings), what="a card")
    reader.stop()
    os.close(number)
    assert readings[0].identity == "04A1B2C3"


def test_a_wedge_whose_input_has_ended_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"04a1b2c3\n")
    os.close(writing)
    ended = os.fdopen(reading)
    monkeypatch.setattr("card_terminal.readers.wedge.sys.stdin", ended)
    monkeypatch.setattr("card_terminal.readers.wedge._WAIT_S", 0.01)
    reader, readings, states = WedgeReader("-"), [], []  # type: ignore[var-annotated] # filled by the reader
    reader.start(readings.append, on_state=lambda state, _detail: states.append(state))
    wait_until(lambda: len(states) >= 2, what="the end of the input")
    time.sleep(0.1)
    assert states == [ReaderState.OK, ReaderState.DOWN], "each change is an event that the journal keeps for good"
    assert any(each.name == "reader" for each in threading.enumerate()), "a thread that ends is started anew"
    reader.stop()
    ended.close()
    assert [each.identity for each in readings] == ["04A1B2C3"]


def test_a_wedge_without_a_device_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ReaderError):
        WedgeReader("")


class FakeScard:
    """pyscard's layer with a card on it; the call `failing` gives an error code, or raises."""

    SCARD_S_SUCCESS, SCARD_SCOPE_SYSTEM, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1 = 0, 2, 2, 1, 2
    SCARD_UNPOWER_CARD = 2

    def __init__(self, failing: str, *, raises: int) -> None:
        self.failing, self.raises, self.is_held = failing, raises, {"context": False, "card": False}

    def _do(self, name: str, *values: Any) -> tuple[Any, ...]:
        if name == self.failing and self.raises:
            raise SystemError(name)
        return (1 if name == self.failing else 0, *values)

    def SCardEstablishContext(self, _scope: int) -> tuple[Any, ...]:  # noqa: N802 - the name in PC/SC
        self.is_held["context"] = True
        return self._do("establish", object())

    def SCardConnect(self, *_arguments: Any) -> tuple[Any, ...]:  # noqa: N802
        answer = self._do("connect", object(), 2)
        self.is_held["card"] = self.failing != "connect"
        return answer

    def SCardStatus(self, _card: Any) -> tuple[Any, ...]:  # noqa: N802
        return self._do("status", "reader", 0, 2, [0x3B])

    def SCardTransmit(self, *_arguments: Any) -> tuple[Any, ...]:  # noqa: N802
        return self._do("transmit", [0x90, 0x00])

    def SCardDisconnect(self, *_arguments: Any) -> None:  # noqa: N802
        self.is_held["card"] = False

    def SCardReleaseContext(self, _context: Any) -> None:  # noqa: N802
        self.is_held["context"] = False

    def SCardGetErrorMessage(self, code: int) -> str:  # noqa: N802
        return f"error {code}"


@pytest.mark.parametrize("raises", [0, 1])
@pytest.mark.parametrize("failing", ["connect", "status", "transmit"])
def test_whatever_fails_with_a_card_on_the_reader_nothing_is_held(
    monkeypatch: pytest.MonkeyPatch, failing: str, raises: int
) -> None:
    scard = FakeScard(failing, raises=raises)
    monkeypatch.setattr("card_terminal.readers.pcsc._scard", lambda: scard)
    with pytest.raises((CardGoneError, SystemError)):
        PcscCard("reader")
    assert scard.is_held == {"context": False, "card": False}


def show(reader: SimulatedReader, name: str) -> Reading:
    readings: list[Reading] = []
    reader.start(readings.append)
    reader.present(name, minutes=30)
    return readings[0]


def knows_its_online_key(chip: ApduCard) -> bool:
    assert chip.transmit(ev2.select_application(APPLICATION_NAME)) == b"\x90\x00"
    answer = chip.transmit(ev2.authenticate_first(3))
    proof, challenge = ev2.answer_challenge(answer, key=KEYS[3], key_no=3, rnd_a=os.urandom(16))
    return bool(ev2.finish_authentication(chip.transmit(proof), challenge=challenge).k_enc)


def test_a_card_file_may_be_a_whole_chip_and_the_chip_is_kept(tmp_path: Path) -> None:
    keys = ", ".join(f'"{key.hex()}"' for key in KEYS)
    (tmp_path / "zhang.json").write_text(
        f'{{"class": "ev2", "label": "Zhang", "uid": "04112233445566", "keys": [{keys}], "key_version": 1,'
        ' "base_uri": "https://card.example/c"}'
    )
    reader = SimulatedReader(tmp_path)

    reading = show(reader, "zhang")

    assert (reading.card, reading.minutes) == (Ev2Card(uid="04112233445566", atr="3B8180018080"), 30)
    assert reading.chip is not None
    assert knows_its_online_key(reading.chip)
    assert reader.label("zhang") == "Zhang"
    (tmp_path / "zhang.json").unlink()
    again = show(reader, "zhang")
    assert reader.names() == ["zhang"]
    assert again.chip is not None
    assert knows_its_online_key(again.chip)


def test_a_broken_chip_is_named_and_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.chip").write_text("{}")
    (tmp_path / "b.json").write_text(
        '{"class": "ev2", "uid": "04112233445566", "keys": [], "key_version": 1, "base_uri": "https://x/c"}'
    )
    for name in ("a", "b", "c"):
        with pytest.raises(UnknownCardError):
            show(SimulatedReader(tmp_path), name)

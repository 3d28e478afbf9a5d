"""EV2: published exchanges come out, and no answer but a genuine card's is taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from card_terminal.crypto import ev2
from card_terminal.crypto.aes import decrypt_cbc, encrypt_cbc
from card_terminal.crypto.ev2 import Ev2Error, Mode, SecureSession, StatusError

DATA = Path(__file__).parents[1] / "data"
VECTORS: list[dict[str, Any]] = [
    vector
    for name in ("card_vectors.json", "card_vectors_more.json")
    for vector in json.loads((DATA / name).read_text())["vectors"]
]
BLOCK = st.binary(min_size=16, max_size=16)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def of_group(group: str) -> pytest.MarkDecorator:
    chosen = [vector for vector in VECTORS if vector["group"] == group]
    return pytest.mark.parametrize("vector", chosen, ids=[vector["id"] for vector in chosen])


@of_group("ev2auth")
def test_authentication_of_an12196(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    assert ev2.authenticate_first(given["key_no"]).hex().upper() == expected["cmd1"]
    second, challenge = ev2.answer_challenge(
        unhex(given["resp1"]), key=unhex(given["key"]), key_no=given["key_no"], rnd_a=unhex(given["RndA"])
    )
    assert challenge.rnd_b.hex().upper() == expected["RndB"]
    assert second.hex().upper() == expected["cmd2"]
    session = ev2.finish_authentication(unhex(given["resp2"]), challenge=challenge)
    assert session.ti.hex().upper() == expected["TI"]
    assert session.k_enc.hex().upper() == expected["KSesAuthENC"]
    assert session.k_mac.hex().upper() == expected["KSesAuthMAC"]


@of_group("ev2nonfirst")
def test_authentication_within_a_session_of_an12196(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    running = SecureSession(ti=unhex(given["ti"]), k_enc=bytes(16), k_mac=bytes(16), key_no=3, counter=2)
    assert ev2.authenticate_non_first(given["key_no"]).hex().upper() == expected["cmd1"]
    second, challenge = ev2.answer_challenge(
        unhex(given["resp1"]), key=unhex(given["key"]), key_no=0, rnd_a=unhex(given["RndA"]), session=running
    )
    assert (challenge.rnd_b.hex().upper(), second.hex().upper()) == (expected["RndB"], expected["cmd2"])
    session = ev2.finish_authentication(unhex(given["resp2"]), challenge=challenge)
    assert (session.ti, session.counter, session.key_no) == (running.ti, 2, 0)
    assert session.k_enc.hex().upper() == expected["KSesAuthENC"]
    assert session.k_mac.hex().upper() == expected["KSesAuthMAC"]


@of_group("apdu")
def test_selecting_the_application_of_an12196(vector: dict[str, Any]) -> None:
    assert ev2.select_application(unhex(vector["input"]["name"])).hex().upper() == vector["expected"]["cmd"]


@of_group("version")
def test_the_version_of_an12196_is_that_of_our_chip(vector: dict[str, Any]) -> None:
    parts = [unhex(vector["input"][name]) for name in ("hardware", "software", "production")]
    version = ev2.read_version(*parts)
    assert (version.vendor, version.hardware_major) == tuple(vector["expected"].values())
    assert version.is_ntag_424_dna
    with pytest.raises(Ev2Error, match="parts"):
        ev2.read_version(parts[0][:6], parts[1], parts[2])
    desfire = ev2.read_version(unhex("04010133001605"), parts[1], parts[2])
    assert not desfire.is_ntag_424_dna


def session_of(given: dict[str, Any], *, key_no: int = 0) -> SecureSession:
    return SecureSession(
        ti=unhex(given["ti"]), k_enc=unhex(given["enc"]), k_mac=unhex(given["mac"]), key_no=key_no, counter=given["ctr"]
    )


@of_group("ev2msg")
def test_secure_messaging_of_an12196(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    session = session_of(given)
    header, data = unhex(given["header"]), unhex(given["data"])
    sent = ev2.command(session, ins=int(given["ins"], 16), mode=Mode(given["mode"]), header=header, data=data)
    assert sent.hex().upper() == expected["cmd"]
    if given["resp"] is not None:
        plain, after = ev2.read_response(session, unhex(given["resp"]), mode=Mode(given["mode"]))
        assert plain.hex().upper() == expected["resp_plain"]
        assert after.counter == given["ctr"] + 1


def named(name: str) -> dict[str, Any]:
    return next(vector for vector in VECTORS if vector["id"] == name)


def test_the_commands_of_personalisation_are_those_of_an12196() -> None:
    write = named("an12196-writedata-full")
    sent = ev2.write_data(
        session_of(write["input"]), unhex(write["input"]["data"]), file_no=2, offset=0, mode=Mode.FULL
    )
    assert sent.hex().upper() == write["expected"]["cmd"]
    change = named("an12196-changefilesettings")
    sent = ev2.change_file_settings(session_of(change["input"]), unhex(change["input"]["data"]), file_no=2)
    assert sent.hex().upper() == change["expected"]["cmd"]
    uid = named("an12196-getcarduid-full")
    assert ev2.get_card_uid(session_of(uid["input"])).hex().upper() == uid["expected"]["cmd"]
    other, own = named("an12196-changekey-case1-key2"), named("an12196-changekey-case2-key0")
    key = unhex("F3847D627727ED3BC9C4CC050489B966")
    assert ev2.crc32nk(key) == unhex("789DFADC")
    sent = ev2.change_key(session_of(other["input"]), key, key_no=2, version=1, old_key=bytes(16))
    assert sent.hex().upper() == other["expected"]["cmd"]
    key = unhex("5004BF991F408672B1EF00F08F9E8647")
    sent = ev2.change_key(session_of(own["input"]), key, key_no=0, version=1, old_key=bytes(16))
    assert sent.hex().upper() == own["expected"]["cmd"]


class Chip:
    """The card's side of an authentication, written from the same documents."""

    def __init__(self, key: bytes, *, rnd_b: bytes, ti: bytes) -> None:
        self.key, self.rnd_b, self.ti = key, rnd_b, ti

    def challenge(self) -> bytes:
        return encrypt_cbc(self.rnd_b, key=self.key) + unhex("91AF")

    def prove(self, sent: bytes, *, first: bool) -> bytes:
        plain = decrypt_cbc(sent[5:-1], key=self.key)
        if plain[16:] != self.rnd_b[1:] + self.rnd_b[:1]:
            return unhex("91AE")
        proof = plain[1:16] + plain[:1]
        return encrypt_cbc(self.ti + proof + bytes(12) if first else proof, key=self.key) + unhex("9100")


def authenticate(
    chip: Chip, *, key: bytes, rnd_a: bytes, key_no: int = 0, session: SecureSession | None = None
) -> SecureSession:
    second, challenge = ev2.answer_challenge(chip.challenge(), key=key, key_no=key_no, rnd_a=rnd_a, session=session)
    return ev2.finish_authentication(chip.prove(second, first=session is None), challenge=challenge)


@given(BLOCK, BLOCK, BLOCK, st.binary(min_size=4, max_size=4))
def test_a_genuine_card_is_believed_also_when_it_authenticates_again(
    key: bytes, rnd_a: bytes, rnd_b: bytes, ti: bytes
) -> None:
    chip = Chip(key, rnd_b=rnd_b, ti=ti)
    session = authenticate(chip, key=key, rnd_a=rnd_a)
    assert (session.ti, session.counter) == (ti, 0)
    running = SecureSession(ti=ti, k_enc=bytes(16), k_mac=bytes(16), key_no=0, counter=5)
    again = authenticate(chip, key=key, rnd_a=rnd_a, key_no=3, session=running)
    assert (again.ti, again.counter, again.key_no) == (ti, 5, 3)
    assert (again.k_enc, again.k_mac) == (session.k_enc, session.k_mac)


@given(BLOCK, BLOCK, BLOCK, BLOCK)
def test_a_card_without_the_key_is_not_believed(key: bytes, other: bytes, rnd_a: bytes, rnd_b: bytes) -> None:
    assume(key != other)
    with pytest.raises(Ev2Error):
        authenticate(Chip(other, rnd_b=rnd_b, ti=bytes(4)), key=key, rnd_a=rnd_a)


def test_a_clone_that_says_yes_to_everything_is_not_believed() -> None:
    _second, challenge = ev2.answer_challenge(bytes(16) + unhex("91AF"), key=bytes(16), key_no=3, rnd_a=b"\x05" * 16)
    with pytest.raises(Ev2Error, match="does not know the key"):
        ev2.finish_authentication(bytes(32) + unhex("9100"), challenge=challenge)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_answer_is_the_cards_or_is_refused(first: bytes, second: bytes) -> None:
    with pytest.raises(Ev2Error):
        ev2.answer_challenge(first, key=bytes(16), key_no=0, rnd_a=bytes(16))
    session = SecureSession(ti=bytes(4), k_enc=bytes(16), k_mac=bytes(16), key_no=0)
    for mode in (Mode.MAC, Mode.FULL):
        with pytest.raises(Ev2Error):
            ev2.read_response(session, second, mode=mode)


@given(st.integers(0, 23 * 8 - 1))
def test_one_flipped_bit_of_an_answer_is_noticed(bit: int) -> None:
    vector = named("an12196-getcarduid-full")["input"]
    answer = unhex(vector["resp"])
    flipped = (int.from_bytes(answer) ^ (1 << (bit + 16))).to_bytes(len(answer))
    with pytest.raises(Ev2Error):
        ev2.read_response(session_of(vector), flipped, mode=Mode.FULL)


def test_an_answer_of_the_command_before_is_refused() -> None:
    vector = named("an12196-getcarduid-full")["input"]
    _plain, after = ev2.read_response(session_of(vector), unhex(vector["resp"]), mode=Mode.FULL)
    with pytest.raises(Ev2Error, match="MAC"):
        ev2.read_response(after, unhex(vector["resp"]), mode=Mode.FULL)


def test_a_refusal_of_the_card_has_its_status() -> None:
    session = SecureSession(ti=bytes(4), k_enc=bytes(16), k_mac=bytes(16), key_no=0)
    with pytest.raises(StatusError) as caught:
        ev2.read_response(session, unhex("91AE"), mode=Mode.MAC)
    assert caught.value.status == unhex("91AE")


def test_plain_commands_count_too_and_a_used_up_session_says_so() -> None:
    session = SecureSession(ti=bytes(4), k_enc=bytes(16), k_mac=bytes(16), key_no=0)
    assert ev2.command(session, ins=0x60, mode=Mode.PLAIN) == unhex("9060000000")
    plain, after = ev2.read_response(session, unhex("04019100"), mode=Mode.PLAIN)
    assert (plain, after.counter) == (unhex("0401"), 1)
    used_up = SecureSession(ti=bytes(4), k_enc=bytes(16), k_mac=bytes(16), key_no=0, counter=ev2.COUNTER_MAX)
    with pytest.raises(Ev2Error, match="used up"):
        ev2.command(used_up, ins=0x51, mode=Mode.MAC)
    with pytest.raises(Ev2Error, match="too long"):
        ev2.write_data(session, bytes(250), file_no=2, offset=0, mode=Mode.FULL)


def test_keys_do_not_show_themselves() -> None:
    session = SecureSession(ti=bytes(4), k_enc=b"\xaa" * 16, k_mac=b"\xbb" * 16, key_no=0)
    assert "xaa" not in repr(session)
    assert "xbb" not in repr(session)

"""Every published vector of card cryptography comes out, and what no vector shows holds as a law."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from hypothesis import given
from hypothesis import strategies as st

from card_terminal.crypto import lrp
from card_terminal.crypto.aes import aes_cmac, encrypt_cbc, pad, unpad
from card_terminal.crypto.diversification import diversify
from card_terminal.crypto.keys import KeySlot, card_key
from card_terminal.crypto.sun import (
    COUNTER_MAX,
    PiccData,
    SunError,
    decrypt_file_data,
    decrypt_file_data_lrp,
    decrypt_picc_data,
    decrypt_picc_data_lrp,
    encrypt_file_data,
    encrypt_picc_data,
    parse_sun_uri,
    plain_picc_data,
    read_picc_data,
    session_encryption_key,
    session_mac_key,
    session_master_key_lrp,
    sun_mac,
    sun_mac_lrp,
    verify_sun_mac,
)

DATA = Path(__file__).parents[1] / "data"
VECTORS: list[dict[str, Any]] = [
    vector
    for name in ("card_vectors.json", "card_vectors_more.json")
    for vector in json.loads((DATA / name).read_text())["vectors"]
]
KEYS = st.binary(min_size=16, max_size=16)
UIDS = st.binary(min_size=7, max_size=7)
COUNTERS = st.integers(0, COUNTER_MAX)


def of_group(group: str) -> pytest.MarkDecorator:
    chosen = [vector for vector in VECTORS if vector["group"] == group]
    return pytest.mark.parametrize("vector", chosen, ids=[vector["id"] for vector in chosen])


@of_group("aes_cmac")
def test_cmac_of_rfc_4493(vector: dict[str, Any]) -> None:
    given = vector["input"]
    mac = aes_cmac(bytes.fromhex(given["msg"]), key=bytes.fromhex(given["key"]))
    assert mac.hex() == vector["expected"]["cmac"]


@of_group("an10922")
def test_diversified_key_of_an10922(vector: dict[str, Any]) -> None:
    key = diversify(bytes.fromhex(vector["input"]["M"]), master_key=bytes.fromhex(vector["input"]["K"]))
    assert key.hex().upper() == vector["expected"]["key"]


@given(KEYS, st.binary(min_size=1, max_size=31))
def test_from_16_bytes_on_diversification_is_a_plain_cmac_and_below_it_is_not(key: bytes, message: bytes) -> None:
    same = diversify(message, master_key=key) == aes_cmac(b"\x01" + message, key=key)
    assert same == (len(message) >= 16)


@pytest.mark.parametrize("key_length", [16, 24, 32])
@pytest.mark.parametrize("input_length", range(1, 32))
def test_a_diversified_key_is_as_long_as_its_master_for_every_input_length(key_length: int, input_length: int) -> None:
    master = bytes(range(key_length))
    key = diversify(bytes(input_length), master_key=master)
    assert len(key) == key_length
    assert key != diversify(bytes(input_length - 1) + b"\x01", master_key=master)


@pytest.mark.parametrize(("message", "key"), [(b"", bytes(16)), (bytes(32), bytes(16)), (b"x", bytes(15))])
def test_diversification_refuses_other_lengths(message: bytes, key: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        diversify(message, master_key=key)


def test_each_slot_and_version_of_each_card_has_its_own_key_and_the_meta_key_is_the_master() -> None:
    master, uid, system = bytes(range(16)), bytes.fromhex("04DE5F1EACC040"), b"cq-ats"
    keys = {
        card_key(slot, master_key=master, uid=uid, key_version=version, system_id=system)
        for slot in KeySlot
        for version in (1, 2)
    }
    assert len(keys) == 4 * 2 + 1
    assert card_key(KeySlot.META_READ, master_key=master, uid=uid, key_version=1, system_id=system) == master
    message = uid + bytes.fromhex("D2760000850101" + "02" + "01") + system
    expected = aes_cmac(b"\x01" + message, key=master)
    assert card_key(KeySlot.SUN_MAC, master_key=master, uid=uid, key_version=1, system_id=system) == expected


@pytest.mark.parametrize(
    ("uid", "version", "system"),
    [(bytes(4), 1, b"a"), (bytes(7), 256, b"a"), (bytes(7), 1, b""), (bytes(7), 1, bytes(16))],
)
def test_a_card_key_is_refused_where_the_padding_rule_would_change(uid: bytes, version: int, system: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        card_key(KeySlot.ONLINE, master_key=bytes(16), uid=uid, key_version=version, system_id=system)


@of_group("sdm")
def test_secure_dynamic_message_of_an12196(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    k_file = bytes.fromhex(given["k_file"])
    if "picc_enc" not in given:
        picc = PiccData(
            uid=bytes.fromhex(given["uid"]), counter=int.from_bytes(bytes.fromhex(given["ctr_lsb"]), "little")
        )
        assert session_encryption_key(picc, k_file=k_file).hex().upper() == expected["KSesSDMFileReadENC"]
        assert session_mac_key(picc, k_file=k_file).hex().upper() == expected["KSesSDMFileReadMAC"]
        return
    picc = read_picc_data(bytes.fromhex(given["picc_enc"]), k_meta=bytes.fromhex(given["k_meta"]))
    mac_input = given.get("mac_input_ascii", "").encode()
    assert (picc.uid_hex, picc.counter) == (expected["uid"], expected["ctr"])
    assert session_mac_key(picc, k_file=k_file).hex().upper() == expected["KSesSDMFileReadMAC"]
    assert verify_sun_mac(bytes.fromhex(given["cmac"]), picc=picc, k_file=k_file, mac_input=mac_input)
    assert not verify_sun_mac(bytes.fromhex(given["cmac"]), picc=picc, k_file=k_file, mac_input=mac_input + b"x")
    if "enc" in given:
        plain = decrypt_file_data(bytes.fromhex(given["enc"]), picc=picc, k_file=k_file)
        assert plain.decode() == expected["file_data_ascii"]


@of_group("sdm_full")
def test_secure_dynamic_message_of_others(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    k_file = bytes.fromhex(given["k_file"])
    picc = read_picc_data(bytes.fromhex(given["picc_enc"]), k_meta=bytes.fromhex(given["k_meta"]))
    mac_input = given["mac_input_ascii"].encode()
    assert (picc.uid_hex, picc.counter) == (expected["uid"], expected["ctr"])
    assert verify_sun_mac(bytes.fromhex(given["cmac"]), picc=picc, k_file=k_file, mac_input=mac_input)
    if "full_cmac" in expected:
        key = session_mac_key(picc, k_file=k_file)
        assert key.hex().upper() == expected["KSesSDMFileReadMAC"]
        assert aes_cmac(mac_input, key=key).hex().upper() == expected["full_cmac"]
    if "enc" in given:
        plain = decrypt_file_data(bytes.fromhex(given["enc"]), picc=picc, k_file=k_file)
        assert plain.hex().upper() == expected["file_data"]
        assert encrypt_file_data(plain, picc=picc, k_file=k_file).hex().upper() == given["enc"]


@of_group("sdm_lrp")
def test_secure_dynamic_message_in_lrp_mode(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    k_file = bytes.fromhex(given["k_file"])
    found = decrypt_picc_data_lrp(bytes.fromhex(given["picc_enc"]), k_meta=bytes.fromhex(given["k_meta"]))
    assert found.uid is not None
    assert found.counter is not None
    picc = PiccData(uid=found.uid, counter=found.counter)
    assert (picc.uid_hex, picc.counter) == (expected["uid"], expected["ctr"])
    mac_input = given["mac_input_ascii"].encode()
    assert sun_mac_lrp(picc, k_file=k_file, mac_input=mac_input).hex().upper() == given["cmac"]
    if "master_key" in expected:
        assert session_master_key_lrp(picc, k_file=k_file).hex().upper() == expected["master_key"]
    if "enc" in given:
        plain = decrypt_file_data_lrp(bytes.fromhex(given["enc"]), picc=picc, k_file=k_file)
        assert plain.hex().upper() == expected["file_data"]


@of_group("lrp_parts")
def test_the_parts_of_lrp_of_an12304(vector: dict[str, Any]) -> None:
    key, expected = bytes.fromhex(vector["input"]["key"]), vector["expected"]
    plains, keys = lrp.plaintexts(key), lrp.updated_keys(key)
    assert (plains[0].hex().upper(), plains[15].hex().upper()) == (expected["plaintext_0"], expected["plaintext_15"])
    assert (keys[0].hex().upper(), keys[2].hex().upper()) == (expected["updated_key_0"], expected["updated_key_2"])


@of_group("lrp_eval")
def test_evaluation_of_an12304(vector: dict[str, Any]) -> None:
    given, key = vector["input"], bytes.fromhex(vector["input"]["key"])
    found = lrp.evaluate(
        given["nibbles"],
        plains=lrp.plaintexts(key),
        updated_key=lrp.updated_keys(key)[given["updated_key"]],
        final=given["final"],
    )
    assert found.hex().upper() == vector["expected"]["output"]


@of_group("lrp_cipher")
def test_encryption_of_an12304(vector: dict[str, Any]) -> None:
    given = {name: bytes.fromhex(text) for name, text in vector["input"].items()}
    encrypted = lrp.encrypt(given["plain"], key=given["key"], counter=given["counter"])
    assert encrypted.hex().upper() == vector["expected"]["encrypted"]
    assert lrp.decrypt(encrypted, key=given["key"], counter=given["counter"]) == given["plain"]
    with pytest.raises(ValueError, match="blocks"):
        lrp.decrypt(encrypted[:-1], key=given["key"], counter=given["counter"])


@of_group("lrp_cmac")
def test_cmac_of_an12304(vector: dict[str, Any]) -> None:
    given = {name: bytes.fromhex(text) for name, text in vector["input"].items()}
    assert lrp.lrp_cmac(given["msg"], key=given["key"]).hex().upper() == vector["expected"]["cmac"]


@of_group("lrp_session")
def test_session_key_in_lrp_mode(vector: dict[str, Any]) -> None:
    given = {name: bytes.fromhex(text) for name, text in vector["input"].items()}
    found = lrp.session_master_key(given["key"], rnd_a=given["RndA"], rnd_b=given["RndB"])
    assert found.hex().upper() == vector["expected"]["master_key"]


def test_a_counter_of_lrp_begins_anew_after_its_last_value() -> None:
    key, last = bytes(range(16)), b"\xff\xff"
    both = lrp.encrypt(bytes(32), key=key, counter=last, padded=False)
    assert both[16:] == lrp.encrypt(bytes(16), key=key, counter=bytes(2), padded=False)


@pytest.mark.parametrize(
    ("tag", "uid", "counter"),
    [(0xC7, b"\x04" * 7, 5), (0x87, b"\x04" * 7, None), (0x40, None, 5)],
)
def test_a_card_may_keep_its_uid_or_its_counter_to_itself(tag: int, uid: bytes | None, counter: int | None) -> None:
    said = (uid or b"") + (b"" if counter is None else counter.to_bytes(3, "little"))
    encrypted = encrypt_cbc(bytes([tag]) + said.ljust(15, b"\xee"), key=bytes(16))
    found = decrypt_picc_data(encrypted, k_meta=bytes(16))
    assert (found.uid, found.counter) == (uid, counter)
    # AN12196: what is not mirrored is not in the session vector either.
    vector = bytes.fromhex("3CC300010080") + said
    assert session_mac_key(found, k_file=bytes(16)) == aes_cmac(vector.ljust(16, b"\x00"), key=bytes(16))


@pytest.mark.parametrize("tag", [0x00, 0x90, 0xC4, 0xF7])
def test_a_tag_that_no_card_writes_is_another_key(tag: int) -> None:
    with pytest.raises(SunError):
        decrypt_picc_data(encrypt_cbc(bytes([tag]) + bytes(15), key=bytes(16)), k_meta=bytes(16))


def test_plain_uid_and_counter_are_read_as_they_stand_in_the_address() -> None:
    assert plain_picc_data(uid="041E3C8A2D6B80", counter="000106").counter == 0x106
    for uid, counter in (("041E3C8A2D6B8", "000001"), ("041E3C8A2D6B80", "00001g")):
        with pytest.raises(SunError):
            plain_picc_data(uid=uid, counter=counter)


@of_group("sun_plain")
def test_secure_dynamic_message_with_plain_uid(vector: dict[str, Any]) -> None:
    given = vector["input"]
    picc = PiccData(uid=bytes.fromhex(given["uid"]), counter=int(given["ctr"], 16))
    assert sun_mac(picc, k_file=bytes.fromhex(given["k_file"])).hex().upper() == vector["expected"]["cmac"]


@given(KEYS, KEYS, UIDS, COUNTERS, st.binary(min_size=5, max_size=5))
def test_what_a_card_writes_the_server_reads(
    meta: bytes, file: bytes, uid: bytes, counter: int, filling: bytes
) -> None:
    picc = PiccData(uid=uid, counter=counter)
    encrypted = encrypt_picc_data(picc, k_meta=meta, filling=filling)
    uri = f"https://card.example/t?e={encrypted.hex()}&c={sun_mac(picc, k_file=file).hex()}"
    message = parse_sun_uri(uri)
    assert read_picc_data(message.encrypted, k_meta=meta) == picc
    assert verify_sun_mac(message.mac, picc=picc, k_file=file)


@given(KEYS, KEYS, UIDS, COUNTERS, st.integers(0, 63))
def test_one_flipped_bit_of_the_mac_or_another_key_is_refused(
    key: bytes, other: bytes, uid: bytes, counter: int, bit: int
) -> None:
    picc = PiccData(uid=uid, counter=counter)
    mac = int.from_bytes(sun_mac(picc, k_file=key))
    assert not verify_sun_mac((mac ^ 1 << bit).to_bytes(8), picc=picc, k_file=key)
    assert verify_sun_mac(mac.to_bytes(8), picc=picc, k_file=other) == (key == other)


@pytest.mark.parametrize(
    "uri",
    [
        "", "x", "https://a/?e=00", "https://a/?c=0011223344556677", "https://[/?e=1",
        f"https://a/?e={'00' * 16}&c={'00' * 7}", f"https://a/?e={'00' * 16}&e={'00' * 16}&c={'00' * 8}",
        f"https://a/?e={'g0' * 16}&c={'00' * 8}", "https://a/?" + "e=1&" * 50,
    ],
)  # fmt: skip
def test_a_uri_without_both_parts_is_no_message(uri: str) -> None:
    with pytest.raises(SunError):
        parse_sun_uri(uri)


@given(st.text(max_size=200))
def test_any_text_is_a_message_or_a_clean_refusal(text: str) -> None:
    with pytest.raises(SunError):
        parse_sun_uri(text)


def test_picc_data_of_another_key_is_refused() -> None:
    encrypted = encrypt_picc_data(PiccData(uid=bytes(7), counter=1), k_meta=bytes(16), filling=bytes(5))
    with pytest.raises(SunError):
        read_picc_data(encrypted, k_meta=b"\x01" * 16)
    with pytest.raises(SunError):
        read_picc_data(encrypted[:15], k_meta=bytes(16))


@of_group("sm4")
def test_the_national_cipher_is_there_for_cards_that_will_need_it(vector: dict[str, Any]) -> None:
    cipher = Cipher(SM4(bytes.fromhex(vector["input"]["key"])), modes.ECB()).encryptor()  # noqa: S305 - one block
    assert cipher.update(bytes.fromhex(vector["input"]["pt"])).hex().upper() == vector["expected"]["ct"]


@given(st.binary(max_size=64))
def test_padding_comes_off_as_it_went_on(data: bytes) -> None:
    assert len(pad(data)) % 16 == 0
    assert unpad(pad(data)) == data


@pytest.mark.parametrize("broken", [b"", bytes(16), b"\x80" + bytes(16), b"\x80" + b"\x01" * 15])
def test_broken_padding_is_noticed(broken: bytes) -> None:
    with pytest.raises(ValueError, match="padding"):
        unpad(broken)

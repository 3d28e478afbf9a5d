"""File settings and the NDEF file: the published bytes come out, and every setting reads as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card_terminal.crypto import files, ndef
from card_terminal.crypto.ev2 import Mode
from card_terminal.crypto.files import KEY_FREE, KEY_NEVER, AccessRights, FileSettings, SdmSettings

OFFSETS = st.integers(0, 255)
KEYS = st.integers(0, 4)


def test_the_settings_of_an12196_table_18() -> None:
    settings = files.parse_change(bytes.fromhex("4000E0C1F121200000430000430000"))
    assert settings.access == AccessRights(read=KEY_FREE, write=0, read_write=0, change=0)
    assert settings.sdm == SdmSettings(
        meta_read=2, file_read=1, counter_read=1, picc_data_offset=0x20, mac_input_offset=0x43, mac_offset=0x43
    )
    assert settings.to_bytes().hex().upper() == "4000E0C1F121200000430000430000"


def test_the_settings_of_an12196_section_4_3() -> None:
    answer = bytes.fromhex("0040EEEE000100D1FE001F00004400004400002000006A0000")
    settings = files.read_file_settings(answer)
    assert (settings.size, settings.mode) == (256, Mode.PLAIN)
    assert settings.sdm == SdmSettings(
        meta_read=0,
        file_read=0,
        counter_read=KEY_FREE,
        picc_data_offset=0x1F,
        mac_input_offset=0x44,
        encrypted_offset=0x44,
        encrypted_length=0x20,
        mac_offset=0x6A,
    )
    assert settings.to_answer() == answer


@st.composite
def sdm_settings(draw: st.DrawFn) -> SdmSettings:
    meta_read, file_read = draw(KEYS | st.just(KEY_FREE)), draw(KEYS | st.just(KEY_NEVER))
    probe = SdmSettings(
        meta_read=meta_read,
        file_read=file_read,
        mirrors_uid=draw(st.booleans()),
        mirrors_counter=draw(st.booleans()),
        counter_limit=draw(st.none() | st.integers(1, 2**24 - 1)),
        tamper_status_offset=draw(st.none() | OFFSETS),
        encrypted_offset=None if file_read == KEY_NEVER else draw(st.none() | OFFSETS),
    )
    names = files.offsets_of(probe.options, meta_read=meta_read, file_read=file_read)
    drawn = {name: draw(OFFSETS) for name in names if getattr(probe, name) is None}
    given = {name: getattr(probe, name) for name in SdmSettings.__slots__}
    return SdmSettings(**{**given, **drawn})


@given(sdm_settings(), st.sampled_from(Mode), st.binary(min_size=2, max_size=2))
def test_settings_read_as_they_were_written(sdm: SdmSettings, mode: Mode, rights: bytes) -> None:
    access = AccessRights.from_bytes(rights)
    settings = FileSettings(mode=mode, access=access, sdm=sdm, size=256)
    assert files.parse_change(settings.to_bytes(), size=256) == settings
    assert files.read_file_settings(settings.to_answer()) == settings


@given(st.binary(max_size=40))
def test_any_bytes_are_settings_or_a_clean_refusal(data: bytes) -> None:
    for read in (files.parse_change, files.read_file_settings):
        try:
            read(data)
        except ValueError:
            continue


def test_an_offset_too_many_or_too_few_is_refused() -> None:
    for wrong in (
        SdmSettings(meta_read=1, file_read=KEY_NEVER),
        SdmSettings(meta_read=1, file_read=KEY_NEVER, picc_data_offset=1, uid_offset=2),
        SdmSettings(meta_read=KEY_FREE, file_read=2, uid_offset=1, counter_offset=2, mac_offset=9),
    ):
        with pytest.raises(ValueError, match="offsets"):
            wrong.to_bytes()
    with pytest.raises(ValueError, match="without SDM"):
        files.parse_change(bytes.fromhex("0000E0C1"))


def test_a_file_that_everybody_may_write_is_written_plain_whatever_its_mode_says() -> None:
    blank = files.read_file_settings(bytes.fromhex("0000E0EE000100"))
    assert blank.mode_for(write=True) is Mode.PLAIN
    ours = ndef.card_template("https://card.example/c").settings
    assert (ours.mode_for(write=True), ours.mode_for(write=False)) == (Mode.FULL, Mode.FULL)


@pytest.mark.parametrize("base", ["https://card.example/c", "http://10.0.0.7:8000/c", "https://www.card.example/c"])
def test_the_offsets_of_our_cards_point_at_the_zeros(base: str) -> None:
    template = ndef.card_template(base)
    sdm = template.settings.sdm
    assert sdm is not None
    assert sdm.picc_data_offset is not None
    assert sdm.mac_offset == sdm.mac_input_offset
    assert sdm.mac_offset is not None
    assert template.content[sdm.picc_data_offset :][:32] == b"0" * 32
    assert template.content[sdm.picc_data_offset - 3 : sdm.picc_data_offset] == b"?e="
    assert template.content[sdm.mac_offset :] == b"0" * 16
    assert ndef.read_uri(template.content.ljust(256, b"\x00")) == f"{base}?e={'0' * 32}&c={'0' * 16}"


def test_the_file_of_an12196_is_read_and_one_too_long_is_refused() -> None:
    url = "https://choose.url.com/ntag424?e=00000000000000000000000000000000&c=0000000000000000"
    assert ndef.uri_file(url)[:7].hex().upper() == "0051D1014D5504"
    with pytest.raises(ValueError, match="240"):
        ndef.card_template("https://" + "x" * 220)
    for broken in (b"", bytes(256), b"\x00\x05\xd1\x01\x00U\x04", b"\x00\x08\xd1\x01\x09U\x04abc"):
        with pytest.raises(ValueError, match="NDEF"):
            ndef.read_uri(broken)

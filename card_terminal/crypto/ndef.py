"""The NDEF record that a card shows to phones: a URI, with zeros where the card writes its proof at every reading."""

from dataclasses import dataclass

from card_terminal.crypto.ev2 import Mode
from card_terminal.crypto.files import KEY_FREE, AccessRights, FileSettings, SdmSettings
from card_terminal.crypto.keys import KeySlot

PICC_DIGITS = 32
MAC_DIGITS = 16
URI_BYTES_MAX = 240

# NFC Forum, URI record type definition, table 3: what need not be written out.
_PREFIXES = {0x01: "http://www.", 0x02: "https://www.", 0x03: "http://", 0x04: "https://"}
_HEADER_BYTES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What is written into the NDEF file of one of our cards, and the settings that make it dynamic."""

    content: bytes
    settings: FileSettings


def uri_file(uri: str) -> bytes:
    """Give the NDEF file that holds one URI: length, header, prefix, rest. Raises ValueError if it is too long."""
    code, prefix = next(((each, text) for each, text in _PREFIXES.items() if uri.startswith(text)), (0x00, ""))
    rest = uri[len(prefix) :].encode("ascii")
    if len(rest) > URI_BYTES_MAX:
        raise ValueError(f"a URI may have {URI_BYTES_MAX} bytes after its prefix")
    record = bytes([0xD1, 0x01, len(rest) + 1, 0x55, code]) + rest
    return len(record).to_bytes(2) + record


def read_uri(content: bytes) -> str:
    """Give the URI of an NDEF file. Raises ValueError where there is none."""
    length = int.from_bytes(content[:2])
    record = content[2 : 2 + length]
    if (
        len(record) < _HEADER_BYTES - 2
        or (record[:2], record[3:4]) != (b"\xd1\x01", b"U")
        or record[2] != len(record) - 4
    ):
        raise ValueError("no NDEF file with one URI")
    prefix = _PREFIXES.get(record[4], "") if record[4] else ""
    return prefix + record[5:].decode("ascii")


def card_template(base_uri: str) -> Template:
    """Give the file and the settings of our cards: `base_uri?e=…&c=…`, everyone reads, only K0 writes and changes.

    The MAC covers nothing but UID and counter (both offsets are equal): a site may move to another address without
    making its cards anew. Raises ValueError if the address is too long.
    """
    head = f"{base_uri}?e="
    content = uri_file(f"{head}{'0' * PICC_DIGITS}&c={'0' * MAC_DIGITS}")
    picc_offset = len(uri_file(head))
    mac_offset = picc_offset + PICC_DIGITS + len("&c=")
    owner = int(KeySlot.PERSONALISATION)
    settings = FileSettings(
        mode=Mode.FULL,
        access=AccessRights(read=KEY_FREE, write=owner, read_write=owner, change=owner),
        sdm=SdmSettings(
            meta_read=int(KeySlot.META_READ),
            file_read=int(KeySlot.SUN_MAC),
            picc_data_offset=picc_offset,
            mac_input_offset=mac_offset,
            mac_offset=mac_offset,
        ),
    )
    return Template(content=content, settings=settings)

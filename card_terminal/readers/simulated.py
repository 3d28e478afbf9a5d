"""A reader without hardware: cards are files in a folder, and do the real cryptography of real cards.

A card file is JSON: `{"class": "sun", "label": …, "uid": 14 hex digits, "k_meta": 32 hex digits, "k_file": 32 hex
digits, "counter": times read, "base_uri": "https://…"}` or `{"class": "typed", "label": …, "number": the face number}`
or `{"class": "ev2", "label": …, "uid": 14 hex digits, "keys": five of 32 hex digits, "key_version": …, "base_uri": …}`.
The last is made into a whole chip when it is first shown, `NAME.chip` beside it; a station that simulates leaves such
files, too, and they need no JSON.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from card_terminal.crypto.files import NDEF_FILE_NO
from card_terminal.crypto.ndef import card_template
from card_terminal.crypto.sun import PiccData, encrypt_picc_data, sun_mac
from card_terminal.protocol import CardShown, Ev2Card, MessageError, SunCard, TypedCard
from card_terminal.protocol.fields import CardNumber, ShortText, Uri
from card_terminal.protocol.shapes import AtMost, Between, Text, parse, to_dict
from card_terminal.readers.kept import KeptChip
from card_terminal.readers.ntag424 import KEYS, EmulatedChip, File
from card_terminal.readers.reading import Reading, ReadingSink, StateSink

CARD_NAME = r"[0-9A-Za-z_-]{1,60}"
CARDS_MAX = 500

_FILLING_BYTES = 5
_Key = Annotated[str, Text(32, 32, r"[0-9A-Fa-f]+")]


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualSunCard:
    """A chip that writes a fresh secure dynamic message at every reading."""

    TAG: ClassVar = ("class", "sun")
    uid: Annotated[str, Text(14, 14, r"[0-9A-F]+")]
    k_meta: _Key
    k_file: _Key
    base_uri: Uri
    counter: Annotated[int, Between(0, 2**24 - 2)] = 0
    label: ShortText = ""

    @property
    def identity(self) -> str:
        """What anticollision shows."""
        return self.uid

    def read(self) -> tuple["VirtualSunCard", CardShown]:
        """Count one reading, and give the card after it with what it shows."""
        picc = PiccData(uid=bytes.fromhex(self.uid), counter=self.counter + 1)
        filling = secrets.token_bytes(_FILLING_BYTES)
        encrypted = encrypt_picc_data(picc, k_meta=bytes.fromhex(self.k_meta), filling=filling)
        mac = sun_mac(picc, k_file=bytes.fromhex(self.k_file))
        uri = f"{self.base_uri}?e={encrypted.hex().upper()}&c={mac.hex().upper()}"
        return replace(self, counter=picc.counter), SunCard(uri=uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualEv2Card:
    """What a station would have made of a blank chip."""

    TAG: ClassVar = ("class", "ev2")
    uid: Annotated[str, Text(14, 14, r"[0-9A-F]+")]
    keys: Annotated[tuple[_Key, ...], AtMost(KEYS)]
    key_version: Annotated[int, Between(1, 255)]
    base_uri: Uri
    label: ShortText = ""

    def chip(self) -> EmulatedChip:
        """Give the chip as it left the station. Raises ValueError for too few keys, or an address that is too long."""
        if len(self.keys) != KEYS:
            raise ValueError(f"a chip has {KEYS} keys")
        template = card_template(self.base_uri)
        chip = EmulatedChip(
            uid=bytes.fromhex(self.uid),
            keys=[bytes.fromhex(key) for key in self.keys],
            key_versions=[self.key_version] * KEYS,
        )
        content = chip.files[NDEF_FILE_NO].content
        content[: len(template.content)] = template.content
        chip.files[NDEF_FILE_NO] = File(content=content, settings=template.settings)
        return chip


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualTypedCard:
    """A number that somebody types."""

    TAG: ClassVar = ("class", "typed")
    number: CardNumber
    label: ShortText = ""

    @property
    def identity(self) -> str:
        """The number itself."""
        return self.number

    def read(self) -> tuple["VirtualTypedCard", CardShown]:
        """Give the number; nothing changes."""
        return self, TypedCard(number=self.number)


VirtualCard: TypeAlias = VirtualSunCard | VirtualTypedCard | VirtualEv2Card


@dataclass(frozen=True, slots=True)
class _CardFile:
    card: VirtualCard


class UnknownCardError(Exception):
    """There is no such card in the folder, or its file is broken; the text says which."""


class SimulatedReader:
    """Shows the cards of a folder; several terminals may share one, as people carry their cards about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sink: ReadingSink | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, sink: ReadingSink, *, on_state: StateSink | None = None) -> None:
        """Give every reading to `sink` from now on; such a reader never fails."""
        _ = on_state
        self._sink = sink

    def stop(self) -> None:
        """Give no more readings."""
        self._sink = None

    def names(self) -> list[str]:
        """Give the names of the cards in the folder, in order."""
        found = {path.stem for kind in ("*.json", "*.chip") for path in self._folder.glob(kind)}
        return sorted(name for name in found if re.fullmatch(CARD_NAME, name))[:CARDS_MAX]

    def label(self, name: str) -> str:
        """Give what stands on a card's face. Raises UnknownCardError."""
        return self._load(name).label or name if self._path(name, "json").exists() else name

    def present(self, name: str, *, pin: str | None = None, minutes: int | None = None) -> None:
        """Hold a card to the reader. Raises UnknownCardError."""
        with self._alone():
            reading = self._read(name)
        if self._sink is not None:
            self._sink(replace(reading, pin=pin, minutes=minutes))

    def _read(self, name: str) -> Reading:
        path = self._path(name, "chip")
        try:
            if path.exists():
                return _shown(EmulatedChip.load(path), path)
            card = self._load(name)
            if isinstance(card, VirtualEv2Card):
                return _shown(card.chip(), path)
        except (ValueError, KeyError) as error:
            raise UnknownCardError(f"the chip of card {name} is broken: {error}") from error
        after, shown = card.read()
        self._keep(name, after)
        return Reading(card=shown, identity=after.identity)

    def _path(self, name: str, kind: str) -> Path:
        if re.fullmatch(CARD_NAME, name) is None:
            raise UnknownCardError("a card's name has letters, digits, _ and - only")
        return self._folder / f"{name}.{kind}"

    def _load(self, name: str) -> VirtualCard:
        path = self._path(name, "json")
        try:
            content = json.loads(path.read_text())
            return parse(_CardFile, {"card": content}, where=name).card
        except FileNotFoundError:
            raise UnknownCardError(f"there is no card {name}") from None
        except (ValueError, MessageError) as error:
            raise UnknownCardError(f"the file of card {name} is broken: {error}") from error

    def _keep(self, name: str, card: VirtualCard) -> None:
        # The counter must never go back, or the server would take an honest card for a replay.
        unfinished = self._folder / f"{name}.new"
        with unfinished.open("w") as file:
            json.dump(to_dict(card), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._folder / f"{name}.json")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _shown(chip: EmulatedChip, path: Path) -> Reading:
    kept = KeptChip(chip, path)
    uid = kept.uid.hex().upper()
    return Reading(card=Ev2Card(uid=uid, atr=kept.atr.hex().upper()), identity=uid, chip=kept)

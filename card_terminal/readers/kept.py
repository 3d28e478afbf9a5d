"""A chip in software whose file follows it, APDU by APDU, as the memory of a real chip does."""

from pathlib import Path

from card_terminal.readers.ntag424 import EmulatedChip


class KeptChip:
    """One chip in one file; it is in the field as long as somebody holds it."""

    def __init__(self, chip: EmulatedChip, path: Path) -> None:
        self._chip, self._path = chip, path
        chip.save(path)

    @property
    def uid(self) -> bytes:
        """What anticollision shows."""
        return self._chip.uid

    @property
    def atr(self) -> bytes:
        """What a reader tells of it."""
        return self._chip.atr

    def transmit(self, apdu: bytes) -> bytes:
        """Give the chip's answer, when what it did to the chip is in the file. Raises CardGoneError."""
        answer = self._chip.transmit(apdu)
        self._chip.save(self._path)
        return answer

"""A card that can be talked to: APDUs go in, answers come out, until somebody takes it away."""

from typing import Protocol


class CardGoneError(Exception):
    """The card left the field, or the reader was unplugged: whether the last command was done is not known."""


class ApduCard(Protocol):
    """A card in the field of a reader, as PC/SC shows it."""

    @property
    def uid(self) -> bytes:
        """What anticollision showed, in its order."""

    @property
    def atr(self) -> bytes:
        """What the reader tells of the card."""

    def transmit(self, apdu: bytes) -> bytes:
        """Give the card's answer with its two status bytes. Raises CardGoneError."""


# Ends of answers after which the next APDU makes sense.
GOOD_ENDS = (b"\x90\x00", b"\x91\x00", b"\x91\xaf")


def transmit_all(card: ApduCard, apdus: list[bytes]) -> tuple[list[bytes], bool]:
    """Send APDUs up to the first that the card refuses; give the answers, and whether the card was taken away."""
    answers: list[bytes] = []
    for apdu in apdus:
        try:
            answers.append(card.transmit(apdu))
        except CardGoneError:
            return answers, True
        if answers[-1][-2:] not in GOOD_ENDS:
            break
    return answers, False

"""UIDs as people and readers bring them: hexadecimal, in anticollision order, of a length that fits the card."""

import re

from app import errors
from app.cards.models import CardClass
from card_terminal.crypto.keys import UID_BYTES

_LENGTHS_BYTES = {CardClass.SUN: (UID_BYTES,), CardClass.UID: (4, UID_BYTES)}
# ISO 14443-3: 08 begins a UID that is another one at each reading, 88 is no beginning of any.
_NO_FIRST_BYTES = (b"\x08", b"\x88")


def read(text: str) -> bytes | None:
    """Give the UID of 8 or 14 hex digits, also with blanks, colons or hyphens between them; None for anything else."""
    digits = re.sub(r"[\s:-]", "", text)
    return bytes.fromhex(digits) if re.fullmatch(r"[0-9A-Fa-f]{8}|[0-9A-Fa-f]{14}", digits) else None


def check(uid: bytes | None, *, card_class: CardClass) -> None:
    """Let pass the UID that a new card of a class may have; one that a station makes has none yet.

    Raises Refusal VALIDATION_FAILED.
    """
    lengths = _LENGTHS_BYTES.get(card_class, (0,))
    if len(uid or b"") not in lengths:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, uid=f"so many bytes for this class: {lengths}")
    if card_class is CardClass.UID and uid is not None and uid[:1] in _NO_FIRST_BYTES:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, uid="random at each reading, or in another order of bytes")

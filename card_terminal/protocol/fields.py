"""The kinds of field that messages are made of, with their limits."""

from typing import Annotated

from card_terminal.protocol.shapes import Between, Text

LAST_MS = 32_503_680_000_000  # the year 3000
LAST_NUMBER = 2**53 - 1  # what every JSON reader can hold

EpochMs = Annotated[int, Between(0, LAST_MS)]
DurationMs = Annotated[int, Between(0, LAST_MS)]
Count = Annotated[int, Between(0, LAST_NUMBER)]
Minutes = Annotated[int, Between(1, 7 * 24 * 60)]
Fen = Annotated[int, Between(0, LAST_NUMBER)]
SignedFen = Annotated[int, Between(-LAST_NUMBER, LAST_NUMBER)]
Sha256 = Annotated[str, Text(64, 64, r"[0-9a-f]+")]
ShortText = Annotated[str, Text(200, 0)]
Name = Annotated[str, Text(100)]
Version = Annotated[str, Text(40, 1, r"[0-9A-Za-z.+-]+")]
Uri = Annotated[str, Text(500, 1, r"[\x21-\x7e]+")]
CardNumber = Annotated[str, Text(40, 1, r"[0-9A-Za-z-]+")]
Pin = Annotated[str, Text(12, 4, r"[0-9]+")]
Token = Annotated[str, Text(200, 16, r"[0-9A-Za-z_.-]+")]
OneTimeCode = Annotated[str, Text(40, 6, r"[0-9A-Za-z-]+")]
PublicKey = Annotated[str, Text(43, 43, r"[0-9A-Za-z_-]+")]
Uid = Annotated[str, Text(14, 14, r"[0-9A-F]+")]
# Of cards that prove nothing: 4, 7 or 10 bytes (ISO 14443-3).
AnyUid = Annotated[str, Text(20, 8, r"([0-9A-F]{2})+")]
Hex = Annotated[str, Text(1024, 0, r"([0-9A-F]{2})*")]
CompactJws = Annotated[str, Text(64 * 1024)]


def whole_seconds(elapsed_ms: int) -> int:
    """Give a duration in whole seconds, the rest dropped: no message and no charge knows less than a second."""
    return elapsed_ms // 1000

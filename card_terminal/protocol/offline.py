"""The offline list: who may start here while the server is away and for how much, signed by the server."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from card_terminal.crypto import sealing
from card_terminal.protocol.answers import OFFLINE_LIST_LENGTH_MAX, CostStep, TariffSnapshot
from card_terminal.protocol.fields import Count, EpochMs, Fen, Name, ShortText, Uid
from card_terminal.protocol.shapes import AtMost, Between, MessageError, Text, parse, to_dict
from card_terminal.protocol.signing import MessageType, SignatureError, sign, verify

# The bounds of terminal.md, Offline.
OFFLINE_CARDS_MAX = 300
OFFLINE_HOT_CARDS_MAX = 2_000
OFFLINE_VALID_MS = 24 * 3_600_000
OFFLINE_CARD_FEN_MAX = 200_00
OFFLINE_TERMINAL_FEN_MAX = 2_000_00
OFFLINE_UNSENT_MAX = 20
OFFLINE_SESSIONS_PER_CARD = 2
# How long one session may run on an offline list, whatever it costs.
OFFLINE_MINUTES_MAX = 8 * 60
CARD_KEY_BYTES = 16

Sealed = Annotated[str, Text(10_000, 0, r"[0-9A-Za-z_-]*")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineCard:
    """A card that may start without the server; `reference` is its name in events, `tariff` counts in `tariffs`."""

    reference: Count
    uid: Uid
    key_version: Annotated[int, Between(0, 255)]
    card: Name
    name_masked: ShortText
    limit_fen: Fen
    tariff: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineList:
    """What one terminal may do alone between two moments of the server's time.

    A schedule in `tariffs` gives, for each minute, the most that it costs whenever within the list's time the session
    begins. `sealed_keys` holds the K4 of each card in the order of `cards`, readable by this terminal only.
    """

    version: Count
    device_id: Name
    valid_from: EpochMs
    valid_until: EpochMs
    terminal_limit_fen: Fen
    unsent_max: Count
    sessions_per_card: Count
    tariffs: Annotated[tuple[TariffSnapshot, ...], AtMost(32)]
    cards: Annotated[tuple[OfflineCard, ...], AtMost(OFFLINE_CARDS_MAX)]
    hot_uids: Annotated[tuple[Uid, ...], AtMost(OFFLINE_HOT_CARDS_MAX)]
    sealed_keys: Sealed = ""

    def card_of(self, uid: str) -> OfflineCard | None:
        """Give the card with this UID (14 hex digits in capitals), or None."""
        return next((each for each in self.cards if each.uid == uid), None)


def sign_offline_list(content: OfflineList, *, key: Ed25519PrivateKey, key_id: str) -> str:
    """Give the server's signed list."""
    return sign({"offline_list": to_dict(content)}, key=key, key_id=key_id, message_type=MessageType.SERVER)


def read_offline_list(message: str, *, key: Ed25519PublicKey, device_id: str) -> OfflineList:
    """Verify and read a list made for this terminal. Raises SignatureError or MessageError."""
    payload = verify(message, key=key, message_type=MessageType.SERVER, length_max=OFFLINE_LIST_LENGTH_MAX)
    content = parse(OfflineList, payload.get("offline_list"), where="offline_list", strict=False)
    if content.device_id != device_id:
        raise SignatureError("a list for another terminal")
    if any(card.tariff >= len(content.tariffs) for card in content.cards):
        raise MessageError("offline_list.cards names a tariff that is not there")
    return content


def seal_card_keys(keys: list[bytes], *, receiver: str, device_id: str, version: int) -> str:
    """Give the cards' keys as only the terminal `device_id` reads them. Raises MessageError for a wrong `receiver`."""
    try:
        sealed = sealing.seal(b"".join(keys), receiver=_decoded(receiver), use=_use(device_id, version))
    except sealing.SealError as error:
        raise MessageError("sealing_key is no X25519 key") from error
    return _encoded(sealed)


def open_card_keys(content: OfflineList, *, key: X25519PrivateKey) -> list[bytes]:
    """Give the K4 of each card of a list, in the order of its cards. Raises MessageError."""
    if not content.cards:
        return []
    try:
        opened = sealing.unseal(_decoded(content.sealed_keys), key=key, use=_use(content.device_id, content.version))
    except sealing.SealError as error:
        raise MessageError("the keys of the list are not for this terminal") from error
    if len(opened) != CARD_KEY_BYTES * len(content.cards):
        raise MessageError("the list has not one key for each card")
    return [opened[start : start + CARD_KEY_BYTES] for start in range(0, len(opened), CARD_KEY_BYTES)]


def minutes_payable(tariff: TariffSnapshot, budget_fen: int) -> int:
    """Give how many whole minutes this money pays for at most; 0 also where the list has no price."""
    if not tariff.schedule or tariff.schedule[0].cost_fen > budget_fen:
        return 0
    beyond = next((step.minute for step in tariff.schedule if step.cost_fen > budget_fen), OFFLINE_MINUTES_MAX + 1)
    return min(beyond - 1, OFFLINE_MINUTES_MAX)


def most_fen(schedule: Sequence[CostStep], minutes: int) -> int:
    """Give the most that so many minutes cost."""
    return max((step.cost_fen for step in schedule if step.minute <= minutes), default=0)


def encode_sealing_key(key: X25519PrivateKey) -> str:
    """Give the public half of a terminal's sealing key as it travels: base64url without padding."""
    return _encoded(key.public_key().public_bytes_raw())


def _use(device_id: str, version: int) -> bytes:
    return f"offline list {device_id} {version}".encode()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise MessageError("no base64url") from error

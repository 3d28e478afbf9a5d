"""The keys of one card: which slot does what, and how each is made from its master key."""

from enum import IntEnum

from card_terminal.crypto.diversification import diversify

UID_BYTES = 7
APPLICATION_NAME = bytes.fromhex("D2760000850101")
SYSTEM_ID_BYTES_MAX = 15
_BYTE_MAX = 255


class KeySlot(IntEnum):
    """The five keys of a card, by the number under which the chip keeps them."""

    PERSONALISATION = 0
    META_READ = 1
    SUN_MAC = 2
    ONLINE = 3
    OFFLINE = 4


def card_key(slot: KeySlot, *, master_key: bytes, uid: bytes, key_version: int, system_id: bytes) -> bytes:
    """Give a card's key for a slot from that slot's master key.

    META_READ is the master key itself, because it decrypts the UID and so cannot depend on it. The input of the others
    is UID ‖ application name ‖ slot ‖ key version ‖ system id, of 17 to 31 bytes. Raises ValueError on wrong lengths.
    """
    if slot is KeySlot.META_READ:
        return master_key
    if len(uid) != UID_BYTES:
        raise ValueError(f"a UID has {UID_BYTES} bytes")
    if not 0 <= key_version <= _BYTE_MAX:
        raise ValueError("a key version is one byte")
    if not 1 <= len(system_id) <= SYSTEM_ID_BYTES_MAX:
        raise ValueError(f"a system id has 1 to {SYSTEM_ID_BYTES_MAX} bytes")
    return diversify(uid + APPLICATION_NAME + bytes([slot, key_version]) + system_id, master_key=master_key)

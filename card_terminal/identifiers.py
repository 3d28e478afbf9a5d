"""Ids that the terminal makes itself, so that it can name what it has not heard an answer for."""

import secrets
from uuid import UUID

_RANDOM_A_BITS = 12
_RANDOM_B_BITS = 62


def time_ordered_id(wall_ms: int) -> UUID:
    """Give a UUID of version 7 (RFC 9562): sorted by time, unique by 74 random bits."""
    value = (wall_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | secrets.randbits(_RANDOM_A_BITS) << 64
    value |= 0b10 << 62 | secrets.randbits(_RANDOM_B_BITS)
    return UUID(int=value)

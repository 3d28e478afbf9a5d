"""A Merkle tree as in RFC 6962: one hash for many rows, and a short way from each row to it."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

HASH_BYTES = 32

Step = tuple[Literal["left", "right"], str]
"""The neighbour on one level of the tree: on which side it stands, and its hash in hex."""


def leaf(line: bytes) -> bytes:
    """Give the hash of one row's line."""
    return sha256(b"\x00" + line).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Give the hash of all leaves in their order."""
    level = leaves or [sha256().digest()]
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def path(leaves: Sequence[bytes], index: int) -> list[Step]:
    """Give the neighbours with which the leaf at `index` leads to the root, from the leaf upwards."""
    steps: list[Step] = []
    level = leaves
    while len(level) > 1:
        if index % 2:
            steps.append(("left", level[index - 1].hex()))
        elif index + 1 < len(level):
            steps.append(("right", level[index + 1].hex()))
        level = _next_level(level)
        index //= 2
    return steps


def split(joined: bytes) -> list[bytes]:
    """Give back the hashes that were written one behind the other."""
    return [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    pairs = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    # A hash without a neighbour rises as it is; the tree is then the one of RFC 6962, section 2.1.
    return pairs if len(level) % 2 == 0 else [*pairs, level[-1]]

"""Secrets at rest: wrapped by the key from the settings, so that the database alone opens nothing."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class WrongKeyError(Exception):
    """What is stored was wrapped with another key-encryption key, or for another purpose, or was changed."""


def wrap(secret: bytes, *, key: bytes, purpose: str) -> bytes:
    """Give `secret` enciphered and bound to its purpose, so that no row can take the place of another."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, purpose.encode())


def unwrap(wrapped: bytes, *, key: bytes, purpose: str) -> bytes:
    """Give back what `wrap` took. Raises WrongKeyError."""
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise WrongKeyError(f"cannot open the {purpose}: was the key-encryption key changed?") from error


def rewrap(wrapped: bytes, *, old_key: bytes, key: bytes, purpose: str) -> bytes | None:
    """Give the same secret wrapped with a new key; None if it is already. Raises WrongKeyError if neither opens it."""
    try:
        unwrap(wrapped, key=key, purpose=purpose)
    except WrongKeyError:
        return wrap(unwrap(wrapped, key=old_key, purpose=purpose), key=key, purpose=purpose)
    return None

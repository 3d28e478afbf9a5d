"""Secrets for one receiver: X25519 with a key of one use, HKDF-SHA256, AES-256-GCM (RFC 7748, RFC 5869, SP 800-38D)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32

# Every sealing has a key of its own, so one nonce is enough.
_NONCE = bytes(12)
_LABEL = b"testcard sealed secrets 1"


class SealError(Exception):
    """Nothing that was sealed for this key and this use."""


def seal(secret: bytes, *, receiver: bytes, use: bytes) -> bytes:
    """Give `secret` so that only the holder of `receiver`'s private key reads it, and only for the same `use`.

    `receiver` is a raw X25519 public key. Raises SealError when it is none.
    """
    once = X25519PrivateKey.generate()
    sender = once.public_key().public_bytes_raw()
    try:
        shared = once.exchange(X25519PublicKey.from_public_bytes(receiver))
    except ValueError as error:
        raise SealError("no key to seal for") from error
    return sender + AESGCM(_derived(shared, sender=sender, receiver=receiver)).encrypt(_NONCE, secret, use)


def unseal(sealed: bytes, *, key: X25519PrivateKey, use: bytes) -> bytes:
    """Give what `seal` hid for this key. Raises SealError."""
    sender, content = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(sender))
        derived = _derived(shared, sender=sender, receiver=key.public_key().public_bytes_raw())
        return AESGCM(derived).decrypt(_NONCE, content, use)
    except (ValueError, InvalidTag) as error:
        raise SealError("not sealed for this key and this use") from error


def _derived(shared: bytes, *, sender: bytes, receiver: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_LABEL + sender + receiver).derive(shared)

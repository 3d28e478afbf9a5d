"""The service's share in the seals: the key that signs them, and the jobs that make and check them.

The key is made from the key-encryption key of the settings, which is never in the database: whoever can change the
books and the log alike still cannot sign what was changed.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import ledger
from app.db import Database
from ledger.seals import BLOCK_ROWS

PURPOSE = b"testcard ledger seals 1"
KEY_BYTES = 32
KEY_ID_LENGTH = 16
BLOCKS_AT_ONCE = 50
"""So many blocks are sealed in one transaction: what a killed sealer has to do again."""
ROUNDS_MAX = 20


@dataclass(frozen=True, slots=True)
class SealKey:
    """The Ed25519 key of these books."""

    private_key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """The half that everybody may know, 32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """The public key's name on the seals."""
        return key_id_of(self.public_key)


def seal_key(key_encryption_key: bytes) -> SealKey:
    """Give the key that signs the seals; it follows from the key-encryption key and is stored nowhere."""
    derived = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(key_encryption_key)
    return SealKey(Ed25519PrivateKey.from_private_bytes(derived))


def key_id_of(public_key: bytes) -> str:
    """Give the name of a public key: the beginning of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_LENGTH]


def signature_check(public_keys: Iterable[bytes]) -> ledger.CheckSignature:
    """Give the check that takes these keys' signatures and no other's."""
    known = {key_id_of(key): Ed25519PublicKey.from_public_bytes(key) for key in public_keys}

    def check(digest: bytes, signature: bytes, key_id: str) -> bool:
        if key_id not in known:
            return False
        try:
            known[key_id].verify(signature, digest)
        except InvalidSignature:
            return False
        return True

    return check


def seal_due(database: Database, *, key: SealKey) -> int:
    """Seal what is closed, up to a million rows, and give their number. Raises ledger.StrangeClusterError."""
    sealed = 0
    for _ in range(ROUNDS_MAX):
        done = database.run(
            lambda session: ledger.seal(
                session, sign=key.private_key.sign, key_id=key.key_id, limit_blocks=BLOCKS_AT_ONCE
            )
        )
        sealed += done
        if done < BLOCKS_AT_ONCE * BLOCK_ROWS:
            break
    return sealed


def verify(
    database: Database, *, key: SealKey, published: ledger.Published | None = None, other_keys: Iterable[bytes] = ()
) -> ledger.Verification:
    """Prove the books from outside; `other_keys` are public keys that signed in earlier times."""
    check = signature_check((key.public_key, *other_keys))
    return ledger.verify(database.reader, check_signature=check, published=published)

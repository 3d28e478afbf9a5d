"""Who this terminal is: a key that never leaves the machine, and the name under which the server knows it."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from card_terminal.protocol import EnrolAnswer, decode_public_key, fingerprint
from card_terminal.store import Store

_KEY_FILE = "terminal.key"
_SEALING_KEY_FILE = "offline.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled terminal."""

    key: Ed25519PrivateKey
    device_id: str
    server_key: Ed25519PublicKey

    @property
    def fingerprint(self) -> str:
        """What an administrator compares before she trusts this terminal."""
        return fingerprint(self.key.public_key())


def load_key(data_dir: Path) -> Ed25519PrivateKey:
    """Give this machine's key; the first call makes it, readable by the terminal's own user only."""
    path = data_dir / _KEY_FILE
    if not path.exists():
        _keep_secret(path, Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def load_sealing_key(data_dir: Path) -> X25519PrivateKey:
    """Give the key that opens the cards' offline keys; the first call makes it, readable by the same user only."""
    path = data_dir / _SEALING_KEY_FILE
    if not path.exists():
        _keep_secret(path, X25519PrivateKey.generate().private_bytes_raw())
    return X25519PrivateKey.from_private_bytes(path.read_bytes())


def _keep_secret(path: Path, secret: bytes) -> None:
    unfinished = path.with_suffix(".key.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def load_identity(store: Store, *, key: Ed25519PrivateKey) -> Identity | None:
    """Give who this terminal is, or None before it is enrolled."""
    device_id, server_key = store.fact("device_id"), store.fact("server_public_key")
    if device_id is None or server_key is None:
        return None
    return Identity(key=key, device_id=device_id, server_key=decode_public_key(server_key))


def keep_identity(store: Store, answer: EnrolAnswer) -> None:
    """Keep what the server said when it took this terminal in."""
    store.keep(device_id=answer.device_id, server_public_key=answer.server_public_key)

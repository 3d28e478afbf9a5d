"""Passwords of the broker's users: made here, and kept in the one form that Mosquitto and the embedded broker read.

The form is Mosquitto's `$7$`: PBKDF2 with HMAC-SHA-512, iterations, salt and key (mosquitto_passwd(1)). A password is
made by machine with 192 bits, so guessing is hopeless anyway, and a storm of reconnects must stay cheap.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

PASSWORD_BYTES = 24
SALT_BYTES = 12  # Mosquitto 2.0 reads no other length
KEY_BYTES = 64
ITERATIONS = 101  # what mosquitto_passwd itself takes
ITERATIONS_MAX = 1_000_000
PARTS = 5


def new_password() -> str:
    """Make a password that nobody can guess."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def verifier_of(password: str) -> str:
    """Give what may be kept of a password: with it one can check it, and not log in."""
    salt = secrets.token_bytes(SALT_BYTES)
    key = _key(password, salt=salt, iterations=ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def is_password(password: str, *, verifier: str) -> bool:
    """Say whether a verifier was made of this password; one that cannot be read was made of none."""
    parts = verifier.split("$")
    if len(parts) != PARTS or parts[:2] != ["", "7"] or not (parts[2].isascii() and parts[2].isdigit()):
        return False
    iterations = int(parts[2])
    try:
        salt, key = (base64.b64decode(part, validate=True) for part in parts[3:])
    except binascii.Error:
        return False
    if not 0 < iterations <= ITERATIONS_MAX:
        return False
    return hmac.compare_digest(_key(password, salt=salt, iterations=iterations), key)


def _key(password: str, *, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(errors="replace"), salt, iterations, KEY_BYTES)

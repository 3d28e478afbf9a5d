"""Passwords: which are good enough, and how they are kept (OWASP ASVS 5.0, chapters 6.2 and 11.4)."""

from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LENGTH_MIN = 12
LENGTH_MAX = 128
DISTINCT_CHARACTERS_MIN = 5

# OWASP's parameters for argon2id: 19 MiB and two passes, about 20 ms; a web worker can afford many at once.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def is_weak(password: str, *, username: str) -> bool:
    """Say whether a password is too short, too common, too uniform, or the user's own name."""
    plain = password.casefold()
    return (
        not LENGTH_MIN <= len(password) <= LENGTH_MAX
        or plain in _common()
        or len(set(plain)) < DISTINCT_CHARACTERS_MIN
        or username.casefold() in plain
    )


def hash_password(password: str) -> str:
    """Give the argon2id hash to keep, with its own salt and parameters."""
    return _hasher.hash(password)


def verify(kept: str | None, password: str) -> bool:
    """Say whether the password belongs to the kept hash; without a hash it takes as long and says no."""
    try:
        _hasher.verify(kept if kept is not None else _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def needs_rehash(kept: str) -> bool:
    """Say whether a hash was made with older parameters."""
    return _hasher.check_needs_rehash(kept)


@cache
def _nobody() -> str:
    return _hasher.hash("the password of nobody")


@cache
def _common() -> frozenset[str]:
    lines = (Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))

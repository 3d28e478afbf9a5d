"""Signatures of webhook deliveries: HMAC-SHA256 over time and raw body, the scheme `v1` of Stripe."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime

TOLERANCE_S = 300
HEADER_LENGTH_MAX = 1024

_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(body: bytes, *, secret: str, at: datetime) -> str:
    """Give the header value under which a receiver who knows `secret` accepts `body`."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_digest(body, secret=secret, seconds=str(seconds))}"


def is_valid(header: str, body: bytes, *, secrets: Iterable[str], now: datetime) -> bool:
    """Tell whether one of the secrets signed exactly these bytes within 300 s of `now`, before or after.

    `now` is real time, for the sender's clock is. Several secrets hold while one is being replaced; a header may carry
    several signatures for the same reason.
    """
    if len(header) > HEADER_LENGTH_MAX:
        return False
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    # A signature of other than ASCII letters cannot be compared in constant time, and cannot be right.
    given = [value.encode() for name, _, value in parts if name == "v1" and value.isascii()]
    if len(times) != 1 or not _TIME.fullmatch(times[0]):
        return False
    if abs(now.timestamp() - int(times[0])) > TOLERANCE_S:
        return False
    expected = [_digest(body, secret=secret, seconds=times[0]).encode() for secret in secrets if secret]
    # Every pair is compared, so the time taken says nothing about which one came near.
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    return any(matches)


def _digest(body: bytes, *, secret: str, seconds: str) -> str:
    return hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()

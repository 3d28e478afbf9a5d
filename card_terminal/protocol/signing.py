"""JWS in compact form with Ed25519 (RFC 7515, RFC 8037): who said it can be proved years later, byte by byte."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card_terminal.protocol.refusals import ProtocolError, RefusalCode
from card_terminal.protocol.shapes import MessageError

ALGORITHM = "EdDSA"
JWS_LENGTH_MAX = 64 * 1024
CHAIN_START = "0" * 64

# Chain and idempotency are over the bytes of a message, so one signed message must have one spelling: no "=", and no
# bits in a last character that belong to no byte. PyJWT forgives the first and, in some versions, the second.
_SEGMENT = r"(?!\.|$)(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_COMPACT = re.compile(rf"{_SEGMENT}\.{_SEGMENT}\.{_SEGMENT}")
_KEY_ID_LENGTH_MAX = 100


class MessageType(StrEnum):
    """What a signature was made for (`typ`), so that no message can be passed off as one of another kind."""

    ENROLMENT = "terminal-enrolment+jws"
    QUERY = "terminal-query+jws"
    EVENT = "terminal-event+jws"
    SERVER = "server+jws"


class SignatureError(ProtocolError):
    """The message was not signed by this key for this use."""

    def __init__(self, detail: str) -> None:
        super().__init__(RefusalCode.SIG_INVALID, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a message says of its signer, before anything is verified."""

    key_id: str
    message_type: MessageType


def sign(payload: Mapping[str, object], *, key: Ed25519PrivateKey, key_id: str, message_type: MessageType) -> str:
    """Give the compact JWS of `payload` in canonical JSON: same payload and key, same bytes."""
    content = json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    headers = {"kid": key_id, "typ": str(message_type)}
    return jwt.PyJWS([ALGORITHM]).encode(content.encode(), key, algorithm=ALGORITHM, headers=headers)


def read_header(message: str) -> Header:
    """Give key id and type of a message, to look up the key. Raises SignatureError."""
    _check_form(message)
    try:
        header = jwt.PyJWS([ALGORITHM]).get_unverified_header(message)
    except (jwt.PyJWTError, ValueError) as error:
        raise SignatureError(f"unreadable header: {error}") from error
    return _header(header)


def verify(
    message: str, *, key: Ed25519PublicKey, message_type: MessageType, length_max: int = JWS_LENGTH_MAX
) -> dict[str, Any]:
    """Give the payload of a message of at most `length_max` characters that `key` signed as a `message_type`.

    Raises SignatureError, or MessageError when what was signed is no JSON object.
    """
    _check_form(message, length_max=length_max)
    try:
        decoded = jwt.PyJWS([ALGORITHM]).decode_complete(message, key, algorithms=[ALGORITHM])
    except (jwt.PyJWTError, ValueError) as error:
        raise SignatureError(f"not verified: {error}") from error
    if _header(decoded["header"]).message_type is not message_type:
        raise SignatureError(f"signed for another use than {message_type}")
    return _load_object(decoded["payload"])


def read_unverified(message: str) -> dict[str, Any]:
    """Give the payload unproved, for a message that brings its own key; `verify` must follow. Raises like `verify`."""
    _check_form(message)
    try:
        decoded = jwt.PyJWS([ALGORITHM]).decode_complete(message, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError) as error:
        raise SignatureError(f"unreadable: {error}") from error
    return _load_object(decoded["payload"])


def _check_form(message: str, *, length_max: int = JWS_LENGTH_MAX) -> None:
    if len(message) > length_max:
        raise SignatureError(f"longer than {length_max} characters")
    if _COMPACT.fullmatch(message) is None:
        raise SignatureError("no compact JWS in canonical base64url")


def _header(header: Mapping[str, Any]) -> Header:
    key_id = header.get("kid")
    if header.get("alg") != ALGORITHM or set(header) != {"alg", "kid", "typ"}:
        raise SignatureError("the header must have alg EdDSA, kid and typ, and nothing else")
    if not isinstance(key_id, str) or not 1 <= len(key_id) <= _KEY_ID_LENGTH_MAX or not key_id.isprintable():
        raise SignatureError("the header has no usable kid")
    for member in MessageType:
        if member == header["typ"]:
            return Header(key_id=key_id, message_type=member)
    raise SignatureError("the header has an unknown typ")


def _load_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content, object_pairs_hook=_no_duplicates, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the payload is no JSON we read: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise MessageError("the payload must be an object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice")
    return names


def _no_float(text: str) -> float:
    raise ValueError(f"{text[:20]} is no whole number")


def encode_public_key(key: Ed25519PublicKey) -> str:
    """Give the raw key of 32 bytes as base64url without padding, the `x` of RFC 8037."""
    return base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode()


def decode_public_key(text: str) -> Ed25519PublicKey:
    """Read what `encode_public_key` wrote. Raises MessageError on anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error) as error:
        raise MessageError("public_key is no Ed25519 key") from error
    if encode_public_key(key) != text:
        raise MessageError("public_key is not in canonical base64url")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Give eight groups of four hex digits that two people can compare on the phone: 128 bits of SHA-256."""
    digest = hashlib.sha256(key.public_bytes_raw()).hexdigest().upper()
    return "-".join(digest[start : start + 4] for start in range(0, 32, 4))


def chain_hash(message: str) -> str:
    """Give the SHA-256 of an event's bytes, in hex: the `prev` of the event after it."""
    return hashlib.sha256(message.encode()).hexdigest()

"""What a terminal asks, and the shape in which it asks: one signed message, one answer, the same for every retry."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card_terminal.protocol.fields import (
    AnyUid,
    CardNumber,
    Count,
    EpochMs,
    Hex,
    Minutes,
    Name,
    OneTimeCode,
    Pin,
    PublicKey,
    Token,
    Uid,
    Uri,
    Version,
)
from card_terminal.protocol.shapes import AtMost, MessageError, parse, to_dict
from card_terminal.protocol.signing import (
    MessageType,
    decode_public_key,
    encode_public_key,
    fingerprint,
    read_header,
    read_unverified,
    sign,
    verify,
)
from card_terminal.protocol.station import APDUS_MAX, StationBegin, StationStep

PATH_PREFIX = "/terminal/v1/"
CLOCK_SKEW_MAX_MS = 90_000
TOKEN_LIFETIME_MS = 60_000
BODY_BYTES_MAX = 512 * 1024


class ReaderState(StrEnum):
    """Whether the terminal can read cards."""

    OK = "ok"
    DOWN = "down"


class Purse(StrEnum):
    """Which money pays; `auto` is the house's order, subsidy first."""

    AUTO = "auto"


class Purpose(StrEnum):
    """Why a card is shown."""

    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class SunCard:
    """A card that wrote a secure dynamic message: the URI that was read, with its encrypted identity and MAC."""

    TAG: ClassVar = ("class", "sun")
    uri: Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedCard:
    """A card number typed by hand, which proves nothing: the PIN must follow."""

    TAG: ClassVar = ("class", "typed")
    number: CardNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Ev2Card:
    """A chip that will prove itself now: its UID in anticollision order, and what the reader tells of it.

    It proves nothing by itself. The answer to `card/begin` is what to ask the chip, see `CardExchange`.
    """

    TAG: ClassVar = ("class", "ev2")
    uid: Uid
    atr: Hex = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UidCard:
    """A card that has nothing to show but its UID, which anybody can copy for pennies."""

    TAG: ClassVar = ("class", "uid")
    uid: AnyUid


CardShown: TypeAlias = SunCard | TypedCard | Ev2Card | UidCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Sent at start and every minute: what the terminal is, and what it still owes the server."""

    NAME: ClassVar = "hello"
    app_version: Version
    boot: Count
    last_seq: Count
    unsent: Count
    reader: ReaderState
    config_version: Count
    session_id: UUID | None = None
    offline_version: Count = 0
    wall_ms: EpochMs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Asks for the configuration that the server signed."""

    NAME: ClassVar = "config"
    have_version: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineListQuery:
    """Asks for the offline list; `sealing_key` is the X25519 key for which the cards' keys are sealed in it."""

    NAME: ClassVar = "offline-list"
    have_version: Count
    sealing_key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CardBegin:
    """Shows a card to the server, which answers with a one-use token, or a chip with what to ask it."""

    NAME: ClassVar = "card/begin"
    card: CardShown
    purpose: Purpose = Purpose.SESSION


@dataclass(frozen=True, slots=True, kw_only=True)
class CardStep:
    """A chip's answers to what the server asked it, as many as came; `gone`: it was taken away before all had come."""

    NAME: ClassVar = "card/step"
    exchange_id: UUID
    step: Count
    answers: Annotated[tuple[Hex, ...], AtMost(APDUS_MAX)]
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAuthorize:
    """Asks to hold the price of `minutes`; the session's id is made by the terminal, so that it can reverse unheard."""

    NAME: ClassVar = "session/authorize"
    token: Token = field(repr=False)
    session_id: UUID
    minutes: Minutes
    purse: Purse = Purse.AUTO
    pin: Pin | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExtend:
    """Asks that the hold cover `minutes_total`, counted from the session's start, not from now.

    A total makes the question safe to ask twice. The server grants as much of it as the card can pay, and refuses with
    INSUFFICIENT_FUNDS only when it can grant nothing beyond what is held.
    """

    NAME: ClassVar = "session/extend"
    session_id: UUID
    minutes_total: Minutes


QueryBody: TypeAlias = (
    Hello
    | Config
    | OfflineListQuery
    | CardBegin
    | CardStep
    | SessionAuthorize
    | SessionExtend
    | StationBegin
    | StationStep
)

_BODIES: dict[str, type[QueryBody]] = {
    shape.NAME: shape
    for shape in (
        Hello,
        Config,
        OfflineListQuery,
        CardBegin,
        CardStep,
        SessionAuthorize,
        SessionExtend,
        StationBegin,
        StationStep,
    )
}
QUERY_NAMES = frozenset(_BODIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question: `mid` is its idempotency key, `st` the asker's estimate of the server's time in epoch ms."""

    mid: UUID
    st: EpochMs
    body: QueryBody


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    message: Name
    mid: UUID
    st: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Introduces a new terminal: a one-time code that an administrator made, and the key that will sign from now on."""

    NAME: ClassVar = "enroll"
    code: OneTimeCode
    public_key: PublicKey
    st: EpochMs
    app_version: Version


def sign_query(query: Query, *, key: Ed25519PrivateKey, device_id: str) -> str:
    """Give the compact JWS of a query. The message's own name is signed too, so that it fits no other door."""
    payload = {
        "message": query.body.NAME,
        "mid": str(query.mid),
        "st": query.st,
        "body": to_dict(query.body),
    }
    return sign(payload, key=key, key_id=device_id, message_type=MessageType.QUERY)


def read_query(message: str, *, key: Ed25519PublicKey, name: str) -> Query:
    """Verify and read the query that came in at the door `name`. Raises SignatureError or MessageError."""
    payload = verify(message, key=key, message_type=MessageType.QUERY)
    return parse_query(payload, name=name)


def parse_query(payload: dict[str, Any], *, name: str) -> Query:
    """Read a verified payload. Raises MessageError; an unknown card class is one too."""
    content = dict(payload)
    body = content.pop("body", None)
    envelope = parse(_Envelope, content)
    if envelope.message != name or name not in _BODIES:
        raise MessageError(f"signed as {envelope.message!r}, sent as {name!r}")
    return Query(mid=envelope.mid, st=envelope.st, body=parse(_BODIES[name], body, where="body"))


def sign_enrolment(*, code: str, st: int, app_version: str, key: Ed25519PrivateKey) -> str:
    """Give the enrolment message, signed by the very key that it brings; its `kid` is the key's fingerprint."""
    public_key = key.public_key()
    enrolment = Enrolment(code=code, public_key=encode_public_key(public_key), st=st, app_version=app_version)
    payload = {"message": Enrolment.NAME, **to_dict(enrolment)}
    return sign(payload, key=key, key_id=fingerprint(public_key), message_type=MessageType.ENROLMENT)


def read_enrolment(message: str) -> Enrolment:
    """Verify an enrolment against the key that it brings. Raises SignatureError or MessageError."""
    brought = read_unverified(message).get("public_key")
    if not isinstance(brought, str):
        raise MessageError("message.public_key must be a string")
    key = decode_public_key(brought)
    payload = verify(message, key=key, message_type=MessageType.ENROLMENT)
    if payload.pop("message", None) != Enrolment.NAME or read_header(message).key_id != fingerprint(key):
        raise MessageError("no enrolment, or its kid is not the fingerprint of its key")
    return parse(Enrolment, payload)

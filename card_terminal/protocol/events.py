"""What a terminal reports: signed, numbered without gaps, each bound to the one before by its hash."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card_terminal.protocol.fields import Count, DurationMs, EpochMs, Fen, Minutes, Name, Sha256, ShortText
from card_terminal.protocol.shapes import Between, Text, parse, to_dict
from card_terminal.protocol.signing import MessageType, sign, verify

EVENTS_PER_REQUEST_MAX = 50
METER_INTERVAL_MS = 300_000


class EventKind(StrEnum):
    """What happened."""

    STARTED = "started"
    METER = "meter"
    ENDED = "ended"
    REVERSAL = "reversal"
    CARD_REFUSED = "card_refused"
    TAMPER = "tamper"
    CLOCK_STEP = "clock_step"
    READER_DOWN = "reader_down"
    READER_UP = "reader_up"


class EndCause(StrEnum):
    """Why a session ended."""

    TAPPED = "tapped"
    LIMIT = "limit"
    SERVER = "server"
    TAKEN_OVER = "taken_over"
    """Another card's holder ended it at the instrument, to start her own."""


class ReversalReason(StrEnum):
    """Why an authorization must leave no trace of money."""

    NO_ANSWER = "no_answer"
    RESTARTED = "restarted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineGrant:
    """What the terminal allowed by itself: which card of which offline list, for how long and how much.

    `at_ms` is the server's time as the terminal could trust it, whatever the wall showed.
    """

    version: Count
    card: Count
    limit_fen: Fen
    minutes: Minutes
    at_ms: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The person may work; charging begins at this event's `mono_ms`. `offline`: no server was asked."""

    KIND: ClassVar = EventKind.STARTED
    session_id: UUID
    offline: OfflineGrant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """The session runs; a sign of life with the time so far."""

    KIND: ClassVar = EventKind.METER
    session_id: UUID
    elapsed_ms: DurationMs
    lower_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The session is over after `elapsed_ms`; `lower_bound` says that a reboot hid part of the time."""

    KIND: ClassVar = EventKind.ENDED
    session_id: UUID
    elapsed_ms: DurationMs
    cause: EndCause
    lower_bound: bool = False
    samples: Annotated[int, Between(0, 100_000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """No answer was heard: whatever is or will be held for this session must be given back."""

    KIND: ClassVar = EventKind.REVERSAL
    session_id: UUID
    reason: ReversalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRefused:
    """A card was turned away, by the server or by the terminal itself; the code may be newer than this program."""

    KIND: ClassVar = EventKind.CARD_REFUSED
    code: Annotated[str, Text(40, 1, r"[A-Z_]+")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tamper:
    """Somebody opened or changed the terminal; `what` says how it was noticed."""

    KIND: ClassVar = EventKind.TAMPER
    what: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """The wall clock jumped against the monotonic one; durations are not touched by it."""

    KIND: ClassVar = EventKind.CLOCK_STEP
    step_ms: Annotated[int, Between(-(10**14), 10**14)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderDown:
    """The card reader stopped answering."""

    KIND: ClassVar = EventKind.READER_DOWN
    detail: ShortText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderUp:
    """The card reader answers again."""

    KIND: ClassVar = EventKind.READER_UP
    detail: ShortText = ""


EventBody: TypeAlias = Started | Meter | Ended | Reversal | CardRefused | Tamper | ClockStep | ReaderDown | ReaderUp

_BODIES: dict[EventKind, type[EventBody]] = {
    shape.KIND: shape
    for shape in (Started, Meter, Ended, Reversal, CardRefused, Tamper, ClockStep, ReaderDown, ReaderUp)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One link of the chain: `seq` counts from 1, `prev` is `chain_hash` of the event before, or CHAIN_START.

    `boot` counts the machine's starts, `mono_ms` runs evenly within one boot, `wall_ms` is what the clock on the wall
    showed. Durations come from `mono_ms` alone.
    """

    seq: Annotated[int, Between(1, 2**53 - 1)]
    prev: Sha256
    boot: Count
    mono_ms: DurationMs
    wall_ms: EpochMs
    body: EventBody

    @property
    def kind(self) -> EventKind:
        """What happened, as a word of the closed list."""
        return self.body.KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    seq: Annotated[int, Between(1, 2**53 - 1)]
    prev: Sha256
    boot: Count
    mono_ms: DurationMs
    wall_ms: EpochMs
    kind: EventKind


def sign_event(event: Event, *, key: Ed25519PrivateKey, device_id: str) -> str:
    """Give the compact JWS of an event."""
    payload = {
        "seq": event.seq,
        "prev": event.prev,
        "boot": event.boot,
        "mono_ms": event.mono_ms,
        "wall_ms": event.wall_ms,
        "kind": str(event.kind),
        "body": to_dict(event.body),
    }
    return sign(payload, key=key, key_id=device_id, message_type=MessageType.EVENT)


def read_event(message: str, *, key: Ed25519PublicKey) -> Event:
    """Verify and read an event. Raises SignatureError or MessageError."""
    return parse_event(verify(message, key=key, message_type=MessageType.EVENT))


def parse_event(payload: dict[str, Any]) -> Event:
    """Read a verified payload. Raises MessageError."""
    content = dict(payload)
    body = content.pop("body", None)
    envelope = parse(_Envelope, content)
    return Event(
        seq=envelope.seq,
        prev=envelope.prev,
        boot=envelope.boot,
        mono_ms=envelope.mono_ms,
        wall_ms=envelope.wall_ms,
        body=parse(_BODIES[envelope.kind], body, where="body"),
    )

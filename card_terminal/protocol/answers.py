"""What the server answers, read tolerantly by terminals: a newer server may say more than an older one knows."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card_terminal.protocol.events import EVENTS_PER_REQUEST_MAX
from card_terminal.protocol.fields import (
    CompactJws,
    Count,
    EpochMs,
    Fen,
    Hex,
    Minutes,
    Name,
    PublicKey,
    ShortText,
    SignedFen,
    Token,
)
from card_terminal.protocol.refusals import Bilingual, RefusalCode, refusal
from card_terminal.protocol.shapes import AtMost, Between, MessageError, Text, parse, to_dict
from card_terminal.protocol.signing import MessageType, sign, verify
from card_terminal.protocol.station import APDUS_MAX, StationAnswer

# 300 cards and 2,000 stopped ones, with room.
OFFLINE_LIST_LENGTH_MAX = 256 * 1024


class DeviceStatus(StrEnum):
    """Whether the server takes this terminal's word already."""

    PENDING = "pending"
    ACTIVE = "active"


class SessionState(StrEnum):
    """What the server holds for the session that a terminal believes to be running."""

    HELD = "held"
    ACTIVE = "active"
    ENDED = "ended"
    REVERSED = "reversed"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What the person with this card may do here now."""

    START = "start"
    END = "end"
    OTHER = "other"
    TAKE_OVER = "take_over"
    """End another's session, up to now, and start one's own; only ever after both were confirmed on the screen."""


class EventStatus(StrEnum):
    """What became of an event; all three mean that it need not be sent again."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text for the screen in both languages."""

    zh: ShortText
    en: ShortText


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolAnswer:
    """The terminal's name from now on, and the key by which it knows the server."""

    device_id: Name
    server_key_id: Name
    server_public_key: PublicKey
    status: DeviceStatus
    server_time: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloAnswer:
    """The server's time, how far it has the events, and what is newer than what the terminal has."""

    server_time: EpochMs
    acked_seq: Count
    config_version: Count
    session_state: SessionState | None = None
    offline_version: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigAnswer:
    """The configuration as the server signed it; read it with `read_config`."""

    config: CompactJws
    server_time: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineListAnswer:
    """The offline list as the server signed it; read it with `read_offline_list`."""

    offline_list: Annotated[str, Text(OFFLINE_LIST_LENGTH_MAX)]
    server_time: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalConfig:
    """What a terminal shows and does: signed, with a version that only grows."""

    version: Count
    instrument: Words
    unit: Words
    price: Words
    help_phone: ShortText = ""
    minutes_default: Minutes = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CardBeginAnswer:
    """Who showed a card and what she may do; `token` proves it once, for 60 s, in `session/authorize`.

    `session_id` is an open session of this card on this instrument. `minutes_max` is how long the card can pay;
    `hold_fen` is what the usual `hold_minutes`, as far as it can pay them, will reserve.
    """

    token: Token = field(repr=False)
    card: Name
    name_masked: ShortText
    pin_required: bool
    actions: Annotated[tuple[Action, ...], AtMost(8)]
    available_fen: SignedFen
    price: Words
    server_time: EpochMs
    session_id: UUID | None = None
    minutes_max: Annotated[int, Between(0, 7 * 24 * 60)] | None = None
    hold_minutes: Minutes | None = None
    hold_fen: Fen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardExchange:
    """What to send to the chip now, one APDU after the other, up to the first that it refuses; then `card/step`.

    An answer that ends in 9000, 9100 or 91AF is no refusal. `begun` comes at the end, when the chip has proved itself.
    """

    exchange_id: UUID
    step: Count
    apdus: Annotated[tuple[Hex, ...], AtMost(APDUS_MAX)]
    server_time: EpochMs
    begun: CardBeginAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostStep:
    """A session that ends in minute `minute` or later (counted from 1), and before the next step, costs `cost_fen`."""

    minute: Minutes
    cost_fen: Fen


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffSnapshot:
    """The price that holds for this session, in words, and if the server can tell, as the cost of each minute."""

    text: Words
    schedule: Annotated[tuple[CostStep, ...], AtMost(10_080)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeAnswer:
    """The money is held: `held_fen` for `minutes`, until `latest_end_ms`; the event `started` starts the session."""

    session_id: UUID
    held_fen: Fen
    minutes: Minutes
    latest_end_ms: EpochMs
    tariff: TariffSnapshot
    available_fen: SignedFen
    server_time: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendAnswer:
    """The hold now covers `minutes_total` from the start: as asked, or as much of it as the card can pay."""

    session_id: UUID
    held_fen: Fen
    minutes_total: Minutes
    latest_end_ms: EpochMs
    available_fen: SignedFen
    server_time: EpochMs


Answer: TypeAlias = (
    EnrolAnswer
    | HelloAnswer
    | ConfigAnswer
    | OfflineListAnswer
    | CardBeginAnswer
    | CardExchange
    | AuthorizeAnswer
    | ExtendAnswer
    | StationAnswer
)
AnswerShape = TypeVar("AnswerShape", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResult:
    """What became of one event, and after an `ended` what it cost."""

    seq: Count
    status: EventStatus
    reason: ShortText | None = None
    session_id: UUID | None = None
    amount_fen: Fen | None = None
    balance_fen: SignedFen | None = None
    receipt: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsAnswer:
    """One result for each event that was sent, in order; all up to `acked_seq` is stored for good."""

    results: Annotated[tuple[EventResult, ...], AtMost(EVENTS_PER_REQUEST_MAX)]
    acked_seq: Count
    server_time: EpochMs


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalAnswer:
    """A refusal as it travels: with its texts, so that an old terminal can show a reason it has never heard of.

    `acked_seq` comes with SEQ_GAP: from there the events are wanted again.
    """

    code: Annotated[str, Text(40, 1, r"[A-Z_]+")]
    number: Count
    message: Words
    advice: Words
    retry: bool
    server_time: EpochMs
    acked_seq: Count | None = None

    @property
    def known_code(self) -> RefusalCode | None:
        """The code, if this program knows it."""
        return RefusalCode(self.code) if self.code in RefusalCode.__members__ else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBody:
    """The JSON body of every request but `events`."""

    message: CompactJws


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsBody:
    """The JSON body of `events`: consecutive events, oldest first."""

    messages: Annotated[tuple[CompactJws, ...], AtMost(EVENTS_PER_REQUEST_MAX)]


def read_message_body(value: object) -> str:
    """Give the compact JWS of a request, still unverified. Raises MessageError."""
    return parse(MessageBody, value, where="body").message


def read_events_body(value: object) -> tuple[str, ...]:
    """Give the compact JWS of each event of a request, still unverified. Raises MessageError, also for none."""
    messages = parse(EventsBody, value, where="body").messages
    if not messages:
        raise MessageError("body.messages is empty")
    return messages


def accept(answer: Answer | EventsAnswer) -> dict[str, Any]:
    """Give the body of a 200 answer."""
    return {"ok": True, **to_dict(answer)}


def refuse(code: RefusalCode, *, server_time: int) -> dict[str, Any]:
    """Give the body of a refusal; its HTTP status is `refusal(code).http_status`."""
    said = refusal(code)
    return {
        "ok": False,
        "code": str(code),
        "number": said.number,
        "message": _words(said.message),
        "advice": _words(said.advice),
        "retry": said.retry,
        "server_time": server_time,
    }


def _words(text: Bilingual) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}


def read_answer(shape: type[AnswerShape], value: object) -> AnswerShape:
    """Read the body of a 200 answer to a query. Raises MessageError."""
    return parse(shape, value, where="answer", strict=False)


def read_events_answer(value: object) -> EventsAnswer:
    """Read the body of a 200 answer to `events`. Raises MessageError."""
    return parse(EventsAnswer, value, where="answer", strict=False)


def read_refusal(value: object) -> RefusalAnswer:
    """Read the body of a refusal. Raises MessageError."""
    return parse(RefusalAnswer, value, where="refusal", strict=False)


def sign_config(config: TerminalConfig, *, key: Ed25519PrivateKey, key_id: str) -> str:
    """Give the server's signed configuration."""
    return sign({"config": to_dict(config)}, key=key, key_id=key_id, message_type=MessageType.SERVER)


def read_config(message: str, *, key: Ed25519PublicKey) -> TerminalConfig:
    """Verify and read a configuration. Raises SignatureError or MessageError."""
    payload = verify(message, key=key, message_type=MessageType.SERVER)
    return parse(TerminalConfig, payload.get("config"), where="config", strict=False)

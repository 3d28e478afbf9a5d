"""The honest server: keeps the protocol to the letter, in memory, with a clock that a test turns."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card_terminal.protocol import (
    CHAIN_START,
    CLOCK_SKEW_MAX_MS,
    Action,
    Answer,
    AuthorizeAnswer,
    CardBegin,
    CardBeginAnswer,
    Config,
    ConfigAnswer,
    CostStep,
    DeviceStatus,
    Ended,
    EnrolAnswer,
    Ev2Card,
    Event,
    EventResult,
    EventsAnswer,
    EventStatus,
    ExtendAnswer,
    Hello,
    HelloAnswer,
    Meter,
    OfflineGrant,
    OfflineList,
    OfflineListAnswer,
    OfflineListQuery,
    ProtocolError,
    Query,
    QueryBody,
    RefusalCode,
    Reversal,
    SessionAuthorize,
    SessionExtend,
    SessionState,
    Started,
    SunCard,
    TariffSnapshot,
    TerminalConfig,
    UidCard,
    Words,
    accept,
    chain_hash,
    decode_public_key,
    encode_public_key,
    read_enrolment,
    read_event,
    read_events_body,
    read_header,
    read_message_body,
    read_query,
    refusal,
    refuse,
    seal_card_keys,
    sign_config,
    sign_offline_list,
    whole_seconds,
)

FEN_PER_MINUTE = 50
PRICE = Words(zh="30元/小时", en="30 yuan per hour")


class RefusingError(Exception):
    def __init__(self, code: RefusalCode) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class TurnedClock:
    """Stands still until a test turns it."""

    boot_key: str = "boot 1"
    mono: int = 1_000_000
    wall: int = 1_790_000_000_000

    def wall_ms(self) -> int:
        return self.wall

    def mono_ms(self) -> int:
        return self.mono

    def real_s(self, duration_ms: int) -> float:
        return duration_ms / 1000

    def turn(self, duration_ms: int) -> None:
        self.mono += duration_ms
        self.wall += duration_ms


@dataclass
class ServerSession:
    card: str
    held_fen: int
    minutes: int
    state: SessionState = SessionState.HELD
    charged_fen: int | None = None


@dataclass
class HonestServer:
    """Does what the protocol promises, in memory, and checks what terminals promise."""

    clock: TurnedClock
    balances_fen: dict[str, int] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    skew_ms: int = 0
    config_version: int = 1
    minutes_max: int | None = None
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    devices: dict[str, Ed25519PublicKey] = field(default_factory=dict)
    answers: dict[UUID, tuple[str, tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    sessions: dict[UUID, ServerSession] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    results: list[EventResult] = field(default_factory=list)
    parked: list[Event] = field(default_factory=list)
    executions: int = 0
    offline_list: OfflineList | None = None
    offline_keys: list[bytes] = field(default_factory=list)

    # The doors

    def handle(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            if name == "enroll":
                return 200, accept(self._enrol(read_message_body(body)))
            if name == "events":
                return 200, accept(self._take_events(read_events_body(body)))
            return self._answer_query(name, read_message_body(body))
        except ProtocolError as error:
            return self._refused(error.code)
        except RefusingError as error:
            return self._refused(error.code)

    def _refused(self, code: RefusalCode) -> tuple[int, dict[str, Any]]:
        return refusal(code).http_status, refuse(code, server_time=self.now_ms())

    def now_ms(self) -> int:
        return self.clock.wall + self.skew_ms

    def _key_of(self, message: str) -> Ed25519PublicKey:
        key_id = read_header(message).key_id
        if key_id not in self.devices:
            raise RefusingError(RefusalCode.DEVICE_REVOKED)
        return self.devices[key_id]

    def _enrol(self, message: str) -> EnrolAnswer:
        enrolment = read_enrolment(message)
        if enrolment.code != "GOOD-CODE":
            raise RefusingError(RefusalCode.ENROLMENT_CODE_INVALID)
        self.devices["terminal-1"] = decode_public_key(enrolment.public_key)
        return self.enrol_answer()

    def enrol_answer(self) -> EnrolAnswer:
        return EnrolAnswer(
            device_id="terminal-1",
            server_key_id="server-1",
            server_public_key=encode_public_key(self.key.public_key()),
            status=DeviceStatus.ACTIVE,
            server_time=self.now_ms(),
        )

    # Queries

    def _answer_query(self, name: str, message: str) -> tuple[int, dict[str, Any]]:
        query = read_query(message, key=self._key_of(message), name=name)
        fingerprint = hashlib.sha256(message.encode()).hexdigest()
        if query.mid in self.answers:
            known, answer = self.answers[query.mid]
            return answer if known == fingerprint else self._refused(RefusalCode.IDEMPOTENCY_CONFLICT)
        if abs(query.st - self.now_ms()) > CLOCK_SKEW_MAX_MS:
            return self._refused(RefusalCode.CLOCK_SKEW)
        self.executions += 1
        try:
            answer = 200, accept(self._execute(query))
        except RefusingError as error:
            answer = self._refused(error.code)
        self.answers[query.mid] = (fingerprint, answer)
        return answer

    def _execute(self, query: Query) -> Answer:
        doors: dict[type[QueryBody], Callable[[Any], Answer]] = {
            Hello: self._hello,
            Config: self._config,
            OfflineListQuery: self._offline_list,
            CardBegin: self._begin,
            SessionAuthorize: self._authorize,
            SessionExtend: self._extend,
        }
        return doors[type(query.body)](query.body)

    def _hello(self, hello: Hello) -> HelloAnswer:
        session = self.sessions.get(hello.session_id) if hello.session_id else None
        state = session.state if session else SessionState.UNKNOWN
        return HelloAnswer(
            server_time=self.now_ms(),
            acked_seq=len(self.messages),
            config_version=self.config_version,
            session_state=state if hello.session_id else None,
            offline_version=self.offline_list.version if self.offline_list else 0,
        )

    def _offline_list(self, asked: OfflineListQuery) -> OfflineListAnswer:
        content = self.offline_list
        assert content is not None
        sealed = seal_card_keys(
            self.offline_keys, receiver=asked.sealing_key, device_id=content.device_id, version=content.version
        )
        signed = sign_offline_list(replace(content, sealed_keys=sealed), key=self.key, key_id="server-1")
        return OfflineListAnswer(offline_list=signed, server_time=self.now_ms())

    def _config(self, _config: Config) -> ConfigAnswer:
        config = TerminalConfig(
            version=self.config_version,
            instrument=Words(zh="扫描电镜", en="Electron microscope"),
            unit=Words(zh="重庆大学", en="Chongqing University"),
            price=PRICE,
        )
        return ConfigAnswer(config=sign_config(config, key=self.key, key_id="server-1"), server_time=self.now_ms())

    def _begin(self, begin: CardBegin) -> CardBeginAnswer:
        if isinstance(begin.card, Ev2Card | UidCard):
            raise RefusingError(RefusalCode.CARD_UNKNOWN)
        card = begin.card.uri.split("#")[-1] if isinstance(begin.card, SunCard) else begin.card.number
        if card not in self.balances_fen:
            raise RefusingError(RefusalCode.CARD_UNKNOWN)
        open_here = self._open_session()
        own = open_here is not None and self.sessions[open_here].card == card
        others = (Action.OTHER, Action.TAKE_OVER) if self.available_fen(card) >= FEN_PER_MINUTE else (Action.OTHER,)
        running = (Action.END,) if own else others
        token = f"token-{len(self.tokens):020}"
        self.tokens[token] = card
        return CardBeginAnswer(
            token=token,
            card=card,
            name_masked=f"{card[0]}**",
            pin_required=card in self.pins,
            actions=running if open_here else (Action.START,),
            available_fen=self.available_fen(card),
            price=PRICE,
            server_time=self.now_ms(),
            session_id=open_here if own else None,
            minutes_max=self.minutes_max,
            hold_minutes=60,
            hold_fen=60 * FEN_PER_MINUTE,
        )

    def _open_session(self) -> UUID | None:
        is_open = {SessionState.HELD, SessionState.ACTIVE}
        return next((each for each, session in self.sessions.items() if session.state in is_open), None)

    def available_fen(self, card: str) -> int:
        is_open = {SessionState.HELD, SessionState.ACTIVE}
        held = sum(each.held_fen for each in self.sessions.values() if each.card == card and each.state in is_open)
        return self.balances_fen[card] - held

    def _authorize(self, ask: SessionAuthorize) -> AuthorizeAnswer:
        card = self.tokens.get(ask.token)
        if card is None:
            raise RefusingError(RefusalCode.CARD_AUTH_EXPIRED)
        if self.pins.get(card) != ask.pin:
            raise RefusingError(RefusalCode.PIN_WRONG)
        if ask.session_id in self.sessions:
            raise RefusingError(RefusalCode.SESSION_REVERSED)
        if self._open_session() is not None:
            raise RefusingError(RefusalCode.INSTRUMENT_BUSY)
        held_fen = ask.minutes * FEN_PER_MINUTE
        if held_fen > self.available_fen(card):
            raise RefusingError(RefusalCode.INSUFFICIENT_FUNDS)
        del self.tokens[ask.token]
        self.sessions[ask.session_id] = ServerSession(card=card, held_fen=held_fen, minutes=ask.minutes)
        schedule = tuple(CostStep(minute=each, cost_fen=each * FEN_PER_MINUTE) for each in (1, 10, 30, 60))
        return AuthorizeAnswer(
            session_id=ask.session_id,
            held_fen=held_fen,
            minutes=ask.minutes,
            latest_end_ms=self.now_ms() + ask.minutes * 60_000,
            tariff=TariffSnapshot(text=PRICE, schedule=schedule),
            available_fen=self.available_fen(card),
            server_time=self.now_ms(),
        )

    def _extend(self, ask: SessionExtend) -> ExtendAnswer:
        session = self.sessions.get(ask.session_id)
        if session is None:
            raise RefusingError(RefusalCode.SESSION_UNKNOWN)
        payable = (self.available_fen(session.card) + session.held_fen) // FEN_PER_MINUTE
        granted = min(ask.minutes_total, payable)
        if granted <= session.minutes:
            raise RefusingError(RefusalCode.INSUFFICIENT_FUNDS)
        session.minutes, session.held_fen = granted, granted * FEN_PER_MINUTE
        return ExtendAnswer(
            session_id=ask.session_id,
            held_fen=session.held_fen,
            minutes_total=granted,
            latest_end_ms=self.now_ms() + granted * 60_000,
            available_fen=self.available_fen(session.card),
            server_time=self.now_ms(),
        )

    # Events

    def _take_events(self, messages: tuple[str, ...]) -> EventsAnswer:
        results = tuple(self._take_event(message) for message in messages)
        return EventsAnswer(results=results, acked_seq=len(self.messages), server_time=self.now_ms())

    def _take_event(self, message: str) -> EventResult:
        event = read_event(message, key=self._key_of(message))
        if event.seq <= len(self.messages):
            if self.messages[event.seq - 1] != message:
                self.parked.append(event)
                return EventResult(seq=event.seq, status=EventStatus.PARKED, reason="SEQ_USED_TWICE")
            known = self.results[event.seq - 1]
            return EventResult(
                seq=known.seq,
                status=EventStatus.DUPLICATE,
                session_id=known.session_id,
                amount_fen=known.amount_fen,
                balance_fen=known.balance_fen,
                receipt=known.receipt,
            )
        if event.seq != len(self.messages) + 1:
            raise RefusingError(RefusalCode.SEQ_GAP)
        assert event.prev == (chain_hash(self.messages[-1]) if self.messages else CHAIN_START), "the chain is broken"
        result = self._apply(event)
        self.messages.append(message)
        self.events.append(event)
        self.results.append(result)
        return result

    def _apply(self, event: Event) -> EventResult:
        body = event.body
        if isinstance(body, Reversal):
            session = self.sessions.setdefault(body.session_id, ServerSession(card="", held_fen=0, minutes=1))
            assert session.state in {SessionState.HELD, SessionState.REVERSED}, "reversed what had started"
            session.state, session.held_fen = SessionState.REVERSED, 0
        elif isinstance(body, Started | Meter | Ended):
            if isinstance(body, Started) and body.offline is not None:
                self._take_in(body.session_id, body.offline)
            session = self.sessions[body.session_id]
            if isinstance(body, Started):
                assert session.state is SessionState.HELD
                session.state = SessionState.ACTIVE
            elif isinstance(body, Ended):
                return self._capture(event.seq, body, session)
        return EventResult(seq=event.seq, status=EventStatus.ACCEPTED)

    def _take_in(self, session_id: UUID, grant: OfflineGrant) -> None:
        held = ServerSession(card=f"offline {grant.card}", held_fen=grant.limit_fen, minutes=grant.minutes)
        assert session_id not in self.sessions
        self.sessions[session_id] = held
        self.balances_fen.setdefault(held.card, 0)

    def _capture(self, seq: int, ended: Ended, session: ServerSession) -> EventResult:
        assert session.charged_fen is None, "charged twice"
        minutes = max(1, -(-whole_seconds(ended.elapsed_ms) // 60))
        session.charged_fen = min(minutes * FEN_PER_MINUTE, session.held_fen)
        session.state, session.held_fen = SessionState.ENDED, 0
        self.balances_fen[session.card] -= session.charged_fen
        return EventResult(
            seq=seq,
            status=EventStatus.ACCEPTED,
            session_id=ended.session_id,
            amount_fen=session.charged_fen,
            balance_fen=self.balances_fen[session.card],
            receipt=f"R-{seq}",
        )

"""Signed messages of terminals: who sent them, whether they came before, and where they stand in the chain.

The order of checks is the protocol's: signature, stored answer, clock, question. What a message means is not decided
here; the caller brings a function for that.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.devices.models import EventOutcome, Terminal, TerminalAnswer, TerminalEvent, TerminalStatus
from card_terminal import protocol
from card_terminal.protocol import ProtocolError, RefusalCode
from card_terminal.protocol.answers import Answer
from card_terminal.protocol.shapes import parse, to_dict

APP_VERSION_MIN = (0, 1)
# These say nothing about the question, so the same question may be asked again and answered.
NOT_STORED = frozenset({RefusalCode.CLOCK_SKEW, RefusalCode.RETRY, RefusalCode.DEVICE_PENDING})
HTTP_OK = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What goes back over the wire."""

    status: int
    body: dict[str, Any]


class UnfitEvent(Exception):  # noqa: N818 - an outcome of an event, not a fault
    """An event cannot have its effect: all of it is taken back, and the event waits for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an event did to its session, or why it waits for a person."""

    outcome: EventOutcome
    reason: str = ""
    amount_fen: int | None = None
    balance_fen: int | None = None
    receipt: str | None = None


ACCEPTED = Effect(outcome=EventOutcome.ACCEPTED)
Question = Callable[[Session, Terminal, Any], Answer | RefusalCode]
Apply = Callable[[Session, Terminal, protocol.Event], Effect]
Guard = Callable[[Session, Terminal, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """What of an event must be readable to keep it at all: its place in the chain."""

    seq: int
    prev: str


def parked(reason: str) -> Effect:
    """Say that an event waits for a person, and why."""
    return Effect(outcome=EventOutcome.PARKED, reason=reason)


def epoch_ms(at: datetime) -> int:
    """Give a moment as messages carry it."""
    return int(at.astimezone(UTC).timestamp() * 1000)


def from_epoch_ms(moment_ms: int) -> datetime:
    """Read a moment as messages carry it."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def answer_query(
    session: Session, *, message: str, name: str, at: datetime, question: Question, guard: Guard | None = None
) -> Answered:
    """Answer a signed query once: the same message again, also at the same time, has no second effect.

    `question` gives the answer, or the code of a refusal whose traces are to be kept; a ProtocolError that it raises is
    a refusal without traces. `guard` may refuse before the question is looked at, and keeps what it counts. Raises
    ProtocolError: SIG_INVALID, DEVICE_REVOKED, DEVICE_PENDING, MESSAGE_INVALID, CLOCK_SKEW, IDEMPOTENCY_CONFLICT,
    APP_TOO_OLD; of these nothing is kept.
    """
    terminal, key = _sender(session, message, message_type=protocol.MessageType.QUERY)
    query = protocol.read_query(message, key=key, name=name)
    if terminal.status is TerminalStatus.REVOKED:
        raise ProtocolError(RefusalCode.DEVICE_REVOKED, terminal.code)
    if terminal.status is not TerminalStatus.ENROLLED:
        raise ProtocolError(RefusalCode.DEVICE_PENDING, terminal.code)
    message_hash = hashlib.sha256(message.encode()).digest()
    if not _claim(session, terminal_id=terminal.id, mid=query.mid, message_hash=message_hash, at=at):
        # Answered before, or just now by somebody else, for whose commit the claim has waited.
        return _again(session.get_one(TerminalAnswer, (terminal.id, query.mid)), message_hash)
    check_clock(query, at=at)  # where it is refused, the claim goes with it
    if guard is not None:
        guard(session, terminal, query.body)
    answered, code = _ask(session, terminal, query.body, question=question, at=at)
    if code in NOT_STORED:
        session.execute(delete(TerminalAnswer).where(*_is(terminal.id, query.mid)))
    else:
        session.execute(
            update(TerminalAnswer)
            .where(*_is(terminal.id, query.mid))
            .values(http_status=answered.status, answer=answered.body)
        )
    return answered


def refused(code: RefusalCode, *, at: datetime) -> Answered:
    """Give a refusal as it travels."""
    return Answered(status=protocol.refusal(code).http_status, body=protocol.refuse(code, server_time=epoch_ms(at)))


def accepted(answer: Answer | protocol.EventsAnswer) -> Answered:
    """Give an answer as it travels."""
    return Answered(status=HTTP_OK, body=protocol.accept(answer))


def check_clock(query: protocol.Query, *, at: datetime) -> None:
    """Raise ProtocolError CLOCK_SKEW where the asker's clock is too far from ours for its question to be of now."""
    skew_ms = query.st - epoch_ms(at)
    if timedelta(milliseconds=abs(skew_ms)) > clock.allowing(timedelta(milliseconds=protocol.CLOCK_SKEW_MAX_MS)):
        raise ProtocolError(RefusalCode.CLOCK_SKEW, f"{skew_ms} ms")


def check_app_version(app_version: str) -> None:
    """Refuse programs that do not speak this protocol well enough. Raises ProtocolError APP_TOO_OLD."""
    numbers = tuple(int(part) for part in app_version.split(".")[:2] if part.isascii() and part.isdigit())
    if numbers < APP_VERSION_MIN:
        raise ProtocolError(RefusalCode.APP_TOO_OLD, app_version)


def receive_event(session: Session, *, message: str, at: datetime, apply: Apply) -> protocol.EventResult:
    """Keep one event for good and let it have its effect, once; the same event again gets the same result.

    `apply` gives the effect, or raises UnfitEvent.

    Whatever is signed and in its place in the chain is accepted or parked, never refused: a terminal that hears an
    error repeats for ever. Raises ProtocolError: SIG_INVALID, MESSAGE_INVALID (no place in the chain to be read),
    SEQ_GAP; DEVICE_PENDING until a person has compared its fingerprint, DEVICE_REVOKED if none ever did.
    """
    terminal, key = _sender(session, message, message_type=protocol.MessageType.EVENT, lock=True)
    payload = protocol.verify(message, key=key, message_type=protocol.MessageType.EVENT)
    link = parse(_Link, payload, strict=False)
    message_hash = protocol.chain_hash(message)
    if link.seq <= 0:
        raise protocol.MessageError("message.seq must be positive")
    if terminal.status is TerminalStatus.COMPARING:
        # Nobody has said yet that this is the terminal. It keeps its events and brings them again.
        raise ProtocolError(RefusalCode.DEVICE_PENDING, terminal.code)
    if terminal.status is TerminalStatus.REVOKED and terminal.approved_at is None:
        # A key that was never taken is a stranger's, and its word is nobody's work.
        raise ProtocolError(RefusalCode.DEVICE_REVOKED, terminal.code)
    if link.seq <= terminal.last_seq:
        return _earlier_event(session, terminal, message=message, payload=payload, link=link, at=at)
    if link.seq > terminal.last_seq + 1:
        raise ProtocolError(RefusalCode.SEQ_GAP, f"{terminal.last_seq} then {link.seq}")
    event, effect = _effect(session, terminal, payload=payload, link=link, apply=apply)
    result = _result(link.seq, event=event, effect=effect)
    _keep(session, terminal, message=message, event=event, effect=effect, result=result, at=at)
    terminal.last_seq = link.seq
    terminal.last_event_hash = message_hash
    terminal.last_seen_at = at
    return result


def acked_seq(session: Session, *, message: str) -> int:
    """Give how far the chain of the sender of `message` is kept. Raises ProtocolError SIG_INVALID."""
    return _sender(session, message, message_type=protocol.MessageType.EVENT)[0].last_seq


def forget_answers(session: Session, *, before: datetime, limit: int) -> int:
    """Drop stored answers that no terminal will ask for any more; give how many."""
    old = (
        select(TerminalAnswer.terminal_id, TerminalAnswer.mid)
        .where(TerminalAnswer.received_at < before)
        .limit(limit)
        .subquery()
    )
    gone = session.execute(
        delete(TerminalAnswer)
        .where(TerminalAnswer.terminal_id == old.c.terminal_id, TerminalAnswer.mid == old.c.mid)
        .returning(TerminalAnswer.mid)
    )
    return len(gone.all())


def _sender(
    session: Session, message: str, *, message_type: protocol.MessageType, lock: bool = False
) -> tuple[Terminal, Ed25519PublicKey]:
    header = protocol.read_header(message)
    try:
        terminal_id = UUID(header.key_id)
    except ValueError as error:
        raise protocol.SignatureError("the kid is no device id") from error
    terminal = session.get(
        Terminal, terminal_id, with_for_update={"key_share": True} if lock else None, populate_existing=lock
    )
    if terminal is None or terminal.public_key is None or header.message_type is not message_type:
        raise protocol.SignatureError("not signed by an enrolled terminal for this use")
    return terminal, Ed25519PublicKey.from_public_bytes(terminal.public_key)


def _claim(session: Session, *, terminal_id: UUID, mid: UUID, message_hash: bytes, at: datetime) -> bool:
    """Put a row in the place of the answer to come; a second message with this id waits for our commit."""
    return (
        session.scalar(
            insert(TerminalAnswer)
            .values(
                terminal_id=terminal_id,
                mid=mid,
                message_hash=message_hash,
                http_status=HTTP_OK,
                answer={},
                received_at=at,
            )
            .on_conflict_do_nothing()
            .returning(TerminalAnswer.mid)
        )
        is not None
    )


def _again(stored: TerminalAnswer, message_hash: bytes) -> Answered:
    if stored.message_hash != message_hash:
        raise ProtocolError(RefusalCode.IDEMPOTENCY_CONFLICT, str(stored.mid))
    return Answered(status=stored.http_status, body=stored.answer)


def _ask(
    session: Session, terminal: Terminal, body: protocol.QueryBody, *, question: Question, at: datetime
) -> tuple[Answered, RefusalCode | None]:
    try:
        with session.begin_nested():
            answer = question(session, terminal, body)
    except ProtocolError as error:
        log.info("query_refused", terminal=terminal.code, code=str(error.code), detail=error.detail[:120])
        answer = error.code
    if isinstance(answer, RefusalCode):
        return refused(answer, at=at), answer
    return accepted(answer), None


def _is(terminal_id: UUID, mid: UUID) -> tuple[Any, Any]:
    return TerminalAnswer.terminal_id == terminal_id, TerminalAnswer.mid == mid


def _effect(
    session: Session, terminal: Terminal, *, payload: dict[str, Any], link: _Link, apply: Apply
) -> tuple[protocol.Event | None, Effect]:
    event = _read(payload)
    if event is None:
        return None, parked("MESSAGE_INVALID")
    if link.prev != terminal.last_event_hash:
        return event, parked("CHAIN_BROKEN")
    if terminal.status is TerminalStatus.REVOKED:
        return event, parked(RefusalCode.DEVICE_REVOKED)
    try:
        with session.begin_nested():
            return event, apply(session, terminal, event)
    except UnfitEvent as error:
        log.warning("event_unfit", terminal=terminal.code, seq=link.seq, reason=error.reason, detail=str(error))
        return event, parked(error.reason)


def _earlier_event(
    session: Session, terminal: Terminal, *, message: str, payload: dict[str, Any], link: _Link, at: datetime
) -> protocol.EventResult:
    message_hash = protocol.chain_hash(message)
    known = session.get(TerminalEvent, (terminal.id, link.seq, message_hash))
    if known is not None:
        return _read_result(known.answer, status=protocol.EventStatus.DUPLICATE)
    # A terminal that was set back to an old backup numbers anew: its word is kept, for a person to weigh.
    event, effect = _read(payload), parked("SEQ_USED_TWICE")
    result = _result(link.seq, event=event, effect=effect)
    _keep(session, terminal, message=message, event=event, effect=effect, result=result, at=at)
    return result


def _read(payload: dict[str, Any]) -> protocol.Event | None:
    try:
        return protocol.parse_event(payload)
    except protocol.MessageError:
        return None


def _keep(
    session: Session,
    terminal: Terminal,
    *,
    message: str,
    event: protocol.Event | None,
    effect: Effect,
    result: protocol.EventResult,
    at: datetime,
) -> None:
    session.add(
        TerminalEvent(
            terminal_id=terminal.id,
            seq=result.seq,
            message_hash=protocol.chain_hash(message),
            message=message,
            chained=result.seq == terminal.last_seq + 1,
            kind=str(event.kind) if event else "unreadable",
            session_id=result.session_id,
            body=to_dict(event.body) if event else {},
            outcome=effect.outcome,
            reason=effect.reason,
            answer=to_dict(result),
            received_at=at,
        )
    )
    session.flush()


def _result(seq: int, *, event: protocol.Event | None, effect: Effect) -> protocol.EventResult:
    return protocol.EventResult(
        seq=seq,
        status=protocol.EventStatus(effect.outcome.value),
        reason=effect.reason or None,
        session_id=getattr(event.body, "session_id", None) if event else None,
        amount_fen=effect.amount_fen,
        balance_fen=effect.balance_fen,
        receipt=effect.receipt,
    )


def _read_result(stored: dict[str, Any], *, status: protocol.EventStatus) -> protocol.EventResult:
    return parse(protocol.EventResult, {**stored, "status": status.value})

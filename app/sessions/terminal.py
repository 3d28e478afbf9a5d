"""The doors of the tap: a card shown, money held, a hold made bigger, and what a terminal reports afterwards.

`hello` and `card/begin` stand here and not with devices and cards, because their answers tell of sessions.
"""

import functools
from datetime import datetime

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from app import clock
from app.cards import exchanges, numbers
from app.cards.models import Card
from app.devices import configuration, limits, messages, wire
from app.devices import service as devices
from app.devices.messages import Answered, Effect
from app.devices.models import Terminal
from app.sessions import service
from app.sessions.offline import lists, uploads
from app.web import database, settings
from card_terminal import protocol
from card_terminal.protocol import ProtocolError, RefusalCode

blueprint = Blueprint(
    "sessions_terminal", __name__, url_prefix="/terminal/v1", description="Card terminals: taps, holds and events."
)


@blueprint.route("/hello", methods=["POST"])
@blueprint.doc(**wire.documented("Say how the terminal is, at start and every minute."))
def hello() -> Response:
    """Give the server's time, how far the events are kept, and what it holds for the running session."""
    at = clock.now()

    def question(session: Session, terminal: Terminal, said: protocol.Hello) -> protocol.HelloAnswer:
        messages.check_app_version(said.app_version)
        devices.heard_from(session, terminal_id=terminal.id, hello=said, at=at)
        return protocol.HelloAnswer(
            server_time=messages.epoch_ms(at),
            acked_seq=terminal.last_seq,
            config_version=configuration.current(
                session, terminal=terminal, zone=settings().site_timezone, help_phone=settings().help_phone, at=at
            ).version,
            session_state=service.state_of(session, session_id=said.session_id, terminal=terminal)
            if said.session_id
            else None,
            offline_version=lists.heard(session, terminal=terminal, hello=said, at=at),
        )

    return wire.answer_query("hello", question, at=at)


@blueprint.route("/offline-list", methods=["POST"])
@blueprint.doc(**wire.documented("Give the list of who may start here while the server is away, signed by the server."))
def offline_list() -> Response:
    """Give the newest list of this terminal, the cards' offline keys sealed for the key that it brings."""
    at = clock.now()

    def question(session: Session, terminal: Terminal, asked: protocol.OfflineListQuery) -> protocol.OfflineListAnswer:
        return lists.signed(session, terminal=terminal, asked=asked, settings=settings(), at=at)

    return wire.answer_query("offline-list", question, at=at)


@blueprint.route("/card/begin", methods=["POST"])
@blueprint.doc(**wire.documented("Show a card; a one-use token is the answer, or what to ask the chip."))
def card_begin() -> Response:
    """Prove a card and say what its holder may do at this instrument, or begin to let its chip prove itself."""
    at = clock.now()

    def question(
        session: Session, terminal: Terminal, asked: protocol.CardBegin
    ) -> protocol.CardBeginAnswer | protocol.CardExchange | RefusalCode:
        if isinstance(asked.card, protocol.Ev2Card):
            return _exchange(exchanges.begin(session, terminal=terminal, shown=asked.card, at=at), at=at)
        try:
            begun = service.begin(session, terminal=terminal, shown=asked.card, settings=settings(), at=at)
            _limit_card(session, begun.card, at=at)
            return _begun(begun, at=at)
        except ProtocolError as error:
            unknown = isinstance(asked.card, protocol.UidCard) and error.code is RefusalCode.CARD_UNKNOWN
            if unknown and not settings().takes_uid_cards:
                return RefusalCode.CARD_UNSUPPORTED
            # Also a tap that was refused opened keys and used up its message; both are to be kept.
            return _kept(error)

    return wire.answer_query("card/begin", question, at=at, guard=functools.partial(_limit_taps, at=at))


@blueprint.route("/card/step", methods=["POST"])
@blueprint.doc(**wire.documented("Bring a chip's answers; what to ask it next is the answer, or at the end a token."))
def card_step() -> Response:
    """Go on with a chip that proves itself, and at the end say what its holder may do at this instrument."""
    at = clock.now()

    def question(session: Session, terminal: Terminal, said: protocol.CardStep) -> protocol.CardExchange | RefusalCode:
        found = exchanges.go_on(
            session, terminal=terminal, said=said, key_encryption_key=settings().key_encryption_key, at=at
        )
        if isinstance(found, RefusalCode):
            return found
        if isinstance(found, exchanges.Asking):
            return _exchange(found, at=at)
        try:
            begun = service.welcome(session, terminal=terminal, card=found, by_chip=True, settings=settings(), at=at)
            _limit_card(session, begun.card, at=at)
        except ProtocolError as error:
            # The chip has proved itself all the same, and its exchange is used.
            return _kept(error)
        end = exchanges.Asking(exchange_id=said.exchange_id, step=said.step + 1, apdus=())
        return _exchange(end, begun=_begun(begun, at=at), at=at)

    return wire.answer_query("card/step", question, at=at)


def _kept(error: ProtocolError) -> RefusalCode:
    """Give a refusal whose traces are to be kept; raises one that may succeed later, of which none may stay."""
    if error.code in messages.NOT_STORED:
        raise error
    return error.code


def _limit_taps(session: Session, terminal: Terminal, _asked: object, *, at: datetime) -> None:
    """Refuse, for a minute at most, what no person's hand can do. Raises ProtocolError RETRY."""
    taps = limits.count(session, f"tap terminal {terminal.id}", window=limits.MINUTE, at=at)
    if taps > settings().taps_per_terminal_max:
        raise ProtocolError(RefusalCode.RETRY, f"{taps} taps in a minute")


def _limit_card(session: Session, card: Card, *, at: datetime) -> None:
    taps = limits.count(session, f"tap card {card.id}", window=limits.MINUTE, at=at)
    if taps > settings().taps_per_card_max:
        raise ProtocolError(RefusalCode.RETRY, f"{taps} taps of one card in a minute")


def _limit_pins(session: Session, terminal: Terminal, asked: protocol.SessionAuthorize, *, at: datetime) -> None:
    """Refuse PINs at a terminal where too many were wrong, whosever cards they were. Raises ProtocolError RETRY."""
    limit, key = settings().wrong_pins_per_terminal_max, _wrong_pins(terminal)
    if asked.pin is not None and limits.reached(session, key, limit=limit, window=limits.TEN_MINUTES, at=at):
        raise ProtocolError(RefusalCode.RETRY, "too many wrong PINs here")


def _wrong_pins(terminal: Terminal) -> str:
    return f"wrong pin terminal {terminal.id}"


def _exchange(
    asking: exchanges.Asking, *, begun: protocol.CardBeginAnswer | None = None, at: datetime
) -> protocol.CardExchange:
    return protocol.CardExchange(
        exchange_id=asking.exchange_id,
        step=asking.step,
        apdus=tuple(each.hex().upper() for each in asking.apdus),
        server_time=messages.epoch_ms(at),
        begun=begun,
    )


def _begun(begun: service.Begun, *, at: datetime) -> protocol.CardBeginAnswer:
    return protocol.CardBeginAnswer(
        token=begun.token,
        card=numbers.masked_number(begun.card.face_number),
        name_masked=numbers.masked_name(begun.card.holder.name),
        pin_required=begun.pin_required,
        actions=begun.actions,
        available_fen=begun.available_fen,
        price=begun.terms.words if begun.terms else protocol.Words(zh="", en=""),
        server_time=messages.epoch_ms(at),
        session_id=begun.open_session_id,
        minutes_max=begun.minutes_max,
        hold_minutes=begun.hold_minutes,
        hold_fen=begun.hold_fen,
    )


@blueprint.route("/session/authorize", methods=["POST"])
@blueprint.doc(**wire.documented("Hold the price of a session before it starts."))
def session_authorize() -> Response:
    """Hold the money, or refuse with a code and both languages."""
    at = clock.now()

    def question(
        session: Session, terminal: Terminal, asked: protocol.SessionAuthorize
    ) -> protocol.AuthorizeAnswer | RefusalCode:
        decision = service.authorize(session, terminal=terminal, asked=asked, settings=settings(), at=at)
        if isinstance(decision, RefusalCode):
            if asked.pin is not None and decision in (RefusalCode.PIN_WRONG, RefusalCode.PIN_LOCKED):
                limits.count(session, _wrong_pins(terminal), window=limits.TEN_MINUTES, at=at)
            return decision
        return protocol.AuthorizeAnswer(
            session_id=decision.row.id,
            held_fen=decision.row.held_fen,
            minutes=decision.row.minutes,
            latest_end_ms=messages.epoch_ms(decision.row.latest_end_at),
            tariff=decision.terms.for_terminal(minutes=decision.row.minutes, at=at),
            available_fen=decision.available_fen,
            server_time=messages.epoch_ms(at),
        )

    return wire.answer_query("session/authorize", question, at=at, guard=functools.partial(_limit_pins, at=at))


@blueprint.route("/session/extend", methods=["POST"])
@blueprint.doc(**wire.documented("Make the hold of a running session bigger."))
def session_extend() -> Response:
    """Hold for more minutes, or refuse with a code and both languages."""
    at = clock.now()

    def question(
        session: Session, terminal: Terminal, asked: protocol.SessionExtend
    ) -> protocol.ExtendAnswer | RefusalCode:
        decision = service.extend(session, terminal=terminal, asked=asked, settings=settings(), at=at)
        if isinstance(decision, RefusalCode):
            return decision
        return protocol.ExtendAnswer(
            session_id=decision.row.id,
            held_fen=decision.row.held_fen,
            minutes_total=decision.row.minutes,
            latest_end_ms=messages.epoch_ms(decision.row.latest_end_at),
            available_fen=decision.available_fen,
            server_time=messages.epoch_ms(at),
        )

    return wire.answer_query("session/extend", question, at=at)


@blueprint.route("/events", methods=["POST"])
@blueprint.doc(**wire.documented("Report what happened, in order.", body=wire.EVENTS))
def events() -> Response:
    """Keep up to 50 events, each in its own transaction: what is answered is stored, whatever comes after it."""
    return wire.answer(lambda: _receive(protocol.read_events_body(wire.read_body()), at=clock.now()))


def _receive(received: tuple[str, ...], *, at: datetime) -> Answered:
    results: list[protocol.EventResult] = []
    for message in received:
        try:
            results.append(database().run(functools.partial(_receive_one, message=message, at=at)))
        except ProtocolError as error:
            if error.code is not RefusalCode.SEQ_GAP:
                raise
            return _gap(message, at=at)
    with database().reader() as session:
        acked_seq = messages.acked_seq(session, message=received[-1])
    return messages.accepted(
        protocol.EventsAnswer(results=tuple(results), acked_seq=acked_seq, server_time=messages.epoch_ms(at))
    )


def _receive_one(session: Session, *, message: str, at: datetime) -> protocol.EventResult:
    def apply(session: Session, terminal: Terminal, event: protocol.Event) -> Effect:
        return uploads.apply_event(session, terminal, event, at=at)

    return messages.receive_event(session, message=message, at=at, apply=apply)


def _gap(message: str, *, at: datetime) -> Answered:
    """Say how far the chain is kept, so that the terminal knows from where to send again."""
    with database().reader() as session:
        acked_seq = messages.acked_seq(session, message=message)
    refused = messages.refused(RefusalCode.SEQ_GAP, at=at)
    return Answered(status=refused.status, body={**refused.body, "acked_seq": acked_seq})

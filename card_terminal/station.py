"""The program of a personalisation station: it carries APDUs between a chip and the server, and knows no key."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from card_terminal.client import Answered, Client, Outcome, Refused
from card_terminal.protocol import RefusalCode, StationAnswer, StationBegin, StationStep, TapState
from card_terminal.readers.apdu import ApduCard, transmit_all

STEPS_MAX = 30
POLL_S = 0.3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapResult:
    """How a tap ended, in the words for the screen."""

    state: TapState
    text_zh: str
    text_en: str


_NO_SERVER = TapResult(
    state=TapState.ENDED,
    text_zh="无法连接服务器，请重新放上卡片",
    text_en="No answer from the server: put the card on again",
)


def relay(client: Client, card: ApduCard, *, show: Callable[[StationAnswer], None] | None = None) -> TapResult:
    """Carry one tap through, from the card put down to its end; `show` is told of every answer of the server."""
    outcome: Outcome[StationAnswer] = client.ask(
        StationBegin(uid=card.uid.hex().upper(), atr=card.atr.hex().upper()), StationAnswer
    )
    for _ in range(STEPS_MAX):
        if not isinstance(outcome, Answered):
            return _refused(outcome)
        answer = outcome.answer
        if show is not None:
            show(answer)
        if answer.state is not TapState.GO_ON:
            return TapResult(state=answer.state, text_zh=answer.text_zh, text_en=answer.text_en)
        answers, gone = transmit_all(card, [bytes.fromhex(each) for each in answer.apdus])
        step = StationStep(
            exchange_id=answer.exchange_id,
            step=answer.step,
            answers=tuple(each.hex().upper() for each in answers),
            gone=gone,
        )
        outcome = client.ask(step, StationAnswer)
    return _NO_SERVER


def serve(
    client: Client,
    *,
    next_card: Callable[[], ApduCard | None],
    show: Callable[[str, str], None],
    stopping: threading.Event,
) -> None:
    """Relay every card that is put down, until told to stop. `next_card` gives one once for each time it comes."""
    while not stopping.is_set():
        card = next_card()
        if card is None:
            stopping.wait(POLL_S)
            continue
        started = time.monotonic()
        result = relay(client, card, show=lambda answer: show(answer.text_zh, answer.text_en))
        show(result.text_zh, result.text_en)
        _log.info("tap", state=str(result.state), seconds=round(time.monotonic() - started, 2))


def _refused(outcome: Outcome[StationAnswer]) -> TapResult:
    if not isinstance(outcome, Refused):
        return _NO_SERVER
    _log.info("station_refused", code=outcome.refusal.code)
    said = outcome.refusal
    advice = outcome.code is RefusalCode.STATION_IDLE
    return TapResult(
        state=TapState.ENDED,
        text_zh=f"{said.message.zh}。{said.advice.zh}" if advice else said.message.zh,
        text_en=f"{said.message.en}. {said.advice.en}" if advice else said.message.en,
    )

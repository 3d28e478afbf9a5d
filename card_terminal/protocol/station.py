"""What a personalisation station and the server say to each other: a card was put down, these are its answers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from card_terminal.protocol.fields import Count, EpochMs, Hex, ShortText, Uid
from card_terminal.protocol.shapes import AtMost, Between

APDUS_MAX = 20


class TapState(StrEnum):
    """What the station does next."""

    GO_ON = "go_on"
    DONE = "done"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StationBegin:
    """A chip was put on the station: its UID in anticollision order, and what the reader tells of it."""

    NAME: ClassVar = "station/begin"
    uid: Uid
    atr: Hex = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationStep:
    """The chip's answers to the last APDUs, as many as came; `gone`: it was taken away before all had come."""

    NAME: ClassVar = "station/step"
    exchange_id: UUID
    step: Count
    answers: Annotated[tuple[Hex, ...], AtMost(APDUS_MAX)]
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StationAnswer:
    """What to send to the chip now, one after the other, up to the first that it refuses; and what to show.

    An answer that ends in 9000, 9100 or 91AF is no refusal. With another state than `go_on` the tap is over.
    """

    exchange_id: UUID
    step: Count
    state: TapState
    apdus: Annotated[tuple[Hex, ...], AtMost(APDUS_MAX)]
    text_zh: ShortText
    text_en: ShortText
    server_time: EpochMs
    percent: Annotated[int, Between(0, 100)] = 0

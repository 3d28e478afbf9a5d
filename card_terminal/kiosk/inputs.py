"""What the page, or a program in its place, may send to a terminal."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from card_terminal.protocol import MessageError
from card_terminal.protocol.fields import Minutes, Pin
from card_terminal.protocol.shapes import Text, parse


class Choice(StrEnum):
    """The buttons."""

    CONFIRM = "confirm"
    BACK = "back"
    PIN = "pin"
    CALL = "call"
    TAKE_OVER = "take_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """A card of the folder is held to the simulated reader, perhaps by somebody who knows what will be asked."""

    card: Annotated[str, Text(60)]
    pin: Pin | None = field(default=None, repr=False)
    minutes: Minutes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceMade:
    """A button was pressed."""

    action: Choice
    pin: Pin | None = field(default=None, repr=False)


def read_tap(value: object) -> Tap:
    """Read the body of POST /tap. Raises MessageError."""
    return parse(Tap, value, where="tap")


def read_choice(value: object) -> ChoiceMade:
    """Read the body of POST /choose. Raises MessageError, also for a PIN button without a PIN."""
    choice = parse(ChoiceMade, value, where="choice")
    if (choice.action is Choice.PIN) != (choice.pin is not None):
        raise MessageError("choice.pin belongs to the action pin, and to no other")
    return choice

"""The states of the terminal, and everything that may lead from one to another."""

from enum import StrEnum


class State(StrEnum):
    """What the terminal is doing, and so which screen it shows."""

    IDLE = "idle"
    READING = "reading"
    AUTH = "auth"
    PIN = "pin"
    CONFIRM = "confirm"
    AUTHORIZING = "authorizing"
    ACTIVE = "active"
    OTHER = "other"
    CALLING = "calling"
    TAKING_OVER = "taking_over"
    ENDING = "ending"
    RECEIPT = "receipt"
    REVERSING = "reversing"
    REFUSED = "refused"


class Signal(StrEnum):
    """What can happen."""

    TAPPED = "tapped"
    READ = "read"
    KNOWN = "known"
    PIN_NEEDED = "pin_needed"
    PIN_ENTERED = "pin_entered"
    CONFIRMED = "confirmed"
    GRANTED = "granted"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    OWN_CARD = "own_card"
    OTHER_CARD = "other_card"
    CALLED = "called"
    TAKE_OVER = "take_over"
    ENDED = "ended"
    BACK = "back"
    TIMED_OUT = "timed_out"
    RESUMED = "resumed"
    UNCERTAIN = "uncertain"


TRANSITIONS: dict[tuple[State, Signal], State] = {
    # after a restart
    (State.IDLE, Signal.RESUMED): State.ACTIVE,
    (State.IDLE, Signal.UNCERTAIN): State.AUTHORIZING,
    # tap to start
    (State.IDLE, Signal.TAPPED): State.READING,
    (State.READING, Signal.READ): State.AUTH,
    (State.AUTH, Signal.KNOWN): State.CONFIRM,
    (State.AUTH, Signal.PIN_NEEDED): State.PIN,
    (State.AUTH, Signal.REFUSED): State.REFUSED,
    (State.PIN, Signal.PIN_ENTERED): State.CONFIRM,
    (State.PIN, Signal.BACK): State.IDLE,
    (State.PIN, Signal.TIMED_OUT): State.IDLE,
    (State.PIN, Signal.TAPPED): State.READING,
    (State.CONFIRM, Signal.CONFIRMED): State.AUTHORIZING,
    (State.CONFIRM, Signal.BACK): State.IDLE,
    (State.CONFIRM, Signal.TAPPED): State.READING,
    (State.AUTHORIZING, Signal.GRANTED): State.ACTIVE,
    (State.AUTHORIZING, Signal.PIN_NEEDED): State.PIN,
    (State.AUTHORIZING, Signal.REFUSED): State.REFUSED,
    (State.AUTHORIZING, Signal.NO_ANSWER): State.REVERSING,
    (State.REVERSING, Signal.TIMED_OUT): State.IDLE,
    (State.REVERSING, Signal.TAPPED): State.READING,
    (State.REFUSED, Signal.TIMED_OUT): State.IDLE,
    (State.REFUSED, Signal.BACK): State.IDLE,
    (State.REFUSED, Signal.TAPPED): State.READING,
    # tap to end
    (State.ACTIVE, Signal.OWN_CARD): State.ENDING,
    (State.ACTIVE, Signal.OTHER_CARD): State.OTHER,
    (State.ACTIVE, Signal.ENDED): State.RECEIPT,
    (State.OTHER, Signal.OWN_CARD): State.ENDING,
    (State.OTHER, Signal.OTHER_CARD): State.OTHER,
    (State.OTHER, Signal.BACK): State.ACTIVE,
    (State.OTHER, Signal.TIMED_OUT): State.ACTIVE,
    (State.OTHER, Signal.ENDED): State.RECEIPT,
    (State.OTHER, Signal.CALLED): State.CALLING,
    (State.CALLING, Signal.OWN_CARD): State.ENDING,
    (State.CALLING, Signal.OTHER_CARD): State.OTHER,
    (State.CALLING, Signal.BACK): State.ACTIVE,
    (State.CALLING, Signal.TIMED_OUT): State.ACTIVE,
    (State.CALLING, Signal.ENDED): State.RECEIPT,
    # Only a second press ends another's session; nothing here does it by itself.
    (State.OTHER, Signal.TAKE_OVER): State.TAKING_OVER,
    (State.TAKING_OVER, Signal.OWN_CARD): State.ENDING,
    (State.TAKING_OVER, Signal.BACK): State.ACTIVE,
    (State.TAKING_OVER, Signal.TIMED_OUT): State.ACTIVE,
    (State.TAKING_OVER, Signal.ENDED): State.RECEIPT,
    (State.TAKING_OVER, Signal.KNOWN): State.CONFIRM,
    (State.TAKING_OVER, Signal.PIN_NEEDED): State.PIN,
    (State.ENDING, Signal.BACK): State.ACTIVE,
    (State.ENDING, Signal.ENDED): State.RECEIPT,
    (State.RECEIPT, Signal.TIMED_OUT): State.IDLE,
    (State.RECEIPT, Signal.BACK): State.IDLE,
    (State.RECEIPT, Signal.TAPPED): State.READING,
}


class FlowError(Exception):
    """Something happened that this state does not know: a fault of the program, not of a person."""


def after(state: State, signal: Signal) -> State:
    """Give the state that follows. Raises FlowError."""
    try:
        return TRANSITIONS[state, signal]
    except KeyError:
        raise FlowError(f"{signal} cannot happen in {state}") from None


def allows(state: State, signal: Signal) -> bool:
    """Tell whether a person or a device may do this now."""
    return (state, signal) in TRANSITIONS

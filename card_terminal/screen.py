"""What the terminal shows at one moment: an immutable value that the page reads while the terminal goes on."""

from dataclasses import dataclass, field
from uuid import UUID

from card_terminal.flow import State
from card_terminal.offline.rules import Allowed
from card_terminal.protocol import Bilingual, CardBeginAnswer, RefusalAnswer, RefusalCode, refusal
from card_terminal.session import RunningSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A refusal as it stands on the screen."""

    code: str
    number: int
    message: Bilingual
    advice: Bilingual


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A person who has shown a card and has not started yet."""

    answer: CardBeginAnswer
    card_mark: str
    session_id: UUID
    minutes: int
    pin: str | None = field(default=None, repr=False)
    offline: Allowed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A session that is over here; what it cost is known as soon as the server has said so."""

    session_id: UUID
    card: str
    name_masked: str
    elapsed_ms: int
    lower_bound: bool
    by_limit: bool
    estimate_fen: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The state and all that its page needs. `until_mono_ms` is when it passes by itself."""

    state: State = State.IDLE
    since_mono_ms: int = 0
    until_mono_ms: int | None = None
    session: RunningSession | None = None
    candidate: Candidate | None = None
    notice: Notice | None = None
    receipt: Receipt | None = None


def local_notice(code: RefusalCode) -> Notice:
    """Give a refusal that the terminal decides itself."""
    said = refusal(code)
    return Notice(code=str(code), number=said.number, message=said.message, advice=said.advice)


def server_notice(answer: RefusalAnswer) -> Notice:
    """Give a refusal in the server's words, so that also a reason newer than this program can be read."""
    return Notice(
        code=answer.code,
        number=answer.number,
        message=Bilingual(zh=answer.message.zh, en=answer.message.en),
        advice=Bilingual(zh=answer.advice.zh, en=answer.advice.en),
    )

"""What the terminal does with a card when the server gives no answer: rules first, then the chip's own proof."""

from uuid import UUID

from card_terminal.offline.book import OfflineBook
from card_terminal.offline.proof import proves_itself
from card_terminal.offline.rules import Allowed
from card_terminal.protocol import Action, CardBeginAnswer, RefusalCode
from card_terminal.readers import Reading
from card_terminal.session import MS_PER_MINUTE, RunningSession


class OfflineDesk:
    """Stands in for the server, within the bounds of its list."""

    def __init__(self, book: OfflineBook) -> None:
        self._book = book

    def meet(self, reading: Reading) -> Allowed | RefusalCode:
        """Say whether this card may start, after it has proved itself; the chip is asked only where it may matter."""
        decision = self._book.decide(reading.identity)
        if isinstance(decision, RefusalCode):
            return decision
        if reading.chip is None or not self._book.spend_attempt(decision.card):
            return RefusalCode.CARD_AUTH_FAILED
        key = self._book.key_of(decision.card.uid)
        if key is None:
            # The server came back for a moment, and its word was another one.
            return RefusalCode.OFFLINE_CARD_NOT_LISTED
        if not proves_itself(reading.chip, uid=decision.card.uid, key=key):
            return RefusalCode.CARD_AUTH_FAILED
        self._book.attempt_proved(decision.card)
        return decision

    def confirm(self, allowed: Allowed) -> Allowed | RefusalCode:
        """Decide once more when the person starts: the list may have ended while she read the screen."""
        return self._book.decide(allowed.card.uid)


def session_of(allowed: Allowed, *, session_id: UUID, card_mark: str, boot: int, since_mono_ms: int) -> RunningSession:
    """Give the session that begins now, by the list alone: it ends when its limit may be used up."""
    grant = allowed.grant
    return RunningSession(
        session_id=session_id,
        card=allowed.card.card,
        card_mark=card_mark,
        name_masked=allowed.card.name_masked,
        minutes_asked=grant.minutes,
        minutes_total=grant.minutes,
        held_fen=grant.limit_fen,
        available_fen=grant.limit_fen,
        latest_end_ms=grant.at_ms + grant.minutes * MS_PER_MINUTE,
        tariff=allowed.tariff,
        boot=boot,
        since_mono_ms=since_mono_ms,
        offline=grant,
    )


def answer_of(allowed: Allowed) -> CardBeginAnswer:
    """Give what the screen needs of a card that the server was not asked about; its token opens nothing."""
    return CardBeginAnswer(
        token="",
        card=allowed.card.card,
        name_masked=allowed.card.name_masked,
        pin_required=False,
        actions=(Action.START,),
        available_fen=allowed.grant.limit_fen,
        price=allowed.tariff.text,
        server_time=allowed.grant.at_ms,
        minutes_max=allowed.grant.minutes,
    )

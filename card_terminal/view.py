"""The screen in words and numbers, as JSON: for the kiosk page, and for programs that drive a simulated terminal."""

from collections.abc import Callable
from typing import Any

from card_terminal.clock import Clock
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.identity import Identity
from card_terminal.journal import Journal
from card_terminal.offline.book import OfflineBook
from card_terminal.protocol import (
    Bilingual,
    EventKind,
    ReaderState,
    RefusalCode,
    Words,
    refusal,
    whole_seconds,
)
from card_terminal.screen import Candidate, Notice, Receipt, Screen, local_notice
from card_terminal.session import RunningSession


class Viewer:
    """Gives the present view; may be called from any thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        configuration: Configuration,
        delivery: Delivery,
        identity: Identity,
        reader_state: Callable[[], ReaderState] = lambda: ReaderState.OK,
        offline: OfflineBook | None = None,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._configuration = configuration
        self._delivery = delivery
        self._identity = identity
        self._reader_state = reader_state
        self._offline = offline

    def view(self, screen: Screen) -> dict[str, Any]:
        """Give everything that a page needs to show `screen`. Money in fen, durations in whole seconds."""
        now_ms = self._clock.mono_ms()
        config = self._configuration.current
        left_ms = None if screen.until_mono_ms is None else max(0, screen.until_mono_ms - now_ms)
        return {
            "state": str(screen.state),
            "countdown_s": None if left_ms is None else whole_seconds(left_ms + 999),
            "session": screen.session and self._session(screen.session, now_ms=now_ms),
            "candidate": screen.candidate and _candidate(screen.candidate),
            "refusal": screen.notice and _notice(screen.notice),
            "receipt": screen.receipt and self._receipt(screen.receipt),
            "queue": self._journal.unsent_count(),
            "online": self._delivery.is_online,
            "trouble": self._trouble(),
            "offline": self._standing(),
            "instrument": _words(config.instrument),
            "unit": _words(config.unit),
            "price": _words(config.price),
            "help_phone": config.help_phone,
            "device_id": self._identity.device_id,
            "fingerprint": self._identity.fingerprint,
            "clock_ms": self._clock.wall_ms(),
        }

    def _session(self, session: RunningSession, *, now_ms: int) -> dict[str, Any]:
        cost_fen = session.cost_fen(now_ms)
        if cost_fen is None:
            metered = self._journal.result_of(EventKind.METER, session.session_id)
            cost_fen = metered.amount_fen if metered else None
        return {
            "session_id": str(session.session_id),
            "card": session.card,
            "name": session.name_masked,
            "elapsed_s": whole_seconds(session.elapsed_ms(now_ms)),
            "remaining_s": whole_seconds(session.remaining_ms(now_ms)),
            "minutes_total": session.minutes_total,
            "held_fen": session.held_fen,
            "available_fen": session.available_fen,
            "cost_fen": cost_fen,
            "tariff": _words(session.tariff.text),
            "nearly_spent": session.is_nearly_spent(now_ms),
            "lower_bound": session.lower_bound,
            "offline": session.offline is not None,
        }

    def _receipt(self, receipt: Receipt) -> dict[str, Any]:
        result = self._journal.result_of(EventKind.ENDED, receipt.session_id)
        return {
            "session_id": str(receipt.session_id),
            "card": receipt.card,
            "name": receipt.name_masked,
            "elapsed_s": whole_seconds(receipt.elapsed_ms),
            "lower_bound": receipt.lower_bound,
            "by_limit": receipt.by_limit,
            "estimate_fen": receipt.estimate_fen,
            "status": result and str(result.status),
            "amount_fen": result and result.amount_fen,
            "balance_fen": result and result.balance_fen,
            "receipt": result and result.receipt,
        }

    def _standing(self) -> dict[str, Any] | None:
        """Say who may start while the server is away; nothing as long as it is there."""
        if self._delivery.is_online or self._offline is None:
            return None
        standing = self._offline.standing()
        why = standing.refusal and refusal(standing.refusal)
        return {
            "possible": standing.refusal is None,
            "why": why and _words(why.message),
            "limit_fen": standing.limit_fen,
            "cards": standing.cards,
        }

    def _trouble(self) -> dict[str, Any] | None:
        if self._reader_state() is ReaderState.DOWN:
            return _notice(local_notice(RefusalCode.READER_DOWN))
        said = self._delivery.last_refusal
        if said is None:
            return None
        return {"code": said.code, "number": said.number, "message": _words(said.message)}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    answer = candidate.answer
    return {
        "card": answer.card,
        "name": answer.name_masked,
        "minutes": candidate.minutes,
        "available_fen": answer.available_fen,
        "hold_fen": answer.hold_fen if candidate.minutes == answer.hold_minutes else None,
        "price": _words(answer.price),
        "offline": candidate.offline is not None,
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "code": notice.code,
        "number": notice.number,
        "message": _words(notice.message),
        "advice": _words(notice.advice),
    }


def _words(text: Words | Bilingual) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}

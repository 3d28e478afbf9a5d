"""The rules of starting without the server, as pure functions of the list, the clocks and what was used before."""

from collections.abc import Sequence
from dataclasses import dataclass

from card_terminal.protocol import (
    CLOCK_SKEW_MAX_MS,
    CostStep,
    OfflineCard,
    OfflineGrant,
    OfflineList,
    RefusalCode,
    TariffSnapshot,
    minutes_payable,
    most_fen,
)
from card_terminal.session import MS_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What is known of the time now.

    `server_ms` is the server's time as learnt in this boot, None if it was not heard since the machine started.
    `deadline_mono_ms` is when the list ends by the clock that nobody can set, None if that cannot be told.
    """

    mono_ms: int
    server_ms: int | None
    deadline_mono_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How many sessions, and how much of a limit; what runs counts with all that it may cost."""

    sessions: int = 0
    fen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A session that may begin: its card, its price, and what the server will be told."""

    card: OfflineCard
    tariff: TariffSnapshot
    grant: OfflineGrant


def refusal_of_time(offline_list: OfflineList, clocks: Clocks) -> RefusalCode | None:
    """Give why the list does not hold now, or None; it ends by either clock, whichever is first."""
    if clocks.server_ms is None:
        return RefusalCode.OFFLINE_CLOCK_UNTRUSTED
    if clocks.server_ms >= offline_list.valid_until:
        return RefusalCode.OFFLINE_LIST_EXPIRED
    if clocks.deadline_mono_ms is None or clocks.mono_ms >= clocks.deadline_mono_ms:
        return RefusalCode.OFFLINE_LIST_EXPIRED
    if clocks.server_ms < offline_list.valid_from - CLOCK_SKEW_MAX_MS:
        return RefusalCode.OFFLINE_CLOCK_UNTRUSTED
    return None


def decide(
    offline_list: OfflineList | None, uid: str, *, clocks: Clocks, used: Used, unsent: Used
) -> Allowed | RefusalCode:
    """Say whether the card with this UID may start, and for how long.

    `used` is what the card had by this list, `unsent` all that this terminal allowed and the server does not know yet.
    """
    if offline_list is None or not offline_list.cards:
        return RefusalCode.OFFLINE_NO_LIST
    if uid in offline_list.hot_uids:
        return RefusalCode.CARD_HOTLISTED
    card, late = offline_list.card_of(uid), refusal_of_time(offline_list, clocks)
    if late is not None or card is None:
        return late or RefusalCode.OFFLINE_CARD_NOT_LISTED
    return _within_limits(offline_list, card, at_ms=clocks.server_ms or 0, used=used, unsent=unsent)


def _within_limits(
    offline_list: OfflineList, card: OfflineCard, *, at_ms: int, used: Used, unsent: Used
) -> Allowed | RefusalCode:
    tariff = offline_list.tariffs[card.tariff]
    if used.sessions >= offline_list.sessions_per_card or not minutes_payable(tariff, card.limit_fen - used.fen):
        return RefusalCode.OFFLINE_LIMIT_CARD
    budget_fen = min(card.limit_fen - used.fen, offline_list.terminal_limit_fen - unsent.fen)
    minutes = minutes_payable(tariff, budget_fen)
    if unsent.sessions >= offline_list.unsent_max or not minutes:
        return RefusalCode.OFFLINE_LIMIT_TERMINAL
    grant = OfflineGrant(
        version=offline_list.version,
        card=card.reference,
        limit_fen=most_fen(tariff.schedule, minutes),
        minutes=minutes,
        at_ms=at_ms,
    )
    return Allowed(card=card, tariff=tariff, grant=grant)


def spent_fen(schedule: Sequence[CostStep], *, elapsed_ms: int) -> int:
    """Give the most that a session of this length costs; a started minute counts."""
    return most_fen(schedule, max(1, -(-elapsed_ms // MS_PER_MINUTE)))

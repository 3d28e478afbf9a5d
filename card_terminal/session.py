"""The session that runs at this instrument: how long, how much of what is held, when to ask for more."""

from dataclasses import dataclass
from uuid import UUID

from card_terminal.protocol import OfflineGrant, TariffSnapshot
from card_terminal.protocol.fields import Count, DurationMs, EpochMs, Fen, Minutes, Name, Sha256, ShortText, SignedFen

MS_PER_MINUTE = 60_000
EXTEND_BELOW_MS = 10 * MS_PER_MINUTE
WARN_AT_PERCENT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAuthorization:
    """An authorization whose answer was not heard yet; `message` is absent when it held a PIN, which is never kept."""

    session_id: UUID
    mid: UUID
    message: str | None = None
    boot: Count
    asked_at_mono_ms: DurationMs
    minutes: Minutes
    card: Name
    card_mark: Sha256
    name_masked: ShortText


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSession:
    """What must survive a restart to go on: kept in the journal, changed only together with an event or a hold.

    `counted_ms` was counted before `since_mono_ms`, in earlier boots of the machine.
    """

    session_id: UUID
    card: Name
    card_mark: Sha256
    name_masked: ShortText
    minutes_asked: Minutes
    minutes_total: Minutes
    held_fen: Fen
    available_fen: SignedFen
    latest_end_ms: EpochMs
    tariff: TariffSnapshot
    boot: Count
    since_mono_ms: DurationMs
    counted_ms: DurationMs = 0
    lower_bound: bool = False
    offline: OfflineGrant | None = None

    @property
    def held_ms(self) -> int:
        """How long the hold can pay."""
        return self.minutes_total * MS_PER_MINUTE

    def elapsed_ms(self, mono_ms: int) -> int:
        """Give the time used, never more than what is held: nothing beyond the hold is ever charged."""
        return min(self.counted_ms + max(0, mono_ms - self.since_mono_ms), self.held_ms)

    def remaining_ms(self, mono_ms: int) -> int:
        """Give the time that the hold can still pay."""
        return self.held_ms - self.elapsed_ms(mono_ms)

    def is_spent(self, mono_ms: int) -> bool:
        """Tell whether the hold is used up."""
        return self.remaining_ms(mono_ms) == 0

    def wants_more(self, mono_ms: int) -> bool:
        """Tell whether it is time to ask for a bigger hold: under 20% left, or under ten minutes.

        What the terminal allowed alone never grows: its bound is the list's.
        """
        if self.offline is not None:
            return False
        return self.remaining_ms(mono_ms) < EXTEND_BELOW_MS or self.is_nearly_spent(mono_ms)

    def is_nearly_spent(self, mono_ms: int) -> bool:
        """Tell whether 80% of what is held is used."""
        return self.elapsed_ms(mono_ms) * 100 >= self.held_ms * WARN_AT_PERCENT

    def cost_fen(self, mono_ms: int) -> int | None:
        """Give the cost if it ended now, by the server's own schedule; None if the server gave none."""
        minute = self.elapsed_ms(mono_ms) // MS_PER_MINUTE + 1
        reached = [step.cost_fen for step in self.tariff.schedule if step.minute <= minute]
        return reached[-1] if reached else None

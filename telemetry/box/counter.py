"""A meter's energy counter as a lifetime one: it runs on where the display goes round, and falls where it was reset."""

from dataclasses import dataclass

# Going round leads from the very end to the very beginning; a fall from elsewhere, or to elsewhere, is a reset.
NEAR_END, NEAR_BEGINNING = 0.99, 0.01


@dataclass(slots=True)
class Counter:
    """Wh. `raw_wh` is what the meter said last, `turns_wh` what it has counted in full rounds before.

    After a reset the counter falls, on purpose: what was used between the last reading and the reset nobody knows, and
    the server sees by the fall that it must not fill a gap with it.
    """

    raw_wh: float | None = None
    turns_wh: float = 0.0
    resets: int = 0

    def take(self, raw_wh: float, *, rollover_wh: float | None) -> float:
        """Take what the meter says; gives the lifetime counter."""
        if self.raw_wh is not None and raw_wh < self.raw_wh:
            is_round = rollover_wh is not None and (
                self.raw_wh >= NEAR_END * rollover_wh and raw_wh <= NEAR_BEGINNING * rollover_wh
            )
            if is_round and rollover_wh is not None:
                self.turns_wh += rollover_wh
            else:
                self.turns_wh, self.resets = 0.0, self.resets + 1
        self.raw_wh = raw_wh
        return round(self.turns_wh + raw_wh, 3)

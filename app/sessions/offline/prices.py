"""The most that a session may cost, whenever in its list's time it begins: the schedule by which a terminal cuts it."""

from datetime import datetime, timedelta

from app.sessions.charging import Terms
from card_terminal import protocol

# Prices that change with the hour are reckoned at every quarter, for up to a quarter more than the session lasts:
# every span of time lies within such a one, and a longer session never costs less.
GRID = timedelta(minutes=15)
_GRID_MIN = 15


def dearest(terms: Terms, *, since: datetime, until: datetime) -> protocol.TariffSnapshot:
    """Give the most that each minute costs for a session that begins between two moments; one sample is reckoned."""
    minutes_max = protocol.OFFLINE_MINUTES_MAX
    if terms.changes_with_time:
        grid_start = since.replace(minute=since.minute - since.minute % _GRID_MIN, second=0, microsecond=0)
        starts = [grid_start + count * GRID for count in range((until - grid_start) // GRID + 1)]
        costs = [
            (minute, max(_cost_fen(terms, minutes=minute + 2 * _GRID_MIN - 1, at=start) for start in starts))
            for minute in range(1, minutes_max + 1, _GRID_MIN)
        ]
    else:
        costs = [(minute, _cost_fen(terms, minutes=minute, at=since)) for minute in range(1, minutes_max + 1)]
    rising = [
        protocol.CostStep(minute=minute, cost_fen=cost)
        for index, (minute, cost) in enumerate(costs)
        if index == 0 or cost != costs[index - 1][1]
    ]
    return protocol.TariffSnapshot(text=terms.words, schedule=tuple(rising))


def _cost_fen(terms: Terms, *, minutes: int, at: datetime) -> int:
    return terms.price(duration=timedelta(minutes=minutes), samples=1, at=at).amount_fen

"""The most that a session may cost, whenever in its list's time it begins: the schedule by which a terminal cuts it."""

from datetime import datetime

from app.sessions.charging import Terms
from card_terminal import protocol


def dearest(terms: Terms, *, since: datetime, until: datetime) -> protocol.TariffSnapshot:
    """Give the most that each minute costs for a session that begins between two moments; one sample is reckoned."""
    steps: list[protocol.CostStep] = []
    for minute in range(1, protocol.OFFLINE_MINUTES_MAX + 1):
        cost_fen = terms.dearest_fen(minutes=minute, since=since, until=until)
        if not steps or cost_fen > steps[-1].cost_fen:
            steps.append(protocol.CostStep(minute=minute, cost_fen=cost_fen))
    return protocol.TariffSnapshot(text=terms.words, schedule=tuple(steps))

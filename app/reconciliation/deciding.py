"""Decides a stretch of one instrument's time from the database and writes down what came of it."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.reconciliation import evidence, matching, recording, totals
from app.reconciliation.known import SETTINGS, Known
from app.reconciliation.models import ChargeVerdict
from app.reconciliation.recording import Change
from app.reconciliation.spans import Span
from app.reconciliation.times import from_s

# The zone of a site that names no other (settings.site_timezone).
DEFAULT_ZONE = ZoneInfo("Asia/Shanghai")
# One instrument's time is decided by one worker at a time; the lock ends with the transaction.
_LOCK_INSTRUMENT = text("SELECT pg_advisory_xact_lock(hashtextextended('app.reconciliation:' || :instrument_id, 0))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a stretch: what it grew to, from when a charge in it that waits may be final, what is new."""

    hull: Span
    ready_at: datetime | None
    changes: tuple[Change, ...]
    charges: int
    runs: int


def lock_instrument(session: Session, instrument_id: int) -> None:
    """Keep every other worker from deciding this instrument's time until the transaction ends."""
    session.execute(_LOCK_INSTRUMENT, {"instrument_id": str(instrument_id)})


def decide_stretch(
    session: Session, *, instrument_id: int, stretch: Span, zone: ZoneInfo, at: datetime, known: Known | None = None
) -> Decided:
    """Decide all components that touch a stretch, write what is new, and keep the control totals of its days.

    Call it under the instrument's lock; a batch hands on what it has read of the instrument since it holds the lock.
    """
    known = known or Known(session, instrument_id)
    gathered = evidence.gather(session, instrument_id=instrument_id, stretch=stretch, zone=zone, at=at, known=known)
    settings = known.settings
    outcome = matching.decide(gathered.case, settings=settings)
    matching.control_totals(outcome)
    changes = recording.record(session, gathered=gathered, outcome=outcome, settings=settings, at=at)
    totals.keep(session, instrument_id=instrument_id, hull=gathered.hull, zone=zone, at=at)
    # An open session makes itself heard when it is charged; only a charge has to be looked at again.
    ends_s = {charge.id: charge.end_s for charge in gathered.case.charges if not charge.open}
    waiting_s = [
        ends_s[decision.charge_id] + SETTINGS.settling_s
        for decision in outcome.charges
        if decision.verdict is ChargeVerdict.PROVISIONAL and decision.charge_id in ends_s
    ]
    return Decided(
        hull=gathered.hull,
        ready_at=from_s(max(waiting_s)) if waiting_s else None,
        changes=tuple(changes),
        charges=len(outcome.charges),
        runs=len(outcome.runs),
    )

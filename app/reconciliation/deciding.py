"""Decides a stretch of one instrument's time from the database and writes down what came of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.instruments.models import Instrument
from app.reconciliation import evidence, matching, recording, totals
from app.reconciliation.cases import Settings
from app.reconciliation.models import ChargeVerdict
from app.reconciliation.recording import Change
from app.reconciliation.spans import Span
from app.reconciliation.times import from_s

SETTINGS = Settings()
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


def decide_stretch(session: Session, *, instrument_id: int, stretch: Span, zone: ZoneInfo, at: datetime) -> Decided:
    """Decide all components that touch a stretch, write what is new, and keep the control totals of its days.

    Call it under the instrument's lock.
    """
    gathered = evidence.gather(session, instrument_id=instrument_id, stretch=stretch, zone=zone, at=at)
    settings = _settings_of(session, instrument_id)
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


def _settings_of(session: Session, instrument_id: int) -> Settings:
    """Give the site's settings with the warm-up and after-treatment that this instrument is allowed."""
    instrument = session.get_one(Instrument, instrument_id)
    return replace(
        SETTINGS, warm_up_s_max=instrument.warm_up_min * 60, after_treatment_s_max=instrument.after_treatment_min * 60
    )

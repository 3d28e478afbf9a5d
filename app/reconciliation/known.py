"""What one batch reads once of an instrument: its settings, its silence rules, what its boxes promise and can judge."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import telemetry.boxes
import telemetry.queries
from app.instruments.models import Instrument
from app.reconciliation.cases import Rule, Settings
from app.reconciliation.models import SilenceRule
from app.reconciliation.silence import FAR_FUTURE_S, rules_within
from app.reconciliation.spans import Span, Spans, union
from app.reconciliation.times import to_s
from telemetry.models import DirtyRange

SETTINGS = Settings()


class Known:
    """One instrument as a transaction found it, under the instrument's lock.

    A promise of a box that was read a while ago is still true, for it only grows; so reading it once is safe, as long
    as what the box told is read later.
    """

    def __init__(self, session: Session, instrument_id: int) -> None:
        self._session = session
        self.instrument_id = instrument_id
        # Held, so that charges find it, its group and its unit without asking the database again.
        self.instrument = session.get_one(Instrument, instrument_id)
        self._rules: list[SilenceRule] | None = None
        self._promised_s: dict[tuple[str, int], tuple[int | None, int | None]] = {}
        self._calibrated: dict[tuple[str, int], Spans] = {}

    @property
    def settings(self) -> Settings:
        """The site's settings with the warm-up and after-treatment that this instrument is allowed."""
        return replace(
            SETTINGS,
            warm_up_s_max=self.instrument.warm_up_min * 60,
            after_treatment_s_max=self.instrument.after_treatment_min * 60,
        )

    def rules(self, *, within: Span, zone: ZoneInfo) -> tuple[Rule, ...]:
        """Give the silence rules as they fall into a stretch of time."""
        if self._rules is None:
            wanted = select(SilenceRule).where(SilenceRule.instrument_id == self.instrument_id)
            self._rules = list(self._session.scalars(wanted.order_by(SilenceRule.id)))
        return rules_within(self._rules, within=within, zone=zone)

    def promised_s(self, box: str, channel: int, *, since_s: int) -> int:
        """Give up to when a channel has told everything, and it was made into sessions; nothing before `since_s`."""
        key = box, channel
        if key not in self._promised_s:
            complete_until = telemetry.queries.watermark(self._session, box=box)
            # The watermark was read first: what came in since is dirty, and so not promised.
            dirty_from = self._session.scalar(
                select(func.min(DirtyRange.from_at)).where(DirtyRange.box == box, DirtyRange.channel == channel)
            )
            self._promised_s[key] = (
                None if complete_until is None else to_s(complete_until),
                None if dirty_from is None else to_s(dirty_from),
            )
        complete_s, dirty_s = self._promised_s[key]
        told_s = since_s if complete_s is None else complete_s
        return told_s if dirty_s is None else min(told_s, dirty_s)

    def calibrated(self, box: str, channel: int) -> Spans:
        """Give when a calibration held: without one a box measures, but nobody can say what it saw."""
        key = box, channel
        if key not in self._calibrated:
            dated = telemetry.boxes.calibrations(self._session, code=box, channel=channel)
            begins_s = [each.valid_from_ms // 1000 for each in dated]
            self._calibrated[key] = union(
                Span(begin_s, end_s)
                for each, begin_s, end_s in zip(dated, begins_s, [*begins_s[1:], FAR_FUTURE_S], strict=False)
                if each.calibration is not None
            )
        return self._calibrated[key]

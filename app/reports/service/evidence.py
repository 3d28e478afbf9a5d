"""The evidence of one charge: what the card said, what the box saw, what was decided, and what was booked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, joinedload

import ledger
from app.cards.models import Card, CardAccount
from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation.models import Adjustment, Contest, UsageRecord, Verdict
from app.reconciliation.records.schemas import version_of
from app.reports.service.card_events import CardEvents, card_events
from app.reports.service.postings import Posting, postings_of
from app.reports.service.seals import ChargeSeal, posted_ids, prove_all, seal_of
from app.reports.service.watched import POINTS_MAX, Watched, watched_around
from app.sessions.models import CardSession, SessionHold
from app.subsidies.models import Decision

VERSIONS_MAX = 100
"""Of verdicts, records and decisions over one charge; nothing changes its mind so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that speaks for or against one charge.

    `start` and `end` are the charge's own, `since` and `until` what the picture shows. `verdicts` and `decisions` are
    newest first; the first verdict holds unless it is superseded too, which then means that a new one is being made.
    `records` are all versions of the usage record, oldest first.
    """

    charge: CardSession
    made_at: datetime
    start: datetime
    end: datetime
    since: datetime
    until: datetime
    watched: Watched | None
    card: CardEvents
    verdicts: tuple[Verdict, ...]
    records: tuple[UsageRecord, ...]
    decisions: tuple[Decision, ...]
    contests: tuple[Contest, ...]
    adjustments: tuple[Adjustment, ...]
    postings: tuple[Posting, ...]
    seal: ChargeSeal

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that holds."""
        return next((verdict for verdict in self.verdicts if verdict.superseded_at is None), None)

    @property
    def record(self) -> UsageRecord | None:
        """The version that holds, or else the newest one, which then says that the use is verified no longer."""
        return self.records[-1] if self.records else None

    @property
    def record_versions(self) -> list[dict[str, Any]]:
        """All versions with their hashes, as the document has them."""
        return [version_of(record) for record in self.records]

    @property
    def decision(self) -> Decision | None:
        """The newest subsidy decision: on the record that holds, or the last one that was taken back."""
        return self.decisions[0] if self.decisions else None

    @property
    def given_back_fen(self) -> int:
        """What adjustments gave back of the charge."""
        return sum(adjustment.amount_fen for adjustment in self.adjustments)


def evidence(
    session: Session,
    *,
    session_id: UUID,
    reader: Principal,
    at: datetime,
    points_max: int = POINTS_MAX,
    with_proofs: bool = False,
) -> Evidence:
    """Give the evidence of a charge, with at most `points_max` points of power, never above 2,000.

    The customer may see it, the instrument's group, its sub-center, and the center. Raises Refusal NOT_FOUND.
    """
    charge = _seen(session, session_id=session_id, reader=reader)
    start = charge.started_at or charge.authorized_at
    end = max(start, charge.ended_at or min(at, max(charge.latest_end_at, start)))
    shown = watched_around(session, charge, start=start, end=end, at=at, points_max=points_max)
    follows = _follows(session, charge)
    return Evidence(
        charge=charge,
        made_at=at,
        start=start,
        end=end,
        since=shown.since,
        until=shown.until,
        watched=shown.watched,
        card=card_events(session, session_id=session_id, terminal=charge.terminal),
        **follows,
        seal=seal_of(session, postings=follows["postings"], records=follows["records"], with_proofs=with_proofs),
    )


def proofs(session: Session, *, session_id: UUID, reader: Principal) -> list[dict[str, Any]]:
    """Give the proof of everything sealed of a charge, to be checked with docs/check_proof.py.

    That is every transfer and journal, and every version of its usage record. Who may see the evidence may see it.
    Raises Refusal NOT_FOUND, and NOT_SEALED while one of them waits for its seal.
    """
    follows = _follows(session, _seen(session, session_id=session_id, reader=reader))
    try:
        return prove_all(session, posted_ids(follows["postings"]), follows["records"])
    except ledger.NotSealedError as error:
        raise Refusal(Code.NOT_SEALED) from error


def may_see(charge: CardSession, *, reader: Principal) -> bool:
    """Say whether this person may see the charge: the customer, or whoever runs or oversees the instrument."""
    if reader.sees_everything or reader.person_id in (charge.account.person_id, charge.card.holder_id):
        return True
    if charge.account.organisation_id is not None and charge.account.organisation_id == reader.organisation_id:
        return True
    group = charge.instrument.group
    return group.id in reader.group_ids or group.unit.sub_center_id in reader.sub_center_ids


def _seen(session: Session, *, session_id: UUID, reader: Principal) -> CardSession:
    charge = _charge(session, session_id)
    if charge is None or not may_see(charge, reader=reader):
        raise Refusal(Code.NOT_FOUND)
    return charge


def _follows(session: Session, charge: CardSession) -> dict[str, Any]:
    """Give what was decided over a charge and posted for it, each in its order."""
    verdicts = (
        select(Verdict)
        .where(Verdict.session_id == charge.id)
        .order_by(Verdict.version.desc())
        .limit(VERSIONS_MAX)
        .options(joinedload(Verdict.reviewed_by))
    )
    records = (
        select(UsageRecord)
        .where(UsageRecord.session_id == charge.id)
        .order_by(UsageRecord.version.desc())
        .limit(VERSIONS_MAX)
    )
    decisions = (
        select(Decision)
        .join(UsageRecord, UsageRecord.id == Decision.usage_record_id)
        .where(UsageRecord.session_id == charge.id)
        .order_by(UsageRecord.version.desc())
        .limit(VERSIONS_MAX)
        .options(joinedload(Decision.rule_set), joinedload(Decision.usage_record))
    )
    contests = select(Contest).where(Contest.session_id == charge.id).order_by(Contest.id).limit(VERSIONS_MAX)
    adjustments = (
        select(Adjustment)
        .where(Adjustment.session_id == charge.id)
        .order_by(Adjustment.id)
        .limit(VERSIONS_MAX)
        .options(joinedload(Adjustment.decided_by))
    )
    found: dict[str, Any] = {
        "verdicts": tuple(session.scalars(verdicts)),
        "records": tuple(session.scalars(records))[::-1],
        "decisions": tuple(session.scalars(decisions)),
        "contests": tuple(session.scalars(contests)),
        "adjustments": tuple(session.scalars(adjustments)),
    }
    return found | {"postings": _postings(session, charge, found)}


def _charge(session: Session, session_id: UUID) -> CardSession | None:
    return session.scalar(
        select(CardSession)
        .join(CardSession.instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .outerjoin(Unit.sub_center)
        .where(CardSession.id == session_id)
        .options(
            contains_eager(CardSession.instrument)
            .contains_eager(Instrument.group)
            .contains_eager(InstrumentGroup.unit)
            .contains_eager(Unit.sub_center),
            joinedload(CardSession.card).joinedload(Card.holder),
            joinedload(CardSession.card).joinedload(Card.project),
            joinedload(CardSession.account).joinedload(CardAccount.person),
            joinedload(CardSession.account).joinedload(CardAccount.organisation),
            joinedload(CardSession.terminal),
        )
    )


def _postings(session: Session, charge: CardSession, found: dict[str, Any]) -> tuple[Posting, ...]:
    holds = session.scalars(select(SessionHold.transfer_id).where(SessionHold.session_id == charge.id)).all()
    journals = [
        charge.capture_journal_id,
        *(
            journal
            for decision in found["decisions"]
            for journal in (decision.journal_id, decision.claw_back_journal_id)
        ),
        *(adjustment.journal_id for adjustment in found["adjustments"]),
    ]
    return tuple(postings_of(session, holds=holds, journals=[journal for journal in journals if journal is not None]))

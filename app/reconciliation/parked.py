"""What staff may do with an event that fitted nowhere: apply it after all, charge, give back, or dismiss it.

The event stays as it was signed. Money moves only here, by the same functions as everywhere else, and under a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.books import PostingError
from app.cards.models import Card
from app.devices import parked
from app.devices.messages import UnfitEvent
from app.devices.models import EventOutcome, Settlement
from app.devices.parked import ParkedEvent
from app.errors import Code, Refusal
from app.people.principals import Principal
from app.reconciliation import adjusting
from app.reconciliation.evidence import CHARGED
from app.reconciliation.models import Cause
from app.sessions import charging, lifecycle
from app.sessions.models import OPEN_STATUSES, CardSession, Flag, SessionStatus, Step
from app.sessions.offline import uploads
from card_terminal import protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A parked event with its session, and what may be done with it now."""

    found: ParkedEvent
    row: CardSession | None
    told_s: int | None
    """The time that the event tells."""
    too_much_fen: int
    """So much more was charged than that time costs."""
    choices: tuple[Settlement, ...]


def waiting_events(
    session: Session, *, reader: Principal, resolved: bool, limit: int, offset: int = 0
) -> list[Waiting]:
    """Give the parked events of the instruments that this person looks after, the oldest first."""
    found = parked.parked_events(session, reader=reader, resolved=resolved, limit=limit, offset=offset)
    ids = {each.event.session_id for each in found if each.event.session_id is not None}
    rows = {
        row.id: row
        for row in session.scalars(
            select(CardSession)
            .where(CardSession.id.in_(ids))
            .options(joinedload(CardSession.card).joinedload(Card.holder), joinedload(CardSession.account))
        )
    }
    backs = adjusting.given_back_of(session, list(rows))
    return [_waiting(each, rows, backs=backs) for each in found]


def settle(
    session: Session,
    *,
    terminal_id: UUID,
    seq: int,
    message_hash: str,
    settlement: Settlement,
    resolution: str,
    minutes: int | None = None,
    resolver: Principal,
    at: datetime,
) -> ParkedEvent:
    """Settle a parked event in one of the ways, with a reason; `minutes` is the time to charge by hand.

    Raises Refusal: NOT_FOUND, also for instruments of others; ALREADY_DECIDED; FORBIDDEN for the person's own use;
    EVENT_NOT_APPLICABLE; ADJUSTMENT_NOT_POSTABLE. Whatever is refused changes nothing.
    """
    found = parked.waiting(session, terminal_id=terminal_id, seq=seq, message_hash=message_hash, reader=resolver)
    if settlement is Settlement.DISMISSED:
        _refuse_own(session, found, resolver=resolver)
    elif settlement is Settlement.APPLIED and _began_alone(found):
        # Its session comes into being by it, so whose it is can be told only afterwards.
        _apply(session, found, at=at)
        _session_of(session, found, resolver=resolver)
    else:
        row = _session_of(session, found, resolver=resolver)
        if settlement is Settlement.APPLIED:
            _apply(session, found, at=at)
        elif settlement is Settlement.CHARGED:
            _charge(session, row, minutes=minutes, at=at)
        else:
            _reduce(session, found, row, note=resolution, resolver=resolver, at=at)
    parked.note(session, found, settlement=settlement, resolution=resolution, resolver=resolver, at=at)
    return found


def _waiting(found: ParkedEvent, rows: dict[UUID, CardSession], *, backs: dict[UUID, adjusting.GivenBack]) -> Waiting:
    event = found.event
    row = None if event.session_id is None else rows.get(event.session_id)
    told_s = _told_s(found)
    too_much_fen = 0 if row is None else _too_much_fen(row, told_s, back=backs[row.id])
    return Waiting(
        found=found,
        row=row,
        told_s=told_s,
        too_much_fen=too_much_fen,
        choices=tuple(_choices(found, row, too_much_fen=too_much_fen)),
    )


def _choices(found: ParkedEvent, row: CardSession | None, *, too_much_fen: int) -> Sequence[Settlement]:
    choices = [Settlement.APPLIED] if row is None and _began_alone(found) else []
    if row is not None and found.event.kind == protocol.EventKind.STARTED and lifecycle.may_start_late(row):
        choices.append(Settlement.APPLIED)
    if row is not None and row.status in OPEN_STATUSES:
        steps = {"started": Step.STARTED, "meter": Step.METERED, "ended": Step.ENDED, "reversal": Step.REVERSED}
        if lifecycle.may(row, steps.get(found.event.kind)):
            choices.append(Settlement.APPLIED)
        choices.append(Settlement.CHARGED)
    if too_much_fen:
        choices.append(Settlement.REDUCED)
    return [*choices, Settlement.DISMISSED]


def _began_alone(found: ParkedEvent) -> bool:
    """Tell whether the event began a session that this server was not asked for."""
    return found.event.kind == protocol.EventKind.STARTED and found.event.body.get("offline") is not None


def _session_of(session: Session, found: ParkedEvent, *, resolver: Principal) -> CardSession:
    session_id = found.event.session_id
    row = None if session_id is None else lifecycle.lock(session, session_id)
    if row is None or row.instrument_id != found.instrument.id:
        raise Refusal(Code.EVENT_NOT_APPLICABLE)
    _refuse_owner(row.card, resolver)
    return row


def _refuse_own(session: Session, found: ParkedEvent, *, resolver: Principal) -> None:
    """Raise Refusal FORBIDDEN for an event of the person's own use: done away with, it might never be charged."""
    row = None if found.event.session_id is None else session.get(CardSession, found.event.session_id)
    card = row.card if row is not None else None
    if card is None and _began_alone(found):
        card = session.get(Card, found.event.body["offline"]["card"])
    if card is not None:
        _refuse_owner(card, resolver)


def _refuse_owner(card: Card, resolver: Principal) -> None:
    if resolver.person_id in (card.holder_id, card.account.person_id):
        raise Refusal(Code.FORBIDDEN)


def _apply(session: Session, found: ParkedEvent, *, at: datetime) -> None:
    """Let the event have its effect now, whatever kept it from it then."""
    if found.terminal.public_key is None:
        raise Refusal(Code.EVENT_NOT_APPLICABLE)
    key = Ed25519PublicKey.from_public_bytes(found.terminal.public_key)
    try:
        event = protocol.read_event(found.event.message, key=key)
        effect = uploads.apply_event(session, found.terminal, event, at=at)
    except (protocol.ProtocolError, UnfitEvent) as error:
        raise Refusal(Code.EVENT_NOT_APPLICABLE) from error
    if effect.outcome is not EventOutcome.ACCEPTED:
        raise Refusal(Code.EVENT_NOT_APPLICABLE)


def _charge(session: Session, row: CardSession, *, minutes: int | None, at: datetime) -> None:
    """End an open session with the time that a person found out, never beyond what is held."""
    if row.status not in OPEN_STATUSES or minutes is None or not 0 <= minutes <= row.minutes:
        raise Refusal(Code.EVENT_NOT_APPLICABLE)
    if row.status is SessionStatus.HELD:
        lifecycle.step(row, Step.STARTED)
        row.started_at = row.authorized_at
    lifecycle.step(row, Step.CLOSED)
    lifecycle.flag(row, Flag.CLOSED_BY_STAFF)
    lifecycle.capture(session, row, duration=timedelta(minutes=minutes), samples=0, at=at)
    uploads.look_after(session, row, at=at)


def _reduce(
    session: Session, found: ParkedEvent, row: CardSession, *, note: str, resolver: Principal, at: datetime
) -> None:
    """Give back what was charged beyond the time that the event tells; the charge itself is never edited."""
    charge = adjusting.lock_charge(session, row.id)
    too_much_fen = _too_much_fen(charge, _told_s(found), back=adjusting.given_back(session, charge.id))
    if not too_much_fen:
        raise Refusal(Code.EVENT_NOT_APPLICABLE)
    reason = adjusting.Reason(
        key=f"parked:{found.event.message_hash}:adjustment",
        cause=Cause.REVIEW,
        note=note,
        actor=resolver.username,
        verdict_id=None,
        person_id=resolver.person_id,
    )
    try:
        adjusting.give_back(session, charge, amount_fen=too_much_fen, reason=reason, at=at)
    except PostingError as error:
        raise Refusal(Code.ADJUSTMENT_NOT_POSTABLE) from error


def _told_s(found: ParkedEvent) -> int | None:
    elapsed_ms = found.event.body.get("elapsed_ms")
    if found.event.kind != protocol.EventKind.ENDED or not isinstance(elapsed_ms, int):
        return None
    return protocol.whole_seconds(elapsed_ms)


def _too_much_fen(row: CardSession, told_s: int | None, *, back: adjusting.GivenBack) -> int:
    """Say how much more was charged than the told time costs, less what went back already."""
    if told_s is None or row.status not in CHARGED or row.started_at is None or not row.amount_fen:
        return 0
    if not row.tariff_snapshot.get("rules"):
        return 0
    duration = timedelta(seconds=min(told_s, row.duration_s or 0))
    fair = charging.terms_of(row).price(duration=duration, samples=row.samples, at=row.started_at)
    return max(0, row.amount_fen - fair.amount_fen - back.amount_fen)

"""The wall of live states, and the charges and verdicts as they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from app.cards.models import Card, CardAccount
from app.errors import Code, Refusal
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation.models import UsageRecord, Verdict
from app.reports.service.ledger_view import CHARGED
from app.reports.service.places import Place, instruments_with_homes, managed_by, places_of
from app.sessions.models import OPEN_STATUSES, CardSession, SessionStatus
from app.subsidies.models import Decision, DecisionStatus
from telemetry.states import State

HAPPENINGS_MAX = 20
TILES_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One instrument on the wall with the card that is on, if one is."""

    place: Place
    charge: CardSession | None

    @property
    def runs_without_card(self) -> bool:
        """It runs and nobody tapped: worth a look."""
        return self.charge is None and self.place.live.state is State.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that just happened to a charge: kind is on, charged, verdict or subsidy."""

    at: datetime
    kind: str
    charge: CardSession
    verdict: Verdict | None = None
    amount_fen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """What happens now on the instruments a person looks after."""

    tiles: tuple[Tile, ...]
    happenings: tuple[Happening, ...]

    @property
    def watched(self) -> list[Tile]:
        """The instruments that a box meters or a card uses, in an order that does not change with their states."""
        return [tile for tile in self.tiles if tile.place.box is not None or tile.charge is not None]

    @property
    def unwatched(self) -> list[Tile]:
        """The rest: nothing is known of them now."""
        return [tile for tile in self.tiles if tile.place.box is None and tile.charge is None]

    def count(self, state: str) -> int:
        """Say how many metered instruments are in a state."""
        return sum(tile.place.box is not None and tile.place.live.state == state for tile in self.tiles)


def wall(session: Session, *, reader: Principal, at: datetime) -> Wall:
    """Give the wall of a person's instruments. Raises Refusal FORBIDDEN for people who look after none."""
    if not (reader.sees_everything or reader.sub_center_ids or reader.group_ids):
        raise Refusal(Code.FORBIDDEN)
    instruments = session.scalars(
        instruments_with_homes().where(managed_by(reader)).order_by(Unit.code, Instrument.code).limit(TILES_MAX)
    ).all()
    on = {charge.instrument_id: charge for charge in open_charges(session, reader=reader)}
    places = places_of(session, instruments, at=at)
    return Wall(
        tiles=tuple(Tile(place=place, charge=on.get(place.instrument.id)) for place in places),
        happenings=tuple(_happenings(session, reader)),
    )


def open_charges(session: Session, *, reader: Principal) -> Sequence[CardSession]:
    """Give the sessions that are on now on the instruments a person looks after, longest first."""
    return session.scalars(
        charges_of(reader)
        .where(CardSession.status.in_(OPEN_STATUSES))
        .order_by(CardSession.authorized_at)
        .limit(TILES_MAX)
    ).all()


def charges_of(reader: Principal) -> Select[CardSession]:
    """Select card sessions on the instruments a person looks after, with instrument, unit, card and customer loaded."""
    return (
        select(CardSession)
        .join(CardSession.instrument)
        .join(Instrument.group)
        .join(InstrumentGroup.unit)
        .where(managed_by(reader))
        .options(
            contains_eager(CardSession.instrument)
            .contains_eager(Instrument.group)
            .contains_eager(InstrumentGroup.unit)
            .joinedload(Unit.sub_center),
            joinedload(CardSession.card).joinedload(Card.holder),
            joinedload(CardSession.account).joinedload(CardAccount.organisation),
            joinedload(CardSession.account).joinedload(CardAccount.person),
        )
    )


def _happenings(session: Session, reader: Principal) -> list[Happening]:
    """Give the newest happenings; each kind is read newest first through its own index and cut before the merge."""
    mine = charges_of(reader)
    begun = session.scalars(
        mine.where(CardSession.status.in_((SessionStatus.ACTIVE, SessionStatus.STALE)))
        .order_by(CardSession.started_at.desc())
        .limit(HAPPENINGS_MAX)
    )
    charged = session.scalars(
        mine.where(CardSession.status.in_(CHARGED)).order_by(CardSession.ended_at.desc()).limit(HAPPENINGS_MAX)
    )
    verdicts = session.execute(
        mine.add_columns(Verdict)
        .join(Verdict, Verdict.session_id == CardSession.id)
        .where(Verdict.superseded_at.is_(None))
        .order_by(Verdict.decided_at.desc())
        .limit(HAPPENINGS_MAX)
    )
    found = [Happening(at=row.started_at or row.authorized_at, kind="on", charge=row) for row in begun]
    found += [
        Happening(at=row.ended_at or row.authorized_at, kind="charged", charge=row, amount_fen=row.amount_fen)
        for row in charged
    ]
    found += [
        Happening(at=verdict.decided_at, kind="verdict", charge=row, verdict=verdict) for row, verdict in verdicts
    ]
    found += [
        Happening(at=decision.decided_at, kind="subsidy", charge=row, amount_fen=decision.amount_fen)
        for row, decision in session.execute(_granted(mine))
    ]
    return sorted(found, key=lambda happening: happening.at, reverse=True)[:HAPPENINGS_MAX]


def _granted(mine: Select[CardSession]) -> Select[CardSession, Decision]:
    return (
        mine.add_columns(Decision)
        .join(UsageRecord, UsageRecord.session_id == CardSession.id)
        .join(Decision, Decision.usage_record_id == UsageRecord.id)
        .where(Decision.status == DecisionStatus.GRANTED)
        .order_by(Decision.decided_at.desc())
        .limit(HAPPENINGS_MAX)
    )


def charge_of(session: Session, *, session_id: UUID, reader: Principal) -> CardSession:
    """Give one card session on an instrument the person looks after. Raises Refusal NOT_FOUND."""
    found = session.scalar(charges_of(reader).where(CardSession.id == session_id))
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found

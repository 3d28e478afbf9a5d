"""Alarms: opened once and closed once for each trouble, however often one looks; acknowledged by a person, kept."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import errors
from app.devices.boxes.visibility import present_places, seen_by
from app.devices.models import Alarm, AlarmKind, BoxPlacement
from app.people import service as people
from app.people.principals import Principal

INGEST = "ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong now, with the figures a person needs to judge it."""

    kind: AlarmKind
    box: str | None = None
    channel: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What it is about; of one kind there is at most one open alarm for it."""
        return subject_of(self.box, self.channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAlarm:
    """An alarm with the instrument where the box stands now, if it stands anywhere."""

    alarm: Alarm
    place: BoxPlacement | None


def subject_of(box: str | None, channel: int | None = None) -> str:
    """Name what an alarm is about."""
    if box is None:
        return INGEST
    return box if channel is None else f"{box}/{channel}"


def settle(
    session: Session,
    *,
    kinds: Collection[AlarmKind],
    subjects: Collection[str] | None,
    troubles: Iterable[Trouble],
    at: datetime,
) -> int:
    """Open what is new and close what has passed, among these kinds and subjects (None: all); gives how many changed.

    A trouble that goes on leaves its alarm open and acknowledged as it was; one that comes back is a new alarm.
    """
    found = {(trouble.kind, trouble.subject): trouble for trouble in troubles}
    wanted = select(Alarm).where(Alarm.closed_at.is_(None), Alarm.kind.in_(kinds))
    if subjects is not None:
        wanted = wanted.where(Alarm.subject.in_(list(subjects)))
    changed = 0
    for alarm in session.scalars(wanted.order_by(Alarm.id).with_for_update()):
        trouble = found.pop((alarm.kind, alarm.subject), None)
        if trouble is None:
            alarm.closed_at = max(at, alarm.opened_at)
            changed += 1
        elif dict(trouble.detail) != alarm.detail:
            alarm.detail = dict(trouble.detail)
    session.flush()
    return changed + _open(session, list(found.values()), at=at)


def open_alarms(
    session: Session, *, reader: Principal, box: str | None = None, limit: int = 200, offset: int = 0
) -> list[SeenAlarm]:
    """Give the alarms that are open now: those that nobody has acknowledged first, then the oldest first."""
    wanted = _visible(reader).where(Alarm.closed_at.is_(None))
    if box is not None:
        wanted = wanted.where(Alarm.box == box)
    return _with_places(
        session,
        wanted.order_by(Alarm.acknowledged_at.is_not(None), Alarm.opened_at, Alarm.id).limit(limit).offset(offset),
    )


def closed_alarms(
    session: Session, *, reader: Principal, box: str | None = None, limit: int = 50, offset: int = 0
) -> list[SeenAlarm]:
    """Give the alarms that have passed, the newest first."""
    wanted = _visible(reader).where(Alarm.closed_at.is_not(None))
    if box is not None:
        wanted = wanted.where(Alarm.box == box)
    return _with_places(session, wanted.order_by(Alarm.opened_at.desc(), Alarm.id.desc()).limit(limit).offset(offset))


def count_open(session: Session, *, reader: Principal) -> dict[AlarmKind, int]:
    """Say how many alarms of each kind are open."""
    rows = session.execute(
        select(Alarm.kind, func.count())
        .where(Alarm.closed_at.is_(None), seen_by(reader, box=Alarm.box))
        .group_by(Alarm.kind)
    )
    return dict(rows.all())


def acknowledge(session: Session, *, alarm_id: int, note: str, reader: Principal, at: datetime) -> Alarm:
    """Say that a person has seen an alarm and takes care of it; the first one's word stands.

    Raises Refusal: NOT_FOUND, also for boxes of others; ALREADY_DECIDED.
    """
    alarm = session.scalar(_visible(reader).where(Alarm.id == alarm_id).with_for_update())
    if alarm is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if alarm.acknowledged_at is not None:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    alarm.acknowledged_at, alarm.acknowledged_by, alarm.note = at, reader.username, note
    people.audit(
        session,
        actor=reader.username,
        action="alarm.acknowledge",
        subject=f"alarm:{alarm.id}",
        detail={"kind": alarm.kind.value, "about": alarm.subject, "note": note},
        at=at,
    )
    return alarm


def _open(session: Session, troubles: Sequence[Trouble], *, at: datetime) -> int:
    """Open alarms in one statement; what another worker opened at the same moment is left as it is."""
    if not troubles:
        return 0
    rows = [
        {
            "kind": trouble.kind,
            "subject": trouble.subject,
            "box": trouble.box,
            "channel": trouble.channel,
            "opened_at": at,
            "detail": dict(trouble.detail),
        }
        for trouble in troubles
    ]
    made = session.execute(
        insert(Alarm)
        .values(rows)
        .on_conflict_do_nothing(index_elements=[Alarm.kind, Alarm.subject], index_where=Alarm.closed_at.is_(None))
        .returning(Alarm.id)
    )
    return len(made.all())


def _visible(reader: Principal) -> Select[Alarm]:
    return select(Alarm).where(seen_by(reader, box=Alarm.box))


def _with_places(session: Session, wanted: Select[Alarm]) -> list[SeenAlarm]:
    found = list(session.scalars(wanted))
    places = present_places(session, {alarm.box for alarm in found if alarm.box is not None})
    return [SeenAlarm(alarm=alarm, place=places.get((alarm.box or "", alarm.channel or 0))) for alarm in found]

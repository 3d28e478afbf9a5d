"""Dead letters before a person: what arrived, why it was refused, and who has looked at it; nothing is deleted."""

import string
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app import errors
from app.people import service as people
from telemetry.errors import DeadReason
from telemetry.models import DeadLetter

RECENT = timedelta(days=30)
PRINTABLE = frozenset(string.printable.encode()) - frozenset(b"\t\r\n\x0b\x0c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which dead letters; empty values ask for all."""

    box: str = ""
    reason: DeadReason | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """A page of dead letters, how many there are of each reason that nobody has looked at, and whether more follow."""

    letters: tuple[DeadLetter, ...]
    unseen: dict[str, int]
    has_more: bool


def dead_letters(session: Session, *, wanted: Wanted, limit: int, offset: int = 0) -> Letters:
    """Give a page of dead letters, the newest first."""
    rows = session.scalars(
        _where(wanted).order_by(DeadLetter.received_at.desc(), DeadLetter.id.desc()).limit(limit + 1).offset(offset)
    ).all()
    return Letters(letters=tuple(rows[:limit]), unseen=unseen_by_reason(session), has_more=len(rows) > limit)


def unseen_by_reason(session: Session) -> dict[str, int]:
    """Say how many of each reason nobody has looked at, the commonest first."""
    count = func.count()
    rows = session.execute(
        select(DeadLetter.reason, count)
        .where(DeadLetter.seen_at.is_(None))
        .group_by(DeadLetter.reason)
        .order_by(count.desc(), DeadLetter.reason)
    )
    return dict(rows.all())


def recent_by_box(session: Session, codes: Iterable[str], *, at: datetime) -> dict[str, int]:
    """Say how many dead letters of the last 30 days name these boxes."""
    rows = session.execute(
        select(DeadLetter.box, func.count())
        .where(DeadLetter.box.in_(list(codes)), DeadLetter.received_at >= at - RECENT)
        .group_by(DeadLetter.box)
    )
    return dict(rows.all())


def note_seen(session: Session, *, wanted: Wanted, until_id: int, note: str, actor: str, at: datetime) -> int:
    """Note that a person has looked at all of these up to the one that her page showed first; gives how many.

    The first note on a letter stands. Raises Refusal NOT_FOUND if there is none.
    """
    ids = _where(Wanted(box=wanted.box, reason=wanted.reason)).where(DeadLetter.id <= until_id)
    noted = session.execute(
        update(DeadLetter)
        .where(DeadLetter.id.in_(ids.with_only_columns(DeadLetter.id)))
        .values(seen_at=at, seen_by=actor, note=note)
        .returning(DeadLetter.id)
    ).all()
    if not noted:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    detail = {
        "letters": len(noted),
        "until_id": until_id,
        "box": wanted.box,
        "reason": wanted.reason.value if wanted.reason else "",
        "note": note,
    }
    people.audit(session, actor=actor, action="dead_letter.note", subject="dead_letters", detail=detail, at=at)
    return len(noted)


def readable(head: bytes) -> str:
    """Write the first bytes of a payload so that a person can read them; other bytes stand in hexadecimal."""
    return "".join(chr(byte) if byte in PRINTABLE else f"\\x{byte:02x}" for byte in head)


def _where(wanted: Wanted) -> Select[DeadLetter]:
    query = select(DeadLetter)
    query = query.where(DeadLetter.seen_at.is_not(None) if wanted.seen else DeadLetter.seen_at.is_(None))
    if wanted.box:
        query = query.where(DeadLetter.box == wanted.box)
    if wanted.reason is not None:
        query = query.where(DeadLetter.reason == wanted.reason.value)
    return query

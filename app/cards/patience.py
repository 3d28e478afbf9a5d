"""How much of a chip's patience with wrong keys is used up, whoever asks it: a station, or a terminal.

NT4H2421Gx: 50 failures in a row slow a chip, 1,000 in all lock its key for good. We stop well before either.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import errors
from app.cards.models import Chip
from app.people import service as people

ATTEMPTS_UNPROVED_MAX = 40
ATTEMPTS_TOTAL_MAX = 900
# How long a chip rests before one more try: whoever copies a UID uses up the patience of a chip he never touched, and
# its holder must not be kept out until a person forgives it. At this pace the total is days away.
REST = timedelta(minutes=10)
# What a success takes off the chip's own total (TotFailDecr); ours goes down no faster.
ATTEMPTS_FORGIVEN = 10


class ImpatientError(Exception):
    """One more authentication now could slow or lock the chip; the text says how many may come to nothing."""


def spend(session: Session, *, uid: bytes, at: datetime) -> None:
    """Count an authentication before it begins: one that is torn is no success. Raises ImpatientError."""
    counted = session.scalar(
        insert(Chip)
        .values(uid=uid, attempts_unproved=1, attempts_total=1, last_attempt_at=at)
        .on_conflict_do_update(
            index_elements=[Chip.uid],
            set_={
                "attempts_unproved": Chip.attempts_unproved + 1,
                "attempts_total": Chip.attempts_total + 1,
                "last_attempt_at": at,
            },
            where=((Chip.attempts_unproved < ATTEMPTS_UNPROVED_MAX) | (Chip.last_attempt_at <= at - REST))
            & (Chip.attempts_total < ATTEMPTS_TOTAL_MAX),
        )
        .returning(Chip.attempts_unproved)
        .execution_options(populate_existing=True)
    )
    if counted is None:
        raise ImpatientError(f"{ATTEMPTS_UNPROVED_MAX} in a row, or {ATTEMPTS_TOTAL_MAX} in all")


def proved(session: Session, *, uid: bytes) -> None:
    """Say that the chip knew the key."""
    session.execute(
        update(Chip)
        .where(Chip.uid == uid)
        .values(attempts_unproved=0, attempts_total=func.greatest(Chip.attempts_total - 1 - ATTEMPTS_FORGIVEN, 0))
        .execution_options(synchronize_session=False)
    )


def forgive(session: Session, *, uid: bytes, actor: str, at: datetime) -> None:
    """Let a chip be tried again that has used up its patience here. Raises Refusal NOT_FOUND."""
    chip = session.get(Chip, uid, with_for_update=True)
    if chip is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    chip.attempts_unproved = 0
    people.audit(session, actor=actor, action="chip.forgive", subject=f"chip:{uid.hex().upper()}", at=at)


def tired_chips(session: Session, *, limit: int = 100) -> list[Chip]:
    """Give the chips that are not tried any more, the last tried first."""
    tired = (Chip.attempts_unproved >= ATTEMPTS_UNPROVED_MAX) | (Chip.attempts_total >= ATTEMPTS_TOTAL_MAX)
    return list(session.scalars(select(Chip).where(tired).order_by(Chip.last_attempt_at.desc()).limit(limit)))

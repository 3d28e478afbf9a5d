"""Tariffs: what an instrument costs whom and since when."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.errors import Code, Refusal
from app.instruments.models import CustomerClass, Instrument, Tariff
from app.instruments.price_rules import RulesError, parse_rules
from app.instruments.service.dates import holds_at, overlaps
from app.instruments.service.homes import lock_instrument
from app.people.service import audit

CHANGES_AHEAD = timedelta(days=32)
"""How far ahead announced changes are kept with a session: longer than any session, and any quote, can last."""
CHANGES_MAX = 20


def set_tariff(
    session: Session,
    *,
    instrument_id: int,
    customer_class: CustomerClass | None = None,
    valid_from: datetime,
    valid_to: datetime | None = None,
    rules: dict[str, Any],
    split_at_change: bool = False,
    source: str = "",
    actor: str,
    at: datetime,
) -> Tariff:
    """Announce price rules for an instrument and a customer class, None for everyone who has no rules of their own.

    Refuses TARIFF_INVALID (with the path of the mistake), TARIFF_OVERLAP and NOT_FOUND.
    """
    try:
        parse_rules(rules)
    except RulesError as error:
        raise Refusal(Code.TARIFF_INVALID, path=error.path, reason=error.reason) from error
    if valid_to is not None and valid_to <= valid_from:
        raise Refusal(Code.TARIFF_INVALID, path="valid_to", reason="must be after valid_from")
    # The embedded server cannot exclude overlapping ranges by itself; under the instrument's lock nobody else can.
    lock_instrument(session, instrument_id=instrument_id)
    other = session.scalar(_overlapping(instrument_id, customer_class, valid_from=valid_from, valid_to=valid_to))
    if other is not None:
        raise Refusal(Code.TARIFF_OVERLAP, tariff_id=other.id, valid_from=other.valid_from.isoformat())
    tariff = Tariff(
        instrument_id=instrument_id,
        customer_class=customer_class,
        valid_from=valid_from,
        valid_to=valid_to,
        rules=rules,
        split_at_change=split_at_change,
        source=source,
    )
    session.add(tariff)
    session.flush()
    audit(
        session,
        actor=actor,
        action="set_tariff",
        subject=f"instrument:{instrument_id}",
        detail={"tariff_id": tariff.id, "customer_class": customer_class, "valid_from": valid_from.isoformat()},
        at=at,
    )
    return tariff


def end_tariff(session: Session, *, tariff_id: int, valid_to: datetime, actor: str, at: datetime) -> Tariff:
    """Let a tariff hold only until `valid_to`, which is not in the past: what was charged by it stays explained.

    Refuses NOT_FOUND, and TARIFF_INVALID for a moment that is past, before its beginning or after its end.
    """
    tariff = session.get(Tariff, tariff_id)
    if tariff is None:
        raise Refusal(Code.NOT_FOUND, tariff_id=tariff_id)
    lock_instrument(session, instrument_id=tariff.instrument_id)
    session.refresh(tariff)
    if valid_to < at or valid_to <= tariff.valid_from or (tariff.valid_to is not None and valid_to > tariff.valid_to):
        raise Refusal(Code.TARIFF_INVALID, path="valid_to", reason="must lie ahead, within the tariff's own time")
    tariff.valid_to = valid_to
    audit(
        session,
        actor=actor,
        action="end_tariff",
        subject=f"instrument:{tariff.instrument_id}",
        detail={"tariff_id": tariff.id, "valid_to": valid_to.isoformat()},
        at=at,
    )
    return tariff


def tariff_at(
    session: Session, *, instrument_id: int, customer_class: CustomerClass, at: datetime
) -> dict[str, Any] | None:
    """Give the tariff that holds for a customer class at a moment as a snapshot to keep, or None.

    A tariff for the class goes before one for everyone. `customer_class` in it is the customer's, for the percentages
    of the rules; `rules` is what `pricing.parse_rules` reads, `changes` what `pricing.parse_changes` reads: the tariffs
    that are announced to follow, if the one that holds says `split_at_change`.
    """
    of_class = (
        select(Tariff)
        .where(Tariff.instrument_id == instrument_id)
        .where(or_(Tariff.customer_class == customer_class, Tariff.customer_class.is_(None)))
        .order_by(Tariff.customer_class.is_(None))
    )
    tariff = session.scalar(of_class.where(holds_at(Tariff, at)).limit(1))
    if tariff is None:
        return None
    changes = []
    if tariff.split_at_change:
        ahead = overlaps(Tariff, valid_from=at, valid_to=at + CHANGES_AHEAD)
        changes = _changes(tariff, session.scalars(of_class.where(ahead)).all(), at=at)
    return snapshot(tariff, customer_class=customer_class, changes=changes)


def tariffs_at(session: Session, *, instrument_ids: list[int], at: datetime) -> dict[int, list[Tariff]]:
    """Give the tariffs that hold at a moment by instrument, the one for everyone last."""
    found: dict[int, list[Tariff]] = {instrument_id: [] for instrument_id in instrument_ids}
    for tariff in session.scalars(
        select(Tariff)
        .where(Tariff.instrument_id.in_(instrument_ids), holds_at(Tariff, at))
        .order_by(Tariff.customer_class.nulls_last())
    ):
        found[tariff.instrument_id].append(tariff)
    return found


def tariffs_of(session: Session, *, instrument_id: int) -> list[Tariff]:
    """Give all tariffs of an instrument, past, present and announced, the newest first. Refuses NOT_FOUND."""
    if session.get(Instrument, instrument_id) is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)
    return list(
        session.scalars(
            select(Tariff).where(Tariff.instrument_id == instrument_id).order_by(Tariff.valid_from.desc(), Tariff.id)
        )
    )


def snapshot(
    tariff: Tariff, *, customer_class: CustomerClass | None, changes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Give a tariff as the JSON that is copied to a session: what is announced or changed later does not reach it."""
    return {
        "tariff_id": tariff.id,
        "instrument_id": tariff.instrument_id,
        "customer_class": customer_class,
        "valid_from": tariff.valid_from.isoformat(),
        "valid_to": None if tariff.valid_to is None else tariff.valid_to.isoformat(),
        "split_at_change": tariff.split_at_change,
        "source": tariff.source,
        "rules": tariff.rules,
        "changes": list(changes),
    }


def _changes(tariff: Tariff, announced: Sequence[Tariff], *, at: datetime) -> list[dict[str, Any]]:
    """Follow the tariffs for as long as each says that a change splits a session; where none follows, the last holds.

    `announced` begins with the tariffs of the customer's class.
    """
    bounds = {bound for each in announced for bound in (each.valid_from, each.valid_to) if bound is not None}
    changes: list[dict[str, Any]] = []
    present = tariff
    for moment in sorted(bound for bound in bounds if at < bound <= at + CHANGES_AHEAD):
        if not present.split_at_change or len(changes) == CHANGES_MAX:
            break
        following = next((each for each in announced if _holds(each, moment)), present)
        if following is not present:
            changes.append(
                {
                    "from": moment.isoformat(),
                    "tariff_id": following.id,
                    "source": following.source,
                    "rules": following.rules,
                }
            )
            present = following
    return changes


def _holds(tariff: Tariff, moment: datetime) -> bool:
    return tariff.valid_from <= moment and (tariff.valid_to is None or moment < tariff.valid_to)


def _overlapping(
    instrument_id: int, customer_class: CustomerClass | None, *, valid_from: datetime, valid_to: datetime | None
) -> Select[Tariff]:
    return (
        select(Tariff)
        .where(
            Tariff.instrument_id == instrument_id,
            Tariff.customer_class.is_not_distinct_from(customer_class),
            overlaps(Tariff, valid_from=valid_from, valid_to=valid_to),
        )
        .order_by(Tariff.valid_from)
        .limit(1)
    )

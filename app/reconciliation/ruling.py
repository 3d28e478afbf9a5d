"""Silence rules said and ended: each by a named person, kept with its history, and what they touch decided anew."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people import service as people
from app.people.principals import Principal
from app.reconciliation import due
from app.reconciliation.models import RuleKind, SilenceRule
from app.reconciliation.silence import DAY_MINUTES, WEEK_DAYS, Week
from app.reconciliation.visibility import instruments_managed_by, managed_by

# A rule may be told after the fact, but not rewrite old years.
BACKDATED_MAX = timedelta(days=400)
RUN_S_MAX = 24 * 3600
PAGE_SIZE_MAX = 200
INSTRUMENTS_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A rule somebody wants; without a week it holds all the time."""

    instrument_id: int
    kind: RuleKind
    valid_from: datetime
    valid_to: datetime | None
    week: Week | None
    run_s_max: int | None
    note: str


def make(session: Session, wish: Wish, *, maker: Principal, at: datetime) -> SilenceRule:
    """Write a rule and let what it touches be decided anew.

    Raises Refusal: NOT_FOUND for an instrument that is not the maker's; VALIDATION_FAILED with the fields.
    """
    if wrong := _wrong(wish, at=at):
        raise Refusal(Code.VALIDATION_FAILED, fields=wrong)
    managed = select(Instrument.id).where(Instrument.id == wish.instrument_id, instruments_managed_by(maker))
    if session.scalar(managed) is None:
        raise Refusal(Code.NOT_FOUND)
    week = wish.week
    rule = SilenceRule(
        instrument_id=wish.instrument_id,
        kind=wish.kind,
        valid_from=wish.valid_from,
        valid_to=wish.valid_to,
        weekdays=None if week is None else week.bits,
        from_minute=None if week is None else week.from_minute,
        until_minute=None if week is None else week.until_minute,
        run_s_max=wish.run_s_max,
        note=wish.note,
        made_by_id=maker.person_id,
        made_at=at,
    )
    session.add(rule)
    session.flush()
    due.add_weeks(
        session,
        name=f"rule:{rule.id}",
        instrument_id=rule.instrument_id,
        from_at=rule.valid_from,
        until_at=min(at, rule.valid_to or at),
        at=at,
    )
    _audit(session, rule, action="silence_rule.make", actor=maker, at=at)
    return rule


def end(session: Session, *, rule_id: int, ender: Principal, at: datetime) -> SilenceRule:
    """Let a rule hold no longer from now on; what it said of the past stays said.

    Raises Refusal: NOT_FOUND, also for others' instruments; ALREADY_DECIDED when it has ended.
    """
    rule = session.scalar(
        select(SilenceRule)
        .where(SilenceRule.id == rule_id, managed_by(ender, instrument_id=SilenceRule.instrument_id))
        .with_for_update()
    )
    if rule is None:
        raise Refusal(Code.NOT_FOUND)
    if rule.valid_to is not None and rule.valid_to <= at:
        raise Refusal(Code.ALREADY_DECIDED)
    # A rule for a time to come is ended a moment after it begins, so that it holds for no second and keeps its history.
    rule.valid_to = max(at, rule.valid_from + timedelta(microseconds=1))
    rule.ended_by_id, rule.ended_at = ender.person_id, at
    session.flush()
    _audit(session, rule, action="silence_rule.end", actor=ender, at=at)
    return rule


def instruments_of(session: Session, *, reader: Principal) -> list[Instrument]:
    """Give the instruments a person manages, by code, at most 2,000."""
    query = select(Instrument).where(instruments_managed_by(reader)).order_by(Instrument.code)
    return list(session.scalars(query.limit(INSTRUMENTS_MAX)))


def list_rules(
    session: Session, *, reader: Principal, instrument_id: int | None = None, page: int = 1, page_size: int = 100
) -> list[SilenceRule]:
    """Give the rules of the instruments a person manages, those that hold first, then the newest."""
    query = select(SilenceRule).where(managed_by(reader, instrument_id=SilenceRule.instrument_id))
    if instrument_id is not None:
        query = query.where(SilenceRule.instrument_id == instrument_id)
    size = min(page_size, PAGE_SIZE_MAX)
    ordered = query.order_by(SilenceRule.ended_at.is_not(None), SilenceRule.id.desc())
    return list(
        session.scalars(
            ordered.options(
                joinedload(SilenceRule.instrument), joinedload(SilenceRule.made_by), joinedload(SilenceRule.ended_by)
            )
            .limit(size)
            .offset((page - 1) * size)
        )
    )


def _wrong(wish: Wish, *, at: datetime) -> dict[str, list[str]]:
    wrong: dict[str, list[str]] = {}
    if wish.valid_from < at - BACKDATED_MAX:
        wrong["valid_from"] = [f"at most {BACKDATED_MAX.days} days ago"]
    if wish.valid_to is not None and wish.valid_to <= wish.valid_from:
        wrong["valid_to"] = ["after valid_from"]
    if (wish.kind is RuleKind.BACKGROUND) != (wish.run_s_max is not None):
        wrong["run_s_max"] = ["for background runs, and only for them"]
    elif wish.run_s_max is not None and not 1 <= wish.run_s_max <= RUN_S_MAX:
        wrong["run_s_max"] = [f"1–{RUN_S_MAX}"]
    week = wish.week
    if week is not None and (not week.days or not week.days <= frozenset(range(WEEK_DAYS))):
        wrong["weekdays"] = ["0–6, at least one"]
    if week is not None and not (0 <= week.from_minute < DAY_MINUTES and 0 <= week.until_minute <= DAY_MINUTES):
        wrong["from_minute"] = [f"0–{DAY_MINUTES - 1}"]
    return wrong


def _audit(session: Session, rule: SilenceRule, *, action: str, actor: Principal, at: datetime) -> None:
    detail = {"kind": rule.kind.value, "instrument_id": rule.instrument_id, "note": rule.note}
    people.audit(session, actor=actor.username, action=action, subject=f"silence_rule:{rule.id}", detail=detail, at=at)

"""The close of months: what it forbids, its order, and the two people it takes to reopen one."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy.exc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import (
    JournalResult,
    JournalStatus,
    NewJournal,
    NewTransfer,
    PeriodAction,
    PeriodResult,
    PeriodState,
    PeriodStatus,
    ask_to_reopen,
    audit,
    close_period,
    closed_until,
    periods,
    post_journal,
    reopen_period,
)
from tests.ledger.stories import Books, day, ident, month

OPENING = """
account  bank     free
account  income   free
"""
STORIES = {
    "what is dated into a closed month is refused and may come again with another date": """
        journal  k1  1 lines dated 2020-10-31             posted
          pay    bank     income    10.00   as t1
        close-month 2020-10 by anna                       closed
        journal  k2  1 lines dated 2020-10-01             period_closed
          pay    bank     income    5.00    as t2
        journal  k2  1 lines dated 2020-11-01             posted
          pay    bank     income    5.00    as t2
        journal  k2  1 lines dated 2020-10-01             idempotency_conflict
          pay    bank     income    5.00    as t2
        balance  income   15.00     held 0.00
    """,
    "what stands in a closed month is answered as before": """
        journal  k1  1 lines dated 2020-10-31             posted
          pay    bank     income    10.00   as t1
        close-month 2020-10 by anna                       closed
        journal  k1  1 lines dated 2020-10-31             posted again
          pay    bank     income    10.00   as t1
        balance  income   10.00     held 0.00
    """,
    "what was refused comes through under the same key once the month is open again": """
        close-month 2020-10 by anna                       closed
        journal  k1  1 lines dated 2020-10-31             period_closed
          pay    bank     income    10.00   as t1
        ask-to-reopen 2020-10 by anna                     reopening_asked
        journal  k1  1 lines dated 2020-10-31             period_closed
          pay    bank     income    10.00   as t1
        reopen   2020-10 by bert                          reopened
        journal  k1  1 lines dated 2020-10-31             posted
          pay    bank     income    10.00   as t1
        close-month 2020-10 by anna                       closed
        balance  income   10.00     held 0.00
    """,
    "a reversal is a posting like any other: a closed month is put right in an open one": """
        journal  k1  1 lines dated 2020-10-31             posted
          pay    bank     income    10.00
        close-month 2020-10 by anna                       closed
        reverse  k1  as r1 dated 2020-10-31               period_closed
        balance  income   10.00     held 0.00
        reverse  k1  as r1 dated 2020-11-01               posted
        balance  income   0.00      held 0.00
    """,
    "a hold may not be dated into a closed month either, and nothing is burnt": """
        close-month 2020-10 by anna                       closed
        journal  k1  1 lines dated 2020-10-31             period_closed
          hold   bank     income    10.00   as h1
        hold     bank     income    10.00   as h1         ok
    """,
    "what is posted without a date is dated now": """
        close-month 2020-10 by anna                       closed
        pay      bank     income    10.00                 ok
        journal  k1  1 lines                              posted
          pay    bank     income    10.00
        balance  income   20.00     held 0.00
    """,
    "months are closed in order, without a gap": """
        close-month 2020-10 by anna                       closed
        close-month 2020-10 by bert                       already_closed
        close-month 2020-12 by anna                       earlier_period_open
        close-month 2020-09 by anna                       overlaps
        close-month 2020-11 by anna                       closed
        close-month 2020-12 by anna                       closed
    """,
    "nothing may lie before the first month that is closed": """
        journal  k1  1 lines dated 2020-09-30             posted
          pay    bank     income    10.00
        close-month 2020-10 by anna                       earlier_period_open
        close-month 2020-09 by anna                       closed
        close-month 2020-10 by anna                       closed
        journal  k2  1 lines dated 2020-08-31             period_closed
          pay    bank     income    10.00
    """,
    "months are reopened in the opposite order": """
        close-month 2020-10 by anna                       closed
        close-month 2020-11 by anna                       closed
        ask-to-reopen 2020-10 by anna                     later_period_closed
        ask-to-reopen 2020-11 by anna                     reopening_asked
        reopen   2020-11 by bert                          reopened
        ask-to-reopen 2020-10 by anna                     reopening_asked
        close-month 2020-11 by anna                       closed
        reopen   2020-10 by bert                          later_period_closed
        ask-to-reopen 2020-11 by anna                     reopening_asked
        reopen   2020-11 by bert                          reopened
        reopen   2020-10 by bert                          reopened
        journal  k1  1 lines dated 2020-10-31             posted
          pay    bank     income    10.00
    """,
    "it takes two to reopen a month": """
        ask-to-reopen 2020-10 by anna                     not_closed
        reopen   2020-10 by anna                          not_closed
        close-month 2020-10 by anna                       closed
        reopen   2020-10 by bert                          reopening_not_asked
        ask-to-reopen 2020-10 by bert                     reopening_asked
        ask-to-reopen 2020-10 by anna                     reopening_already_asked
        reopen   2020-10 by bert                          needs_another_person
        reopen   2020-10 by anna                          reopened
        reopen   2020-10 by anna                          not_closed
    """,
    "who asks for the second reopening is not who asked for the first": """
        close-month 2020-10 by anna                       closed
        ask-to-reopen 2020-10 by anna                     reopening_asked
        reopen   2020-10 by bert                          reopened
        close-month 2020-10 by anna                       closed
        ask-to-reopen 2020-10 by bert                     reopening_asked
        reopen   2020-10 by bert                          needs_another_person
        reopen   2020-10 by anna                          reopened
    """,
    "closing again refuses the wish to reopen": """
        close-month 2020-10 by anna                       closed
        ask-to-reopen 2020-10 by bert                     reopening_asked
        close-month 2020-10 by anna                       closed
        reopen   2020-10 by anna                          reopening_not_asked
    """,
}
TICK = timedelta(microseconds=1)
OCTOBER, NOVEMBER = month("2020-10"), month("2020-11")


@pytest.mark.parametrize("title", STORIES)
def test_every_story_comes_out_as_told(database: Database, title: str) -> None:
    Books(database, title).tell(OPENING + STORIES[title])


@pytest.fixture
def books(database: Database) -> Database:
    Books(database).tell(OPENING)
    return database


def journal(value_at: datetime | None) -> NewJournal:
    transfer = NewTransfer(
        id=uuid4(), debit_account_id=ident("bank"), credit_account_id=ident("income"), amount_fen=5, code=1
    )
    return NewJournal(
        id=uuid4(),
        kind="correction",
        reference="1",
        text="",
        actor="anna",
        idempotency_key=str(uuid4()),
        transfers=(transfer,),
        value_at=value_at,
    )


def post(database: Database, value_at: datetime | None) -> JournalResult:
    wish = journal(value_at)
    return database.run(lambda session: post_journal(session, wish))


def close(database: Database, bounds: tuple[datetime, datetime], actor: str = "anna") -> PeriodResult:
    return database.run(lambda session: close_period(session, starts_at=bounds[0], ends_at=bounds[1], actor=actor))


def test_a_period_is_closed_to_its_last_microsecond_and_not_beyond(books: Database) -> None:
    assert close(books, OCTOBER).ok
    for value_at in (OCTOBER[0], OCTOBER[1] - TICK):
        assert post(books, value_at).status is JournalStatus.PERIOD_CLOSED
    assert post(books, OCTOBER[1]).ok


def test_a_period_must_be_over_and_end_after_it_begins(books: Database) -> None:
    with books.reader() as session:
        now: datetime = session.scalars(text("SELECT clock_timestamp()")).one()
    assert close(books, (OCTOBER[0], now + timedelta(minutes=5))).status is PeriodStatus.PERIOD_NOT_OVER
    assert close(books, (OCTOBER[0], OCTOBER[0])).status is PeriodStatus.PERIOD_INVALID
    assert close(books, (OCTOBER[0], now)).ok


def test_a_refused_journal_leaves_nothing(books: Database) -> None:
    assert close(books, OCTOBER).ok
    result = post(books, OCTOBER[0])
    assert (result.ok, result.results, result.failed) == (False, (), None)
    with books.reader() as session:
        for table in ("transfers", "failed_transfers", "journals", "refused_journals"):
            assert session.scalars(text(f"SELECT count(*) FROM ledger.{table}")).one() == 0  # noqa: S608 - names from above


def test_every_step_of_a_period_says_who_when_and_why(books: Database) -> None:
    starts_at, ends_at = OCTOBER
    with books.reader() as session:
        assert (periods(session), closed_until(session)) == ([], None)
    close(books, OCTOBER)
    close(books, NOVEMBER, "bert")
    books.run(
        lambda session: ask_to_reopen(
            session, starts_at=NOVEMBER[0], ends_at=NOVEMBER[1], actor="anna", reason="a late invoice"
        )
    )
    with books.reader() as session:
        assert closed_until(session) == NOVEMBER[1]
        october, november = periods(session)
    assert (october.starts_at, october.ends_at, october.state) == (starts_at, ends_at, PeriodState.CLOSED)
    assert november.state is PeriodState.REOPENING_ASKED
    assert [(step.action, step.actor, step.reason) for step in november.steps] == [
        (PeriodAction.CLOSED, "bert", ""),
        (PeriodAction.REOPENING_ASKED, "anna", "a late invoice"),
    ]
    result = books.run(lambda session: reopen_period(session, starts_at=NOVEMBER[0], ends_at=NOVEMBER[1], actor="bert"))
    assert result.period is not None
    assert result.period.state is PeriodState.OPEN
    moments = [step.at for step in (*october.steps, *result.period.steps)]
    assert sorted(set(moments)) == moments
    with books.reader() as session:
        assert closed_until(session) == NOVEMBER[0]


def test_who_is_refused_is_told_how_the_period_stands(books: Database) -> None:
    close(books, OCTOBER)
    result = books.run(lambda session: reopen_period(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="bert"))
    assert result.status is PeriodStatus.REOPENING_NOT_ASKED
    assert result.period is not None
    assert [step.actor for step in result.period.steps] == ["anna"]


def test_a_wish_to_reopen_needs_a_reason(books: Database) -> None:
    close(books, OCTOBER)
    with books.transaction() as session, pytest.raises(ValueError, match="reason"):
        ask_to_reopen(session, starts_at=OCTOBER[0], ends_at=OCTOBER[1], actor="anna", reason=" ")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"action": "forgotten"}, "ck_period_events_action"),
        ({"action": "reopening_asked"}, "ck_period_events_reason"),
        ({"ends_at": OCTOBER[0]}, "ck_period_events_bounds"),
        ({"ends_at": OCTOBER[1] + TICK}, "ck_period_events_bounds"),
    ],
)
def test_a_malformed_step_cannot_be_written(books: Database, change: dict[str, Any], constraint: str) -> None:
    step = {"starts_at": OCTOBER[0], "ends_at": OCTOBER[1], "action": "closed", "at": OCTOBER[1], **change}
    columns, values = ", ".join(step), ", ".join(f":{name}" for name in step)
    with pytest.raises(sqlalchemy.exc.IntegrityError, match=constraint), books.transaction() as session:
        session.execute(
            text(f"INSERT INTO ledger.period_events ({columns}, actor, reason) VALUES ({values}, 'anna', '')"),  # noqa: S608 - names from above
            step,
        )


def test_the_audit_finds_what_came_into_a_period_after_its_close(books: Database) -> None:
    late = post(books, OCTOBER[0])
    with books.transaction() as session:
        # As if somebody had written the row around the ledger: the month was closed a day before.
        session.execute(
            text(
                "INSERT INTO ledger.period_events (starts_at, ends_at, action, actor, reason, at)"
                " VALUES (:starts_at, :ends_at, 'closed', 'anna', '', now() - interval '1 day')"
            ),
            {"starts_at": OCTOBER[0], "ends_at": OCTOBER[1]},
        )
    with books.reader() as session:
        assert [(finding.check, finding.row_id) for finding in audit(session)] == [("closed_periods", late.journal_id)]


Do = Callable[[Session, datetime, datetime, str], PeriodResult]
DO: dict[str, Do] = {
    "close": lambda session, starts_at, ends_at, actor: close_period(
        session, starts_at=starts_at, ends_at=ends_at, actor=actor
    ),
    "ask": lambda session, starts_at, ends_at, actor: ask_to_reopen(
        session, starts_at=starts_at, ends_at=ends_at, actor=actor, reason="a mistake"
    ),
    "reopen": lambda session, starts_at, ends_at, actor: reopen_period(
        session, starts_at=starts_at, ends_at=ends_at, actor=actor
    ),
}


class Calendar:
    """What the closes of whole months mean, told by the numbers of the months: `line` is the first open one."""

    def __init__(self) -> None:
        self.first = 0
        self.line: int | None = None
        self.asked_by: dict[int, str] = {}

    def do(self, verb: str, number: int, actor: str) -> PeriodStatus:
        answer = {"close": self._close, "ask": self._ask, "reopen": self._reopen}[verb](number, actor)
        if answer is PeriodStatus.REOPENED:
            self.line = number
        return answer

    def _close(self, number: int, _: str) -> PeriodStatus:
        if self.is_closed(number):
            if number in self.asked_by and number + 1 != self.line:
                return PeriodStatus.LATER_PERIOD_CLOSED
            return PeriodStatus.CLOSED if self.asked_by.pop(number, None) else PeriodStatus.ALREADY_CLOSED
        if self.line is not None and number != self.line:
            return PeriodStatus.OVERLAPS if number < self.line else PeriodStatus.EARLIER_PERIOD_OPEN
        self.first = number if self.line is None else self.first
        self.line = number + 1
        return PeriodStatus.CLOSED

    def _ask(self, number: int, actor: str) -> PeriodStatus:
        if not self.is_closed(number):
            return PeriodStatus.NOT_CLOSED
        if number in self.asked_by:
            return PeriodStatus.REOPENING_ALREADY_ASKED
        if number + 1 != self.line:
            return PeriodStatus.LATER_PERIOD_CLOSED
        self.asked_by[number] = actor
        return PeriodStatus.REOPENING_ASKED

    def _reopen(self, number: int, actor: str) -> PeriodStatus:
        if not self.is_closed(number):
            return PeriodStatus.NOT_CLOSED
        if number not in self.asked_by:
            return PeriodStatus.REOPENING_NOT_ASKED
        if number + 1 != self.line:
            return PeriodStatus.LATER_PERIOD_CLOSED
        if self.asked_by[number] == actor:
            return PeriodStatus.NEEDS_ANOTHER_PERSON
        del self.asked_by[number]
        return PeriodStatus.REOPENED

    def is_closed(self, number: int) -> bool:
        return self.line is not None and self.first <= number < self.line


STEPS = st.tuples(st.sampled_from(sorted(DO)), st.integers(1, 4), st.sampled_from(["anna", "bert", "carl"]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=25))
def test_any_order_of_wishes_is_answered_as_the_calendar_says(
    books: Database, steps: list[tuple[str, int, str]]
) -> None:
    calendar = Calendar()
    with books.transaction() as session:
        for verb, number, actor in steps:
            starts_at, ends_at = month(f"2020-{number:02}")
            assert DO[verb](session, starts_at, ends_at, actor).status is calendar.do(verb, number, actor)
        closed = {each.starts_at for each in periods(session) if each.state is not PeriodState.OPEN}
        assert closed == {day(f"2020-{number:02}") for number in range(1, 5) if calendar.is_closed(number)}
        for number in range(1, 5):
            is_before_line = calendar.line is not None and number < calendar.line
            result = post_journal(session, journal(day(f"2020-{number:02}-15")))
            assert (result.status is JournalStatus.PERIOD_CLOSED) == is_before_line
        session.rollback()

"""The close of accounting periods (结账): what is closed, who closed and reopened it, the wait for what is in flight.

Periods are closed in order and reopened in the opposite order, so the books have one line, and everything dated before
it is closed: `post_journal` refuses it. What was posted before the first period must be closed with it or before it.

Whoever has read the trial balance of a closed period must be able to rely on it, so a close waits twice
(docs/adr/0110). Postings without a value date are dated now, and the period is over: only what was being written at its
end can still fall into it, and the close waits for every transaction that writes at that moment. Postings with a value
date share a lock from before they read anything until they commit, and the close takes it for itself alone.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from sqlalchemy.orm import Session

from ledger.errors import PeriodStatus as Status
from ledger.posting import VALUE_DATES_LOCK, execute

# Gives no row, or one with the moment before which everything is closed.
CLOSED_UNTIL = """
SELECT CASE action WHEN 'reopened' THEN starts_at ELSE ends_at END FROM ledger.period_events ORDER BY at DESC LIMIT 1
"""
EVENTS = (
    "SELECT starts_at, ends_at, action, actor, reason, at FROM ledger.period_events ORDER BY starts_at, ends_at, at"
)
# The lock's holder looks at the clock after everybody who shared it has gone.
INSERT = """
INSERT INTO ledger.period_events (starts_at, ends_at, action, actor, reason, at)
SELECT %(starts_at)s, %(ends_at)s, %(action)s, %(actor)s, %(reason)s,
       greatest(clock_timestamp(), max(at) + interval '1 microsecond') FROM ledger.period_events
"""
# Every transaction that writes holds a lock on its own number until it ends. The server's own workers, as autovacuum,
# write too, but nobody logged in as them, and they post nothing.
WRITERS = """
SELECT transactionid::text FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
  AND datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
"""
WAIT_S, WAITS_MAX = 0.02, 150


class PeriodState(StrEnum):
    """Where a period stands. While its reopening is only asked for, it is closed."""

    OPEN = "open"
    CLOSED = "closed"
    REOPENING_ASKED = "reopening_asked"


class PeriodAction(StrEnum):
    """What a person does to a period."""

    CLOSED = "closed"
    REOPENING_ASKED = "reopening_asked"
    REOPENED = "reopened"


# To close a period whose reopening was asked for is to refuse the wish.
_NEXT = {
    (PeriodState.OPEN, PeriodAction.CLOSED): PeriodState.CLOSED,
    (PeriodState.CLOSED, PeriodAction.REOPENING_ASKED): PeriodState.REOPENING_ASKED,
    (PeriodState.REOPENING_ASKED, PeriodAction.CLOSED): PeriodState.CLOSED,
    (PeriodState.REOPENING_ASKED, PeriodAction.REOPENED): PeriodState.OPEN,
}
_REFUSED = {
    (PeriodState.OPEN, PeriodAction.REOPENING_ASKED): Status.NOT_CLOSED,
    (PeriodState.OPEN, PeriodAction.REOPENED): Status.NOT_CLOSED,
    (PeriodState.CLOSED, PeriodAction.CLOSED): Status.ALREADY_CLOSED,
    (PeriodState.CLOSED, PeriodAction.REOPENED): Status.REOPENING_NOT_ASKED,
    (PeriodState.REOPENING_ASKED, PeriodAction.REOPENING_ASKED): Status.REOPENING_ALREADY_ASKED,
}
_DONE = {
    PeriodAction.CLOSED: Status.CLOSED,
    PeriodAction.REOPENING_ASKED: Status.REOPENING_ASKED,
    PeriodAction.REOPENED: Status.REOPENED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodStep:
    """Who did what to a period, and when; `reason` is empty but for the wish to reopen it."""

    action: PeriodAction
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A period that was closed at least once, with all that was done to it, the oldest step first.

    `starts_at` belongs to it, `ends_at` does not.
    """

    starts_at: datetime
    ends_at: datetime
    state: PeriodState
    steps: tuple[PeriodStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodResult:
    """What became of the wish, and the period as it stands now; None if it was never closed."""

    status: Status
    period: Period | None = None

    @property
    def ok(self) -> bool:
        """Say whether it was done now."""
        return self.status in _DONE.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    action: PeriodAction
    starts_at: datetime
    ends_at: datetime
    actor: str
    reason: str = ""

    def of(self, known: Iterable[Period]) -> Period | None:
        """Give the period that is meant."""
        return next((each for each in known if (each.starts_at, each.ends_at) == (self.starts_at, self.ends_at)), None)


def close_period(session: Session, *, starts_at: datetime, ends_at: datetime, actor: str) -> PeriodResult:
    """Close a period that is over: from the commit on nothing with a value date in it is posted.

    `ends_at` is exclusive. What this transaction reads afterwards is what the period holds for good. Closed, it may not
    leave an open time before it; closing a period whose reopening was asked for refuses that wish. Waits up to 3 s for
    transactions that write, then POSTINGS_IN_FLIGHT; raises the database's error if the lock takes longer than
    `lock_timeout`. Postings with a value date wait until this transaction ends, so do not let it do much else.
    """
    wish = _Wish(action=PeriodAction.CLOSED, starts_at=starts_at, ends_at=ends_at, actor=actor)
    if ends_at <= starts_at:
        return PeriodResult(status=Status.PERIOD_INVALID)
    ((is_over,),) = execute(session, "SELECT %(ends_at)s <= clock_timestamp()", {"ends_at": ends_at})
    if not is_over:
        return PeriodResult(status=Status.PERIOD_NOT_OVER)
    if not _writers_have_ended(session):
        return PeriodResult(status=Status.POSTINGS_IN_FLIGHT)
    return _do(session, wish)


def ask_to_reopen(session: Session, *, starts_at: datetime, ends_at: datetime, actor: str, reason: str) -> PeriodResult:
    """Note that a person wants the period open again, and why; it stays closed until another person reopens it.

    Only the last closed period can be reopened. Raises ValueError for an empty reason.
    """
    if not reason.strip():
        raise ValueError("A wish to reopen a period needs a reason")
    action = PeriodAction.REOPENING_ASKED
    return _do(session, _Wish(action=action, starts_at=starts_at, ends_at=ends_at, actor=actor, reason=reason))


def reopen_period(session: Session, *, starts_at: datetime, ends_at: datetime, actor: str) -> PeriodResult:
    """Open the period again, by another person than the one who asked for it."""
    return _do(session, _Wish(action=PeriodAction.REOPENED, starts_at=starts_at, ends_at=ends_at, actor=actor))


def periods(session: Session) -> list[Period]:
    """Give every period that was ever closed, the earliest first."""
    found = []
    for bounds, rows in groupby(execute(session, EVENTS, {}), key=attrgetter("starts_at", "ends_at")):
        steps = tuple(
            PeriodStep(action=PeriodAction(row.action), actor=row.actor, reason=row.reason, at=row.at) for row in rows
        )
        state = PeriodState.OPEN
        for step in steps:
            state = _NEXT[state, step.action]
        found.append(Period(starts_at=bounds[0], ends_at=bounds[1], state=state, steps=steps))
    return found


def closed_until(session: Session) -> datetime | None:
    """Give the moment before which everything is closed; None before the first close."""
    rows = execute(session, CLOSED_UNTIL, {})
    return rows[0][0] if rows else None


def _writers_have_ended(session: Session) -> bool:
    """Wait until every transaction that writes at this moment has ended, or for about 3 s."""
    # A posting in one statement looks at the clock some microseconds before it has its number.
    time.sleep(WAIT_S)
    writers = {row[0] for row in execute(session, WRITERS, {})}
    for _ in range(WAITS_MAX):
        if not writers:
            return True
        time.sleep(WAIT_S)
        writers &= {row[0] for row in execute(session, WRITERS, {})}
    return False


def _do(session: Session, wish: _Wish) -> PeriodResult:
    execute(session, f"SELECT pg_advisory_xact_lock({VALUE_DATES_LOCK})", {})
    period = wish.of(periods(session))
    if (status := _refusal(session, wish, period)) is not None:
        return PeriodResult(status=status, period=period)
    values = {
        "starts_at": wish.starts_at,
        "ends_at": wish.ends_at,
        "action": wish.action.value,
        "actor": wish.actor,
        "reason": wish.reason,
    }
    execute(session, INSERT, values, reads=False)
    return PeriodResult(status=_DONE[wish.action], period=wish.of(periods(session)))


def _refusal(session: Session, wish: _Wish, period: Period | None) -> Status | None:
    state = PeriodState.OPEN if period is None else period.state
    if (state, wish.action) not in _NEXT:
        return _REFUSED[state, wish.action]
    if state is PeriodState.OPEN:
        return _out_of_order(session, wish)
    if wish.ends_at != closed_until(session):
        return Status.LATER_PERIOD_CLOSED
    if wish.action is PeriodAction.REOPENED and period is not None and wish.actor == period.steps[-1].actor:
        return Status.NEEDS_ANOTHER_PERSON
    return None


def _out_of_order(session: Session, wish: _Wish) -> Status | None:
    line = closed_until(session)
    if line is not None and wish.starts_at < line:
        return Status.OVERLAPS
    if line is not None and wish.starts_at > line:
        return Status.EARLIER_PERIOD_OPEN
    if line is None:
        ((has_earlier,),) = execute(
            session,
            "SELECT EXISTS (SELECT FROM ledger.transfers WHERE value_at < %(starts_at)s)",
            {"starts_at": wish.starts_at},
        )
        return Status.EARLIER_PERIOD_OPEN if has_earlier else None
    return None

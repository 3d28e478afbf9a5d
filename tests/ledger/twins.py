"""The ledger and the model side by side: whatever is done to the one is done to the other, and both must agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

import ledger
from app.db import Database
from ledger import (
    Balances,
    CreateTransferStatus,
    JournalResult,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PendingState,
    PostingQueue,
    StatementLine,
    TransferFlag,
    TransferResult,
)
from tests.ledger.model import NOT_YET, PENDING, VOID, Books, Made
from tests.ledger.model_journals import Verdict, Vouchers, Wish
from tests.ledger.stories import pass_time
from tests.owner import without_triggers

T = TypeVar("T")
TICK = timedelta(microseconds=1)
LONG_AGO, LONG_OVER = datetime(2001, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
EXPIRED = int(TransferFlag.EXPIRED_PENDING_TRANSFER)
TABLES = "accounts, balances, journals, refused_journals, transfers, failed_transfers, pending_transfers, period_events"


@dataclass
class Twins:
    """Does everything twice. The model's time runs on where the ledger's rows are moved into the past instead."""

    database: Database
    queue: PostingQueue
    vouchers: Vouchers = field(default_factory=Vouchers)
    seen: set[str] = field(default_factory=set)
    passed: timedelta = timedelta(0)
    is_reopening_asked: bool = False
    _chance: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - where to look, not a secret
    _checked: int = 0

    @property
    def books(self) -> Books:
        return self.vouchers.books

    def clear(self) -> None:
        """Begin with an empty ledger."""
        tables = ", ".join(f"ledger.{table}" for table in TABLES.split(", "))
        with self.database.transaction() as session:
            without_triggers(session)
            session.execute(text(f"TRUNCATE {tables}"))

    # --- what can be done

    def open(self, accounts: Sequence[NewAccount]) -> None:
        expected = self.books.open(accounts)
        results = self.database.run(lambda session: ledger.create_accounts(session, accounts))
        assert [result.status for result in results] == expected
        self.seen.update(f"account {status}" for status in expected)

    def send(self, batch: Sequence[NewTransfer], *, is_queued: bool = False) -> list[CreateTransferStatus]:
        expected = self.books.send(batch)
        started_at = self._now()
        if is_queued:
            results = self.queue.post(batch)
        else:
            results = self.database.run(lambda session: ledger.create_transfers(session, batch))
        self._compare(results, expected, started_at=started_at)
        return expected

    def post(self, journal: NewJournal, *, is_queued: bool = False) -> Verdict:
        expected = self.vouchers.post(journal)
        started_at = self._now()
        if is_queued:
            result = self.queue.post_journal(journal)
        else:
            result = self.database.run(lambda session: ledger.post_journal(session, journal))
        self._compare_journal(result, expected, started_at=started_at)
        return expected

    def reverse(self, journal_id: UUID, wish: NewJournal) -> Verdict:
        expected, _ = self.vouchers.reverse(journal_id, wish)
        started_at = self._now()
        result = self.database.run(
            lambda session: ledger.reverse_journal(
                session,
                journal_id,
                id=wish.id,
                reason=wish.text,
                actor=wish.actor,
                idempotency_key=wish.idempotency_key,
                value_at=wish.value_at,
            )
        )
        self._compare_journal(result, expected, started_at=started_at)
        return expected

    def post_together(self, wishes: Sequence[Wish]) -> None:
        expected = self.vouchers.together(wishes)
        started_at = self._now()
        answers = self.database.run(lambda session: ledger.post_together(session, wishes))
        for answer, verdict in zip(answers, expected, strict=True):
            if isinstance(verdict, Verdict):
                assert isinstance(answer, JournalResult)
                self._compare_journal(answer, verdict, started_at=started_at)
            else:
                assert isinstance(answer, list)
                self._compare(answer, verdict, started_at=started_at)

    def wait(self, seconds: int) -> None:
        pass_time(self.database, seconds)
        self.passed += timedelta(seconds=seconds)
        self.books.now = self.passed
        if self.vouchers.closed_until is not None:
            self.vouchers.closed_until -= timedelta(seconds=seconds)

    def sweep(self) -> None:
        """Write down every end that time has brought; a second sweep finds none."""
        self.database.run(ledger.expire_pending)
        assert self.database.run(ledger.expire_pending) == 0
        over = [made.id for made in self.books.transfers if self._is_over(made)]
        with self.database.reader() as session:
            rows = session.execute(
                text("SELECT pending_id FROM ledger.transfers WHERE flags = :flags"), {"flags": EXPIRED}
            )
            assert sorted(rows.scalars()) == sorted(over)
            for account in ledger.lookup_accounts(session, [each.id for each in self.books.accounts]):
                opened = self.books.account(account.id)
                assert opened is not None
                assert account.closed == self.books.is_closed(opened)

    def close_the_past(self) -> None:
        """Close twenty years, ask for them back, reopen them: the next step of the three."""
        work: Callable[..., ledger.PeriodResult]
        starts_at, ends_at = (moment - self.passed for moment in (LONG_AGO, LONG_OVER))
        if self.vouchers.closed_until is None:
            work, self.vouchers.closed_until = partial(ledger.close_period, actor="manager"), LONG_OVER - self.passed
        elif not self.is_reopening_asked:
            work, self.is_reopening_asked = partial(ledger.ask_to_reopen, actor="clerk", reason="a late bill"), True
        else:
            work = partial(ledger.reopen_period, actor="manager")
            self.vouchers.closed_until, self.is_reopening_asked = None, False
        assert self.database.run(partial(work, starts_at=starts_at, ends_at=ends_at)).ok

    # --- whether both agree

    def agree(self) -> None:
        """Compare sums, states, rows, a statement and some earlier balances; have the ledger audit itself."""
        ids = [account.id for account in self.books.accounts]
        holds = [made for made in self.books.transfers if made.flags & PENDING]
        with self.database.reader() as session:
            assert ledger.audit(session) == []
            assert ledger.balances(session, ids) == {id_: self.books.sums(id_) for id_ in ids}
            states = {made.id: self.books.state(made) for made in holds}
            assert ledger.pending_transfers(session, states) == states
            self._agree_on_rows(session)
            if ids:
                id_ = self._chance.choice(ids)
                self._agree_on_lines(session, id_)
                for moment in self._chance.sample(moments := self._moments(), min(4, len(moments))):
                    found = ledger.balance_at(session, id_, at=moment - self.passed)
                    assert found == self._sums_at(id_, moment), moment

    def _agree_on_rows(self, session: Session) -> None:
        """Compare every fact of the transfers made since the last look; what never changes is read once."""
        news = self.books.transfers[self._checked :]
        self._checked = len(self.books.transfers)
        found = {row.id: row for row in ledger.lookup_transfers(session, [made.id for made in news])}
        for made in news:
            row = found[made.id]
            for name in (
                *("debit_account_id", "credit_account_id", "amount_fen", "ledger", "code", "flags", "pending_id"),
                *("timeout_s", "user_data_128", "user_data_64", "user_data_32", "journal_id"),
            ):
                assert getattr(row, name) == getattr(made, name), (name, made)
            assert row.timestamp + self.passed == made.at
            assert row.value_at == (made.value_at or row.timestamp)

    def _agree_on_lines(self, session: Session, account_id: UUID) -> None:
        """Read a statement page by page in both directions, add it up line by line, and read parts of it."""
        lines = self._pages(session, account_id, newest_first=False)
        assert self._pages(session, account_id, newest_first=True) == lines[::-1]
        expected = iter(sorted(self._touching(account_id), key=lambda made: made.at))
        running = [0, 0, 0, 0]
        sides = []
        for line in lines:
            made = self._made(session, line) or next(expected)
            is_credit = made.credit_account_id == account_id
            sides.append(is_credit)
            held_fen, posted_fen = self._moves(made)
            running[2 * is_credit] += held_fen
            running[2 * is_credit + 1] += posted_fen
            assert line.after == Balances(*running)
            assert (line.transfer_id, line.held_fen) == (made.id, held_fen)
            assert line.posted_fen == (posted_fen if is_credit else -posted_fen)
            assert line.counter_account_id == (made.debit_account_id if is_credit else made.credit_account_id)
            assert line.state == (self.books.state(made) if made.flags & PENDING else None)
            self._agree_on_words(line, made)
        assert next(expected, None) is None
        if lines:
            self._agree_on_parts(session, account_id, list(zip(lines, sides, strict=True)))

    def _agree_on_words(self, line: StatementLine, made: Made) -> None:
        voucher = self.vouchers.posted(made.journal_id) if made.journal_id else None
        assert (voucher is None) == (made.journal_id is None)
        wanted = voucher and (*_words(voucher.journal), voucher.journal.id)
        assert (line.kind, line.reference, line.text, line.actor, line.journal_id) == (wanted or (None,) * 5)

    def _agree_on_parts(self, session: Session, account_id: UUID, lines: list[tuple[StatementLine, bool]]) -> None:
        since, until = sorted(self._chance.choice(lines)[0].timestamp for _ in range(2))
        code, wants_credits = self._chance.choice(lines)[0].code, self._chance.choice([True, False])
        page = ledger.account_lines(
            session,
            account_id,
            newest_first=False,
            since=since,
            until=until,
            code=code,
            debits=not wants_credits,
            credits=wants_credits,
        )
        assert list(page.lines) == [
            line
            for line, is_credit in lines
            if since <= line.timestamp < until and line.code == code and is_credit is wants_credits
        ]

    def _pages(self, session: Session, account_id: UUID, *, newest_first: bool) -> list[StatementLine]:
        lines: list[StatementLine] = []
        cursor: dict[str, datetime] = {}
        while True:
            page = ledger.account_lines(session, account_id, newest_first=newest_first, limit=4, **cursor)  # type: ignore[arg-type]
            lines += page.lines
            if page.cursor is None:
                return lines
            cursor = {"before" if newest_first else "after": page.cursor}

    def _made(self, session: Session, line: StatementLine) -> Made | None:
        """Give the end of a hold by time, which the model does not write down; None for any other line."""
        if self.books.transfer(line.transfer_id) is not None:
            return None
        (row,) = ledger.lookup_transfers(session, [line.transfer_id])
        hold = self.books.transfer(row.pending_id)
        assert hold is not None
        assert self._is_over(hold)
        assert (row.flags, row.amount_fen, row.journal_id) == (EXPIRED, hold.amount_fen, None)
        assert hold.runs_out_at <= row.timestamp + self.passed
        assert row.value_at == row.timestamp
        return replace(hold, id=row.id, flags=EXPIRED, pending_id=hold.id, journal_id=None)

    def _moves(self, made: Made) -> tuple[int, int]:
        """Give what it holds (or sets free, negative) and what it moves for good."""
        if made.flags & PENDING:
            return made.amount_fen, 0
        hold = self.books.transfer(made.pending_id)
        return -hold.amount_fen if hold else 0, 0 if made.flags & (VOID | EXPIRED) else made.amount_fen

    def _touching(self, account_id: UUID) -> list[Made]:
        return [made for made in self.books.transfers if account_id in (made.debit_account_id, made.credit_account_id)]

    def _is_over(self, made: Made) -> bool:
        return bool(made.flags & PENDING) and self.books.state(made) is PendingState.EXPIRED

    def _moments(self) -> list[datetime]:
        """Give moments worth looking at: those at which something happened or ran out, and those beside them."""
        marks = {made.at for made in self.books.transfers} | {made.runs_out_at for made in self.books.transfers}
        now = self._now()
        return sorted(
            mark + step for mark in marks - {NOT_YET} for step in (-TICK, 0 * TICK, TICK) if mark + step < now
        )

    def _sums_at(self, account_id: UUID, moment: datetime) -> Balances:
        """Add up what stood at that moment: a hold from its making until it was ended or ran out."""
        made_by_then = [made for made in self.books.transfers if made.at <= moment]
        ended = {made.pending_id for made in made_by_then}
        sums = [0, 0, 0, 0]
        for made in made_by_then:
            for place, id_ in ((0, made.debit_account_id), (2, made.credit_account_id)):
                if id_ != account_id:
                    continue
                if made.flags & PENDING:
                    sums[place] += made.amount_fen * (made.id not in ended and made.runs_out_at > moment)
                elif not made.flags & VOID:
                    sums[place + 1] += made.amount_fen
        return Balances(*sums)

    # --- whether an answer is the one foretold

    def _compare(
        self,
        results: Sequence[TransferResult],
        expected: Sequence[CreateTransferStatus],
        *,
        started_at: datetime,
    ) -> None:
        found = [(result.id, result.status.value) for result in results]
        assert found == [(result.id, status.value) for result, status in zip(results, expected, strict=True)]
        self.seen.update(f"transfer {status}" for status in expected)
        ended_at = self._now()
        for result in results:
            if result.ok:
                self._date(result, started_at=started_at, ended_at=ended_at)
            else:
                assert (result.timestamp, result.amount_fen) == (None, None)

    def _date(self, result: TransferResult, *, started_at: datetime, ended_at: datetime) -> None:
        """Take over the moment of a transfer just made: now, or right behind what its accounts went through last."""
        made = self.books.transfer(result.id)
        assert made is not None
        assert result.timestamp is not None
        assert result.amount_fen == made.amount_fen
        at = result.timestamp + self.passed
        if made.at is NOT_YET:
            last_at = max(
                (
                    other.at
                    for id_ in (made.debit_account_id, made.credit_account_id)
                    for other in self._touching(id_)
                    if other.at is not NOT_YET
                ),
                default=started_at,
            )
            assert last_at <= at if last_at == started_at else last_at < at
            assert started_at <= at <= max(ended_at, last_at + TICK)
            made.at = at
        assert at == made.at

    def _compare_journal(self, result: JournalResult, expected: Verdict, *, started_at: datetime) -> None:
        assert (result.status, result.replayed) == (expected.status, expected.is_replayed)
        self.seen.add(f"journal {expected.status}")
        if result.status in (JournalStatus.POSTED, JournalStatus.REFUSED):
            self._compare(result.results, expected.statuses, started_at=started_at)
        else:
            assert result.results == ()

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.passed


def _words(journal: NewJournal) -> tuple[str, str, str, str]:
    return journal.kind, journal.reference, journal.text, journal.actor

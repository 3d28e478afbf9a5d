"""The life of a hold ends at one microsecond for everybody who asks, by a clock that the test sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from app.db import Database
from ledger import (
    AccountFlag,
    CreateTransferStatus,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PendingState,
    PostingQueue,
    TransferFlag,
    account_lines,
    audit,
    balances,
    create_accounts,
    create_transfers,
    expire_pending,
    lookup_transfers,
    pending_transfers,
    post_journal,
    reverse_journal,
)
from ledger.transfers import expiry_id

BEGIN, TICK, TIMEOUT_S = datetime(2026, 5, 4, 9, 0, tzinfo=UTC), timedelta(microseconds=1), 60
END = BEGIN + timedelta(seconds=TIMEOUT_S)
BANK, CARD, TILL, SHOP = (uuid4() for _ in range(4))
KINDS = {
    BANK: AccountFlag.NONE,
    CARD: AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS,
    TILL: AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS,
    SHOP: AccountFlag.NONE,
}
PENDING, POST, VOID = (
    TransferFlag.PENDING,
    TransferFlag.POST_PENDING_TRANSFER,
    TransferFlag.VOID_PENDING_TRANSFER,
)
CREATED, EXPIRED = CreateTransferStatus.CREATED, CreateTransferStatus.PENDING_TRANSFER_EXPIRED
# PostgreSQL finds these before its own, and so does the ledger's SQL.
CLOCK = """
CREATE SCHEMA ours;
CREATE TABLE ours.clock AS SELECT timestamptz '{now}' AS now;
CREATE FUNCTION ours.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now FROM ours.clock';
CREATE FUNCTION ours.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now FROM ours.clock';
GRANT USAGE ON SCHEMA ours TO PUBLIC;
GRANT SELECT, UPDATE ON ours.clock TO PUBLIC
"""


@dataclass
class Books:
    """A ledger whose time stands still until it is told."""

    database: Database

    def at(self, now: datetime) -> None:
        with self.database.transaction() as session:
            session.execute(text("UPDATE ours.clock SET now = :now"), {"now": now})

    def send(self, *wishes: NewTransfer) -> list[CreateTransferStatus]:
        results = self.database.run(lambda session: create_transfers(session, wishes))
        return [result.status for result in results]

    def hold(self, debit: UUID, credit: UUID, amount_fen: int) -> UUID:
        wish = pay(debit, credit, amount_fen, flags=PENDING, timeout_s=TIMEOUT_S)
        assert self.send(wish) == [CREATED]
        return wish.id

    def state(self, hold: UUID) -> PendingState:
        with self.database.reader() as session:
            line, *_ = account_lines(session, CARD, newest_first=False, credits=False).lines
            found = pending_transfers(session, [hold])[hold]
        assert line.state is found
        return found


def pay(
    debit: UUID, credit: UUID, amount_fen: int, *, flags: TransferFlag = TransferFlag.NONE, timeout_s: int = 0
) -> NewTransfer:
    return NewTransfer(
        id=uuid4(),
        debit_account_id=debit,
        credit_account_id=credit,
        amount_fen=amount_fen,
        code=1,
        flags=flags,
        timeout_s=timeout_s,
    )


@pytest.fixture
def books(database: Database, maintenance: Engine) -> Iterator[Books]:
    name = database.engine.url.database
    with database.engine.connect() as owner:
        owner.execute(text("SET ROLE NONE"))
        owner.execute(text(CLOCK.format(now=BEGIN - timedelta(days=1))))
        owner.commit()
    with maintenance.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET search_path = ours, pg_catalog"))
    database.close()  # whoever connects from now on finds our clock
    accounts = [NewAccount(id=id_, code=1001, flags=flags) for id_, flags in KINDS.items()]
    database.run(lambda session: create_accounts(session, accounts))
    books = Books(database)
    assert books.send(pay(BANK, CARD, 100), pay(TILL, BANK, 100)) == [CREATED, CREATED]
    books.at(BEGIN)
    yield books
    with database.reader() as session:
        assert audit(session) == []


@pytest.mark.parametrize(("now", "expected"), [(END - TICK, CREATED), (END, EXPIRED), (END + TICK, EXPIRED)])
@pytest.mark.parametrize("flags", [POST, VOID])
def test_a_hold_can_be_ended_until_it_expires_and_not_at_that_moment(
    books: Books, now: datetime, expected: CreateTransferStatus, flags: TransferFlag
) -> None:
    hold = books.hold(CARD, SHOP, 60)
    books.at(now)
    assert books.send(NewTransfer(id=uuid4(), pending_id=hold, flags=flags)) == [expected]


@pytest.mark.parametrize(("now", "is_over"), [(END - TICK, False), (END, True)])
def test_everybody_who_asks_says_the_same_of_a_hold(books: Books, now: datetime, *, is_over: bool) -> None:
    hold = books.hold(CARD, TILL, 60)
    books.at(now)
    with books.database.reader() as session:
        found = balances(session, [CARD, TILL])
    assert found[CARD].debits_pending_fen == found[TILL].credits_pending_fen == 60 * (not is_over)
    assert books.state(hold) is (PendingState.EXPIRED if is_over else PendingState.OPEN)
    assert books.database.run(expire_pending) == is_over
    assert books.state(hold) is (PendingState.EXPIRED if is_over else PendingState.OPEN)


@pytest.mark.parametrize(("flags", "state"), [(POST, PendingState.POSTED), (VOID, PendingState.VOIDED)])
def test_a_hold_that_was_ended_in_time_does_not_expire(books: Books, flags: TransferFlag, state: PendingState) -> None:
    hold = books.hold(CARD, TILL, 60)
    assert books.send(NewTransfer(id=uuid4(), pending_id=hold, flags=flags)) == [CREATED]
    books.at(END)
    assert books.state(hold) is state
    with books.database.reader() as session:
        found = balances(session, [CARD, TILL])
    assert found[CARD].debits_pending_fen == found[TILL].credits_pending_fen == 0
    assert books.database.run(expire_pending) == 0
    assert books.state(hold) is state


def test_holds_that_were_ended_do_not_keep_the_sweeper_from_those_that_ran_out(books: Books) -> None:
    ended = books.hold(CARD, SHOP, 60)
    assert books.send(NewTransfer(id=uuid4(), pending_id=ended, flags=VOID)) == [CREATED]
    books.hold(CARD, SHOP, 50)
    books.at(END + timedelta(seconds=1))
    assert books.database.run(lambda session: expire_pending(session, limit=1)) == 1


def test_a_sweep_ends_no_more_holds_than_asked_for_and_the_first_to_run_out_first(books: Books) -> None:
    first, second = books.hold(CARD, SHOP, 10), books.hold(CARD, SHOP, 10)
    books.at(END + timedelta(seconds=1))
    assert books.database.run(lambda session: expire_pending(session, limit=1)) == 1
    with books.database.reader() as session:
        ends = lookup_transfers(session, [expiry_id(first), expiry_id(second)])
    assert [end.pending_id for end in ends] == [first]


@pytest.mark.parametrize(
    ("now", "expected"), [(END - TICK, CreateTransferStatus.EXCEEDS_CREDITS), (END, CREATED), (END + TICK, CREATED)]
)
@pytest.mark.parametrize("is_queued", [False, True])
def test_what_a_hold_reserved_can_be_spent_from_the_moment_it_expires(
    books: Books, now: datetime, expected: CreateTransferStatus, *, is_queued: bool
) -> None:
    books.hold(CARD, SHOP, 60)
    books.at(now)
    if is_queued:
        with PostingQueue(books.database.connect) as queue:
            assert queue.post([pay(CARD, SHOP, 41)])[0].status is expected
    else:
        assert books.send(pay(CARD, SHOP, 41)) == [expected]


@pytest.mark.parametrize(("now", "expected"), [(END - TICK, CreateTransferStatus.EXCEEDS_DEBITS), (END, CREATED)])
def test_what_a_hold_promised_can_be_promised_again_from_the_moment_it_expires(
    books: Books, now: datetime, expected: CreateTransferStatus
) -> None:
    books.hold(SHOP, TILL, 60)
    books.at(now)
    assert books.send(pay(SHOP, TILL, 41)) == [expected]


@pytest.mark.parametrize(
    ("now", "expected"), [(END - TICK, JournalStatus.JOURNAL_NOT_REVERSIBLE), (END, JournalStatus.POSTED)]
)
def test_a_journal_can_be_reversed_from_the_moment_its_hold_expires(
    books: Books, now: datetime, expected: JournalStatus
) -> None:
    lines = (pay(BANK, SHOP, 5), pay(BANK, SHOP, 5, flags=PENDING, timeout_s=TIMEOUT_S))
    journal = NewJournal(
        id=uuid4(), kind="charge", reference="", text="", actor="", idempotency_key="k", transfers=lines
    )
    assert books.database.run(lambda session: post_journal(session, journal)).ok
    # The two lines have the same accounts, so the hold came a tick later than the clock says.
    books.at(now + TICK)
    reversal = uuid4()
    result = books.database.run(
        lambda session: reverse_journal(session, journal.id, id=reversal, reason="", actor="", idempotency_key="r")
    )
    assert result.status is expected


@pytest.mark.parametrize("is_queued", [False, True])
def test_time_of_an_account_does_not_go_back_when_the_servers_clock_does(books: Books, *, is_queued: bool) -> None:
    """As after an import of later rows, or a step of the clock: what comes next is booked behind what came last."""
    first, later = pay(BANK, SHOP, 1), pay(BANK, SHOP, 1)
    assert books.send(first) == [CREATED]
    books.at(BEGIN - timedelta(days=30))
    if is_queued:
        with PostingQueue(books.database.connect) as queue:
            assert queue.post([later])[0].status is CREATED
    else:
        assert books.send(later) == [CREATED]
    with books.database.reader() as session:
        moments = [found.timestamp for found in lookup_transfers(session, [first.id, later.id])]
    assert moments == [BEGIN, BEGIN + TICK]

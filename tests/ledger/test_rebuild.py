"""What is derived can be dropped: made anew from the facts it is the same, bit for bit."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy.exc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

import ledger
from app.db import Database
from ledger import AccountFlag, NewAccount, NewJournal, NewTransfer, TransferFlag
from tests.ledger.stories import Books, ident, pass_time
from tests.owner import as_owner

F = TransferFlag
FREE, LIMITED, ASSET, CLOSED = (
    AccountFlag.NONE,
    AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS,
    AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS,
    AccountFlag.CLOSED,
)
ACCOUNTS = (FREE, FREE, LIMITED, LIMITED, ASSET, CLOSED)
PLACES = st.integers(0, len(ACCOUNTS) - 1)
AMOUNTS = st.none() | st.integers(0, 500)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), PLACES, PLACES, AMOUNTS, st.sampled_from([F.NONE, F.BALANCING_DEBIT])),
        st.tuples(st.just("pay"), st.just(0), PLACES, st.integers(1, 500), st.just(F.NONE)),
        st.tuples(
            st.just("hold"),
            PLACES,
            PLACES,
            AMOUNTS,
            st.sampled_from([F.NONE, F.BALANCING_DEBIT, F.CLOSING_DEBIT, F.CLOSING_CREDIT]),
            st.sampled_from([0, 0, 30, 90]),
        ),
        st.tuples(
            st.just("end"),
            st.integers(0, 9),
            AMOUNTS,
            st.sampled_from([F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER]),
        ),
        st.tuples(st.just("journal"), st.lists(st.tuples(PLACES, PLACES, st.integers(1, 300)), min_size=1, max_size=3)),
        st.tuples(st.just("reverse"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([20, 60])),
        st.tuples(st.just("sweep")),
    ),
    min_size=5,
    max_size=25,
)
DERIVED = ("ledger.balances", "ledger.pending_transfers")


class History:
    """A history of accepted and refused wishes on accounts of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.accounts = [NewAccount(id=uuid4(), code=1001, flags=flags) for flags in ACCOUNTS]
        self.holds: list[UUID] = []
        self.journals: list[UUID] = []
        database.run(lambda session: ledger.create_accounts(session, self.accounts))

    def take(self, step: Any) -> None:
        getattr(self, step[0])(*step[1:])

    def pay(self, debit: int, credit: int, amount_fen: int | None, flags: TransferFlag) -> None:
        self._create(NewTransfer(id=uuid4(), flags=flags, **self._between(debit, credit, amount_fen)))

    def hold(self, debit: int, credit: int, amount_fen: int | None, flags: TransferFlag, timeout_s: int) -> None:
        wish = NewTransfer(
            id=uuid4(), flags=flags | F.PENDING, timeout_s=timeout_s, **self._between(debit, credit, amount_fen)
        )
        if self._create(wish):
            self.holds.append(wish.id)

    def end(self, which: int, amount_fen: int | None, flags: TransferFlag) -> None:
        if self.holds:
            pending_id = self.holds[which % len(self.holds)]
            self._create(NewTransfer(id=uuid4(), pending_id=pending_id, amount_fen=amount_fen, flags=flags))

    def journal(self, lines: list[tuple[int, int, int]]) -> None:
        wish = NewJournal(
            id=uuid4(),
            kind="test",
            reference="",
            text="",
            actor="7",
            idempotency_key=str(uuid4()),
            transfers=tuple(NewTransfer(id=uuid4(), **self._between(*line)) for line in lines),
        )
        if self.database.run(lambda session: ledger.post_journal(session, wish)).ok:
            self.journals.append(wish.id)

    def reverse(self, which: int) -> None:
        if self.journals:
            original, id_ = self.journals[which % len(self.journals)], uuid4()
            self.database.run(
                lambda session: ledger.reverse_journal(
                    session, original, id=id_, reason="", actor="7", idempotency_key=str(id_)
                )
            )

    def wait(self, seconds: int) -> None:
        pass_time(self.database, seconds)

    def sweep(self) -> None:
        self.database.run(ledger.expire_pending)

    def _between(self, debit: int, credit: int, amount_fen: int | None) -> dict[str, Any]:
        return {
            "debit_account_id": self.accounts[debit].id,
            "credit_account_id": self.accounts[credit].id,
            "amount_fen": amount_fen,
            "code": 1,
        }

    def _create(self, wish: NewTransfer) -> bool:
        return self.database.run(lambda session: ledger.create_transfers(session, [wish]))[0].ok


def derived(database: Database) -> dict[str, list[Any]]:
    with database.reader() as session:
        return {
            table: list(session.execute(text(f"SELECT * FROM {table} ORDER BY id")))  # noqa: S608 - a constant
            for table in DERIVED
        }


@given(steps=STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happened_the_derived_tables_are_made_anew_bit_for_bit(database: Database, steps: list[Any]) -> None:
    history = History(database)
    for step in steps:
        history.take(step)
    before = derived(database)
    with database.owner() as session:
        made = ledger.rebuild(session)
    assert derived(database) == before
    assert (made.accounts, made.holds) == tuple(len(before[table]) for table in DERIVED)


STORY = """
account  bank     free
account  card:7   limited
account  shut     free
account  shut2    free
pay      bank     card:7    100.00   as t1         ok
hold     card:7   bank      10.00    as h1         ok
capture  h1       4.00                             ok
hold     card:7   bank      10.00    as h2 for 60s ok
hold     card:7   bank      10.00    as h3         ok
void     h3                                        ok
hold     card:7   bank      20.00    as h4 for 90s ok
close    shut     bank      all      as x1         ok
close    shut2    bank      all      as x2         ok
void     x2                                        ok
pay      card:7   bank      500.00   as f1         exceeds_credits
later    60s
sweep    1
"""


@pytest.fixture
def books(database: Database) -> Database:
    Books(database).tell(STORY)
    return database


def test_a_broken_derived_table_is_mended(books: Database) -> None:
    before = derived(books)
    states = {row.id: row.state for row in before["ledger.pending_transfers"]}
    assert {states[ident(name)] for name in ("h1", "h2", "h3", "h4")} == {"posted", "expired", "voided", "open"}
    assert {row.id for row in before["ledger.balances"] if row.closed} == {ident("shut")}
    with books.transaction() as session:
        as_owner(session)
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("UPDATE ledger.balances SET debits_posted_fen = 7, closed = NOT closed"))
        session.execute(text("DELETE FROM ledger.pending_transfers WHERE id = :id"), {"id": ident("h1")})
    with books.owner() as session:
        ledger.rebuild(session)
    assert derived(books) == before
    with books.reader() as session:
        assert ledger.audit(session) == []


def test_after_a_rebuild_the_walls_stand_again_and_the_books_go_on(books: Database) -> None:
    with books.owner() as session:
        ledger.rebuild(session)
    for table in DERIVED:
        with pytest.raises(sqlalchemy.exc.DatabaseError, match="only ever added to"), books.owner() as session:
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - a constant
    Books(books, title="later").tell("account a free\naccount b free\npay a b 1.00 as t ok\n")


def test_facts_that_break_a_limit_leave_everything_as_it_was(books: Database) -> None:
    before = derived(books)
    with books.transaction() as session:
        as_owner(session)
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("UPDATE ledger.transfers SET amount_fen = 1 WHERE id = :id"), {"id": ident("t1")})
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="ck_balances"), books.owner() as session:
        ledger.rebuild(session)
    assert derived(books) == before


def test_the_service_has_no_right_to_rebuild(books: Database) -> None:
    before = derived(books)
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"), books.transaction() as session:
        ledger.rebuild(session)
    assert derived(books) == before

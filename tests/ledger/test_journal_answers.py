from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy.exc

from app.db import Database
from ledger import (
    CreateTransferStatus,
    JournalResult,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    create_accounts,
    create_transfers,
    post_journal,
)
from ledger.posting import BATCH_MAX

BANK, INCOME = UUID(int=1), UUID(int=2)


@pytest.fixture
def books(database: Database) -> Database:
    wishes = [NewAccount(id=BANK, code=1002), NewAccount(id=INCOME, code=6001)]
    database.run(lambda session: create_accounts(session, wishes))
    return database


def line(**changes: Any) -> NewTransfer:
    values = {"id": uuid4(), "debit_account_id": BANK, "credit_account_id": INCOME, "amount_fen": 5, "code": 1}
    return NewTransfer(**{**values, **changes})


def journal(**changes: Any) -> NewJournal:
    values = {"id": uuid4(), "kind": "top-up", "reference": "1", "text": "", "actor": "desk", "idempotency_key": "k"}
    return NewJournal(**{**values, "transfers": (line(),), **changes})


def post(database: Database, wish: NewJournal) -> JournalResult:
    return database.run(lambda session: post_journal(session, wish))


def test_a_journal_without_transfers_is_refused(books: Database) -> None:
    assert post(books, journal(transfers=())).status is JournalStatus.JOURNAL_EMPTY


def test_a_journal_id_under_another_key_is_refused(books: Database) -> None:
    first = journal()
    assert post(books, first).ok
    assert post(books, journal(id=first.id, idempotency_key="other")).status is JournalStatus.JOURNAL_EXISTS


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "refund"},
        {"reference": "2"},
        {"text": "x"},
        {"actor": "door"},
        {"id": UUID(int=9)},
        {"transfers": (line(),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_content_under_a_used_key_is_a_conflict(books: Database, change: dict[str, Any]) -> None:
    first = journal()
    values = {name: getattr(first, name) for name in first.__slots__}
    assert post(books, first).ok
    result = post(books, NewJournal(**{**values, **change}))
    assert (result.status, result.journal_id, result.ok) == (JournalStatus.IDEMPOTENCY_CONFLICT, first.id, False)


def test_the_answer_given_again_is_the_first_one(books: Database) -> None:
    wish = journal(transfers=(line(), line(amount_fen=7)))
    first, again = post(books, wish), post(books, wish)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.results == again.results
    assert [result.amount_fen for result in again.results] == [5, 7]


def test_a_transfer_that_exists_already_cannot_join_a_journal(books: Database) -> None:
    known = line()
    books.run(lambda session: create_transfers(session, [known]))
    result = post(books, journal(transfers=(line(), known)))
    assert (result.status, result.failed) == (JournalStatus.REFUSED, CreateTransferStatus.EXISTS)


def test_a_batch_has_a_size(books: Database) -> None:
    with pytest.raises(ValueError, match="at most 8189"), books.transaction() as session:
        create_transfers(session, [line()] * (BATCH_MAX + 1))
    with pytest.raises(ValueError, match="at most 8189"), books.transaction() as session:
        create_accounts(session, [NewAccount(id=BANK, code=1)] * (BATCH_MAX + 1))
    with books.transaction() as session:
        assert len(create_transfers(session, [line()] * BATCH_MAX)) == BATCH_MAX
        assert len(create_accounts(session, [NewAccount(id=BANK, code=1)] * BATCH_MAX)) == BATCH_MAX


def test_a_mistake_of_the_program_is_not_taken_for_a_race(books: Database) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="fk_transfers_journal_id"), books.transaction() as session:
        create_transfers(session, [line()], journal_id=uuid4())

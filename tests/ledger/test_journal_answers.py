from datetime import UTC, datetime, timedelta
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
    TransferFlag,
    account_lines,
    balances,
    create_accounts,
    create_transfers,
    lookup_transfers,
    post_journal,
    reverse_journal,
)
from ledger.journals import _Batch, post_together
from ledger.posting import BATCH_MAX, execute

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


@pytest.mark.parametrize("position", [0, 1])
def test_a_refusal_given_again_names_the_same_transfer(books: Database, position: int) -> None:
    lines = [line(), line()]
    lines[position] = line(debit_account_id=UUID(int=9))
    wish = journal(transfers=tuple(lines))
    first, again = books.run(lambda session: post_together(session, [wish, wish]))
    assert isinstance(first, JournalResult)
    assert isinstance(again, JournalResult)
    assert first.results[position].status is CreateTransferStatus.DEBIT_ACCOUNT_NOT_FOUND
    assert (first.replayed, again.replayed, post(books, wish)) == (False, True, again)
    assert first.results == again.results


def test_a_reversal_gives_back_every_fen_and_says_what_it_reverses(books: Database) -> None:
    first = line(amount_fen=1, code=7, user_data_128=UUID(int=5), user_data_64=6, user_data_32=8)
    nothing = line(flags=TransferFlag.BALANCING_DEBIT)
    last = line(amount_fen=70, debit_account_id=INCOME, credit_account_id=BANK)
    wish = journal(transfers=(first, nothing, last))
    assert [result.amount_fen for result in post(books, wish).results] == [1, 0, 70]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    result = books.run(
        lambda session: reverse_journal(
            session, wish.id, id=UUID(int=9), reason="error", actor="anna", idempotency_key="r", value_at=yesterday
        )
    )
    assert [each.amount_fen for each in result.results] == [1, 70]
    with books.reader() as session:
        back, _ = lookup_transfers(session, [each.id for each in result.results])
        assert [sums.credit_balance_fen for sums in balances(session, [BANK, INCOME]).values()] == [0, 0]
        said = account_lines(session, BANK, limit=1).lines[0]
    assert (back.debit_account_id, back.credit_account_id, back.value_at) == (INCOME, BANK, yesterday)
    assert (back.code, back.user_data_128, back.user_data_64, back.user_data_32) == (7, UUID(int=5), 6, 8)
    assert (said.kind, said.reference, said.text, said.actor) == ("reversal", "1", "error", "anna")


def test_a_journal_of_another_currency_is_reversed_in_it(books: Database) -> None:
    dollars = [NewAccount(id=UUID(int=number), code=1002, ledger=840) for number in (3, 4)]
    books.run(lambda session: create_accounts(session, dollars))
    wish = journal(transfers=(line(debit_account_id=dollars[0].id, credit_account_id=dollars[1].id, ledger=840),))
    assert post(books, wish).ok
    result = books.run(
        lambda session: reverse_journal(session, wish.id, id=uuid4(), reason="", actor="", idempotency_key="r")
    )
    assert result.ok


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
    impossible = "UPDATE ledger.balances SET credits_pending_fen = -1"
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="ck_balances"), books.transaction() as session:
        execute(session, impossible, {}, reads=False)


def test_a_transfer_cannot_belong_to_a_journal_that_is_not_written(
    books: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the batch ever forget the row of a journal."""
    monkeypatch.setattr(_Batch, "_keep_posted", lambda *_, **__: None)
    wanted = journal()
    with pytest.raises(RuntimeError, match="a journal that is not written"):
        post(books, wanted)
    with books.reader() as session:
        assert lookup_transfers(session, [each.id for each in wanted.transfers]) == []

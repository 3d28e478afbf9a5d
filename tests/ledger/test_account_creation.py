from typing import Any
from uuid import UUID, uuid5

import pytest

from app.db import Database
from ledger import (
    AccountFlag,
    Balances,
    CreateAccountStatus,
    CreateTransferStatus,
    NewAccount,
    NewTransfer,
    TransferFlag,
    balances,
    create_accounts,
    create_transfers,
    lock_balances,
    lookup_accounts,
)
from ledger.values import ID_MAX, ID_ZERO

SPACE = UUID("0193d1f0-0000-7000-8000-000000000002")
Status = CreateAccountStatus
LINKED = AccountFlag.LINKED
LIMITED, ASSET = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS


def ident(name: str) -> UUID:
    return uuid5(SPACE, name)


def new(name: str = "a", **changes: Any) -> NewAccount:
    values: dict[str, Any] = {"id": ident(name), "code": 1001, "user_data_128": ident("u"), "user_data_64": 64}
    return NewAccount(**{**values, "user_data_32": 32, **changes})


CASES = [
    (Status.EXISTS, new()),
    (Status.RESERVED_FLAG, new(id=ID_ZERO, flags=AccountFlag(64))),
    (Status.ID_MUST_NOT_BE_ZERO, new(id=ID_ZERO, code=0)),
    (Status.ID_MUST_NOT_BE_INT_MAX, new(id=ID_MAX, code=0)),
    (Status.EXISTS_WITH_DIFFERENT_FLAGS, new(flags=LIMITED | ASSET)),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_128, new(user_data_128=None, user_data_64=1)),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_64, new(user_data_64=1, user_data_32=1)),
    (Status.EXISTS_WITH_DIFFERENT_USER_DATA_32, new(user_data_32=1, ledger=0)),
    (Status.EXISTS_WITH_DIFFERENT_LEDGER, new(ledger=0, code=0)),
    (Status.EXISTS_WITH_DIFFERENT_CODE, new(code=0)),
    (Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, new("b", flags=LIMITED | ASSET, ledger=0)),
    (Status.LEDGER_MUST_NOT_BE_ZERO, new("b", ledger=0, code=0)),
    (Status.CODE_MUST_NOT_BE_ZERO, new("b", code=0)),
    (Status.CREATED, new("b", flags=LIMITED)),
]


def test_an_account_gets_the_first_answer_that_applies(database: Database) -> None:
    database.run(lambda session: create_accounts(session, [new()]))
    for expected, wish in CASES:
        (result,) = database.run(lambda session, wish=wish: create_accounts(session, [wish]))  # type: ignore[misc]
        assert result.status is expected
        assert result.ok == (expected in (Status.EXISTS, Status.CREATED))


def test_every_status_has_its_case() -> None:
    elsewhere = {Status.LINKED_EVENT_FAILED, Status.LINKED_EVENT_CHAIN_OPEN}
    assert {expected for expected, _ in CASES} | elsewhere == set(Status)


@pytest.mark.parametrize(
    ("batch", "expected", "made"),
    [
        ([new("b", flags=LINKED), new("c")], "created created", 2),
        ([new("b", flags=LINKED), new("c", code=0), new("d")], "linked_event_failed code_must_not_be_zero created", 1),
        ([new("b", code=0, flags=LINKED), new("c")], "code_must_not_be_zero linked_event_failed", 0),
        ([new("b", flags=LINKED), new("c", flags=LINKED)], "linked_event_failed linked_event_chain_open", 0),
        (
            [new("b", code=0, flags=LINKED), new("c", flags=LINKED)],
            "code_must_not_be_zero linked_event_chain_open",
            0,
        ),
        ([new("b"), new("b"), new("b", code=2)], "created exists exists_with_different_code", 1),
        ([new("b", flags=LINKED), new("b")], "linked_event_failed exists_with_different_flags", 0),
    ],
)
def test_a_chain_of_accounts_holds_all_or_nothing(
    database: Database, batch: list[NewAccount], expected: str, made: int
) -> None:
    results = database.run(lambda session: create_accounts(session, batch))
    assert " ".join(result.status for result in results) == expected
    with database.reader() as session:
        assert len(lookup_accounts(session, {wish.id for wish in batch})) == made


def test_an_account_is_found_as_it_was_wished(database: Database) -> None:
    wish = new(flags=LIMITED | AccountFlag.CLOSED)
    database.run(lambda session: create_accounts(session, [wish]))
    with database.reader() as session:
        (found,) = lookup_accounts(session, [wish.id, ident("nobody")])
    assert (found.id, found.code, found.ledger, found.flags) == (wish.id, 1001, 156, wish.flags)
    assert (found.user_data_128, found.user_data_64, found.user_data_32) == (ident("u"), 64, 32)
    assert found.closed
    assert found.balances == Balances(0, 0, 0, 0)
    assert found.created_at == found.last_at


def test_an_account_wished_for_again_exists_also_with_nothing_left_to_its_default(database: Database) -> None:
    wish = new(ledger=840, code=7, flags=LIMITED | AccountFlag.CLOSED)
    for status in (Status.CREATED, Status.EXISTS):
        (result,) = database.run(lambda session: create_accounts(session, [wish]))
        assert result.status is status


def test_an_account_shows_that_it_is_closed_for_as_long_as_it_is(database: Database) -> None:
    database.run(lambda session: create_accounts(session, [new("bank"), new("card", flags=LIMITED)]))
    close = NewTransfer(
        id=ident("close"),
        debit_account_id=ident("card"),
        credit_account_id=ident("bank"),
        code=1,
        flags=TransferFlag.PENDING | TransferFlag.CLOSING_DEBIT | TransferFlag.BALANCING_DEBIT,
    )
    opened = NewTransfer(id=ident("open"), pending_id=close.id, flags=TransferFlag.VOID_PENDING_TRANSFER)
    shown = []
    for wish in (close, opened):
        assert database.run(lambda session, wish=wish: create_transfers(session, [wish]))[0].ok  # type: ignore[misc]
        with database.reader() as session:
            (found,) = lookup_accounts(session, [ident("card")])
        shown.append((found.flags, found.closed))
    assert shown == [(LIMITED | AccountFlag.CLOSED, True), (LIMITED, False)]


def test_sums_locked_before_a_decision_still_hold_when_it_is_posted(database: Database) -> None:
    wishes = [new("bank"), new("card", flags=LIMITED)]
    database.run(lambda session: create_accounts(session, wishes))
    pay = NewTransfer(
        id=ident("t1"), debit_account_id=ident("bank"), credit_account_id=ident("card"), amount_fen=5, code=1
    )
    database.run(lambda session: create_transfers(session, [pay]))
    with database.transaction() as session:
        available_fen = lock_balances(session, [ident("card")])[ident("card")].available_credit_fen
        back = NewTransfer(
            id=ident("t2"),
            debit_account_id=ident("card"),
            credit_account_id=ident("bank"),
            amount_fen=available_fen,
            code=1,
        )
        assert create_transfers(session, [back])[0].status is CreateTransferStatus.CREATED
    with database.reader() as session:
        assert balances(session, [ident("card"), ident("nobody")]) == {ident("card"): Balances(0, 5, 0, 5)}


@pytest.mark.parametrize(
    ("column", "most"),
    [("code", 2**31 - 1), ("ledger", 2**31 - 1), ("user_data_64", 2**63 - 1), ("user_data_32", 2**31 - 1)],
)
def test_a_number_that_no_column_holds_is_a_mistake_of_the_program(column: str, most: int) -> None:
    def account(number: int) -> NewAccount:
        changes: dict[str, Any] = {column: number}
        return new(**changes)

    assert [getattr(account(number), column) for number in (0, most)] == [0, most]
    for number in (-1, most + 1):
        with pytest.raises(ValueError, match="outside its column"):
            account(number)


def test_the_four_sums_give_balances_and_what_is_available() -> None:
    sums = Balances(debits_pending_fen=1, debits_posted_fen=20, credits_pending_fen=300, credits_posted_fen=4_000)
    assert sums.credit_balance_fen == 3_980
    assert sums.debit_balance_fen == -3_980
    assert sums.available_credit_fen == 3_979
    assert sums.available_debit_fen == -4_280

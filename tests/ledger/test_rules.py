"""The pure machine, status by status; the last test says that none was forgotten."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from ledger.checks import AccountState
from ledger.errors import CreateTransferStatus as Status
from ledger.transfers import Machine
from ledger.values import AMOUNT_MAX_FEN, ID_MAX, ID_ZERO, NewTransfer, PendingState, TransferFlag, TransferResult

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
SPACE = UUID("0193d1f0-0000-7000-8000-000000000001")
PENDING = TransferFlag.PENDING
POST = TransferFlag.POST_PENDING_TRANSFER
VOID = TransferFlag.VOID_PENDING_TRANSFER
LINKED = TransferFlag.LINKED


def ident(name: str) -> UUID:
    return {"zero": ID_ZERO, "max": ID_MAX}.get(name) or uuid5(SPACE, name)


def account(name: str, **changes: Any) -> AccountState:
    values = {
        "ledger": 156,
        "flags": 0,
        "closed": False,
        "debits_pending_fen": 0,
        "debits_posted_fen": 0,
        "credits_pending_fen": 0,
        "credits_posted_fen": 0,
        "last_at": NOW - timedelta(days=1),
    }
    return AccountState(id=ident(name), **{**values, **changes})


def transfer(name: str = "t", **changes: Any) -> NewTransfer:
    values: dict[str, Any] = {"debit_account_id": "a", "credit_account_id": "b", "amount_fen": 10, "code": 1}
    values.update(changes)
    for key in ("debit_account_id", "credit_account_id", "pending_id", "user_data_128"):
        if isinstance(values.get(key), str):
            values[key] = ident(values[key])
    return NewTransfer(id=ident(name), **values)


def ending(name: str = "e", **changes: Any) -> NewTransfer:
    values: dict[str, Any] = {"flags": POST, "pending_id": "h", "code": 0, "amount_fen": None}
    return transfer(name, **{**values, "debit_account_id": None, "credit_account_id": None, **changes})


def machine(*more: AccountState, now: datetime = NOW) -> Machine:
    accounts = [
        account("a"),
        account("b"),
        account("limited", flags=2, credits_posted_fen=100),
        account("asset", flags=4, debits_posted_fen=100),
        account("spent", flags=2, debits_posted_fen=40, credits_posted_fen=100),
        account("repaid", flags=4, debits_posted_fen=100, credits_posted_fen=40),
        account("closed", closed=True),
        account("dollar", ledger=840),
        account("full", debits_posted_fen=AMOUNT_MAX_FEN - 5, credits_posted_fen=AMOUNT_MAX_FEN - 5),
        account("held", debits_pending_fen=AMOUNT_MAX_FEN - 5, credits_pending_fen=AMOUNT_MAX_FEN - 5),
        account("both", debits_pending_fen=2**62, debits_posted_fen=2**62 - 5, credits_pending_fen=2**62,
                credits_posted_fen=2**62 - 5),
        account("fuller", credits_pending_fen=2**62, credits_posted_fen=2**62 - 4),
        *more,
    ]  # fmt: skip
    return Machine(now=now, accounts={found.id: found for found in accounts}, transfers={}, holds={}, failed=set())


@dataclass(frozen=True)
class Case:
    expected: Status
    event: NewTransfer
    before: tuple[NewTransfer, ...] = ()
    failed: tuple[str, ...] = field(default=())


HOLD = transfer("h", flags=PENDING, amount_fen=60)
TIMED = transfer("h", flags=PENDING, amount_fen=60, timeout_s=60)
DATA = transfer("h", flags=PENDING, amount_fen=60, user_data_128="u", user_data_64=64, user_data_32=32)
PLAIN = transfer(user_data_128="u", user_data_64=64, user_data_32=32)
MOVED = transfer(debit_account_id="limited", amount_fen=200, flags=TransferFlag.BALANCING_DEBIT)
CLOSING = transfer("x", flags=PENDING | TransferFlag.CLOSING_DEBIT)

CASES = (
    Case(Status.CREATED, transfer()),
    Case(Status.RESERVED_FLAG, transfer("zero", flags=TransferFlag(256))),
    Case(Status.ID_MUST_NOT_BE_ZERO, transfer("zero", code=0)),
    Case(Status.ID_MUST_NOT_BE_INT_MAX, transfer("max", code=0)),
    Case(Status.EXISTS, transfer(), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_FLAGS, transfer(flags=PENDING, timeout_s=1, amount_fen=11), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_PENDING_ID, transfer(pending_id="h", timeout_s=1), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_TIMEOUT, transfer(timeout_s=1, debit_account_id="x"), (transfer(),)),
    Case(
        Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID,
        transfer(debit_account_id="x", credit_account_id="x"),
        (transfer(),),
    ),
    Case(Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID, transfer(debit_account_id=None), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID, transfer(credit_account_id="x", amount_fen=11), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_AMOUNT, transfer(amount_fen=11, user_data_128="v"), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_AMOUNT, transfer(amount_fen=None), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_USER_DATA_128, transfer(user_data_128="v"), (PLAIN,)),
    Case(Status.EXISTS_WITH_DIFFERENT_USER_DATA_128, transfer(), (PLAIN,)),
    Case(Status.EXISTS_WITH_DIFFERENT_USER_DATA_64, transfer(user_data_128="u", user_data_64=65), (PLAIN,)),
    Case(Status.EXISTS_WITH_DIFFERENT_USER_DATA_32, transfer(user_data_128="u", user_data_64=64, ledger=1), (PLAIN,)),
    Case(Status.EXISTS_WITH_DIFFERENT_LEDGER, transfer(ledger=1, code=2), (transfer(),)),
    Case(Status.EXISTS_WITH_DIFFERENT_CODE, transfer(code=2), (transfer(),)),
    Case(Status.EXISTS, MOVED, (MOVED,)),
    Case(Status.ID_ALREADY_FAILED, transfer(code=0), failed=("t",)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=POST | VOID, pending_id=None), (HOLD,)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=POST | PENDING), (HOLD,)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=VOID | TransferFlag.BALANCING_DEBIT), (HOLD,)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=POST | TransferFlag.BALANCING_CREDIT), (HOLD,)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=POST | TransferFlag.CLOSING_DEBIT), (HOLD,)),
    Case(Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE, ending(flags=POST | TransferFlag.CLOSING_CREDIT), (HOLD,)),
    Case(Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, transfer(debit_account_id="zero", credit_account_id="zero")),
    Case(Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, transfer(debit_account_id=None)),
    Case(Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, transfer(debit_account_id="max", credit_account_id="zero")),
    Case(Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, transfer(credit_account_id="zero", pending_id="h")),
    Case(Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, transfer(credit_account_id=None)),
    Case(Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, transfer(credit_account_id="max", pending_id="h")),
    Case(Status.ACCOUNTS_MUST_BE_DIFFERENT, transfer(credit_account_id="a", pending_id="h")),
    Case(Status.PENDING_ID_MUST_BE_ZERO, transfer(pending_id="h", timeout_s=1)),
    Case(Status.PENDING_ID_MUST_NOT_BE_ZERO, ending(pending_id=None, timeout_s=1)),
    Case(Status.PENDING_ID_MUST_NOT_BE_ZERO, ending(pending_id="zero")),
    Case(Status.PENDING_ID_MUST_NOT_BE_INT_MAX, ending(pending_id="max", timeout_s=1)),
    Case(Status.PENDING_ID_MUST_BE_DIFFERENT, ending("h", timeout_s=1)),
    Case(Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, transfer(timeout_s=1, flags=TransferFlag.CLOSING_DEBIT)),
    Case(Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, ending(timeout_s=1), (HOLD,)),
    Case(Status.CLOSING_TRANSFER_MUST_BE_PENDING, transfer(flags=TransferFlag.CLOSING_DEBIT, amount_fen=0)),
    Case(Status.CLOSING_TRANSFER_MUST_BE_PENDING, transfer(flags=TransferFlag.CLOSING_CREDIT)),
    Case(Status.AMOUNT_MUST_NOT_BE_ZERO, transfer(amount_fen=0, ledger=0)),
    Case(Status.AMOUNT_MUST_NOT_BE_ZERO, transfer(amount_fen=None, flags=PENDING)),
    Case(Status.LEDGER_MUST_NOT_BE_ZERO, transfer(ledger=0, code=0)),
    Case(Status.CODE_MUST_NOT_BE_ZERO, transfer(code=0, debit_account_id="nobody")),
    Case(Status.DEBIT_ACCOUNT_NOT_FOUND, transfer(debit_account_id="nobody", credit_account_id="no one")),
    Case(Status.CREDIT_ACCOUNT_NOT_FOUND, transfer(credit_account_id="nobody", ledger=840)),
    Case(Status.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, transfer(credit_account_id="dollar", ledger=840)),
    Case(Status.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, transfer(ledger=840)),
    Case(Status.PENDING_TRANSFER_NOT_FOUND, ending()),
    Case(Status.PENDING_TRANSFER_NOT_PENDING, ending(pending_id="t", debit_account_id="b"), (transfer(),)),
    Case(
        Status.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID,
        ending(debit_account_id="b", credit_account_id="a"),
        (HOLD,),
    ),
    Case(Status.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID, ending(credit_account_id="a", ledger=1), (HOLD,)),
    Case(Status.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER, ending(ledger=1, code=2), (HOLD,)),
    Case(Status.PENDING_TRANSFER_HAS_DIFFERENT_CODE, ending(code=2, amount_fen=61), (HOLD,)),
    Case(Status.EXCEEDS_PENDING_TRANSFER_AMOUNT, ending(amount_fen=61), (HOLD,)),
    Case(Status.EXCEEDS_PENDING_TRANSFER_AMOUNT, ending(amount_fen=61, flags=VOID), (HOLD,)),
    Case(Status.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT, ending(amount_fen=59, flags=VOID), (HOLD, ending("f"))),
    Case(Status.PENDING_TRANSFER_ALREADY_POSTED, ending(), (HOLD, ending("f"))),
    Case(Status.PENDING_TRANSFER_ALREADY_VOIDED, ending(), (HOLD, ending("f", flags=VOID))),
    Case(Status.DEBIT_ACCOUNT_ALREADY_CLOSED, transfer(debit_account_id="closed", amount_fen=AMOUNT_MAX_FEN)),
    Case(Status.DEBIT_ACCOUNT_ALREADY_CLOSED, ending(), (HOLD, CLOSING)),
    Case(Status.CREDIT_ACCOUNT_ALREADY_CLOSED, transfer(credit_account_id="closed", amount_fen=AMOUNT_MAX_FEN)),
    Case(Status.CREDIT_ACCOUNT_ALREADY_CLOSED, ending(), (HOLD, transfer(flags=PENDING | TransferFlag.CLOSING_CREDIT))),
    Case(Status.OVERFLOWS_DEBITS_PENDING, transfer(debit_account_id="held", flags=PENDING)),
    Case(Status.OVERFLOWS_CREDITS_PENDING, transfer(credit_account_id="held", flags=PENDING)),
    Case(Status.OVERFLOWS_DEBITS_POSTED, transfer(debit_account_id="full")),
    Case(Status.OVERFLOWS_CREDITS_POSTED, transfer(credit_account_id="full")),
    Case(Status.OVERFLOWS_DEBITS, transfer(debit_account_id="both")),
    Case(Status.OVERFLOWS_CREDITS, transfer(credit_account_id="both")),
    Case(Status.EXCEEDS_CREDITS, transfer(debit_account_id="limited", credit_account_id="asset", amount_fen=101)),
    Case(Status.EXCEEDS_DEBITS, transfer(credit_account_id="asset", amount_fen=101)),
    Case(Status.EXCEEDS_CREDITS, transfer(debit_account_id="spent", amount_fen=61)),
    Case(Status.EXCEEDS_DEBITS, transfer(credit_account_id="repaid", amount_fen=61)),
    Case(Status.CREATED, transfer(debit_account_id="spent", credit_account_id="repaid", amount_fen=60)),
    Case(Status.CREATED, transfer(debit_account_id="limited", amount_fen=100)),
    Case(Status.CREATED, transfer(credit_account_id="asset", amount_fen=100, flags=PENDING)),
    # A plain transfer is not asked about pending sums by themselves, and a sum may fill its column to the brim.
    Case(Status.OVERFLOWS_DEBITS, transfer(debit_account_id="held")),
    Case(Status.OVERFLOWS_CREDITS, transfer(credit_account_id="held")),
    Case(Status.CREATED, transfer(debit_account_id="full", amount_fen=5)),
    Case(Status.CREATED, transfer(credit_account_id="full", amount_fen=5)),
    Case(Status.CREATED, transfer(debit_account_id="held", amount_fen=5, flags=PENDING)),
    Case(Status.CREATED, transfer(credit_account_id="held", amount_fen=5, flags=PENDING)),
    Case(Status.CREATED, transfer(debit_account_id="both", amount_fen=4)),
    Case(Status.CREATED, transfer(credit_account_id="both", amount_fen=4)),
    Case(Status.OVERFLOWS_CREDITS, transfer(debit_account_id="both", credit_account_id="fuller", amount_fen=4)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.expected))
def test_a_transfer_gets_the_first_answer_that_applies(case: Case) -> None:
    state = machine()
    assert {result.status for result in state.run(case.before)} <= {Status.CREATED}
    state.failed.update(ident(name) for name in case.failed)
    sums = {id_: found.sums() for id_, found in state.accounts.items()}
    (result,) = state.run([case.event])
    assert result.status is case.expected
    if result.status is not Status.CREATED:
        assert sums == {id_: found.sums() for id_, found in state.accounts.items()}
    assert (case.event.id in state.burnt) == (result.status.passing and result.status is not Status.ID_ALREADY_FAILED)


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (ending(), Status.EXISTS),
        (ending(user_data_128="u"), Status.EXISTS),
        (ending(user_data_128="v"), Status.EXISTS_WITH_DIFFERENT_USER_DATA_128),
        (ending(user_data_64=65), Status.EXISTS_WITH_DIFFERENT_USER_DATA_64),
        (ending(user_data_32=33), Status.EXISTS_WITH_DIFFERENT_USER_DATA_32),
        (ending(amount_fen=60), Status.EXISTS),
        (ending(amount_fen=59), Status.EXISTS_WITH_DIFFERENT_AMOUNT),
        (ending(debit_account_id="a", credit_account_id="b"), Status.EXISTS),
        (ending(debit_account_id="b"), Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID),
        (ending(ledger=0, code=1), Status.EXISTS),
        (ending(ledger=1), Status.EXISTS_WITH_DIFFERENT_LEDGER),
        (ending(code=2), Status.EXISTS_WITH_DIFFERENT_CODE),
        (ending(pending_id="other"), Status.EXISTS_WITH_DIFFERENT_PENDING_ID),
        (ending(flags=VOID), Status.EXISTS_WITH_DIFFERENT_FLAGS),
    ],
)
def test_a_retried_post_inherits_what_it_omits_from_its_pending_transfer(retry: NewTransfer, expected: Status) -> None:
    state = machine()
    state.run([DATA, ending()])
    (result,) = state.run([retry])
    assert result.status is expected
    assert (result.amount_fen == 60) == (expected is Status.EXISTS)


@pytest.mark.parametrize(("wanted_fen", "expected"), [(100, Status.EXISTS), (99, Status.EXISTS_WITH_DIFFERENT_AMOUNT)])
def test_a_retried_balancing_transfer_exists_if_it_allows_what_was_moved(wanted_fen: int, expected: Status) -> None:
    state = machine()
    assert [result.amount_fen for result in state.run([MOVED])] == [100]
    retry = transfer(debit_account_id="limited", amount_fen=wanted_fen, flags=TransferFlag.BALANCING_DEBIT)
    assert [result.status for result in state.run([retry])] == [expected]


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (timedelta(seconds=60, microseconds=-1), Status.CREATED),
        (timedelta(seconds=60), Status.PENDING_TRANSFER_EXPIRED),
        (timedelta(seconds=61), Status.PENDING_TRANSFER_EXPIRED),
    ],
)
@pytest.mark.parametrize("flags", [POST, VOID])
def test_a_hold_ends_at_the_very_moment_of_its_expiry(late: timedelta, expected: Status, flags: TransferFlag) -> None:
    state = machine()
    state.run([TIMED])
    state.now = NOW + late
    (result,) = state.run([ending(flags=flags)])
    assert result.status is expected
    assert state.holds[ident("h")].state is (
        {POST: PendingState.POSTED, VOID: PendingState.VOIDED}[flags]
        if expected is Status.CREATED
        else PendingState.EXPIRED
    )
    is_posted = expected is Status.CREATED and flags == POST
    assert state.accounts[ident("a")].sums() == (0, 60 * is_posted, 0, 0)
    assert state.accounts[ident("b")].sums() == (0, 0, 0, 60 * is_posted)


def test_a_hold_says_when_it_expires() -> None:
    state = machine()
    state.run([TIMED, transfer("forever", flags=PENDING)])
    assert state.holds[ident("h")].expires_at == NOW + timedelta(seconds=60)
    assert state.holds[ident("forever")].expires_at is None


def test_a_post_that_its_account_pushes_past_the_expiry_is_too_late() -> None:
    state = machine()
    state.run([TIMED])
    state.now = NOW + timedelta(seconds=60, microseconds=-1)
    state.accounts[ident("a")].last_at = state.now
    (result,) = state.run([ending()])
    assert result.status is Status.PENDING_TRANSFER_EXPIRED
    assert state.holds[ident("h")].state is PendingState.OPEN


def test_times_of_an_account_only_ever_grow() -> None:
    ahead = NOW + timedelta(seconds=5)
    state = machine(account("ahead", last_at=ahead))
    results = state.run(
        [
            transfer("t1", debit_account_id="a", credit_account_id="ahead"),
            transfer("t2", debit_account_id="b", credit_account_id="a"),
            transfer("t3", debit_account_id="b", credit_account_id="limited"),
        ]
    )
    tick = timedelta(microseconds=1)
    assert [result.timestamp for result in results] == [ahead + tick, ahead + 2 * tick, ahead + 3 * tick]


@pytest.mark.parametrize(("timeout_s", "expected"), [(86_400, Status.CREATED), (86_401, Status.OVERFLOWS_TIMEOUT)])
def test_a_timeout_past_the_end_of_the_calendar_is_refused(timeout_s: int, expected: Status) -> None:
    state = machine(now=datetime(9998, 12, 31, tzinfo=UTC))
    (result,) = state.run([transfer(flags=PENDING, timeout_s=timeout_s)])
    assert result.status is expected


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("a-,x", "linked_event_failed accounts_must_be_different"),
        ("x-,a", "accounts_must_be_different linked_event_failed"),
        ("a-,x-,a", "linked_event_failed accounts_must_be_different linked_event_failed"),
        ("a-,b-", "linked_event_failed linked_event_chain_open"),
        ("x-,b-", "accounts_must_be_different linked_event_chain_open"),
        ("a-", "linked_event_chain_open"),
        ("a,x-,a,b", "created accounts_must_be_different linked_event_failed created"),
        ("a-,b,x", "created created accounts_must_be_different"),
    ],
)
def test_a_chain_holds_all_or_nothing(chain: str, expected: str) -> None:
    state = machine()
    events = [
        transfer(f"t{position}", debit_account_id="b" if word[0] == "x" else "a", flags=LINKED * word.endswith("-"))
        for position, word in enumerate(chain.split(","))
    ]
    results = state.run(events)
    assert " ".join(result.status for result in results) == expected
    made = expected.split().count("created")
    assert len(state.created) == made
    assert state.accounts[ident("a")].debits_posted_fen == 10 * made


def test_of_a_broken_chain_only_the_id_that_failed_is_burnt() -> None:
    state = machine()
    state.run([transfer("t1", flags=LINKED), transfer("t2", debit_account_id="limited", amount_fen=101)])
    assert state.burnt == {ident("t2"): Status.EXCEEDS_CREDITS}


def test_a_broken_chain_takes_back_holds_it_made_and_holds_it_ended() -> None:
    state = machine()
    state.run([HOLD])
    state.run([ending(flags=POST | LINKED), transfer("n", flags=PENDING | LINKED), transfer("x", code=0)])
    assert set(state.holds) == {ident("h")}
    assert state.holds[ident("h")].state is PendingState.OPEN
    assert state.ended == {}
    assert state.accounts[ident("a")].sums() == (60, 0, 0, 0)


def test_balancing_both_ways_takes_the_smaller_of_the_two() -> None:
    state = machine(account("small", debits_posted_fen=30))
    both = TransferFlag.BALANCING_DEBIT | TransferFlag.BALANCING_CREDIT
    results: list[TransferResult] = state.run(
        [
            transfer("t1", debit_account_id="limited", credit_account_id="small", amount_fen=None, flags=both),
            transfer("t2", debit_account_id="limited", credit_account_id="small", amount_fen=None, flags=both),
            transfer("t3", debit_account_id="limited", credit_account_id="b", amount_fen=None, flags=TransferFlag(16)),
        ]
    )
    assert [result.amount_fen for result in results] == [30, 0, 70]


@pytest.mark.parametrize("amount_fen", [-1, AMOUNT_MAX_FEN + 1])
def test_an_amount_that_no_column_holds_is_a_mistake_of_the_program(amount_fen: int) -> None:
    with pytest.raises(ValueError, match="amount_fen"):
        transfer(amount_fen=amount_fen)


def test_a_post_of_less_moves_less_and_frees_the_rest() -> None:
    state = machine()
    results = state.run([HOLD, ending(amount_fen=45)])
    assert [result.amount_fen for result in results] == [60, 45]
    assert state.accounts[ident("a")].sums() == (0, 45, 0, 0)
    assert state.accounts[ident("b")].sums() == (0, 0, 0, 45)


def test_the_value_date_is_the_accountants_and_the_timestamp_is_not() -> None:
    state = machine()
    state.value_at = NOW - timedelta(days=30)
    state.run([HOLD, ending()])
    assert [(made.value_at, made.timestamp >= NOW) for made in state.created] == [(state.value_at, True)] * 2
    state.value_at = None
    state.run([transfer("later")])
    assert state.created[-1].value_at == state.created[-1].timestamp


@pytest.mark.parametrize("side", ["a", "b"])
def test_an_end_comes_after_the_last_event_of_both_its_accounts(side: str) -> None:
    ahead, tick = NOW + timedelta(hours=1), timedelta(microseconds=1)
    state = machine()
    state.run([TIMED, transfer("free", flags=PENDING)])
    state.accounts[ident(side)].last_at = ahead
    state.now = NOW + timedelta(seconds=60)
    (result,) = state.run([ending(pending_id="free")])
    assert state.holds[ident("h")].ended_at == ahead + tick
    assert result.timestamp == ahead + 2 * tick


@pytest.mark.parametrize(("flags", "is_closed"), [(POST, True), (VOID, False)])
@pytest.mark.parametrize(("closing", "name"), [(TransferFlag.CLOSING_DEBIT, "a"), (TransferFlag.CLOSING_CREDIT, "b")])
def test_only_a_void_opens_what_its_transfer_closed(
    closing: TransferFlag,
    name: str,
    flags: TransferFlag,
    is_closed: bool,  # noqa: FBT001
) -> None:
    state = machine()
    state.run([transfer("x", flags=PENDING | closing), transfer("y", credit_account_id="limited")])
    state.run([HOLD, ending("e", pending_id="x", flags=flags)])
    assert [found.id for found in state.accounts.values() if found.closed and found.id != ident("closed")] == (
        [ident(name)] if is_closed else []
    )


def test_giving_back_an_ordinary_hold_does_not_open_a_closed_account() -> None:
    state = machine()
    state.run([HOLD, CLOSING, transfer("y", flags=PENDING | TransferFlag.CLOSING_CREDIT, debit_account_id="limited")])
    state.run([ending(flags=VOID)])
    assert state.accounts[ident("a")].closed
    assert state.accounts[ident("b")].closed


@pytest.mark.parametrize("timeout_s", [-1, 2**31])
def test_a_timeout_that_no_column_holds_is_a_mistake_of_the_program(timeout_s: int) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        transfer(flags=PENDING, timeout_s=timeout_s)
    assert transfer(flags=PENDING, timeout_s=2**31 - 1).timeout_s == 2**31 - 1


def test_every_status_has_its_case() -> None:
    elsewhere = {
        Status.LINKED_EVENT_FAILED,
        Status.LINKED_EVENT_CHAIN_OPEN,
        Status.OVERFLOWS_TIMEOUT,
        Status.PENDING_TRANSFER_EXPIRED,
    }
    assert {case.expected for case in CASES} | elsewhere == set(Status)

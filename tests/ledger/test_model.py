"""A Hypothesis state machine drives the real ledger against a model too plain to be wrong in the same way."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.db import Database
from ledger import (
    AMOUNT_MAX_FEN,
    AccountFlag,
    CreateAccountStatus,
    CreateTransferStatus,
    JournalStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    PostingQueue,
    TransferFlag,
    create_transfers,
)
from tests.ledger.imagination import ASSET, HOUR_S, LIMITED, USD, Imagination, named
from tests.ledger.model import BALANCING_DEBIT, CLOSING_DEBIT, GREATEST, LINKED, PENDING, POST, VOID, ZERO, T
from tests.ledger.stories import pass_time
from tests.ledger.twins import LONG_OVER, TICK, Twins

LINK = AccountFlag.LINKED
TIMES = int(os.environ.get("LEDGER_TIMES", "1"))
"""How many times the work of a push; whoever has the time sets ten."""
EVERY_ANSWER = {
    *(f"account {status}" for status in CreateAccountStatus),
    # No timeout that a column holds reaches the year 9999 from today: see the last test here.
    *(f"transfer {status}" for status in CreateTransferStatus if status is not CreateTransferStatus.OVERFLOWS_TIMEOUT),
    *(f"journal {status}" for status in JournalStatus),
}
FOUND_BY_CHANCE_MIN = 0.6
SEEDS = st.integers(0, 2**32 - 1)
"""What somebody wants is drawn from a seed: the order of events is Hypothesis's to shrink, their content is not."""


class LedgerAgainstModel(RuleBasedStateMachine):
    database: Database
    queue: PostingQueue
    seen: set[str]

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        self.twins = Twins(self.database, self.queue, seen=self.seen)
        self.twins.clear()
        self.steps = 0
        self.imagination = Imagination(self.twins.books, Random(seed))  # noqa: S311 - what happens, not a secret
        self.twins.open(self.imagination.opening())
        self.twins.send(self.imagination.endowment())

    @rule(seed=SEEDS)
    def open_accounts(self, seed: int) -> None:
        self.twins.open(self._imagine(seed).accounts())

    @rule(seed=SEEDS, is_queued=st.booleans())
    def send_a_batch(self, seed: int, is_queued: bool) -> None:  # noqa: FBT001 - drawn
        self.twins.send(self._imagine(seed).batch(), is_queued=is_queued)

    @rule(seed=SEEDS, is_queued=st.booleans())
    def post_a_journal(self, seed: int, is_queued: bool) -> None:  # noqa: FBT001 - drawn
        self.twins.post(self._imagine(seed).journal(), is_queued=is_queued)

    @rule(seed=SEEDS)
    def post_together(self, seed: int) -> None:
        imagination = self._imagine(seed)
        self.twins.post_together(
            [
                imagination.journal() if imagination.one((True, False)) else imagination.batch()
                for _ in range(imagination.one((1, 2, 3)))
            ]
        )

    @rule(seed=SEEDS)
    def reverse_a_journal(self, seed: int) -> None:
        self.twins.reverse(*self._imagine(seed).reversal())

    @rule(what=st.sampled_from(["wait", "wait longer", "sweep", "close the past"]))
    def life_goes_on(self, what: str) -> None:
        if what == "sweep":
            self.twins.sweep()
        elif what == "close the past":
            self.twins.close_the_past()
        else:
            self.twins.wait(2 * HOUR_S if what == "wait longer" else HOUR_S // 2)

    @invariant()
    def both_agree(self) -> None:
        if hasattr(self, "twins"):
            self.twins.agree()

    def _imagine(self, seed: int) -> Imagination:
        self.steps += 1
        self.imagination.chance.seed(f"{seed} {self.steps}")
        return self.imagination


@pytest.fixture
def queue(database: Database) -> Iterator[PostingQueue]:
    with PostingQueue(database.connect) as queue:
        yield queue


@pytest.mark.timeout(120 * TIMES)
def test_the_ledger_agrees_with_the_model(database: Database, queue: PostingQueue) -> None:
    LedgerAgainstModel.database, LedgerAgainstModel.queue, LedgerAgainstModel.seen = database, queue, set()
    run_state_machine_as_test(
        LedgerAgainstModel,
        settings=settings(
            max_examples=24 * TIMES,
            stateful_step_count=25,
            derandomize=TIMES == 1,
            database=None,
            # To shrink takes minutes; on a push the failing run is enough, and is the same each time.
            phases=[Phase.generate] if TIMES == 1 else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    # The directed run below has every answer; this one says that what is drawn has not become dull.
    assert len(LedgerAgainstModel.seen) >= FOUND_BY_CHANCE_MIN * len(EVERY_ANSWER)


def pay(name: str, debit: str = "bank", credit: str = "shop", amount_fen: int | None = 5, **more: Any) -> NewTransfer:
    more = {"code": 1, **more}
    return NewTransfer(
        id=named(name), debit_account_id=named(debit), credit_account_id=named(credit), amount_fen=amount_fen, **more
    )


def end(name: str, hold: str, flags: TransferFlag = POST, **more: Any) -> NewTransfer:
    return NewTransfer(id=named(name), pending_id=named(hold), flags=flags, **{"ledger": 0, **more})


def voucher(name: str, *lines: NewTransfer, **more: Any) -> NewJournal:
    fields = {"kind": "charge", "reference": name, "text": "", "actor": "desk", "idempotency_key": name, **more}
    return NewJournal(id=named(name), transfers=lines, **fields)


def test_every_answer_there_is_is_given_as_the_model_says(database: Database, queue: PostingQueue) -> None:
    twins = Twins(database, queue)
    twins.open(Imagination(twins.books).opening())
    for part in (accounts_are_refused, ids_come_again, forms_are_wrong, rules_refuse, holds_end, columns_are_full):
        part(twins)
        twins.agree()
    journals_are_answered(twins)
    twins.sweep()
    twins.agree()
    assert twins.seen == EVERY_ANSWER


def accounts_are_refused(twins: Twins) -> None:
    shop = NewAccount(id=named("shop"), code=1001)
    new = NewAccount(id=named("new"), code=1001)
    twins.open([replace(new, flags=LINK), replace(shop, code=7), replace(new, flags=LINK)])
    twins.open([shop, replace(shop, flags=LIMITED), replace(shop, user_data_128=UUID(int=1))])
    twins.open([replace(shop, user_data_64=1), replace(shop, user_data_32=1), replace(shop, ledger=USD)])
    twins.open([replace(new, flags=AccountFlag(8)), replace(new, id=ZERO), replace(new, id=GREATEST)])
    twins.open([replace(new, flags=LIMITED | ASSET), replace(new, ledger=0), replace(new, code=0), new])


def ids_come_again(twins: Twins) -> None:
    old = pay("old", user_data_128=UUID(int=1), user_data_64=1, user_data_32=1)
    twins.send([old, pay("moved", "card", amount_fen=5, flags=BALANCING_DEBIT), pay("burnt", "card")])
    twins.send([old, replace(old, flags=PENDING), replace(old, pending_id=named("x")), replace(old, timeout_s=1)])
    twins.send([replace(old, debit_account_id=named("card")), replace(old, credit_account_id=named("card"))])
    twins.send([replace(old, amount_fen=4), replace(old, user_data_128=None), replace(old, user_data_64=2)])
    twins.send([replace(old, user_data_32=2), replace(old, ledger=USD), replace(old, code=2), pay("burnt")])


def forms_are_wrong(twins: Twins) -> None:
    twins.send([pay("f1", flags=LINKED), pay("f2", code=0), pay("f3", flags=LINKED)])
    twins.send([pay("f1", flags=TransferFlag(512)), replace(pay("x"), id=ZERO), replace(pay("x"), id=GREATEST)])
    for id_ in (None, ZERO, GREATEST):
        twins.send([replace(pay("f1"), debit_account_id=id_), replace(pay("f1"), credit_account_id=id_)])
    twins.send([pay("f1", credit="bank"), pay("f1", pending_id=named("x")), pay("f1", timeout_s=1)])
    twins.send([pay("f1", flags=CLOSING_DEBIT), pay("f1", amount_fen=0), pay("f1", ledger=0), pay("f1", code=0)])
    twins.send([end("f1", "x", POST | VOID), replace(end("f1", "x"), pending_id=None), end("f1", "f1")])
    twins.send([replace(end("f1", "x"), pending_id=GREATEST), end("f1", "x", timeout_s=1)])


def rules_refuse(twins: Twins) -> None:
    twins.send([pay("r1", "nobody"), pay("r2", credit="nobody"), pay("r3", credit="usd bank"), pay("r3", ledger=USD)])
    twins.send([pay("r4", "shut"), pay("r5", credit="shut"), pay("r6", "card"), pay("r7", credit="till")])
    twins.send([pay("r8", "card", amount_fen=None, flags=BALANCING_DEBIT | PENDING)])


def holds_end(twins: Twins) -> None:
    twins.send([pay("h", flags=PENDING), pay("t", flags=PENDING, timeout_s=HOUR_S), pay("p"), end("e1", "nobody")])
    twins.send([end("e2", "p"), end("e2", "h", debit_account_id=named("shop"))])
    twins.send([end("e2", "h", credit_account_id=named("bank")), end("e2", "h", ledger=USD), end("e2", "h", code=9)])
    twins.send([end("e2", "h", amount_fen=6), end("e2", "h", VOID, amount_fen=4), end("e2", "h"), end("e3", "h")])
    twins.send([pay("v", flags=PENDING), end("e4", "v", VOID), end("e5", "v")])
    twins.wait(HOUR_S)
    twins.send([end("e6", "t"), end("e7", "t", VOID)])


def columns_are_full(twins: Twins) -> None:
    half, full = 2**62, AMOUNT_MAX_FEN
    held, moved = (
        pay("c1", "deep bank", "deep shop", half, flags=PENDING),
        pay("c2", "deep bank", "deep shop", half - 1),
    )
    twins.send(
        [
            held,
            moved,
            pay("c3", "deep bank", amount_fen=half, flags=PENDING),
            pay("c3", "deep bank", amount_fen=half + 1),
        ]
    )
    twins.send(
        [
            pay("c3", credit="deep shop", amount_fen=half, flags=PENDING),
            pay("c3", credit="deep shop", amount_fen=half + 1),
        ]
    )
    twins.send([pay("c3", "deep bank", amount_fen=1), pay("c3", credit="deep shop", amount_fen=1)])
    twins.send([end("c4", "c1"), pay("c5", "deep shop", "deep bank", full), pay("c6", "deep bank", "deep shop", 1)])


def journals_are_answered(twins: Twins) -> None:
    first = voucher("j1", pay("j1 1", flags=LINKED), pay("j1 2", "shop", "bank", 2), value_at=LONG_OVER)
    short = voucher("j2", pay("j2 1"), pay("j2 2", "card"))
    reversal = voucher("r1", kind="reversal")
    for journal in (first, first, short, short, voucher("j3"), voucher("j4", pay("j4 1", code=0))):
        twins.post(journal)
    twins.post(replace(first, text="other words"))
    twins.post(replace(first, idempotency_key="another"))
    twins.post(voucher("j5", pay("j5 1", flags=PENDING)))
    for name in ("j1", "j1", "j2", "j5"):
        twins.reverse(named(name), reversal)
    twins.reverse(named("j1"), voucher("r2", kind="reversal"))
    twins.close_the_past()
    over = LONG_OVER - twins.passed
    twins.post(voucher("j6", pay("j6 1"), value_at=over - TICK))
    twins.post(voucher("j7", pay("j7 1"), value_at=over))


def test_a_hold_that_would_outlive_the_calendar_is_refused(database: Database, queue: PostingQueue) -> None:
    """So let it be the last December but one: the accounts' clocks are ahead, and time never runs back."""
    twins = Twins(database, queue)
    twins.open(Imagination(twins.books).opening())
    pass_time(database, -int((datetime(9998, 12, 1, tzinfo=UTC) - datetime.now(UTC)).total_seconds()))
    day_s = 24 * HOUR_S
    wishes = [pay(f"{days} days", flags=PENDING, timeout_s=days * day_s) for days in (32, 30)]
    answers = database.run(lambda session: create_transfers(session, wishes))
    assert [answer.status for answer in answers] == [T.OVERFLOWS_TIMEOUT, T.CREATED]

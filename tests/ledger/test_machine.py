"""The pure machine against the plain model: thousands of events without a database, each row it would write seen."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from ledger.checks import AccountState
from ledger.transfers import Hold, Machine, expiry_id
from ledger.values import AccountFlag, NewTransfer, PendingState, Transfer, TransferFlag, TransferResult
from tests.ledger.imagination import HOUR_S, Imagination
from tests.ledger.model import PENDING, TRANSIENT, VOID, Books, Made, T

BEGIN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
JOURNAL, LAST_MONTH = UUID(int=77), BEGIN - timedelta(days=31)
EXPIRED = int(TransferFlag.EXPIRED_PENDING_TRANSFER)
SEEDS, BATCHES = 40, 14


@dataclass
class Memory:
    """What a database would keep between two batches, beside the model that says what is right."""

    books: Books = field(default_factory=Books)
    accounts: dict[UUID, AccountState] = field(default_factory=dict)
    transfers: dict[UUID, Transfer] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    failed: set[UUID] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return BEGIN + self.books.now

    def open(self, imagination: Imagination) -> None:
        self.books.open(imagination.opening())
        for new in self.books.accounts:
            is_closed = bool(new.flags & AccountFlag.CLOSED)
            self.accounts[new.id] = AccountState(new.id, new.ledger, int(new.flags), is_closed, 0, 0, 0, 0, self.now)

    def run(self, batch: list[NewTransfer], *, is_journal: bool) -> None:
        """Let both take the batch, and look at all that the machine would write."""
        overdue = {made.id for made in self.books.transfers if self._runs_out(made)}
        last_at = {account.id: account.last_at for account in self.accounts.values()}
        burnt, standing = set(self.books.burnt), len(self.books.transfers)
        self.accounts = {id_: replace(each, is_changed=False) for id_, each in self.accounts.items()}  # as if read anew
        machine = Machine(self.now, self.accounts, self.transfers, self.holds, self.failed)
        if is_journal:
            machine.journal_id, machine.value_at = JOURNAL, LAST_MONTH
        results = machine.run(batch)
        expected = self.books.send(batch)
        assert [(result.id, result.status) for result in results] == [
            (new.id, status) for new, status in zip(batch, expected, strict=True)
        ]
        assert machine.burnt.keys() == self.books.burnt - burnt
        assert set(machine.burnt.values()) <= TRANSIENT
        assert self.failed == self.books.burnt
        ended = machine.created[: len(overdue)]
        made = machine.created[len(overdue) :]
        assert {row.pending_id for row in ended} == overdue
        assert [row.id for row in made] == [made.id for made in self.books.transfers[standing:]]
        self._dated(machine.created, last_at)
        self._told(results)
        for row in ended:
            self._ended(row, machine)
        for row, wanted in zip(made, self.books.transfers[standing:], strict=True):
            self._written(row, wanted, is_journal=is_journal)
        self._summed(machine)

    def _runs_out(self, made: Made) -> bool:
        """Say whether the hold's time is over and its end not yet written down."""
        hold = self.holds.get(made.id)
        is_open = hold is not None and hold.state is PendingState.OPEN
        return is_open and self.books.state(made) is PendingState.EXPIRED

    def _dated(self, created: list[Transfer], last_at: dict[UUID, datetime]) -> None:
        for row in created:
            both = row.debit_account_id, row.credit_account_id
            assert row.timestamp == max(self.now, *(last_at[id_] + TICK for id_ in both))
            last_at.update(dict.fromkeys(both, row.timestamp))
        assert {account.id: account.last_at for account in self.accounts.values()} == last_at

    def _told(self, results: list[TransferResult]) -> None:
        for result in results:
            row = self.transfers[result.id] if result.ok else None
            assert (result.timestamp, result.amount_fen) == (row and row.timestamp, row and row.amount_fen)

    def _ended(self, row: Transfer, machine: Machine) -> None:
        """Look at the end of a hold by time: it frees all, moves nothing, and belongs to no journal."""
        assert row.pending_id is not None
        hold = machine.ended[row.pending_id]
        assert (row.id, row.flags, row.amount_fen) == (expiry_id(hold.transfer.id), EXPIRED, hold.transfer.amount_fen)
        assert (row.journal_id, row.value_at, row.timeout_s) == (None, row.timestamp, 0)
        assert (hold.state, hold.ended_at, hold.ended_by) == (PendingState.EXPIRED, row.timestamp, row.id)

    def _written(self, row: Transfer, wanted: Made, *, is_journal: bool) -> None:
        for name in (
            *(
                "debit_account_id",
                "credit_account_id",
                "amount_fen",
                "ledger",
                "code",
                "flags",
                "pending_id",
                "timeout_s",
            ),
            *("user_data_128", "user_data_64", "user_data_32"),
        ):
            assert getattr(row, name) == getattr(wanted, name), name
        assert row.journal_id == (JOURNAL if is_journal else None)
        assert row.value_at == (LAST_MONTH if is_journal else row.timestamp)
        if row.pending_id is not None:
            hold = self.holds[row.pending_id]
            state = PendingState.VOIDED if row.flags & VOID else PendingState.POSTED
            assert (hold.state, hold.ended_at, hold.ended_by) == (state, row.timestamp, row.id)

    def _summed(self, machine: Machine) -> None:
        """Add up the rows: each stands with both accounts' sums right after it, and the last ones are the accounts'."""
        sums = {id_: [0, 0, 0, 0] for id_ in self.accounts}
        for row in self.transfers.values():
            freed_fen = self.transfers[row.pending_id].amount_fen if row.pending_id else 0
            for place, id_ in ((0, row.debit_account_id), (2, row.credit_account_id)):
                sums[id_][place] += row.amount_fen if row.flags & PENDING else -freed_fen
                sums[id_][place + 1] += 0 if row.flags & (PENDING | VOID | EXPIRED) else row.amount_fen
            if row in machine.created:
                assert [*row[-8:]] == [*sums[row.debit_account_id], *sums[row.credit_account_id]]
        for id_, account in self.accounts.items():
            opened = self.books.account(id_)
            assert opened is not None
            assert [*account.sums()] == sums[id_] == [*self.books.sums(id_)]
            assert account.closed == self.books.is_closed(opened)
        touched = {id_ for row in machine.created for id_ in (row.debit_account_id, row.credit_account_id)}
        assert {account.id for account in machine.changed_accounts()} == touched
        assert all(self.accounts[account.id] is account for account in machine.changed_accounts())
        assert {id_: hold.state for id_, hold in self.holds.items()} == {
            made.id: self.books.state(made) for made in self.books.transfers if made.flags & PENDING
        }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_machine_agrees_with_the_model(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - what happens, not a secret
    memory = Memory()
    imagination = Imagination(memory.books, chance)
    memory.open(imagination)
    memory.run(imagination.endowment(), is_journal=False)
    for _ in range(BATCHES):
        if chance.randint(0, 2) == 0:
            # One second more, because the moments of a batch run some ticks ahead of the clock.
            memory.books.now += timedelta(seconds=1 + chance.choice([HOUR_S // 2, HOUR_S, 2 * HOUR_S]))
        memory.run(imagination.batch(), is_journal=chance.randint(0, 1) == 0)


def test_what_is_drawn_for_the_machine_gets_nearly_every_answer() -> None:
    """Whoever changes the drawing sees here that it has become dull."""
    seen = set()
    for seed in range(SEEDS):
        chance = Random(seed)  # noqa: S311 - what happens, not a secret
        imagination = Imagination(books := Books(), chance)
        books.open(imagination.opening())
        books.send(imagination.endowment())
        for _ in range(BATCHES):
            books.now += timedelta(seconds=HOUR_S // 2)
            seen.update(books.send(imagination.batch()))
    assert len(seen) > 0.8 * len(T)


def test_holds_that_ran_out_together_end_in_the_order_in_which_they_ran_out() -> None:
    memory = Memory()
    imagination = Imagination(memory.books, Random(0))  # noqa: S311
    memory.open(imagination)
    bank, shop = (account.id for account in memory.books.accounts[:2])
    timeouts = [3, 1, 2, 1]
    holds = [
        NewTransfer(
            id=UUID(int=90 - number),
            debit_account_id=bank,
            credit_account_id=shop,
            amount_fen=1,
            code=1,
            flags=PENDING,
            timeout_s=timeout_s,
        )
        for number, timeout_s in enumerate(timeouts)
    ]
    memory.run(holds, is_journal=False)
    memory.books.now += timedelta(seconds=9)
    machine = Machine(memory.now, memory.accounts, memory.transfers, memory.holds, memory.failed)
    machine.expire_overdue()
    assert [row.pending_id for row in machine.created] == [holds[place].id for place in (1, 3, 2, 0)]


def test_the_id_of_an_end_by_time_is_the_same_in_every_version() -> None:
    """A hold whose end was written by an older version must not end again."""
    assert expiry_id(UUID(int=1)) == UUID("fb7bed10-c5e8-67cf-ae67-62f7d2bcd1a9")

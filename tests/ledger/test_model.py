"""A Hypothesis state machine drives the real ledger against a model too plain to be wrong in the same way."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.db import Database
from ledger import (
    AccountFlag,
    Balances,
    NewAccount,
    NewTransfer,
    PendingState,
    TransferFlag,
    audit,
    balances,
    create_accounts,
    create_transfers,
    expire_pending,
    pending_transfers,
)
from tests.ledger.stories import pass_time

LIMITED, ASSET = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
KINDS = (AccountFlag.NONE, AccountFlag.NONE, LIMITED, LIMITED, ASSET)
PLACES = st.integers(0, len(KINDS) - 1)
AMOUNTS = st.integers(1, 12)
POST, VOID = TransferFlag.POST_PENDING_TRANSFER, TransferFlag.VOID_PENDING_TRANSFER


@dataclass
class Entry:
    """One thing that happened: money moved for good, or held."""

    debit: int
    credit: int
    amount_fen: int
    state: str
    seconds_left: int | None = None
    reserved_fen: int = 0


class Model:
    """The books as a list; every question is answered by adding the list up."""

    def __init__(self) -> None:
        self.entries: dict[UUID, Entry] = {}
        self.burnt: set[UUID] = set()

    def total(self, place: int, side: str, state: str) -> int:
        return sum(
            entry.amount_fen
            for entry in self.entries.values()
            if entry.state == state and getattr(entry, side) == place
        )

    def spendable(self, place: int) -> int:
        return self.total(place, "credit", "posted") - self.total(place, "debit", "posted") - self.held(place, "debit")

    def returnable(self, place: int) -> int:
        return self.total(place, "debit", "posted") - self.total(place, "credit", "posted") - self.held(place, "credit")

    def held(self, place: int, side: str) -> int:
        return self.total(place, side, "open")

    def judge(self, id_: UUID, entry: Entry) -> str:
        if id_ in self.entries:
            return "exists"
        if id_ in self.burnt:
            return "id_already_failed"
        if entry.debit == entry.credit:
            return "accounts_must_be_different"
        if KINDS[entry.debit] == LIMITED and entry.amount_fen > self.spendable(entry.debit):
            return "exceeds_credits"
        if KINDS[entry.credit] == ASSET and entry.amount_fen > self.returnable(entry.credit):
            return "exceeds_debits"
        return "created"

    def take(self, id_: UUID, entry: Entry) -> str:
        answer = self.judge(id_, entry)
        if answer == "created":
            self.entries[id_] = entry
        elif answer.startswith("exceeds"):
            self.burnt.add(id_)
        return answer

    def end(self, hold: UUID, *, amount_fen: int | None, how: str) -> str:
        entry = self.entries[hold]
        reserved_fen = entry.reserved_fen or entry.amount_fen
        if how == "posted" and amount_fen is not None and amount_fen > reserved_fen:
            return "exceeds_pending_transfer_amount"
        if entry.state != "open":
            return {"expired": "pending_transfer_expired"}.get(entry.state, f"pending_transfer_already_{entry.state}")
        entry.state = how
        if how == "posted" and amount_fen is not None:
            entry.reserved_fen, entry.amount_fen = reserved_fen, amount_fen
        return "created"

    def wait(self, seconds: int) -> None:
        for entry in self.entries.values():
            if entry.seconds_left is not None:
                entry.seconds_left -= seconds
                if entry.state == "open" and entry.seconds_left <= 0:
                    entry.state = "expired"


class LedgerAgainstModel(RuleBasedStateMachine):
    database: Database
    holds = Bundle("holds")
    sent = Bundle("sent")

    @initialize()
    def open_accounts(self) -> None:
        self.model = Model()
        self.ids = [uuid4() for _ in KINDS]
        self.retries: dict[UUID, tuple[NewTransfer, Entry]] = {}
        wanted = [NewAccount(id=id_, code=1001, flags=flag) for id_, flag in zip(self.ids, KINDS, strict=True)]
        self.database.run(lambda session: create_accounts(session, wanted))

    @rule(target=sent, debit=PLACES, credit=PLACES, amount_fen=AMOUNTS)
    def pay(self, debit: int, credit: int, amount_fen: int) -> UUID:
        id_ = uuid4()
        entry = Entry(debit, credit, amount_fen, "posted")
        self._send([(self._wish(id_, entry, TransferFlag.NONE), entry)])
        return id_

    @rule(target=holds, debit=PLACES, credit=PLACES, amount_fen=AMOUNTS, timeout_s=st.sampled_from([0, 60, 120]))
    def hold(self, debit: int, credit: int, amount_fen: int, timeout_s: int) -> object:
        id_ = uuid4()
        entry = Entry(debit, credit, amount_fen, "open", timeout_s or None)
        answers = self._send([(self._wish(id_, entry, TransferFlag.PENDING, timeout_s), entry)])
        return id_ if answers == ["created"] else multiple()

    @rule(debit=PLACES, credit=PLACES, amount_fen=AMOUNTS, both=st.booleans())
    def pay_up_to(self, debit: int, credit: int, amount_fen: int, both: bool) -> None:  # noqa: FBT001
        if debit == credit:
            return
        flags = TransferFlag.BALANCING_DEBIT | (TransferFlag.BALANCING_CREDIT if both else TransferFlag.NONE)
        possible = min(amount_fen, max(0, self.model.spendable(debit)))
        if both:
            possible = min(possible, max(0, self.model.returnable(credit)))
        entry = Entry(debit, credit, possible, "posted")
        wish = self._wish(uuid4(), Entry(debit, credit, amount_fen, "posted"), flags)
        self._send([(wish, entry)])

    @rule(first=PLACES, middle=PLACES, last=PLACES, amounts=st.tuples(AMOUNTS, AMOUNTS), broken=st.booleans())
    def pay_in_a_chain(self, first: int, middle: int, last: int, amounts: tuple[int, int], broken: bool) -> None:  # noqa: FBT001
        entries = [Entry(first, middle, amounts[0], "posted"), Entry(middle, last, amounts[1], "posted")]
        if broken:
            entries.append(Entry(last, last, 1, "posted"))
        flags = [TransferFlag.LINKED] * (len(entries) - 1) + [TransferFlag.NONE]
        wishes = [self._wish(uuid4(), entry, flag) for entry, flag in zip(entries, flags, strict=True)]
        self._send(list(zip(wishes, entries, strict=True)))

    @rule(hold=holds, amount_fen=st.none() | st.integers(0, 14), flags=st.sampled_from([POST, POST, VOID]))
    def end(self, hold: UUID, amount_fen: int | None, flags: TransferFlag) -> None:
        wish = NewTransfer(id=uuid4(), pending_id=hold, flags=flags, amount_fen=None if flags == VOID else amount_fen)
        expected = self.model.end(hold, amount_fen=wish.amount_fen, how="posted" if flags == POST else "voided")
        (result,) = self.database.run(lambda session: create_transfers(session, [wish]))
        assert result.status.value == expected

    @rule(id_=sent | holds)
    def send_again(self, id_: UUID) -> None:
        wish, entry = self.retries[id_]
        (result,) = self.database.run(lambda session: create_transfers(session, [wish]))
        assert result.status.value == self.model.judge(id_, entry)

    @rule(seconds=st.sampled_from([30, 60]))
    def time_passes(self, seconds: int) -> None:
        pass_time(self.database, seconds)
        self.model.wait(seconds)

    @rule()
    def sweep(self) -> None:
        self.database.run(expire_pending)

    @invariant()
    def sums_and_states_agree(self) -> None:
        if not hasattr(self, "ids"):
            return
        with self.database.reader() as session:
            found = balances(session, self.ids)
            states = pending_transfers(session, self.model.entries)
        for place, id_ in enumerate(self.ids):
            assert found[id_] == Balances(
                self.model.held(place, "debit"),
                self.model.total(place, "debit", "posted"),
                self.model.held(place, "credit"),
                self.model.total(place, "credit", "posted"),
            )
        for id_, state in states.items():
            assert state is PendingState(self.model.entries[id_].state)

    def teardown(self) -> None:
        with self.database.reader() as session:
            assert audit(session) == []

    def _wish(self, id_: UUID, entry: Entry, flags: TransferFlag, timeout_s: int = 0) -> NewTransfer:
        return NewTransfer(
            id=id_,
            debit_account_id=self.ids[entry.debit],
            credit_account_id=self.ids[entry.credit],
            amount_fen=entry.amount_fen,
            code=1,
            flags=flags,
            timeout_s=timeout_s,
        )

    def _send(self, chain: list[tuple[NewTransfer, Entry]]) -> list[str]:
        """Send a chain to both; in the model a chain is tried on a copy of the books."""
        entries_before, expected = dict(self.model.entries), []
        for wish, entry in chain:
            self.retries[wish.id] = (wish, entry)
            expected.append(self.model.take(wish.id, entry))
            if expected[-1] != "created":
                self.model.entries = entries_before
                expected = ["linked_event_failed"] * (len(expected) - 1) + expected[-1:]
                expected += ["linked_event_failed"] * (len(chain) - len(expected))
                break
        results = self.database.run(lambda session: create_transfers(session, [wish for wish, _ in chain]))
        assert [result.status.value for result in results] == expected
        return expected


def test_the_ledger_agrees_with_the_model(database: Database) -> None:
    LedgerAgainstModel.database = database
    run_state_machine_as_test(
        LedgerAgainstModel,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

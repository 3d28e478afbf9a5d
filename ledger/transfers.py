"""The rules of the ledger: a state machine over rows in memory, without a database.

`posting` loads and locks the rows that a batch can touch, runs this machine over them, and writes what it decided.
Every rule, every reason and the order of all checks stand here and nowhere else; the database's CHECK constraints and
unique keys are a wall, not a second copy. Checks come first, then changes that cannot fail.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from ledger.checks import (
    BALANCING,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    END_OF_TIME,
    ENDING,
    EXPIRED,
    LINKED,
    ONE_TICK,
    PENDING,
    POST,
    VOID,
    AccountState,
    balanced,
    compare,
    differs_from_pending,
    ending_form_refusal,
    form_refusal,
    id_refusal,
    limit,
    overflow,
)
from ledger.errors import CreateTransferStatus as Status
from ledger.values import ID_ZERO, NewTransfer, PendingState, Transfer, TransferResult


@dataclass(slots=True)
class Hold:
    """The changing side of a pending transfer: open, or how, when and by which transfer it ended."""

    transfer: Transfer
    state: PendingState = PendingState.OPEN
    ended_at: datetime | None = None
    ended_by: UUID | None = None

    @property
    def expires_at(self) -> datetime | None:
        """Give the first moment at which it can no longer be ended by hand; None is never."""
        if self.transfer.timeout_s == 0:
            return None
        return self.transfer.timestamp + timedelta(seconds=self.transfer.timeout_s)

    def is_over(self, at: datetime) -> bool:
        """Say whether its time is over: it is so at the very moment of expiry, not only after it."""
        expires_at = self.expires_at
        return expires_at is not None and expires_at <= at


@dataclass(slots=True)
class Machine:
    """The rows that one batch can touch, and what it does to them.

    `now` is the database's clock, read after the locks. `accounts`, `transfers` (those whose ids the batch uses) and
    `holds` (those it ends, and those whose time may be over) are changed in place; `failed` holds burnt ids.
    """

    now: datetime
    accounts: dict[UUID, AccountState]
    transfers: dict[UUID, Transfer]
    holds: dict[UUID, Hold]
    failed: set[UUID]
    journal_id: UUID | None = None
    value_at: datetime | None = None
    created: list[Transfer] = field(default_factory=list)
    ended: dict[UUID, Hold] = field(default_factory=dict)
    burnt: dict[UUID, Status] = field(default_factory=dict)
    _before: "_Before | None" = None

    def run(self, events: Sequence[NewTransfer]) -> list[TransferResult]:
        """Expire what is overdue, then take the events in order; a linked chain holds all or nothing."""
        self.expire_overdue()
        results: list[TransferResult] = []
        chain: list[NewTransfer] = []
        for event in events:
            flags = int(event.flags)
            goes_on = flags & LINKED
            if not (goes_on or chain):
                results.append(self._take(event, flags))
                continue
            chain.append(event)
            if not goes_on:
                results += self._take_chain(chain)
                chain = []
        if chain:
            results += self._take_chain(chain)
        return results

    def changed_accounts(self) -> list[AccountState]:
        """Give the accounts whose sums or last moment differ from what was loaded."""
        return [account for account in self.accounts.values() if account.is_changed]

    def overdue(self) -> list[Hold]:
        """Give the loaded holds that nobody ended in time, the first to run out first."""
        found = [hold for hold in self.holds.values() if hold.state is PendingState.OPEN and hold.is_over(self.now)]
        return sorted(found, key=lambda hold: (hold.expires_at or END_OF_TIME, hold.transfer.timestamp))

    def expire_overdue(self) -> None:
        """End every overdue hold: its amount is free again from this moment on."""
        for hold in self.overdue():
            pending = hold.transfer
            self._write_ending(NewTransfer(id=expiry_id(pending.id)), EXPIRED, hold=hold, amount_fen=pending.amount_fen)

    def _take_chain(self, chain: Sequence[NewTransfer]) -> list[TransferResult]:
        self._before = _Before(self)
        results = []
        for position, event in enumerate(chain):
            flags = int(event.flags)
            if position == len(chain) - 1 and flags & LINKED:
                result = TransferResult(event.id, Status.LINKED_EVENT_CHAIN_OPEN)
            else:
                result = self._take(event, flags)
            results.append(result)
            if result.status is not Status.CREATED:
                self._before.restore(self)
                break
        else:
            self._before = None
            return results
        self._before = None
        failing = results[-1]
        others = [TransferResult(event.id, Status.LINKED_EVENT_FAILED) for event in chain]
        if int(chain[-1].flags) & LINKED:
            others[-1] = TransferResult(chain[-1].id, Status.LINKED_EVENT_CHAIN_OPEN)
        others[len(results) - 1] = failing
        return others

    def _take(self, event: NewTransfer, flags: int) -> TransferResult:
        if (status := id_refusal(event, flags)) is not None:
            return TransferResult(event.id, status)
        # Idempotency comes right after the form of the id, before anything else.
        if (existing := self.transfers.get(event.id)) is not None:
            status = compare(event, existing, self._pending_of(existing))
            found = status is Status.EXISTS
            return TransferResult(
                event.id, status, existing.timestamp if found else None, existing.amount_fen if found else None
            )
        if event.id in self.failed:
            return TransferResult(event.id, Status.ID_ALREADY_FAILED)
        outcome = self._end_pending(event, flags) if flags & ENDING else self._create(event, flags)
        if isinstance(outcome, Transfer):
            return TransferResult(event.id, Status.CREATED, outcome.timestamp, outcome.amount_fen)
        if outcome.passing:
            self.burnt[event.id] = outcome
            self.failed.add(event.id)
        return TransferResult(event.id, outcome)

    # --- single-phase and pending transfers

    def _create(self, event: NewTransfer, flags: int) -> Transfer | Status:
        if (status := form_refusal(event, flags)) is not None:
            return status
        debit = self.accounts.get(event.debit_account_id or ID_ZERO)
        if debit is None:
            return Status.DEBIT_ACCOUNT_NOT_FOUND
        credit = self.accounts.get(event.credit_account_id or ID_ZERO)
        if credit is None:
            return Status.CREDIT_ACCOUNT_NOT_FOUND
        if debit.ledger != credit.ledger:
            return Status.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
        if event.ledger != debit.ledger:
            return Status.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS
        if debit.closed:
            return Status.DEBIT_ACCOUNT_ALREADY_CLOSED
        if credit.closed:
            return Status.CREDIT_ACCOUNT_ALREADY_CLOSED
        amount_fen = event.amount_fen
        if amount_fen is None or flags & BALANCING:
            amount_fen = balanced(amount_fen, flags, debit=debit, credit=credit)
        at = self._moment(debit, credit)
        if (status := overflow(amount_fen, flags, debit=debit, credit=credit)) is not None:
            return status
        if event.timeout_s and (END_OF_TIME - at).total_seconds() < event.timeout_s:
            return Status.OVERFLOWS_TIMEOUT
        if (status := limit(amount_fen, debit=debit, credit=credit)) is not None:
            return status
        return self._write(event, flags, debit=debit, credit=credit, amount_fen=amount_fen, at=at)

    def _write(
        self,
        event: NewTransfer,
        flags: int,
        *,
        debit: AccountState,
        credit: AccountState,
        amount_fen: int,
        at: datetime,
    ) -> Transfer:
        self._remember(debit, credit)
        debit.last_at = credit.last_at = at
        debit.is_changed = credit.is_changed = True
        if flags & PENDING:
            debit.debits_pending_fen += amount_fen
            credit.credits_pending_fen += amount_fen
        else:
            debit.debits_posted_fen += amount_fen
            credit.credits_posted_fen += amount_fen
        debit.closed = debit.closed or bool(flags & CLOSING_DEBIT)
        credit.closed = credit.closed or bool(flags & CLOSING_CREDIT)
        transfer = Transfer(
            event.id,
            debit.id,
            credit.id,
            amount_fen,
            event.ledger,
            event.code,
            flags,
            None,
            event.timeout_s,
            event.user_data_128,
            event.user_data_64,
            event.user_data_32,
            self.journal_id,
            at,
            self.value_at or at,
            debit.debits_pending_fen,
            debit.debits_posted_fen,
            debit.credits_pending_fen,
            debit.credits_posted_fen,
            credit.debits_pending_fen,
            credit.debits_posted_fen,
            credit.credits_pending_fen,
            credit.credits_posted_fen,
        )
        self._keep(transfer)
        if flags & PENDING:
            self.holds[event.id] = Hold(transfer)
        return transfer

    # --- posting and voiding

    def _end_pending(self, event: NewTransfer, flags: int) -> Transfer | Status:
        if (status := ending_form_refusal(event, flags)) is not None:
            return status
        pending = self.transfers.get(event.pending_id or ID_ZERO)
        if pending is None:
            return Status.PENDING_TRANSFER_NOT_FOUND
        if not pending.flags & PENDING:
            return Status.PENDING_TRANSFER_NOT_PENDING
        if (status := differs_from_pending(event, pending)) is not None:
            return status
        amount_fen = pending.amount_fen if event.amount_fen is None else event.amount_fen
        if amount_fen > pending.amount_fen:
            return Status.EXCEEDS_PENDING_TRANSFER_AMOUNT
        if flags & VOID and amount_fen < pending.amount_fen:
            return Status.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT
        hold = self.holds[pending.id]
        if hold.state is not PendingState.OPEN:
            return _ENDED[hold.state]
        debit, credit = self._both(pending)
        at = self._moment(debit, credit)
        if hold.is_over(at):
            return Status.PENDING_TRANSFER_EXPIRED
        # The only movement of a closed account is to void a pending transfer.
        if debit.closed and not flags & VOID:
            return Status.DEBIT_ACCOUNT_ALREADY_CLOSED
        if credit.closed and not flags & VOID:
            return Status.CREDIT_ACCOUNT_ALREADY_CLOSED
        return self._write_ending(event, flags, hold=hold, amount_fen=amount_fen)

    def _write_ending(self, event: NewTransfer, flags: int, *, hold: Hold, amount_fen: int) -> Transfer:
        pending = hold.transfer
        debit, credit = self._both(pending)
        self._remember(debit, credit)
        self._remember_hold(hold)
        at = self._moment(debit, credit)
        debit.last_at = credit.last_at = at
        debit.is_changed = credit.is_changed = True
        self._end(hold, _END_STATES[flags & (ENDING | EXPIRED)], at=at, by=event.id)
        if flags & POST:
            debit.debits_posted_fen += amount_fen
            credit.credits_posted_fen += amount_fen
        transfer = Transfer(
            event.id,
            debit.id,
            credit.id,
            amount_fen,
            pending.ledger,
            pending.code,
            flags,
            pending.id,
            0,
            event.user_data_128 or pending.user_data_128,
            event.user_data_64 or pending.user_data_64,
            event.user_data_32 or pending.user_data_32,
            None if flags & EXPIRED else self.journal_id,
            at,
            at if flags & EXPIRED else self.value_at or at,
            *debit.sums(),
            *credit.sums(),
        )
        self._keep(transfer)
        return transfer

    def _end(self, hold: Hold, state: PendingState, *, at: datetime, by: UUID) -> None:
        debit, credit = self._both(hold.transfer)
        debit.debits_pending_fen -= hold.transfer.amount_fen
        credit.credits_pending_fen -= hold.transfer.amount_fen
        if state is not PendingState.POSTED:
            # A closing transfer that is given back opens its account again.
            debit.closed = debit.closed and not hold.transfer.flags & CLOSING_DEBIT
            credit.closed = credit.closed and not hold.transfer.flags & CLOSING_CREDIT
        hold.state, hold.ended_at, hold.ended_by = state, at, by
        self.ended[hold.transfer.id] = hold

    # --- keeping

    def _moment(self, debit: AccountState, credit: AccountState) -> datetime:
        at = self.now
        for account in (debit, credit):
            if account.last_at >= at:
                at = account.last_at + ONE_TICK
        return at

    def _pending_of(self, transfer: Transfer) -> Transfer | None:
        return None if transfer.pending_id is None else self.transfers.get(transfer.pending_id)

    def _both(self, transfer: Transfer) -> tuple[AccountState, AccountState]:
        return self.accounts[transfer.debit_account_id], self.accounts[transfer.credit_account_id]

    def _keep(self, transfer: Transfer) -> None:
        self.transfers[transfer.id] = transfer
        self.created.append(transfer)

    def _remember(self, *accounts: AccountState) -> None:
        if self._before is not None:
            for account in accounts:
                self._before.accounts.setdefault(account.id, copy.copy(account))

    def _remember_hold(self, hold: Hold) -> None:
        if self._before is not None:
            self._before.holds.setdefault(hold.transfer.id, copy.copy(hold))


class _Before:
    """How things stood before a chain began, as far as the chain has changed them."""

    def __init__(self, machine: Machine) -> None:
        self.accounts: dict[UUID, AccountState] = {}
        self.holds: dict[UUID, Hold] = {}
        self._created = len(machine.created)
        self._ended = set(machine.ended)

    def restore(self, machine: Machine) -> None:
        machine.accounts.update(self.accounts)
        machine.holds.update(self.holds)
        for transfer in machine.created[self._created :]:
            del machine.transfers[transfer.id]
            machine.holds.pop(transfer.id, None)
        del machine.created[self._created :]
        machine.ended = {id_: hold for id_, hold in machine.ended.items() if id_ in self._ended}


_END_STATES = {POST: PendingState.POSTED, VOID: PendingState.VOIDED, EXPIRED: PendingState.EXPIRED}
_ENDED = {
    PendingState.POSTED: Status.PENDING_TRANSFER_ALREADY_POSTED,
    PendingState.VOIDED: Status.PENDING_TRANSFER_ALREADY_VOIDED,
    PendingState.EXPIRED: Status.PENDING_TRANSFER_EXPIRED,
}


def expiry_id(pending_id: UUID) -> UUID:
    """Give the id of the transfer that marks the end of a hold by time; it follows from the hold's."""
    return UUID(bytes=hashlib.sha256(b"expired" + pending_id.bytes).digest()[:16])

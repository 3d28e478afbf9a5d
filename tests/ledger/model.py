"""The ledger as TigerBeetle's reference tells it: each rule a row in its page's order, each sum a sum over a list.

https://docs.tigerbeetle.com/reference/requests/create_accounts and …/create_transfers list the answers in descending
precedence: the first that is true of an event is what it gets. Nothing is carried along here: balances, states and
closed accounts are found anew by reading the whole list, so that there is no order of writing to get wrong. What the
house does differently is said where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from ledger import (
    AMOUNT_MAX_FEN,
    AccountFlag,
    Balances,
    CreateAccountStatus,
    CreateTransferStatus,
    NewAccount,
    NewTransfer,
    PendingState,
    TransferFlag,
)

NOT_YET = datetime.max.replace(tzinfo=UTC)
ZERO, GREATEST = UUID(int=0), UUID(int=2**128 - 1)
ACCOUNT_FLAGS = sum(AccountFlag)
BOTH_LIMITS = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS | AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
LINKED, PENDING = TransferFlag.LINKED, TransferFlag.PENDING
POST, VOID = TransferFlag.POST_PENDING_TRANSFER, TransferFlag.VOID_PENDING_TRANSFER
BALANCING_DEBIT, BALANCING_CREDIT = TransferFlag.BALANCING_DEBIT, TransferFlag.BALANCING_CREDIT
CLOSING_DEBIT, CLOSING_CREDIT = TransferFlag.CLOSING_DEBIT, TransferFlag.CLOSING_CREDIT
NEVER_ENDING = (PENDING, BALANCING_DEBIT, BALANCING_CREDIT, CLOSING_DEBIT, CLOSING_CREDIT)
# The mark of a hold that ran out of time is the ledger's own; no caller may set it.
TRANSFER_FLAGS = sum(TransferFlag) - TransferFlag.EXPIRED_PENDING_TRANSFER

A, T = CreateAccountStatus, CreateTransferStatus
# Refusals that depend on how things stand at the moment: they burn the id, so that no late retry can succeed.
TRANSIENT = frozenset(
    {
        *(T.DEBIT_ACCOUNT_NOT_FOUND, T.CREDIT_ACCOUNT_NOT_FOUND, T.PENDING_TRANSFER_NOT_FOUND),
        *(T.EXCEEDS_CREDITS, T.EXCEEDS_DEBITS, T.DEBIT_ACCOUNT_ALREADY_CLOSED, T.CREDIT_ACCOUNT_ALREADY_CLOSED),
    }
)


@dataclass
class Made:
    """A transfer that stands in the books; `made_at` is the model's clock, `at` what the ledger said of it."""

    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount_fen: int
    ledger: int
    code: int
    flags: int
    pending_id: UUID | None
    timeout_s: int
    user_data_128: UUID | None
    user_data_64: int
    user_data_32: int
    made_at: timedelta
    journal_id: UUID | None = None
    value_at: datetime | None = None
    at: datetime = NOT_YET

    @property
    def runs_out_at(self) -> datetime:
        return self.at + timedelta(seconds=self.timeout_s) if self.timeout_s else NOT_YET

    @property
    def has_moved(self) -> bool:
        return not self.flags & (PENDING | VOID)


@dataclass
class Books:
    """The whole ledger: two lists, the ids that were refused for a passing reason, and a clock."""

    accounts: list[NewAccount] = field(default_factory=list)
    transfers: list[Made] = field(default_factory=list)
    burnt: set[UUID] = field(default_factory=set)
    now: timedelta = timedelta(0)

    # --- what stands in the lists

    def account(self, id_: UUID | None) -> NewAccount | None:
        return next((account for account in self.accounts if account.id == id_), None)

    def transfer(self, id_: UUID | None) -> Made | None:
        return next((made for made in self.transfers if made.id == id_), None)

    def ends(self) -> dict[UUID | None, Made]:
        """Give the post or void of each hold that has one."""
        return {made.pending_id: made for made in self.transfers}

    def state(self, hold: Made, ends: dict[UUID | None, Made] | None = None) -> PendingState:
        end = (self.ends() if ends is None else ends).get(hold.id)
        if end is not None:
            return PendingState.POSTED if end.flags & POST else PendingState.VOIDED
        is_over = hold.timeout_s > 0 and self.now >= hold.made_at + timedelta(seconds=hold.timeout_s)
        return PendingState.EXPIRED if is_over else PendingState.OPEN

    def sums(self, id_: UUID) -> Balances:
        ends = self.ends()
        touching = [made for made in self.transfers if id_ in (made.debit_account_id, made.credit_account_id)]
        moved = [made for made in touching if made.has_moved]
        held = [made for made in touching if made.flags & PENDING and self.state(made, ends) is PendingState.OPEN]
        return Balances(
            sum(made.amount_fen for made in held if made.debit_account_id == id_),
            sum(made.amount_fen for made in moved if made.debit_account_id == id_),
            sum(made.amount_fen for made in held if made.credit_account_id == id_),
            sum(made.amount_fen for made in moved if made.credit_account_id == id_),
        )

    def is_closed(self, account: NewAccount) -> bool:
        """Say whether it was made closed, or a transfer that closes it stands: reserved or posted, not given back."""
        return bool(account.flags & AccountFlag.CLOSED) or any(
            self.state(made) in (PendingState.OPEN, PendingState.POSTED)
            for made in self.transfers
            if (made.flags & CLOSING_DEBIT and made.debit_account_id == account.id)
            or (made.flags & CLOSING_CREDIT and made.credit_account_id == account.id)
        )

    # --- what becomes of a batch

    def open(self, batch: Sequence[NewAccount]) -> list[CreateAccountStatus]:
        answers: list[CreateAccountStatus] = self._batch(
            batch, A.CREATED, A.LINKED_EVENT_FAILED, A.LINKED_EVENT_CHAIN_OPEN, take=self._open
        )
        return answers

    def send(self, batch: Sequence[NewTransfer]) -> list[CreateTransferStatus]:
        answers: list[CreateTransferStatus] = self._batch(
            batch, T.CREATED, T.LINKED_EVENT_FAILED, T.LINKED_EVENT_CHAIN_OPEN, take=self._send
        )
        return answers

    def _batch(self, batch: Sequence[Any], made: Any, failed: Any, is_open: Any, *, take: Callable[[Any], Any]) -> Any:
        """Take each event in its order; one that fails takes its whole chain back, which a last link leaves open."""
        answers: list[Any] = []
        first, marks, is_broken = 0, self._marks(), False
        for number, event in enumerate(batch):
            is_link = bool(event.flags & LINKED)
            if is_link and number == len(batch) - 1:
                answer = is_open
            elif is_broken:
                answer = failed
            else:
                answer = take(event)
            if answer is not made and not is_broken:
                is_broken = True
                self._back_to(marks)
                answers[first:] = [failed] * (number - first)
            answers.append(answer)
            if not is_link:
                first, marks, is_broken = number + 1, self._marks(), False
        return answers

    def _marks(self) -> tuple[int, int]:
        return len(self.accounts), len(self.transfers)

    def _back_to(self, marks: tuple[int, int]) -> None:
        del self.accounts[marks[0] :]
        del self.transfers[marks[1] :]

    def _open(self, new: NewAccount) -> CreateAccountStatus:
        answer = _first_true(ACCOUNT_RULES, AccountQuestion(new, self.account(new.id))) or A.CREATED
        if answer is A.CREATED:
            self.accounts.append(new)
        return answer

    def _send(self, new: NewTransfer) -> CreateTransferStatus:
        question = TransferQuestion(self, new)
        rules = ENDING_RULES if new.flags & (POST | VOID) else SINGLE_RULES
        answer: CreateTransferStatus = _first_true((*EVERY_RULES, *rules), question) or T.CREATED
        if answer is T.CREATED:
            self.transfers.append(question.made())
        elif answer in TRANSIENT:
            self.burnt.add(new.id)
        return answer


Rules = tuple[tuple[Any, Callable[[Any], object]], ...]


def _first_true(rules: Rules, question: object) -> Any:
    return next((answer for answer, is_true in rules if is_true(question)), None)


@dataclass
class AccountQuestion:
    """An account somebody wants, and the one that has its id already."""

    new: NewAccount
    old: NewAccount | None


ACCOUNT_RULES: Rules = (
    (A.RESERVED_FLAG, lambda q: q.new.flags & ~ACCOUNT_FLAGS),
    (A.ID_MUST_NOT_BE_ZERO, lambda q: q.new.id == ZERO),
    (A.ID_MUST_NOT_BE_INT_MAX, lambda q: q.new.id == GREATEST),
    (A.EXISTS_WITH_DIFFERENT_FLAGS, lambda q: q.old and q.new.flags != q.old.flags),
    (A.EXISTS_WITH_DIFFERENT_USER_DATA_128, lambda q: q.old and q.new.user_data_128 != q.old.user_data_128),
    (A.EXISTS_WITH_DIFFERENT_USER_DATA_64, lambda q: q.old and q.new.user_data_64 != q.old.user_data_64),
    (A.EXISTS_WITH_DIFFERENT_USER_DATA_32, lambda q: q.old and q.new.user_data_32 != q.old.user_data_32),
    (A.EXISTS_WITH_DIFFERENT_LEDGER, lambda q: q.old and q.new.ledger != q.old.ledger),
    (A.EXISTS_WITH_DIFFERENT_CODE, lambda q: q.old and q.new.code != q.old.code),
    (A.EXISTS, lambda q: q.old),
    (A.FLAGS_ARE_MUTUALLY_EXCLUSIVE, lambda q: q.new.flags & BOTH_LIMITS == BOTH_LIMITS),
    (A.LEDGER_MUST_NOT_BE_ZERO, lambda q: q.new.ledger == 0),
    (A.CODE_MUST_NOT_BE_ZERO, lambda q: q.new.code == 0),
)


class TransferQuestion:
    """A transfer somebody wants, and what the reference's sentences speak of."""

    def __init__(self, books: Books, new: NewTransfer) -> None:
        self.books, self.new = books, new
        self.old = books.transfer(new.id)
        self.hold = books.transfer(new.pending_id)
        self.is_ending = bool(new.flags & (POST | VOID))
        holder = self.hold if self.is_ending and self.hold else new
        self.debit, self.credit = books.account(holder.debit_account_id), books.account(holder.credit_account_id)

    def has(self, *flags: TransferFlag) -> bool:
        return any(self.new.flags & flag for flag in flags)

    def says(self, name: str) -> Any:
        """Give what the event says; where a post or a void says nothing, what its hold says."""
        said = getattr(self.new, name)
        return getattr(self.hold, name) if self.is_ending and self.hold and not said else said

    def differs(self, name: str) -> bool:
        return self.old is not None and bool(self.says(name) != getattr(self.old, name))

    def contradicts(self, name: str) -> bool:
        """Say whether a post or a void says something, and its hold something else."""
        return bool(self.says(name) != getattr(self.hold, name))

    @property
    def amount_differs(self) -> bool:
        """The house: no amount is what the reference's AMOUNT_MAX is, all there is; 0 is 0, for a void too."""
        if self.old is None:
            return False
        if self.is_ending:
            return self.amount_fen != self.old.amount_fen
        if self.has(BALANCING_DEBIT, BALANCING_CREDIT):
            return self.new.amount_fen is not None and self.new.amount_fen < self.old.amount_fen
        return self.new.amount_fen != self.old.amount_fen

    @property
    def amount_fen(self) -> int:
        """Give what moves: the wish, cut to what balancing flags leave of it."""
        if self.is_ending and self.hold and self.new.amount_fen is None:
            return self.hold.amount_fen
        bounds = [AMOUNT_MAX_FEN if self.new.amount_fen is None else self.new.amount_fen]
        if self.has(BALANCING_DEBIT):
            bounds.append(max(0, self.debit_sums.available_credit_fen))
        if self.has(BALANCING_CREDIT):
            bounds.append(max(0, self.credit_sums.available_debit_fen))
        return min(bounds)

    def sums(self, side: str) -> Balances:
        return self.debit_sums if side == "debit" else self.credit_sums

    @cached_property
    def debit_sums(self) -> Balances:
        return self.books.sums(self.debit.id) if self.debit else Balances(0, 0, 0, 0)

    @cached_property
    def credit_sums(self) -> Balances:
        return self.books.sums(self.credit.id) if self.credit else Balances(0, 0, 0, 0)

    def overflows(self, side: str, *names: str) -> bool:
        """Say whether the amount on top of these sums of the account on that side leaves a column."""
        sums = self.sums(side)
        total_fen: int = sum(getattr(sums, f"{side}s_{name}_fen") for name in names)
        return total_fen + self.amount_fen > AMOUNT_MAX_FEN

    def is_closed(self, account: NewAccount | None) -> bool:
        return account is not None and self.books.is_closed(account)

    def exceeds(self, account: NewAccount | None, limit: AccountFlag, available_fen: int) -> bool:
        return account is not None and bool(account.flags & limit) and self.amount_fen > available_fen

    def state_is(self, state: PendingState) -> bool:
        return self.hold is not None and self.books.state(self.hold) is state

    def made(self) -> Made:
        debit_id, credit_id = self.says("debit_account_id"), self.says("credit_account_id")
        return Made(
            id=self.new.id,
            debit_account_id=debit_id,
            credit_account_id=credit_id,
            amount_fen=self.amount_fen,
            ledger=self.says("ledger"),
            code=self.says("code"),
            flags=int(self.new.flags),
            pending_id=self.new.pending_id,
            timeout_s=self.new.timeout_s,
            user_data_128=self.says("user_data_128"),
            user_data_64=self.says("user_data_64"),
            user_data_32=self.says("user_data_32"),
            made_at=self.books.now,
        )


EVERY_RULES: Rules = (
    (T.RESERVED_FLAG, lambda q: q.new.flags & ~TRANSFER_FLAGS),
    (T.ID_MUST_NOT_BE_ZERO, lambda q: q.new.id == ZERO),
    (T.ID_MUST_NOT_BE_INT_MAX, lambda q: q.new.id == GREATEST),
    (T.EXISTS_WITH_DIFFERENT_FLAGS, lambda q: q.old and q.new.flags != q.old.flags),
    (T.EXISTS_WITH_DIFFERENT_PENDING_ID, lambda q: q.old and q.new.pending_id != q.old.pending_id),
    (T.EXISTS_WITH_DIFFERENT_TIMEOUT, lambda q: q.old and q.new.timeout_s != q.old.timeout_s),
    (T.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID, lambda q: q.differs("debit_account_id")),
    (T.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID, lambda q: q.differs("credit_account_id")),
    (T.EXISTS_WITH_DIFFERENT_AMOUNT, lambda q: q.amount_differs),
    (T.EXISTS_WITH_DIFFERENT_USER_DATA_128, lambda q: q.differs("user_data_128")),
    (T.EXISTS_WITH_DIFFERENT_USER_DATA_64, lambda q: q.differs("user_data_64")),
    (T.EXISTS_WITH_DIFFERENT_USER_DATA_32, lambda q: q.differs("user_data_32")),
    (T.EXISTS_WITH_DIFFERENT_LEDGER, lambda q: q.differs("ledger")),
    (T.EXISTS_WITH_DIFFERENT_CODE, lambda q: q.differs("code")),
    (T.EXISTS, lambda q: q.old),
    (T.ID_ALREADY_FAILED, lambda q: q.new.id in q.books.burnt),
)
SINGLE_RULES: Rules = (
    (T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, lambda q: q.new.debit_account_id in (None, ZERO)),
    (T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, lambda q: q.new.debit_account_id == GREATEST),
    (T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, lambda q: q.new.credit_account_id in (None, ZERO)),
    (T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, lambda q: q.new.credit_account_id == GREATEST),
    (T.ACCOUNTS_MUST_BE_DIFFERENT, lambda q: q.new.debit_account_id == q.new.credit_account_id),
    (T.PENDING_ID_MUST_BE_ZERO, lambda q: q.new.pending_id is not None),
    (T.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, lambda q: q.new.timeout_s and not q.has(PENDING)),
    (T.CLOSING_TRANSFER_MUST_BE_PENDING, lambda q: q.has(CLOSING_DEBIT, CLOSING_CREDIT) and not q.has(PENDING)),
    # The house keeps this answer, which the reference has given up: here, nothing moves only where less was available.
    (T.AMOUNT_MUST_NOT_BE_ZERO, lambda q: not q.new.amount_fen and not q.has(BALANCING_DEBIT, BALANCING_CREDIT)),
    (T.LEDGER_MUST_NOT_BE_ZERO, lambda q: q.new.ledger == 0),
    (T.CODE_MUST_NOT_BE_ZERO, lambda q: q.new.code == 0),
    (T.DEBIT_ACCOUNT_NOT_FOUND, lambda q: q.debit is None),
    (T.CREDIT_ACCOUNT_NOT_FOUND, lambda q: q.credit is None),
    (T.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, lambda q: q.debit.ledger != q.credit.ledger),
    (T.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, lambda q: q.new.ledger != q.debit.ledger),
    (T.DEBIT_ACCOUNT_ALREADY_CLOSED, lambda q: q.is_closed(q.debit)),
    (T.CREDIT_ACCOUNT_ALREADY_CLOSED, lambda q: q.is_closed(q.credit)),
    (T.OVERFLOWS_DEBITS_PENDING, lambda q: q.has(PENDING) and q.overflows("debit", "pending")),
    (T.OVERFLOWS_CREDITS_PENDING, lambda q: q.has(PENDING) and q.overflows("credit", "pending")),
    (T.OVERFLOWS_DEBITS_POSTED, lambda q: q.overflows("debit", "posted")),
    (T.OVERFLOWS_CREDITS_POSTED, lambda q: q.overflows("credit", "posted")),
    (T.OVERFLOWS_DEBITS, lambda q: q.overflows("debit", "pending", "posted")),
    (T.OVERFLOWS_CREDITS, lambda q: q.overflows("credit", "pending", "posted")),
    # Here would be OVERFLOWS_TIMEOUT, which no timeout that a column holds can be given for thousands of years.
    (
        T.EXCEEDS_CREDITS,
        lambda q: q.exceeds(q.debit, AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, q.debit_sums.available_credit_fen),
    ),
    (
        T.EXCEEDS_DEBITS,
        lambda q: q.exceeds(q.credit, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS, q.credit_sums.available_debit_fen),
    ),
)
ENDING_RULES: Rules = (
    (T.FLAGS_ARE_MUTUALLY_EXCLUSIVE, lambda q: (q.has(POST) and q.has(VOID)) or q.has(*NEVER_ENDING)),
    (T.PENDING_ID_MUST_NOT_BE_ZERO, lambda q: q.new.pending_id in (None, ZERO)),
    (T.PENDING_ID_MUST_NOT_BE_INT_MAX, lambda q: q.new.pending_id == GREATEST),
    (T.PENDING_ID_MUST_BE_DIFFERENT, lambda q: q.new.pending_id == q.new.id),
    (T.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, lambda q: q.new.timeout_s),
    (T.PENDING_TRANSFER_NOT_FOUND, lambda q: q.hold is None),
    (T.PENDING_TRANSFER_NOT_PENDING, lambda q: not q.hold.flags & PENDING),
    (T.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID, lambda q: q.contradicts("debit_account_id")),
    (T.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID, lambda q: q.contradicts("credit_account_id")),
    (T.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER, lambda q: q.contradicts("ledger")),
    (T.PENDING_TRANSFER_HAS_DIFFERENT_CODE, lambda q: q.contradicts("code")),
    (T.EXCEEDS_PENDING_TRANSFER_AMOUNT, lambda q: q.amount_fen > q.hold.amount_fen),
    (T.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT, lambda q: q.has(VOID) and q.amount_fen < q.hold.amount_fen),
    (T.PENDING_TRANSFER_ALREADY_POSTED, lambda q: q.state_is(PendingState.POSTED)),
    (T.PENDING_TRANSFER_ALREADY_VOIDED, lambda q: q.state_is(PendingState.VOIDED)),
    (T.PENDING_TRANSFER_EXPIRED, lambda q: q.state_is(PendingState.EXPIRED)),
    # A closed account may give back what it holds, nothing else.
    (T.DEBIT_ACCOUNT_ALREADY_CLOSED, lambda q: q.has(POST) and q.is_closed(q.debit)),
    (T.CREDIT_ACCOUNT_ALREADY_CLOSED, lambda q: q.has(POST) and q.is_closed(q.credit)),
)

"""The shapes that go into the ledger and come out of it: frozen values, no behaviour beyond arithmetic."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag, StrEnum
from typing import NamedTuple
from uuid import UUID

from ledger.errors import CreateAccountStatus, CreateTransferStatus, JournalStatus

CNY = 156
"""ISO 4217's number of the yuan: the default `ledger`, which is what keeps currencies apart."""

AMOUNT_MAX_FEN = 2**63 - 1
TIMEOUT_MAX_S = 2**31 - 1
ID_ZERO = UUID(int=0)
ID_MAX = UUID(int=2**128 - 1)


class AccountFlag(IntFlag):
    """TigerBeetle's account flags. Every account keeps its history here, so there is no flag for that."""

    NONE = 0
    LINKED = 1
    DEBITS_MUST_NOT_EXCEED_CREDITS = 2
    CREDITS_MUST_NOT_EXCEED_DEBITS = 4
    CLOSED = 32


class TransferFlag(IntFlag):
    """TigerBeetle's transfer flags, and one of ours that no caller may set: the mark of a hold that ran out of time."""

    NONE = 0
    LINKED = 1
    PENDING = 2
    POST_PENDING_TRANSFER = 4
    VOID_PENDING_TRANSFER = 8
    BALANCING_DEBIT = 16
    BALANCING_CREDIT = 32
    CLOSING_DEBIT = 64
    CLOSING_CREDIT = 128
    EXPIRED_PENDING_TRANSFER = 256


MOVES_NOTHING = TransferFlag.PENDING | TransferFlag.VOID_PENDING_TRANSFER | TransferFlag.EXPIRED_PENDING_TRANSFER
"""A transfer with one of these flags reserves or sets free; every other one moves its amount for good."""


class PendingState(StrEnum):
    """Where a pending transfer stands. It leaves OPEN exactly once."""

    OPEN = "open"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account somebody wants. `code` is the chart's number without its dot, as 224101 for 2241.01."""

    id: UUID
    code: int
    ledger: int = CNY
    flags: AccountFlag = AccountFlag.NONE
    user_data_128: UUID | None = None
    user_data_64: int = 0
    user_data_32: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that the columns cannot hold: a mistake of the program, not of a person."""
        _check_numbers(self.code, self.ledger, self.user_data_64, self.user_data_32)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransfer:
    """A transfer somebody wants.

    `amount_fen` None means all of it: of a post or void, all that is reserved; of a balancing transfer, all that is
    available. A post or void may leave the accounts None, and `ledger`, `code` and user data 0: they are then those of
    its pending transfer. `timeout_s` 0 never expires.
    """

    id: UUID
    debit_account_id: UUID | None = None
    credit_account_id: UUID | None = None
    amount_fen: int | None = None
    code: int = 0
    ledger: int = CNY
    flags: TransferFlag = TransferFlag.NONE
    pending_id: UUID | None = None
    timeout_s: int = 0
    user_data_128: UUID | None = None
    user_data_64: int = 0
    user_data_32: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that the columns cannot hold: a mistake of the program, not of a person."""
        _check_numbers(self.code, self.ledger, self.user_data_64, self.user_data_32)
        if self.amount_fen is not None and not 0 <= self.amount_fen <= AMOUNT_MAX_FEN:
            raise ValueError(f"amount_fen is not within 0..{AMOUNT_MAX_FEN}: {self.amount_fen}")
        if not 0 <= self.timeout_s <= TIMEOUT_MAX_S:
            raise ValueError(f"timeout_s is not within 0..{TIMEOUT_MAX_S}: {self.timeout_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJournal:
    """A voucher (凭证) somebody wants: transfers that hold all together or not at all.

    The same `idempotency_key` with the same content is answered again from memory; with other content it is refused.
    """

    id: UUID
    kind: str
    reference: str
    text: str
    actor: str
    idempotency_key: str
    transfers: tuple[NewTransfer, ...]
    value_at: datetime | None = None


class Balances(NamedTuple):
    """The four sums of one account."""

    debits_pending_fen: int
    debits_posted_fen: int
    credits_pending_fen: int
    credits_posted_fen: int

    @property
    def credit_balance_fen(self) -> int:
        """Give what the account's owner has: credits less debits, posted."""
        return self.credits_posted_fen - self.debits_posted_fen

    @property
    def debit_balance_fen(self) -> int:
        """Give what an asset or an expense stands at: debits less credits, posted."""
        return self.debits_posted_fen - self.credits_posted_fen

    @property
    def available_credit_fen(self) -> int:
        """Give what the account may still spend: posted credits less debits, open holds included."""
        return self.credits_posted_fen - self.debits_posted_fen - self.debits_pending_fen

    @property
    def available_debit_fen(self) -> int:
        """Give what an account may still pay back against its debits, open holds included."""
        return self.debits_posted_fen - self.credits_posted_fen - self.credits_pending_fen


class Account(NamedTuple):
    """An account as it stands, its sums as written; `balances` also leaves out holds whose time is over."""

    id: UUID
    ledger: int
    code: int
    flags: AccountFlag
    user_data_128: UUID | None
    user_data_64: int
    user_data_32: int
    closed: bool
    balances: Balances
    created_at: datetime
    last_at: datetime


class Transfer(NamedTuple):
    """A transfer as it was written, with both accounts' sums right after it; field for column, in order."""

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
    journal_id: UUID | None
    timestamp: datetime
    value_at: datetime
    debit_debits_pending_fen: int
    debit_debits_posted_fen: int
    debit_credits_pending_fen: int
    debit_credits_posted_fen: int
    credit_debits_pending_fen: int
    credit_debits_posted_fen: int
    credit_credits_pending_fen: int
    credit_credits_posted_fen: int


@dataclass(frozen=True, slots=True)
class AccountResult:
    """What became of one new account."""

    id: UUID
    status: CreateAccountStatus

    @property
    def ok(self) -> bool:
        """Say whether the account stands as wished, made now or before."""
        return self.status in (CreateAccountStatus.CREATED, CreateAccountStatus.EXISTS)


class TransferResult(NamedTuple):
    """What became of one new transfer; time and amount are those written, None when nothing was."""

    id: UUID
    status: CreateTransferStatus
    timestamp: datetime | None = None
    amount_fen: int | None = None

    @property
    def ok(self) -> bool:
        """Say whether the transfer stands as wished, made now or before."""
        return self.status in (CreateTransferStatus.CREATED, CreateTransferStatus.EXISTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalResult:
    """What became of one new journal, with one result for each of its transfers."""

    status: JournalStatus
    journal_id: UUID
    results: tuple[TransferResult, ...] = ()
    replayed: bool = False

    @property
    def ok(self) -> bool:
        """Say whether the journal stands, posted now or before."""
        return self.status is JournalStatus.POSTED

    @property
    def failed(self) -> CreateTransferStatus | None:
        """Give the reason that broke the chain, or None."""
        echoes = (CreateTransferStatus.CREATED, CreateTransferStatus.LINKED_EVENT_FAILED)
        return next((result.status for result in self.results if result.status not in echoes), None)


def _check_numbers(code: int, ledger: int, user_data_64: int, user_data_32: int) -> None:
    if not (0 <= code < 2**31 and 0 <= ledger < 2**31 and 0 <= user_data_64 < 2**63 and 0 <= user_data_32 < 2**31):
        raise ValueError(f"outside its column: code {code}, ledger {ledger}, {user_data_64=}, {user_data_32=}")

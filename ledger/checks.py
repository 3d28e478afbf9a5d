"""The checks of a transfer, each a pure function; `transfers` calls them in TigerBeetle's order of precedence."""

from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from uuid import UUID

from ledger.errors import CreateTransferStatus as Status
from ledger.values import AMOUNT_MAX_FEN, AccountFlag, NewTransfer, Transfer, TransferFlag

# Plain integers: an IntFlag's `&` builds an enum member each time, which costs more than the rest of a check.
LINKED = int(TransferFlag.LINKED)
PENDING = int(TransferFlag.PENDING)
POST = int(TransferFlag.POST_PENDING_TRANSFER)
VOID = int(TransferFlag.VOID_PENDING_TRANSFER)
BALANCING_DEBIT = int(TransferFlag.BALANCING_DEBIT)
BALANCING_CREDIT = int(TransferFlag.BALANCING_CREDIT)
CLOSING_DEBIT = int(TransferFlag.CLOSING_DEBIT)
CLOSING_CREDIT = int(TransferFlag.CLOSING_CREDIT)
EXPIRED = int(TransferFlag.EXPIRED_PENDING_TRANSFER)
ENDING = POST | VOID
BALANCING = BALANCING_DEBIT | BALANCING_CREDIT
CLOSING = CLOSING_DEBIT | CLOSING_CREDIT
KNOWN = LINKED | PENDING | ENDING | BALANCING | CLOSING
DEBITS_LIMITED = int(AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS)
CREDITS_LIMITED = int(AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS)

INT_MAX = 2**128 - 1
ONE_TICK = timedelta(microseconds=1)
END_OF_TIME = datetime(MAXYEAR, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class AccountState:
    """The part of an account that rules read and transfers change."""

    id: UUID
    ledger: int
    flags: int
    closed: bool
    debits_pending_fen: int
    debits_posted_fen: int
    credits_pending_fen: int
    credits_posted_fen: int
    last_at: datetime
    is_changed: bool = False

    def sums(self) -> tuple[int, int, int, int]:
        """Give the four sums in the order of `Balances`."""
        return self.debits_pending_fen, self.debits_posted_fen, self.credits_pending_fen, self.credits_posted_fen


_DIFFERENT_DEBIT = Status.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID
_DIFFERENT_CREDIT = Status.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID
_DIFFERENT_DATA_128 = Status.EXISTS_WITH_DIFFERENT_USER_DATA_128
_DIFFERENT_DATA_64 = Status.EXISTS_WITH_DIFFERENT_USER_DATA_64
_DIFFERENT_DATA_32 = Status.EXISTS_WITH_DIFFERENT_USER_DATA_32


def compare(event: NewTransfer, existing: Transfer, pending: Transfer | None) -> Status:
    """Say which field of a known id differs first; what a post or void omits is its pending transfer's."""
    if event.flags != existing.flags:
        return Status.EXISTS_WITH_DIFFERENT_FLAGS
    if event.pending_id != existing.pending_id:
        return Status.EXISTS_WITH_DIFFERENT_PENDING_ID
    if event.timeout_s != existing.timeout_s:
        return Status.EXISTS_WITH_DIFFERENT_TIMEOUT
    for wanted, found, inherited, status in (
        (event.debit_account_id, existing.debit_account_id, existing.debit_account_id, _DIFFERENT_DEBIT),
        (event.credit_account_id, existing.credit_account_id, existing.credit_account_id, _DIFFERENT_CREDIT),
        (_amount_is_same(event, existing, pending), True, None, Status.EXISTS_WITH_DIFFERENT_AMOUNT),
        (event.user_data_128, existing.user_data_128, pending and pending.user_data_128, _DIFFERENT_DATA_128),
        (event.user_data_64, existing.user_data_64, pending and pending.user_data_64, _DIFFERENT_DATA_64),
        (event.user_data_32, existing.user_data_32, pending and pending.user_data_32, _DIFFERENT_DATA_32),
        (event.ledger, existing.ledger, existing.ledger, Status.EXISTS_WITH_DIFFERENT_LEDGER),
        (event.code, existing.code, existing.code, Status.EXISTS_WITH_DIFFERENT_CODE),
    ):
        meant = inherited if pending is not None and not wanted else wanted
        if meant != found:
            return status
    return Status.EXISTS


def id_refusal(event: NewTransfer, flags: int) -> Status | None:
    """Check the form of the id: the only check before idempotency."""
    if flags & ~KNOWN:
        return Status.RESERVED_FLAG
    if event.id.int == 0:
        return Status.ID_MUST_NOT_BE_ZERO
    if event.id.int == INT_MAX:
        return Status.ID_MUST_NOT_BE_INT_MAX
    return None


def form_refusal(event: NewTransfer, flags: int) -> Status | None:
    """Check a single-phase or pending transfer by itself."""
    if event.debit_account_id is None or event.debit_account_id.int == 0:
        return Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
    if event.debit_account_id.int == INT_MAX:
        return Status.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if event.credit_account_id is None or event.credit_account_id.int == 0:
        return Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
    if event.credit_account_id.int == INT_MAX:
        return Status.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if event.debit_account_id.int == event.credit_account_id.int:
        return Status.ACCOUNTS_MUST_BE_DIFFERENT
    if event.pending_id is not None:
        return Status.PENDING_ID_MUST_BE_ZERO
    if event.timeout_s and not flags & PENDING:
        return Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
    if flags & CLOSING and not flags & PENDING:
        return Status.CLOSING_TRANSFER_MUST_BE_PENDING
    if not event.amount_fen and not flags & BALANCING:
        return Status.AMOUNT_MUST_NOT_BE_ZERO
    if event.ledger == 0:
        return Status.LEDGER_MUST_NOT_BE_ZERO
    if event.code == 0:
        return Status.CODE_MUST_NOT_BE_ZERO
    return None


def ending_form_refusal(event: NewTransfer, flags: int) -> Status | None:
    """Check a post or a void by itself."""
    if flags & ENDING == ENDING or flags & (PENDING | BALANCING | CLOSING):
        return Status.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    if event.pending_id is None or event.pending_id.int == 0:
        return Status.PENDING_ID_MUST_NOT_BE_ZERO
    if event.pending_id.int == INT_MAX:
        return Status.PENDING_ID_MUST_NOT_BE_INT_MAX
    if event.pending_id == event.id:
        return Status.PENDING_ID_MUST_BE_DIFFERENT
    if event.timeout_s:
        return Status.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
    return None


def differs_from_pending(event: NewTransfer, pending: Transfer) -> Status | None:
    """Check that what a post or void says about its pending transfer is true."""
    if event.debit_account_id is not None and event.debit_account_id != pending.debit_account_id:
        return Status.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID
    if event.credit_account_id is not None and event.credit_account_id != pending.credit_account_id:
        return Status.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID
    if event.ledger not in (0, pending.ledger):
        return Status.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER
    if event.code not in (0, pending.code):
        return Status.PENDING_TRANSFER_HAS_DIFFERENT_CODE
    return None


def _amount_is_same(event: NewTransfer, existing: Transfer, pending: Transfer | None) -> bool:
    if pending is not None:
        return existing.amount_fen == (pending.amount_fen if event.amount_fen is None else event.amount_fen)
    if existing.flags & BALANCING:  # the wish is an upper bound
        return event.amount_fen is None or event.amount_fen >= existing.amount_fen
    return event.amount_fen == existing.amount_fen


def balanced(wanted_fen: int | None, flags: int, *, debit: AccountState, credit: AccountState) -> int:
    """Give the amount that moves: the wish, or less where a balancing flag cuts it to what is available."""
    amount_fen = AMOUNT_MAX_FEN if wanted_fen is None else wanted_fen
    if flags & BALANCING_DEBIT:
        available_fen = debit.credits_posted_fen - debit.debits_posted_fen - debit.debits_pending_fen
        amount_fen = min(amount_fen, max(0, available_fen))
    if flags & BALANCING_CREDIT:
        available_fen = credit.debits_posted_fen - credit.credits_posted_fen - credit.credits_pending_fen
        amount_fen = min(amount_fen, max(0, available_fen))
    return amount_fen


def overflow(amount_fen: int, flags: int, *, debit: AccountState, credit: AccountState) -> Status | None:
    """Check that no sum, and no sum of pending and posted, leaves its column."""
    debits_fen = debit.debits_pending_fen + debit.debits_posted_fen + amount_fen
    credits_fen = credit.credits_pending_fen + credit.credits_posted_fen + amount_fen
    if debits_fen <= AMOUNT_MAX_FEN and credits_fen <= AMOUNT_MAX_FEN:  # then each part of them is, too
        return None
    if flags & PENDING:
        if debit.debits_pending_fen + amount_fen > AMOUNT_MAX_FEN:
            return Status.OVERFLOWS_DEBITS_PENDING
        if credit.credits_pending_fen + amount_fen > AMOUNT_MAX_FEN:
            return Status.OVERFLOWS_CREDITS_PENDING
    if debit.debits_posted_fen + amount_fen > AMOUNT_MAX_FEN:
        return Status.OVERFLOWS_DEBITS_POSTED
    if credit.credits_posted_fen + amount_fen > AMOUNT_MAX_FEN:
        return Status.OVERFLOWS_CREDITS_POSTED
    return Status.OVERFLOWS_DEBITS if debits_fen > AMOUNT_MAX_FEN else Status.OVERFLOWS_CREDITS


def limit(amount_fen: int, *, debit: AccountState, credit: AccountState) -> Status | None:
    """Hold the limits; open holds count, or the same money could be promised twice."""
    if debit.flags & DEBITS_LIMITED and (
        debit.debits_pending_fen + debit.debits_posted_fen + amount_fen > debit.credits_posted_fen
    ):
        return Status.EXCEEDS_CREDITS
    if credit.flags & CREDITS_LIMITED and (
        credit.credits_pending_fen + credit.credits_posted_fen + amount_fen > credit.debits_posted_fen
    ):
        return Status.EXCEEDS_DEBITS
    return None

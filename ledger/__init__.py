"""Double entry: accounts, two-phase transfers, journals. Knows SQL and nothing of cards, people or HTTP."""

from ledger.accounts import balances, create_accounts, lock_balances, lookup_accounts
from ledger.audit import Finding, audit
from ledger.books import (
    AccountEntries,
    AccountEntry,
    BookPlace,
    TrialLine,
    Voucher,
    VoucherPage,
    account_entries,
    trial_balance,
    voucher,
    vouchers,
)
from ledger.errors import CreateAccountStatus, CreateTransferStatus, JournalStatus
from ledger.exports import AccountName, NamedAccount, Root, write_beancount, write_hledger
from ledger.holds import expire_pending, pending_transfers
from ledger.journals import post_journal, reverse_journal
from ledger.posting import create_transfers, lookup_transfers
from ledger.statements import Page, StatementLine, account_lines, balance_at
from ledger.values import (
    AMOUNT_MAX_FEN,
    CNY,
    Account,
    AccountFlag,
    AccountResult,
    Balances,
    JournalResult,
    NewAccount,
    NewJournal,
    NewTransfer,
    PendingState,
    Transfer,
    TransferFlag,
    TransferResult,
)

__all__ = [
    "AMOUNT_MAX_FEN",
    "CNY",
    "Account",
    "AccountEntries",
    "AccountEntry",
    "AccountFlag",
    "AccountName",
    "AccountResult",
    "Balances",
    "BookPlace",
    "CreateAccountStatus",
    "CreateTransferStatus",
    "Finding",
    "JournalResult",
    "JournalStatus",
    "NamedAccount",
    "NewAccount",
    "NewJournal",
    "NewTransfer",
    "Page",
    "PendingState",
    "Root",
    "StatementLine",
    "Transfer",
    "TransferFlag",
    "TransferResult",
    "TrialLine",
    "Voucher",
    "VoucherPage",
    "account_entries",
    "account_lines",
    "audit",
    "balance_at",
    "balances",
    "create_accounts",
    "create_transfers",
    "expire_pending",
    "lock_balances",
    "lookup_accounts",
    "lookup_transfers",
    "pending_transfers",
    "post_journal",
    "reverse_journal",
    "trial_balance",
    "voucher",
    "vouchers",
    "write_beancount",
    "write_hledger",
]

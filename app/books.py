"""Which ledger account stands for what: the chart of accounts as data, and an id for every account by its meaning.

An id is computed from role and owner, so no table has to map one to the other and every process agrees.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cache
from pathlib import Path
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

import ledger

NAMESPACE = UUID("6f1d8c52-6f0e-5c1b-9d5e-3a0f4c6b7e21")


class BookRole(StrEnum):
    """What an account is for; the code a role has is data (chart.json)."""

    CASH = "cash"
    CLIENT_BANK = "client_bank"
    FISCAL_BANK = "fiscal_bank"
    OPERATING_BANK = "operating_bank"
    PSP_CLEARING = "psp_clearing"
    CUSTOMER_DEBT = "customer_debt"
    DISPUTED = "disputed"
    VAT = "vat"
    PRINCIPAL = "principal"
    SUBSIDY_PURSE = "subsidy_purse"
    UNIT_PAYABLE = "unit_payable"
    UNIDENTIFIED = "unidentified"
    REFUND_PAYABLE = "refund_payable"
    REWARD_PAYABLE = "reward_payable"
    SUBSIDY_FUND = "subsidy_fund"
    REWARD_FUND = "reward_fund"
    SERVICE_FEE = "service_fee"
    PSP_FEE = "psp_fee"
    DEBT_WRITTEN_OFF = "debt_written_off"


class TransferCode(IntEnum):
    """Why a transfer was made; its `code` in the ledger. Hundreds: 1 top-ups, 2 sessions, 3 subsidies."""

    TOP_UP = 101
    RECEIPT_SEEN = 102
    RECEIPT_UNIDENTIFIED = 103
    DEBT_REPAID = 104
    SESSION_HOLD = 201
    SESSION_SERVICE_FEE = 202
    SESSION_VAT = 203
    SESSION_LATE_CHARGE = 204
    FUND_RECEIVED = 301
    SUBSIDY_GRANTED = 302
    SUBSIDY_CLAWED_BACK = 303


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLine:
    """One line of the chart; `limited` accounts never fall below zero on their side."""

    role: BookRole
    code: str
    name_zh: str
    name_en: str
    grows_by_debit: bool
    limited: bool

    @property
    def number(self) -> int:
        """The code as the ledger keeps it: 2241.01 → 224101."""
        return int(self.code.replace(".", "").ljust(6, "0"))


@cache
def chart() -> dict[BookRole, ChartLine]:
    """Give the shipped chart of accounts by role."""
    lines = json.loads((Path(__file__).parent / "chart.json").read_text(encoding="utf-8"))["accounts"]
    return {
        BookRole(line["role"]): ChartLine(
            role=BookRole(line["role"]),
            code=line["code"],
            name_zh=line["zh"],
            name_en=line["en"],
            grows_by_debit=line["side"] == "debit",
            limited=line["limited"],
        )
        for line in lines
    }


class PostingError(Exception):
    """The ledger refused a posting that can only fail by a mistake of ours; nothing of it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """What an accountant reads on the journal; `key` makes posting it twice the same as once."""

    key: str
    reference: str
    text: str
    actor: str
    value_at: datetime

    @property
    def journal_id(self) -> UUID:
        """The journal it will be, or is."""
        return uuid5(NAMESPACE, f"journal:{self.key}")


@dataclass(frozen=True, slots=True)
class Book:
    """One ledger account by its meaning; `owner` is the id of the card account, unit or fund it belongs to."""

    role: BookRole
    owner: int = 0

    @property
    def id(self) -> UUID:
        """The ledger account's id."""
        return uuid5(NAMESPACE, f"{self.role}:{self.owner}")


def open_books(session: Session, books: Iterable[Book]) -> None:
    """Open these ledger accounts; those that are open already stay as they are."""
    wanted = [_new_account(book) for book in books]
    for result in ledger.create_accounts(session, wanted):
        if result.status not in (ledger.CreateAccountStatus.CREATED, ledger.CreateAccountStatus.EXISTS):
            raise AssertionError(f"the chart of accounts contradicts the ledger: {result.status}")


def card_books(account_id: int) -> tuple[Book, ...]:
    """Give the accounts behind one card account: principal, subsidy balance, debt."""
    return (
        Book(BookRole.PRINCIPAL, account_id),
        Book(BookRole.SUBSIDY_PURSE, account_id),
        Book(BookRole.CUSTOMER_DEBT, account_id),
    )


def center_books() -> tuple[Book, ...]:
    """Give the accounts that exist once: everything that belongs to no customer, unit or fund."""
    owned = {
        BookRole.PRINCIPAL,
        BookRole.SUBSIDY_PURSE,
        BookRole.CUSTOMER_DEBT,
        BookRole.UNIT_PAYABLE,
        BookRole.REWARD_PAYABLE,
        BookRole.SUBSIDY_FUND,
        BookRole.REWARD_FUND,
    }
    return tuple(Book(role) for role in BookRole if role not in owned)


def _new_account(book: Book) -> ledger.NewAccount:
    line = chart()[book.role]
    flags = ledger.AccountFlag.NONE
    if line.limited:
        flags = (
            ledger.AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
            if line.grows_by_debit
            else ledger.AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS
        )
    return ledger.NewAccount(id=book.id, code=line.number, flags=flags, user_data_64=book.owner)

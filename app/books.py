"""Which ledger account stands for what: the chart of accounts as data, and an id for every account by its meaning.

An id is computed from role and owner, so no table has to map one to the other and every process agrees. The number
that the ledger keeps of an account is its role's code in the shipped chart and never changes; the code that people read
is the site's, so that a site may renumber its books at any time without touching a fact.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

import ledger

NAMESPACE = UUID("6f1d8c52-6f0e-5c1b-9d5e-3a0f4c6b7e21")
SHIPPED = Path(__file__).parent / "chart.json"
# Four digits of the standard chart, then the site's own levels: 2241, 2241.01, 2241.01.003.
CODE_FORM = re.compile(r"[1-9]\d{3}(\.\d{2,4}){0,4}")
NAME_LENGTH_MAX = 60


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
    OPENING = "opening"


class OwnerKind(StrEnum):
    """Whose an account is; its owner is then an id of that kind."""

    CENTER = "center"
    CARD_ACCOUNT = "card"
    UNIT = "unit"
    FUND = "fund"


_OWNED = {
    BookRole.PRINCIPAL: OwnerKind.CARD_ACCOUNT,
    BookRole.SUBSIDY_PURSE: OwnerKind.CARD_ACCOUNT,
    BookRole.CUSTOMER_DEBT: OwnerKind.CARD_ACCOUNT,
    BookRole.UNIT_PAYABLE: OwnerKind.UNIT,
    # By unit, so that no account is in every charge (ADR 0106).
    BookRole.SERVICE_FEE: OwnerKind.UNIT,
    BookRole.VAT: OwnerKind.UNIT,
    BookRole.REWARD_PAYABLE: OwnerKind.UNIT,
    BookRole.SUBSIDY_FUND: OwnerKind.FUND,
    BookRole.REWARD_FUND: OwnerKind.FUND,
}


class Element(StrEnum):
    """The accounting element (会计要素) to which a role belongs."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"
    EQUITY = "equity"


class TransferCode(IntEnum):
    """Why a transfer was made; its `code` in the ledger. Hundreds: 1 top-ups, 2 sessions, 3 subsidies, 4 vouchers."""

    TOP_UP = 101
    RECEIPT_SEEN = 102
    RECEIPT_UNIDENTIFIED = 103
    DEBT_REPAID = 104
    SESSION_HOLD = 201
    SESSION_SERVICE_FEE = 202
    SESSION_VAT = 203
    SESSION_LATE_CHARGE = 204
    ADJUSTED = 205
    ADJUSTED_SERVICE_FEE = 206
    ADJUSTED_VAT = 207
    OFFLINE_HOLD = 208
    SESSION_ON_CREDIT = 209
    FUND_RECEIVED = 301
    SUBSIDY_GRANTED = 302
    SUBSIDY_CLAWED_BACK = 303
    MANUAL = 401
    OPENING = 402


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLine:
    """One line of the chart; `limited` accounts never fall below zero on their side.

    `code` and the names are the site's. `number` is what the ledger keeps, the shipped code without its dot: 224101.
    """

    role: BookRole
    code: str
    name_zh: str
    name_en: str
    number: int
    element: Element
    grows_by_debit: bool
    limited: bool

    @property
    def owner_kind(self) -> OwnerKind:
        """Whose the accounts of this line are."""
        return _OWNED.get(self.role, OwnerKind.CENTER)


class ChartError(Exception):
    """A site's chart of accounts cannot be used; `mistakes` lists everything that is wrong with it."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class _Site:
    """The chart that this process uses in place of the shipped one."""

    chart: dict[BookRole, ChartLine] | None = None


def chart() -> dict[BookRole, ChartLine]:
    """Give the chart of accounts by role: the site's, else the shipped one."""
    return _Site.chart or shipped_chart()


def use_chart(own: dict[BookRole, ChartLine] | None) -> None:
    """Make this process use a site's chart, or with None the shipped one again."""
    _Site.chart = own


@cache
def shipped_chart() -> dict[BookRole, ChartLine]:
    """Give the shipped chart of accounts by role."""
    lines = json.loads(SHIPPED.read_text(encoding="utf-8"))["accounts"]
    return {
        BookRole(line["role"]): ChartLine(
            role=BookRole(line["role"]),
            code=line["code"],
            name_zh=line["zh"],
            name_en=line["en"],
            number=int(line["code"].replace(".", "").ljust(6, "0")),
            element=Element(line["element"]),
            grows_by_debit=line["side"] == "debit",
            limited=line["limited"],
        )
        for line in lines
    }


def read_chart(path: Path) -> dict[BookRole, ChartLine]:
    """Read a site's chart: a JSON file as the shipped one, with role, code, zh and en of every role once.

    Raises ChartError that lists every mistake. Sides, elements and limits belong to the roles and are not read.
    """
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["accounts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChartError(["cannot be read as JSON with a list named accounts"]) from error
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise ChartError(["accounts is not a list of objects"])
    mistakes = [*_wrong_roles(lines), *_wrong_codes(lines), *_wrong_names(lines)]
    if mistakes:
        raise ChartError(mistakes)
    own = {BookRole(line["role"]): line for line in lines}
    return {
        role: replace(line, code=own[role]["code"], name_zh=own[role]["zh"].strip(), name_en=own[role]["en"].strip())
        for role, line in shipped_chart().items()
    }


def _wrong_roles(lines: list[dict[str, Any]]) -> Iterable[str]:
    found = Counter(str(line.get("role")) for line in lines)
    yield from (f"unknown role {role}" for role in found if role not in set(BookRole))
    yield from (f"role {role} stands {count} times" for role, count in found.items() if count > 1)
    yield from (f"role {role} is missing" for role in BookRole if role not in found)


def _wrong_codes(lines: list[dict[str, Any]]) -> Iterable[str]:
    codes = [str(line.get("code")) for line in lines]
    yield from (
        f"code {code} of {line.get('role')} is not of the form 2241 or 2241.01"
        for line, code in zip(lines, codes, strict=True)
        if not (isinstance(line.get("code"), str) and code.isascii() and CODE_FORM.fullmatch(code))
    )
    yield from (f"code {code} is given to {count} roles" for code, count in Counter(codes).items() if count > 1)
    # 2241 beside 2241.01 would be a heading that is posted to: its sum would leave out its own parts.
    yield from (
        f"code {code} is a heading of {other}"
        for code in dict.fromkeys(codes)
        for other in dict.fromkeys(codes)
        if other.startswith(f"{code}.")
    )


def _wrong_names(lines: list[dict[str, Any]]) -> Iterable[str]:
    for line in lines:
        for name in ("zh", "en"):
            text = line.get(name)
            if not isinstance(text, str) or not 1 <= len(text.strip()) <= NAME_LENGTH_MAX or not text.isprintable():
                yield f"name {name} of {line.get('role')} is not a text of 1 to {NAME_LENGTH_MAX} characters"


def line_of_number(number: int) -> ChartLine | None:
    """Give the chart's line for the number that the ledger keeps of an account; None for a number of no role."""
    role = _roles_by_number().get(number)
    return None if role is None else chart()[role]


@cache
def _roles_by_number() -> Mapping[int, BookRole]:
    return {line.number: role for role, line in shipped_chart().items()}


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


def unit_books(unit_id: int) -> tuple[Book, ...]:
    """Give the accounts behind one unit: what is owed to it, and the fee and the tax on what it earned."""
    return (
        Book(BookRole.UNIT_PAYABLE, unit_id),
        Book(BookRole.SERVICE_FEE, unit_id),
        Book(BookRole.VAT, unit_id),
    )


def center_books() -> tuple[Book, ...]:
    """Give the accounts that exist once: everything that belongs to no customer, unit or fund."""
    return tuple(Book(role) for role in BookRole if role not in _OWNED)


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

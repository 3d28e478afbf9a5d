"""The whole books as a text file that other programs check: beancount and hledger, with balance assertions.

Amounts are hundredths in the ledger (fen) and have two decimals here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TextIO
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session


class Root(StrEnum):
    """The five kinds of account that every program of plain-text accounting knows."""

    ASSETS = "Assets"
    LIABILITIES = "Liabilities"
    EQUITY = "Equity"
    INCOME = "Income"
    EXPENSES = "Expenses"


class NamedAccount(NamedTuple):
    """What the ledger knows of an account that wants a name."""

    id: UUID
    ledger: int
    code: int
    user_data_128: UUID | None
    user_data_64: int
    user_data_32: int


@dataclass(frozen=True, slots=True)
class AccountName:
    """What an account is called outside: its root, the parts below it, and a name for people.

    Parts may be any text; what the programs do not take in an account's name becomes a hyphen.
    """

    root: Root
    path: tuple[str, ...]
    name: str = ""


Names = Callable[[NamedAccount], AccountName]
"""Who calls the ledger gives the names, as the ledger does not know what its accounts stand for."""


def write_beancount(
    session: Session, out: TextIO, *, names: Names, until: datetime, zone: ZoneInfo, title: str = "Books"
) -> int:
    """Write everything posted with a value date before `until` as a beancount file; give the number of transactions.

    A transaction's date is its value date in `zone`. Give it a session that sees one snapshot (`Database.reader`).
    """
    raise NotImplementedError


def write_hledger(
    session: Session, out: TextIO, *, names: Names, until: datetime, zone: ZoneInfo, title: str = "Books"
) -> int:
    """Write everything posted with a value date before `until` as an hledger journal; give the number of transactions.

    A transaction's date is its value date in `zone`. Give it a session that sees one snapshot (`Database.reader`).
    """
    raise NotImplementedError

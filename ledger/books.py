"""The accountant's view: trial balance, vouchers (凭证) and the lines of one account, all by value date.

Only what was posted counts: a hold, its void and its expiry move nothing, and a hold posted in part counts for that
part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from ledger.values import Transfer


class TrialLine(NamedTuple):
    """One account in a trial balance; opening and closing are debits minus credits."""

    account_id: UUID
    ledger: int
    code: int
    user_data_64: int
    opening_fen: int
    debits_fen: int
    credits_fen: int
    closing_fen: int


class BookPlace(NamedTuple):
    """A place in the books' order, which is by value date and then by id: the cursor of their pages."""

    value_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A journal with what it posted, in the order it was booked."""

    id: UUID
    kind: str
    reference: str
    text: str
    actor: str
    value_at: datetime
    created_at: datetime
    reverses_id: UUID | None
    reversed_by_id: UUID | None
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherPage:
    """Some vouchers in the order asked for; `cursor` is the next page's `after`, None on the last."""

    vouchers: tuple[Voucher, ...]
    cursor: BookPlace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEntry:
    """One posted transfer as one of its accounts sees it; `balance_fen` is debits minus credits right after it."""

    transfer_id: UUID
    value_at: datetime
    timestamp: datetime
    journal_id: UUID | None
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None
    code: int
    counter_account_id: UUID
    debit_fen: int
    credit_fen: int
    balance_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEntries:
    """A page of one account's lines, and the period's opening and closing balance (debits minus credits).

    `cursor` is the next page's `after`, None on the last.
    """

    opening_fen: int
    lines: tuple[AccountEntry, ...]
    closing_fen: int
    cursor: BookPlace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookEntry:
    """What one voucher posted under one date; a transfer without a journal is an entry of its own.

    `id` is the journal's, or then the transfer's, and the journal's words are None. `movements` are debit
    account, credit account and fen.
    """

    day: date
    id: UUID
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None
    reverses_id: UUID | None
    movements: tuple[tuple[UUID, UUID, int], ...]


def trial_balance(session: Session, *, since: datetime, until: datetime) -> list[TrialLine]:
    """Give every account with an opening balance or a movement in the period, by ledger, code, owner and id.

    `since` is inclusive, `until` exclusive. In every ledger the openings, the movements and the closings each sum to
    zero. Raises ValueError for a period that ends before it begins.
    """
    raise NotImplementedError


def voucher(session: Session, journal_id: UUID) -> Voucher | None:
    """Give one journal with what it posted; None if there is no such journal."""
    raise NotImplementedError


def vouchers(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    kind: str | None = None,
    newest_first: bool = True,
    limit: int = 100,
    after: BookPlace | None = None,
) -> VoucherPage:
    """Give one page of the vouchers that posted something, by value date.

    `since` is inclusive, `until` exclusive; `after` is the cursor of the page before, in either direction. At most
    1,000 vouchers a page. Raises ValueError for a limit outside 1..1,000.
    """
    raise NotImplementedError


def account_entries(
    session: Session,
    account_id: UUID,
    *,
    since: datetime,
    until: datetime,
    limit: int = 100,
    after: BookPlace | None = None,
) -> AccountEntries:
    """Give one page of an account's posted lines by value date, the oldest first, each with the balance after it.

    `since` is inclusive, `until` exclusive; `after` is the cursor of the page before. At most 1,000 lines a page.
    Raises ValueError for a limit outside 1..1,000.
    """
    raise NotImplementedError


def book_entries(session: Session, *, until: datetime, zone: ZoneInfo) -> Iterator[BookEntry]:
    """Give everything that was posted with a value date before `until`, by the zone's days, without keeping it."""
    raise NotImplementedError

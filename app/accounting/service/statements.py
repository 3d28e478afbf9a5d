"""The statement of any ledger account: opening, lines by value date, closing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

import ledger
from app.accounting.service.naming import BookAccount, accounts_of
from app.errors import Code, Refusal

PAGE_MAX = 200
CHUNK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLine:
    """One posted transfer as the account sees it, with the account on the other side and the balance after it."""

    entry: ledger.AccountEntry
    counter: BookAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatement:
    """A page of one account's lines in [since, until); balances are debits less credits.

    `cursor` is where the next page begins, None on the last.
    """

    account: BookAccount
    since: datetime
    until: datetime
    opening_fen: int
    lines: tuple[AccountLine, ...]
    closing_fen: int
    cursor: ledger.BookPlace | None


def account_statement(
    session: Session,
    *,
    account_id: UUID,
    since: datetime,
    until: datetime,
    page_size: int = 100,
    after: ledger.BookPlace | None = None,
) -> AccountStatement:
    """Give a page of an account's statement, the oldest line first. Raises Refusal NOT_FOUND and TIMES_REVERSED."""
    account = _account(session, account_id, since=since, until=until)
    found = ledger.account_entries(
        session, account_id, since=since, until=until, limit=min(page_size, PAGE_MAX), after=after
    )
    return AccountStatement(
        account=account,
        since=since,
        until=until,
        opening_fen=found.opening_fen,
        lines=tuple(_named(session, found.lines)),
        closing_fen=found.closing_fen,
        cursor=found.cursor,
    )


def all_lines(session: Session, *, account_id: UUID, since: datetime, until: datetime) -> Iterator[AccountLine]:
    """Give all lines of an account in [since, until), the oldest first, some at a time.

    Raises Refusal NOT_FOUND and TIMES_REVERSED.
    """
    _account(session, account_id, since=since, until=until)
    after: ledger.BookPlace | None = None
    while True:
        found = ledger.account_entries(session, account_id, since=since, until=until, limit=CHUNK, after=after)
        yield from _named(session, found.lines)
        if (after := found.cursor) is None:
            return


def _account(session: Session, account_id: UUID, *, since: datetime, until: datetime) -> BookAccount:
    if until < since:
        raise Refusal(Code.TIMES_REVERSED)
    account = accounts_of(session, [account_id]).get(account_id)
    if account is None:
        raise Refusal(Code.NOT_FOUND)
    return account


def _named(session: Session, entries: tuple[ledger.AccountEntry, ...]) -> Iterator[AccountLine]:
    counters = accounts_of(session, (each.counter_account_id for each in entries))
    return (AccountLine(entry=each, counter=counters[each.counter_account_id]) for each in entries)

"""The trial balance (科目余额表): what every code of the chart stood at, moved, and stands at, by value date."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from sqlalchemy.orm import Session

import ledger
from app.accounting.service.naming import BookAccount, name_accounts
from app.books import BookRole, ChartLine, chart, line_of_number
from app.errors import Code, Refusal


class Sums(NamedTuple):
    """What an account or a code did in a period; opening and closing are debits less credits."""

    opening_fen: int = 0
    debits_fen: int = 0
    credits_fen: int = 0

    @property
    def closing_fen(self) -> int:
        """What it stands at in the end."""
        return self.opening_fen + self.debits_fen - self.credits_fen

    def plus(self, other: "Sums") -> "Sums":
        """Add two."""
        return Sums(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialGroup:
    """One code of the chart. `line` is None for a number that no role has."""

    number: int
    line: ChartLine | None
    accounts: int
    sums: Sums

    @property
    def code(self) -> str:
        """The code people read."""
        return self.line.code if self.line is not None else str(self.number)

    @property
    def name_zh(self) -> str:
        """The chart's name in Chinese."""
        return self.line.name_zh if self.line is not None else ""

    @property
    def name_en(self) -> str:
        """The chart's name in English."""
        return self.line.name_en if self.line is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBalance:
    """All codes with an opening balance or a movement in [since, until), in order of the codes."""

    since: datetime
    until: datetime
    groups: tuple[TrialGroup, ...]

    @property
    def total(self) -> Sums:
        """Everything added up: the opening is 0 and debits equal credits, or something is wrong with the books."""
        return _total(group.sums for group in self.groups)

    @property
    def difference_fen(self) -> int:
        """Give what is missing to zero: 0 in sound books. The opening counts too, and so does each side."""
        total = self.total
        return total.closing_fen or total.opening_fen

    @property
    def opening_sides(self) -> tuple[int, int]:
        """All opening debit balances and all opening credit balances."""
        return _sides(group.sums.opening_fen for group in self.groups)

    @property
    def closing_sides(self) -> tuple[int, int]:
        """All closing debit balances and all closing credit balances."""
        return _sides(group.sums.closing_fen for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAccount:
    """One single account of a trial balance."""

    account: BookAccount
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDetail:
    """The single accounts behind one code, a page of them."""

    since: datetime
    until: datetime
    line: ChartLine
    total: Sums
    accounts: tuple[TrialAccount, ...]
    count: int
    page: int
    page_size: int

    @property
    def has_more(self) -> bool:
        """Say whether more follow."""
        return self.page * self.page_size < self.count


def trial_balance(session: Session, *, since: datetime, until: datetime) -> TrialBalance:
    """Give the trial balance of [since, until) by value date. Raises Refusal TIMES_REVERSED."""
    lines = _lines(session, since=since, until=until)
    by_number = groupby(sorted(lines, key=lambda each: each.code), key=lambda each: each.code)
    groups = [_group(number, list(members)) for number, members in by_number]
    return TrialBalance(since=since, until=until, groups=tuple(sorted(groups, key=lambda each: each.code)))


def trial_detail(
    session: Session, *, role: BookRole, since: datetime, until: datetime, page: int = 1, page_size: int = 100
) -> TrialDetail:
    """Give the single accounts of a role with their sums, in order of their owners. Raises Refusal TIMES_REVERSED."""
    line = chart()[role]
    lines = [each for each in _lines(session, since=since, until=until) if each.code == line.number]
    wanted = lines[(page - 1) * page_size : page * page_size]
    named = name_accounts(session, [(each.account_id, each.code, each.user_data_64) for each in wanted])
    return TrialDetail(
        since=since,
        until=until,
        line=line,
        total=_total(_sums(each) for each in lines),
        accounts=tuple(TrialAccount(account=named[each.account_id], sums=_sums(each)) for each in wanted),
        count=len(lines),
        page=page,
        page_size=page_size,
    )


def sides(balance_fen: int) -> tuple[int, int]:
    """Give a balance as an accountant writes it: in the debit column or in the credit column."""
    return max(balance_fen, 0), max(-balance_fen, 0)


def _lines(session: Session, *, since: datetime, until: datetime) -> list[ledger.TrialLine]:
    if until < since:
        raise Refusal(Code.TIMES_REVERSED)
    return ledger.trial_balance(session, since=since, until=until)


def _group(number: int, lines: Sequence[ledger.TrialLine]) -> TrialGroup:
    return TrialGroup(
        number=number, line=line_of_number(number), accounts=len(lines), sums=_total(_sums(each) for each in lines)
    )


def _sums(line: ledger.TrialLine) -> Sums:
    return Sums(line.opening_fen, line.debits_fen, line.credits_fen)


def _total(parts: Iterable[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total = total.plus(part)
    return total


def _sides(balances: Iterable[int]) -> tuple[int, int]:
    debit_fen = credit_fen = 0
    for balance_fen in balances:
        debit, credit = sides(balance_fen)
        debit_fen += debit
        credit_fen += credit
    return debit_fen, credit_fen

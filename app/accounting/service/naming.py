"""What a ledger account is called: its line of the chart and whose it is; for pages, and for programs of accounting."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

import ledger
from app.books import ChartLine, Element, OwnerKind, chart, line_of_number
from app.cards.models import CardAccount
from app.instruments.models import Unit
from app.subsidies.models import Fund

_CODES = {OwnerKind.CARD_ACCOUNT: CardAccount.number, OwnerKind.UNIT: Unit.code, OwnerKind.FUND: Fund.code}
# Each query names at most so many owners.
CHUNK = 5_000
_ROOTS = {
    Element.ASSET: ledger.Root.ASSETS,
    Element.LIABILITY: ledger.Root.LIABILITIES,
    Element.INCOME: ledger.Root.INCOME,
    Element.EXPENSE: ledger.Root.EXPENSES,
    Element.EQUITY: ledger.Root.EQUITY,
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an account is: a card account, a unit or a fund, with the code people know it by."""

    kind: OwnerKind
    id: int
    code: str
    name_zh: str
    name_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookAccount:
    """One ledger account with its names. `line` is None for a number that no role has, `owner` for the center's own."""

    id: UUID
    number: int
    line: ChartLine | None
    owner: Owner | None

    @property
    def code(self) -> str:
        """The code people read."""
        return self.line.code if self.line is not None else str(self.number)

    @property
    def name_zh(self) -> str:
        """The chart's name in Chinese."""
        return self.line.name_zh if self.line is not None else str(self.number)

    @property
    def name_en(self) -> str:
        """The chart's name in English."""
        return self.line.name_en if self.line is not None else str(self.number)


def accounts_of(session: Session, ids: Iterable[UUID]) -> dict[UUID, BookAccount]:
    """Give ledger accounts by id, named; unknown ids are left out."""
    found = ledger.lookup_accounts(session, list(dict.fromkeys(ids)))
    return name_accounts(session, [(each.id, each.code, each.user_data_64) for each in found])


def name_accounts(session: Session, wanted: Iterable[tuple[UUID, int, int]]) -> dict[UUID, BookAccount]:
    """Give names to ledger accounts of which id, number and owner are known."""
    rows = [(account_id, number, line_of_number(number), owner) for account_id, number, owner in wanted]
    kinds: dict[OwnerKind, set[int]] = {}
    for _id, _number, line, owner in rows:
        if line is not None and line.owner_kind is not OwnerKind.CENTER:
            kinds.setdefault(line.owner_kind, set()).add(owner)
    owners = {kind: owners_by_id(session, kind=kind, ids=ids) for kind, ids in kinds.items()}
    return {
        account_id: BookAccount(
            id=account_id,
            number=number,
            line=line,
            owner=None if line is None else _owner(owners, line.owner_kind, owner),
        )
        for account_id, number, line, owner in rows
    }


def _owner(owners: dict[OwnerKind, dict[int, Owner]], kind: OwnerKind, owner_id: int) -> Owner | None:
    if kind is OwnerKind.CENTER:
        return None
    unknown = Owner(kind, owner_id, f"#{owner_id}", "", "")
    return owners[kind].get(owner_id, unknown)


def owners_by_id(session: Session, *, kind: OwnerKind, ids: Iterable[int]) -> dict[int, Owner]:
    """Give card accounts, units or funds by id, with their codes and names."""
    wanted = sorted(set(ids))
    found: dict[int, Owner] = {}
    for first in range(0, len(wanted), CHUNK):
        for owner in _owners(session, kind, wanted[first : first + CHUNK]):
            found[owner.id] = owner
    return found


def find_owner(session: Session, *, kind: OwnerKind, code: str) -> Owner | None:
    """Give the card account of that number, or the unit or fund of that code."""
    column = _CODES[kind]
    owner_id = session.scalar(select(column.class_.id).where(column == code))
    return None if owner_id is None else owners_by_id(session, kind=kind, ids=[owner_id]).get(owner_id)


def ids_by_code(session: Session, *, kind: OwnerKind) -> dict[str, int]:
    """Give the ids of all card accounts by number, or of all units or funds by code."""
    column = _CODES[kind]
    return {code: owner_id for code, owner_id in session.execute(select(column, column.class_.id))}  # noqa: C416 - rows


def _owners(session: Session, kind: OwnerKind, ids: list[int]) -> Iterable[Owner]:
    if kind is OwnerKind.CARD_ACCOUNT:
        wanted = (
            select(CardAccount)
            .where(CardAccount.id.in_(ids))
            .options(joinedload(CardAccount.person), joinedload(CardAccount.organisation))
        )
        return [Owner(kind, each.id, each.number, *_customer(each)) for each in session.scalars(wanted)]
    table: type[Unit | Fund] = Unit if kind is OwnerKind.UNIT else Fund
    named = select(table.id, table.code, table.name_zh, table.name_en).where(table.id.in_(ids))
    return [Owner(kind, *row) for row in session.execute(named)]


def _customer(account: CardAccount) -> tuple[str, str]:
    if account.organisation is not None:
        return account.organisation.name_zh, account.organisation.name_en
    name = account.person.name if account.person is not None else account.number
    return name, name


def plain_text_names(account: ledger.NamedAccount) -> ledger.AccountName:
    """Give an account its name in a file for beancount or hledger: Liabilities:2241-01:Card-7.

    By ids and codes, not by names of people: such a file leaves the house.
    """
    line = line_of_number(account.code)
    if line is None:
        return ledger.AccountName(ledger.Root.EQUITY, (str(account.code), str(account.user_data_64)))
    owner = () if line.owner_kind is OwnerKind.CENTER else (f"{line.owner_kind.value}-{account.user_data_64}",)
    return ledger.AccountName(_ROOTS[line.element], (line.code, *owner), name=line.name_zh)


def chart_lines() -> list[ChartLine]:
    """Give the chart in order of the codes that people read."""
    return sorted(chart().values(), key=lambda line: line.code)

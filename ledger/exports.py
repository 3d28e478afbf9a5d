"""The whole books as a text that other programs check: beancount and hledger, with balance assertions.

Both files say the same: the accounts, a transaction for every voucher, and what accounts stood at when a month had
ended and at the end. Amounts are hundredths in the ledger (fen) and have two decimals here. Names and texts are other
people's words, so whatever could end a text early, or begin something else, is replaced.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from heapq import merge
from operator import attrgetter
from typing import NamedTuple, Protocol, TextIO
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from ledger.books import POSTED, BookEntry, DayBalances, allow_long_reads, book_entries, day_balances
from ledger.posting import execute
from ledger.values import CNY

# ISO 4217 by number. Only currencies of two decimals: any other would be written a hundredfold too small or too large.
COMMODITIES = {CNY: "CNY", 344: "HKD", 446: "MOP", 840: "USD", 978: "EUR"}

ACCOUNTS = f"""
SELECT id, ledger, code, user_data_128, user_data_64, user_data_32,
       least((created_at AT TIME ZONE %(zone)s)::date, day) AS day
FROM ledger.accounts LEFT JOIN (
    SELECT account_id, (min(value_at) AT TIME ZONE %(zone)s)::date AS day
    FROM (
        SELECT debit_account_id AS account_id, min(value_at) AS value_at
        FROM ledger.transfers WHERE value_at < %(until)s AND {POSTED} GROUP BY 1
        UNION ALL
        SELECT credit_account_id, min(value_at)
        FROM ledger.transfers WHERE value_at < %(until)s AND {POSTED} GROUP BY 1
    ) AS sides GROUP BY account_id
) AS used ON account_id = id
WHERE created_at < %(until)s OR day IS NOT NULL
ORDER BY ledger, code, user_data_64, id
"""  # noqa: S608 - constants only

# Control characters, line ends of every kind and halves of surrogate pairs; marks that reorder what a reader sees.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# In hledger these begin a comment, part the payee from the note, and end a tag; their wide sisters do not.
_WIDE = str.maketrans(";|,", "；｜，")


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

    Parts may be any text; what the programs do not take in an account's name becomes a hyphen. Two accounts with one
    name, or one above the other, get their ids as a further part: a balance must be one account's.
    """

    root: Root
    path: tuple[str, ...]
    name: str = ""


Names = Callable[[NamedAccount], AccountName]
"""Whoever calls the ledger gives the names, as the ledger does not know what its accounts stand for."""


class Label(NamedTuple):
    """An account as the file names it, and its commodity."""

    account: str
    commodity: str


class _Form(Protocol):
    """How one program wants to read the books, piece by piece."""

    def commodity(self, code: str) -> str:
        """Give a currency's code as it stands beside an amount."""

    def header(self, *, title: str, notes: tuple[str, ...], commodities: Mapping[str, date]) -> str:
        """Give the beginning: what this is, and each commodity with its first day."""

    def account(self, account: NamedAccount, *, day: date, label: Label, name: str) -> str:
        """Give the declaration of one account."""

    def entry(self, entry: BookEntry, *, labels: Mapping[UUID, Label]) -> str:
        """Give one transaction."""

    def balances(self, balances: DayBalances, *, labels: Mapping[UUID, Label]) -> str:
        """Give the assertions of one day."""


def write_beancount(
    session: Session, out: TextIO, *, names: Names, until: datetime, zone: ZoneInfo, title: str = "Books"
) -> int:
    """Write everything posted with a value date before `until` as a beancount file; give the number of transactions.

    A transaction's date is its value date in `zone`. `bean-check` accepts the file, and refuses it after a change of
    any one amount. Memory grows with the accounts, not with the transfers. Lifts this transaction's statement timeout
    to ten minutes. Raises ValueError for a session that does not see one snapshot: use one of `Database.reader`.
    """
    return _write(session, out, form=_Beancount(), names=names, until=until, zone=zone, title=title)


def write_hledger(
    session: Session, out: TextIO, *, names: Names, until: datetime, zone: ZoneInfo, title: str = "Books"
) -> int:
    """Write everything posted with a value date before `until` as an hledger journal; give the number of transactions.

    `hledger check --strict` accepts the file, and refuses it after a change of any one amount. All else is as with
    `write_beancount`.
    """
    return _write(session, out, form=_Hledger(), names=names, until=until, zone=zone, title=title)


class _Beancount:
    """Beancount 3: `balance` asserts what stood there when its day began, so it bears the day after."""

    def commodity(self, code: str) -> str:
        return code

    def header(self, *, title: str, notes: tuple[str, ...], commodities: Mapping[str, date]) -> str:
        # Without the multiplier 0, a balance may be wrong by one fen.
        return "".join(
            (
                ";; -*- mode: beancount; coding: utf-8 -*-\n",
                *(f";; {_one_line(note)}\n" for note in notes),
                f'option "title" {_quoted(title)}\n',
                *(f'option "operating_currency" "{commodity}"\n' for commodity in commodities),
                'option "tolerance_multiplier" "0"\n\n',
                *(f"{day} commodity {commodity}\n" for commodity, day in commodities.items()),
                "\n",
            )
        )

    def account(self, account: NamedAccount, *, day: date, label: Label, name: str) -> str:
        return (
            f"{day} open {label.account} {label.commodity}\n"
            f'  name: {_quoted(name)}\n  id: "{account.id}"\n  code: "{account.code}"\n'
        )

    def entry(self, entry: BookEntry, *, labels: Mapping[UUID, Label]) -> str:
        words = "".join(f"  {key}: {_quoted(value)}\n" for key, value in _words(entry))
        return f"\n{entry.day} * {_quoted(_narration(entry))}\n{words}{_postings(entry, labels)}"

    def balances(self, balances: DayBalances, *, labels: Mapping[UUID, Label]) -> str:
        day = balances.day + timedelta(days=1)
        lines = ((labels[id_], balance_fen) for id_, balance_fen in balances.accounts)
        return "\n" + "".join(
            f"{day} balance {label.account}  {_amount(balance_fen, label)}\n" for label, balance_fen in lines
        )


class _Hledger:
    """hledger: an assertion holds after its posting, by date and then by place in the file."""

    def commodity(self, code: str) -> str:
        return code if code.isalpha() else f'"{code}"'

    def header(self, *, title: str, notes: tuple[str, ...], commodities: Mapping[str, date]) -> str:
        return "".join(
            (
                f"; {_one_line(title)}\n",
                *(f"; {_one_line(note)}\n" for note in notes),
                "decimal-mark .\n\n",
                *(f"commodity {commodity}\n" for commodity in commodities),
                "\n",
            )
        )

    def account(self, account: NamedAccount, *, day: date, label: Label, name: str) -> str:
        return f"account {label.account}\n  ; name: {_wide(name)}\n  ; id: {account.id}\n  ; opened: {day}\n"

    def entry(self, entry: BookEntry, *, labels: Mapping[UUID, Label]) -> str:
        words = "".join(f"  ; {key}: {_wide(value)}\n" for key, value in _words(entry))
        # A bracket at the beginning would open a code.
        said = re.sub(r"^\(", "（", _wide(_narration(entry)))
        return f"\n{entry.day} * {said}\n{words}{_postings(entry, labels)}"

    def balances(self, balances: DayBalances, *, labels: Mapping[UUID, Label]) -> str:
        lines = ((labels[id_], balance_fen) for id_, balance_fen in balances.accounts)
        return f"\n{balances.day} * Balances\n" + "".join(
            f"  {label.account}  {_amount(0, label)} == {_amount(balance_fen, label)}\n" for label, balance_fen in lines
        )


def _write(
    session: Session, out: TextIO, *, form: _Form, names: Names, until: datetime, zone: ZoneInfo, title: str
) -> int:
    if execute(session, "SHOW transaction_isolation", {})[0][0] == "read committed":
        raise ValueError("The books need a session that sees one snapshot: its balances must be those of its entries")
    allow_long_reads(session)
    rows = execute(session, ACCOUNTS, {"until": until, "zone": zone.key})
    accounts = [(NamedAccount._make(row[:-1]), row.day) for row in rows]
    named = {account.id: names(account) for account, _ in accounts}
    labels = _labels([account for account, _ in accounts], named, form=form)
    commodities: dict[str, date] = {}
    for account, day in accounts:
        commodity = labels[account.id].commodity
        commodities[commodity] = min(day, commodities.get(commodity, day))
    notes = (
        f"Everything posted with a value date before {until.astimezone(zone).isoformat()}, by the days of {zone.key}.",
        "An amount on hold is a promise and no money yet: it is not in these books.",
    )
    out.write(form.header(title=title, notes=notes, commodities=commodities))
    for account, day in accounts:
        out.write(form.account(account, day=day, label=labels[account.id], name=named[account.id].name))
    return _write_days(session, out, form=form, labels=labels, until=until, zone=zone)


def _write_days(
    session: Session, out: TextIO, *, form: _Form, labels: Mapping[UUID, Label], until: datetime, zone: ZoneInfo
) -> int:
    """Write what happened and what it came to, day by day: of one day the entries first."""
    days: Iterator[BookEntry | DayBalances] = merge(
        book_entries(session, until=until, zone=zone),
        day_balances(session, until=until, zone=zone),
        key=attrgetter("day"),
    )
    count = 0
    for item in days:
        if isinstance(item, BookEntry):
            out.write(form.entry(item, labels=labels))
            count += 1
        else:
            out.write(form.balances(item, labels=labels))
    return count


def _labels(accounts: list[NamedAccount], named: Mapping[UUID, AccountName], *, form: _Form) -> dict[UUID, Label]:
    """Name every account so that no two share a name and none stands above another."""
    plain = {
        account.id: ":".join((named[account.id].root, *map(_part, named[account.id].path or (str(account.code),))))
        for account in accounts
    }
    uses = Counter(plain.values())
    above = {label[:position] for label in uses for position, letter in enumerate(label) if letter == ":"}
    return {
        account.id: Label(
            label if uses[label] == 1 and label not in above else f"{label}:{account.id.hex.upper()}",
            form.commodity(COMMODITIES.get(account.ledger, f"L{account.ledger}")),
        )
        for account in accounts
        if (label := plain[account.id])
    }


def _part(text: str) -> str:
    """Make any text a part of an account's name: letters, digits and hyphens, a capital or a digit first."""
    letters = (
        letter if unicodedata.category(letter) in {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"} else "-"
        for letter in unicodedata.normalize("NFC", text)
    )
    part = re.sub("-+", "-", "".join(letters)).strip("-")
    capital = part[:1].upper()
    if len(capital) == 1 and unicodedata.category(capital) in {"Lu", "Nd"}:
        return capital + part[1:]
    return f"X-{part}" if part else "X"


def _words(entry: BookEntry) -> list[tuple[str, str]]:
    if entry.kind is None:
        return [("transfer", str(entry.id))]
    words = [
        ("journal", str(entry.id)),
        ("kind", entry.kind),
        ("reference", entry.reference or ""),
        ("actor", entry.actor or ""),
    ]
    return words if entry.reverses_id is None else [*words, ("reverses", str(entry.reverses_id))]


def _narration(entry: BookEntry) -> str:
    return entry.text or entry.kind or "Transfer without a voucher"


def _postings(entry: BookEntry, labels: Mapping[UUID, Label]) -> str:
    lines = []
    for debit_id, credit_id, amount_fen in entry.movements:
        debit = labels[debit_id]
        amount = _amount(amount_fen, debit)
        lines.append(f"  {debit.account}  {amount}\n  {labels[credit_id].account}  -{amount}\n")
    return "".join(lines)


def _amount(fen: int, label: Label) -> str:
    whole, part = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{part:02d} {label.commodity}"


def _one_line(text: str) -> str:
    if text.isprintable() and "  " not in text and text == text.strip():
        return text
    return " ".join(_REORDERING.sub("", _BREAKS.sub(" ", text)).split())


def _quoted(text: str) -> str:
    escaped = _one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _wide(text: str) -> str:
    return _one_line(text).translate(_WIDE)

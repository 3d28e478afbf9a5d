"""The opening balances of a site that worked with another system before: one file, checked whole, then posted by line.

Each line is a voucher of its own against the account of the opening, which is at zero again when all of them stand. So
a region's ten thousand cards go through the ledger's queue in seconds, and a file that is brought again, after a crash
or with more lines, posts only what is not there yet.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO
from uuid import uuid5

from sqlalchemy.orm import Session

import ledger
from app import money
from app.accounting.service.naming import ids_by_code
from app.accounting.service.wishes import WishLine
from app.books import NAMESPACE, Book, BookRole, OwnerKind, TransferCode, Voucher, chart

KIND_OPENING = "opening_balance"
COLUMNS = ("reference", "account", "owner", "debit", "credit", "text")
LINES_MAX = 1_000_000
REFERENCE_LENGTH_MAX, TEXT_LENGTH_MAX = 60, 200
MISTAKES_MAX = 100
CALLERS = 64
OPENING = Book(BookRole.OPENING).id


class OpeningError(Exception):
    """The file cannot be posted, and nothing of it was; `mistakes` lists the first hundred with their lines."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningLine:
    """What one account stood at; `reference` says which line it is for good, and `place` where the file has it."""

    place: int
    reference: str
    text: str
    wish: WishLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What became of one line: posted now, there before, or refused and why."""

    line: OpeningLine
    result: ledger.JournalResult


def read_opening(session: Session, file: TextIO) -> list[OpeningLine]:
    """Read a CSV with the columns reference, account, owner, debit, credit, text.

    `account` is a code of the site's chart, `owner` the number of a card account or the code of a unit or fund, and one
    of `debit` and `credit` an amount of yuan. Raises OpeningError if anything is wrong, or debits and credits differ.
    """
    rows = csv.DictReader(file)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise OpeningError([f"the first line must be {','.join(COLUMNS)}"])
    reader = _Reader(session)
    lines = [line for place, row in enumerate(rows, start=2) if (line := reader.line(place, row)) is not None]
    mistakes = [*reader.mistakes, *_not_open(session, lines)]
    if not mistakes:
        debit_fen, credit_fen = (
            sum(getattr(line.wish, side) for line in lines) for side in ("debit_fen", "credit_fen")
        )
        if debit_fen != credit_fen:
            mistakes = [
                f"debits are {money.yuan(debit_fen)} and credits {money.yuan(credit_fen)}: they must be the same"
            ]
    if mistakes:
        raise OpeningError(mistakes[:MISTAKES_MAX])
    return lines


def post_opening(
    queue: ledger.PostingQueue, lines: Sequence[OpeningLine], *, value_at: datetime, actor: str
) -> Iterator[Opened]:
    """Post the lines, each committed when it is given back; a line that stands already is not posted again.

    What an account's limit refuses is told and does not stop the others. Raises the database's error when it does not
    answer; the same file again finds out what stands.
    """

    def post(line: OpeningLine) -> Opened:
        return Opened(line=line, result=queue.post_journal(_journal(line, value_at=value_at, actor=actor)))

    with ThreadPoolExecutor(CALLERS) as pool:
        yield from pool.map(post, lines)


class _Reader:
    """Reads line by line and collects what is wrong."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._roles = {line.code: line.role for line in chart().values()}
        self._owners: dict[OwnerKind, Mapping[str, int]] = {}
        self._references: set[str] = set()
        self.mistakes: list[str] = []

    def line(self, place: int, row: Mapping[str | None, str | None]) -> OpeningLine | None:
        if len(self.mistakes) >= MISTAKES_MAX:
            return None
        try:
            return self._line(place, {name: (row.get(name) or "").strip() for name in COLUMNS})
        except ValueError as mistake:
            self.mistakes.append(f"line {place}: {mistake}")
            return None

    def _line(self, place: int, row: Mapping[str, str]) -> OpeningLine:
        if place > LINES_MAX:
            raise ValueError(f"more than {LINES_MAX} lines")
        reference = row["reference"]
        if not 1 <= len(reference) <= REFERENCE_LENGTH_MAX or not reference.isprintable():
            raise ValueError(f"the reference is not a text of 1 to {REFERENCE_LENGTH_MAX} characters")
        if reference in self._references:
            raise ValueError(f"the reference {reference} stands twice")
        self._references.add(reference)
        role = self._roles.get(row["account"])
        if role is None or role is BookRole.OPENING:
            raise ValueError(f"no account of the chart that may be opened has the code {row['account'] or '–'}")
        debit_fen, credit_fen = _amount_fen(row["debit"]), _amount_fen(row["credit"])
        if (debit_fen > 0) == (credit_fen > 0):
            raise ValueError("give either a debit or a credit")
        owner_id = self._owner_id(role, row["owner"])
        wish = WishLine(role=role, owner_id=owner_id, debit_fen=debit_fen, credit_fen=credit_fen)
        return OpeningLine(place=place, reference=reference, text=row["text"][:TEXT_LENGTH_MAX], wish=wish)

    def _owner_id(self, role: BookRole, code: str) -> int:
        kind = chart()[role].owner_kind
        if kind is OwnerKind.CENTER:
            if code:
                raise ValueError("this account is the center's own: leave the owner empty")
            return 0
        if kind not in self._owners:
            self._owners[kind] = ids_by_code(self._session, kind=kind)
        owner_id = self._owners[kind].get(code)
        if owner_id is None:
            raise ValueError(f"there is no {kind} {code or '–'}")
        return owner_id


def _amount_fen(text: str) -> int:
    amount_fen = money.parse_yuan(text) if text else 0
    if amount_fen < 0:
        raise ValueError("an amount is not negative: give it on the other side")
    return amount_fen


def _not_open(session: Session, lines: Iterable[OpeningLine]) -> list[str]:
    places = {line.wish.account_id: line.place for line in lines}
    found = {account.id for account in ledger.lookup_accounts(session, [*places, OPENING])}
    missing = [f"line {place}: its account is not open" for id_, place in places.items() if id_ not in found]
    return missing if OPENING in found else ["the account of the opening is not open", *missing]


def _journal(line: OpeningLine, *, value_at: datetime, actor: str) -> ledger.NewJournal:
    voucher = Voucher(
        key=f"opening:{line.reference}", reference=line.reference, text=line.text, actor=actor, value_at=value_at
    )
    sides = (line.wish.account_id, OPENING) if line.wish.debit_fen else (OPENING, line.wish.account_id)
    transfer = ledger.NewTransfer(
        id=uuid5(NAMESPACE, f"{voucher.key}:0"),
        debit_account_id=sides[0],
        credit_account_id=sides[1],
        amount_fen=line.wish.debit_fen or line.wish.credit_fen,
        code=TransferCode.OPENING,
    )
    return ledger.NewJournal(
        id=voucher.journal_id,
        kind=KIND_OPENING,
        reference=voucher.reference,
        text=voucher.text,
        actor=voucher.actor,
        idempotency_key=voucher.key,
        value_at=voucher.value_at,
        transfers=(transfer,),
    )

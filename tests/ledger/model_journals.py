"""The model's journals: chains of transfers under a key, their answers, their mirrors, and the closed past."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid5

from ledger import (
    CreateTransferStatus,
    JournalStatus,
    NewJournal,
    NewTransfer,
    PendingState,
    TransferFlag,
)
from tests.ledger.model import LINKED, PENDING, TRANSIENT, Books, Made

Wish = NewJournal | Sequence[NewTransfer]


class Verdict(NamedTuple):
    """What becomes of a journal, of each of its transfers, and whether it was said before."""

    status: JournalStatus
    statuses: tuple[CreateTransferStatus, ...] = ()
    is_replayed: bool = False


@dataclass
class Voucher:
    """A journal that was answered: as it was wished for, and what it reverses."""

    journal: NewJournal
    verdict: Verdict
    reverses_id: UUID | None = None

    @property
    def is_posted(self) -> bool:
        return self.verdict.status is JournalStatus.POSTED


@dataclass
class Vouchers:
    """All journals that have an answer worth keeping, over the books that their transfers stand in."""

    books: Books = field(default_factory=Books)
    vouchers: list[Voucher] = field(default_factory=list)
    closed_until: datetime | None = None

    def under(self, key: str) -> Voucher | None:
        return next((each for each in self.vouchers if each.journal.idempotency_key == key), None)

    def posted(self, id_: UUID) -> Voucher | None:
        return next((each for each in self.vouchers if each.is_posted and each.journal.id == id_), None)

    def post(self, journal: NewJournal, *, reverses_id: UUID | None = None) -> Verdict:
        known = self.under(journal.idempotency_key)
        if not journal.transfers:
            return Verdict(JournalStatus.JOURNAL_EMPTY)
        if known and chained(known.journal) == chained(journal):
            return known.verdict._replace(is_replayed=True)
        if known:
            return Verdict(JournalStatus.IDEMPOTENCY_CONFLICT)
        if self.posted(journal.id):
            return Verdict(JournalStatus.JOURNAL_EXISTS)
        if self.closed_until and journal.value_at and journal.value_at < self.closed_until:
            return Verdict(JournalStatus.PERIOD_CLOSED)
        return self._write(journal, reverses_id=reverses_id)

    def reverse(self, journal_id: UUID, wish: NewJournal) -> tuple[Verdict, NewJournal | None]:
        """Say what becomes of a reversal, and what is posted for it; `wish` names all of it but reference and lines."""
        original = self.posted(journal_id)
        if original is None:
            return Verdict(JournalStatus.JOURNAL_NOT_FOUND), None
        reversal = next((each for each in self.vouchers if each.is_posted and each.reverses_id == journal_id), None)
        if reversal and reversal.journal.idempotency_key != wish.idempotency_key:
            return Verdict(JournalStatus.JOURNAL_ALREADY_REVERSED), None
        written = [made for made in self.books.transfers if made.journal_id == journal_id]
        is_held = any(self.books.state(made) is PendingState.OPEN for made in written if made.flags & PENDING)
        lines = tuple(_mirror(made, under=wish.id) for made in _in_order(written) if made.has_moved and made.amount_fen)
        if is_held or not lines:
            return Verdict(JournalStatus.JOURNAL_NOT_REVERSIBLE), None
        mirror = replace(wish, reference=original.journal.reference, transfers=lines)
        return self.post(mirror, reverses_id=journal_id), mirror

    def together(self, wishes: Sequence[Wish]) -> list[Verdict | list[CreateTransferStatus]]:
        return [self.post(wish) if isinstance(wish, NewJournal) else self.books.send(wish) for wish in wishes]

    def _write(self, journal: NewJournal, *, reverses_id: UUID | None) -> Verdict:
        count = len(self.books.transfers)
        statuses = tuple(self.books.send(chained(journal).transfers))
        if set(statuses) == {CreateTransferStatus.CREATED}:
            verdict = Verdict(JournalStatus.POSTED, statuses)
            for made in self.books.transfers[count:]:
                made.journal_id, made.value_at = journal.id, journal.value_at
        else:
            verdict = Verdict(JournalStatus.REFUSED, statuses)
        # A refusal that burnt an id is remembered; after any other the content may be mended under the same key.
        if verdict.status is JournalStatus.POSTED or set(statuses) & (
            TRANSIENT | {CreateTransferStatus.ID_ALREADY_FAILED}
        ):
            self.vouchers.append(Voucher(journal, verdict, reverses_id))
        return verdict


def chained(journal: NewJournal) -> NewJournal:
    """Give the journal with its transfers linked to one another, whatever they said of it."""
    last = len(journal.transfers) - 1
    lines = (
        replace(line, flags=line.flags | LINKED if number < last else line.flags & ~LINKED)
        for number, line in enumerate(journal.transfers)
    )
    return replace(journal, transfers=tuple(lines))


def _in_order(written: Sequence[Made]) -> list[Made]:
    return sorted(written, key=lambda made: (made.at, made.id))


def _mirror(made: Made, *, under: UUID) -> NewTransfer:
    return NewTransfer(
        id=uuid5(under, str(made.id)),
        debit_account_id=made.credit_account_id,
        credit_account_id=made.debit_account_id,
        amount_fen=made.amount_fen,
        code=made.code,
        ledger=made.ledger,
        flags=TransferFlag.NONE,
        user_data_128=made.user_data_128,
        user_data_64=made.user_data_64,
        user_data_32=made.user_data_32,
    )

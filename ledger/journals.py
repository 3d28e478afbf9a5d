"""Journals (凭证): transfers that hold all together or not at all, under one idempotency key; and their reversal."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from ledger import posting
from ledger.arrays import array
from ledger.errors import CreateTransferStatus, JournalStatus
from ledger.periods import CLOSED_UNTIL
from ledger.posting import Runner
from ledger.transfers import Machine
from ledger.values import (
    MOVES_NOTHING,
    JournalResult,
    NewJournal,
    NewTransfer,
    PendingState,
    Transfer,
    TransferFlag,
    TransferResult,
)

REMEMBERED = f"""
SELECT ({CLOSED_UNTIL}) AS closed_until, memories.*
FROM (SELECT 1) AS one LEFT JOIN (
SELECT idempotency_key, id, request_hash, NULL::integer AS failing_position, NULL AS failing_status
FROM ledger.journals WHERE idempotency_key = ANY(ARRAY(SELECT unnest(%(keys)b::text[])))
UNION ALL SELECT idempotency_key, id, request_hash, NULL::integer, NULL
FROM ledger.journals WHERE id = ANY(ARRAY(SELECT unnest(%(ids)b::uuid[])))
UNION ALL SELECT idempotency_key, journal_id, request_hash, failing_position, failing_status
FROM ledger.refused_journals WHERE idempotency_key = ANY(ARRAY(SELECT unnest(%(keys)b::text[])))
) AS memories ON true
"""  # noqa: S608 - constants only
JOURNALS = posting.Columns(
    "journals",
    (
        *(("id", "uuid"), ("kind", "text"), ("reference", "text"), ("text", "text"), ("actor", "text")),
        *(("value_at", "timestamptz"), ("created_at", "timestamptz"), ("idempotency_key", "text")),
        *(("request_hash", "bytea"), ("reverses_id", "uuid")),
    ),
)
REFUSED = posting.Columns(
    "refused_journals",
    (
        *(("idempotency_key", "text"), ("journal_id", "uuid"), ("request_hash", "bytea")),
        *(("failing_position", "integer"), ("failing_status", "text"), ("created_at", "timestamptz")),
    ),
)

_STATUSES = {status.value: status for status in CreateTransferStatus}


class _Memory(NamedTuple):
    """What an idempotency key was answered before."""

    key: str
    journal_id: UUID
    request_hash: bytes
    failing_position: int | None
    failing_status: str | None


Wish = NewJournal | Sequence[NewTransfer]
"""What one caller wants of a batch: a journal, or transfers without one."""


class _Wanted(NamedTuple):
    journal: NewJournal | None
    chain: Sequence[NewTransfer]
    reverses_id: UUID | None = None


def post_journal(session: Runner, journal: NewJournal) -> JournalResult:
    """Post all transfers of the journal, or none.

    The same key with the same content (ids included) gives the first answer again, refusals for passing reasons
    included; with other content, `idempotency_conflict`. A value date in a closed period is refused and not remembered:
    the same key may come again with another date, or with the same one when the period was reopened. Raises a
    deadlock, serialisation failure or lock not available: do the same again.
    """
    return _post(session, journal)


def post_together(session: Runner, wishes: Sequence[Wish]) -> list[JournalResult | list[TransferResult]]:
    """Post what several callers want in one go, each as if alone and in this order: one lock, one read, one write.

    A journal is answered as by `post_journal`, transfers as by `create_transfers`. At most 8,189 transfers in all, else
    ValueError.
    """
    wanted = [
        _Wanted(wish, _linked(wish.transfers)) if isinstance(wish, NewJournal) else _Wanted(None, wish)
        for wish in wishes
    ]
    return _Batch(session, wanted).post()


def reverse_journal(
    session: Runner,
    journal_id: UUID,
    *,
    id: UUID,  # noqa: A002 - the word for it in the whole ledger
    reason: str,
    actor: str,
    idempotency_key: str,
    value_at: datetime | None = None,
) -> JournalResult:
    """Post the mirror of a journal: every amount it posted goes back the way it came, and both are linked. Once only.

    Refused while the journal holds amounts that are still pending: end those instead.
    """
    found = _read_original(session, journal_id)
    if found is None:
        return JournalResult(status=JournalStatus.JOURNAL_NOT_FOUND, journal_id=id)
    reference, transfers, states, reversed_under = found
    if reversed_under not in (None, idempotency_key):
        return JournalResult(status=JournalStatus.JOURNAL_ALREADY_REVERSED, journal_id=id)
    mirrored = tuple(_mirror(transfer, under=id) for transfer in transfers if _moved(transfer))
    if not mirrored or PendingState.OPEN in states:
        return JournalResult(status=JournalStatus.JOURNAL_NOT_REVERSIBLE, journal_id=id)
    journal = NewJournal(
        id=id,
        kind="reversal",
        reference=reference,
        text=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        transfers=mirrored,
        value_at=value_at,
    )
    return _post(session, journal, reverses_id=journal_id)


def _post(session: Runner, journal: NewJournal, *, reverses_id: UUID | None = None) -> JournalResult:
    (result,) = _Batch(session, [_Wanted(journal, _linked(journal.transfers), reverses_id)]).post()
    if not isinstance(result, JournalResult):
        raise TypeError("a journal is answered by a journal's result")
    return result


class _Batch:
    """Wishes on their way through one machine, and the rows of journals that they leave."""

    def __init__(self, session: Runner, wanted: Sequence[_Wanted]) -> None:
        self._session = session
        self._wanted = wanted
        journals = [each.journal for each in wanted if each.journal]
        self._machine = posting.load(
            session,
            [event for each in wanted for event in each.chain],
            has_value_date=any(journal.value_at is not None for journal in journals),
        )
        # After the locks, so that of two equal requests the second one waits and then finds the first one's answer.
        self._by_key, self._key_of, self._closed_until = _remembered(session, journals)
        self._posted: list[tuple[object, ...]] = []
        self._refused: list[tuple[object, ...]] = []

    def post(self) -> list[JournalResult | list[TransferResult]]:
        results = [self._take(each) for each in self._wanted]
        if not {made.journal_id for made in self._machine.created} <= {None, *(row[0] for row in self._posted)}:
            raise RuntimeError("a transfer belongs to a journal that is not written with it")
        parts = [columns.rows(rows) for columns, rows in ((JOURNALS, self._posted), (REFUSED, self._refused)) if rows]
        posting.write(self._session, self._machine, *parts)
        return results

    def _take(self, wanted: _Wanted) -> JournalResult | list[TransferResult]:
        journal, chain, _ = wanted
        machine = self._machine
        if journal is None:
            machine.journal_id = machine.value_at = None
            return machine.run(chain)
        if not chain:
            return JournalResult(status=JournalStatus.JOURNAL_EMPTY, journal_id=journal.id)
        request_hash = _hash(journal, chain)
        if (memory := self._by_key.get(journal.idempotency_key)) is not None:
            return _answer_again(journal, chain, memory=memory, request_hash=request_hash, machine=machine)
        if (status := self._refusal(journal)) is not None:
            return JournalResult(status=status, journal_id=journal.id)
        machine.journal_id, machine.value_at = journal.id, journal.value_at
        results = tuple(machine.run(chain))
        if all(result.status is CreateTransferStatus.CREATED for result in results):
            self._keep_posted(journal, request_hash, reverses_id=wanted.reverses_id)
            return JournalResult(status=JournalStatus.POSTED, journal_id=journal.id, results=results)
        refused = JournalResult(status=JournalStatus.REFUSED, journal_id=journal.id, results=results)
        self._keep_refused(journal, request_hash, refused)
        return refused

    def _refusal(self, journal: NewJournal) -> JournalStatus | None:
        if journal.id in self._key_of:
            return JournalStatus.JOURNAL_EXISTS
        if journal.value_at is not None and self._closed_until is not None and journal.value_at < self._closed_until:
            return JournalStatus.PERIOD_CLOSED
        return None

    def _keep_posted(self, journal: NewJournal, request_hash: bytes, *, reverses_id: UUID | None) -> None:
        now = self._machine.now
        self._posted.append(
            (
                *(journal.id, journal.kind, journal.reference, journal.text, journal.actor, journal.value_at or now),
                *(now, journal.idempotency_key, request_hash, reverses_id),
            )
        )
        self._remember(_Memory(journal.idempotency_key, journal.id, request_hash, None, None))
        self._key_of[journal.id] = journal.idempotency_key

    def _keep_refused(self, journal: NewJournal, request_hash: bytes, refused: JournalResult) -> None:
        """Remember a refusal only if its ids are burnt; after any other the caller may correct the content."""
        status = refused.failed
        if status is None or not status.passing:
            return
        position = next(number for number, result in enumerate(refused.results) if result.status is status)
        key = journal.idempotency_key
        self._refused.append((key, journal.id, request_hash, position, status.value, self._machine.now))
        self._remember(_Memory(key, journal.id, request_hash, position, status.value))

    def _remember(self, memory: _Memory) -> None:
        self._by_key[memory.key] = memory


def _linked(transfers: Sequence[NewTransfer]) -> tuple[NewTransfer, ...]:
    last = len(transfers) - 1
    wanted = [
        transfer.flags | TransferFlag.LINKED if position < last else transfer.flags & ~TransferFlag.LINKED
        for position, transfer in enumerate(transfers)
    ]
    return tuple(
        transfer if transfer.flags == flags else replace(transfer, flags=flags)
        for transfer, flags in zip(transfers, wanted, strict=True)
    )


def _hash(journal: NewJournal, chain: Sequence[NewTransfer]) -> bytes:
    """Give the fingerprint of a journal's content; its key is not part of it."""
    header = (journal.id, journal.kind, journal.reference, journal.text, journal.actor, journal.value_at)
    lines = [
        (
            *(event.id, event.debit_account_id, event.credit_account_id, event.amount_fen, event.code, event.ledger),
            *(int(event.flags), event.pending_id, event.timeout_s),
            *(event.user_data_128, event.user_data_64, event.user_data_32),
        )
        for event in chain
    ]
    return hashlib.sha256(json.dumps([header, lines], default=str).encode()).digest()


def _remembered(
    session: Runner, journals: Sequence[NewJournal]
) -> tuple[dict[str, _Memory], dict[UUID, str], datetime | None]:
    """Give what these keys were answered before, the keys of those of these journals that exist, and what is closed."""
    if not journals:
        return {}, {}, None
    keys, ids = [journal.idempotency_key for journal in journals], [journal.id for journal in journals]
    rows = posting.execute(session, REMEMBERED, {"keys": array("text", keys), "ids": array("uuid", ids)})
    memories = [_Memory._make(row[1:]) for row in rows if row[1] is not None]
    existing = {each.journal_id: each.key for each in memories if each.failing_status is None}
    return {each.key: each for each in memories}, existing, rows[0][0]


def _answer_again(
    journal: NewJournal, chain: Sequence[NewTransfer], *, memory: _Memory, request_hash: bytes, machine: Machine
) -> JournalResult:
    if memory.request_hash != request_hash:
        return JournalResult(status=JournalStatus.IDEMPOTENCY_CONFLICT, journal_id=memory.journal_id)
    if memory.failing_status is None:
        found = [machine.transfers[event.id] for event in chain]
        results = [
            TransferResult(transfer.id, CreateTransferStatus.CREATED, transfer.timestamp, transfer.amount_fen)
            for transfer in found
        ]
        status = JournalStatus.POSTED
    else:
        results = [TransferResult(event.id, CreateTransferStatus.LINKED_EVENT_FAILED) for event in chain]
        position = memory.failing_position or 0
        results[position] = TransferResult(chain[position].id, _STATUSES[memory.failing_status])
        status = JournalStatus.REFUSED
    return JournalResult(status=status, journal_id=journal.id, results=tuple(results), replayed=True)


def _read_original(
    session: Runner, journal_id: UUID
) -> tuple[str, list[Transfer], set[PendingState], str | None] | None:
    head: Sequence[Any] = posting.execute(
        session,
        "SELECT j.reference, r.idempotency_key FROM ledger.journals j"
        " LEFT JOIN ledger.journals r ON r.reverses_id = j.id WHERE j.id = %(id)s",
        {"id": journal_id},
    )
    if not head:
        return None
    rows = posting.execute(
        session,
        f"SELECT {posting.STATE_NOW}, {posting.TRANSFER_COLUMNS} FROM ledger.transfers"  # noqa: S608 - constants only
        " LEFT JOIN ledger.pending_transfers holds USING (id) WHERE journal_id = %(id)s ORDER BY timestamp, id",
        {"id": journal_id},
    )
    states = {PendingState(row[0]) for row in rows if row[0] is not None}
    return head[0][0], [Transfer._make(row[1:]) for row in rows], states, head[0][1]


def _moved(transfer: Transfer) -> bool:
    """Say whether the transfer posted an amount: a hold and a void did not."""
    return transfer.amount_fen > 0 and not transfer.flags & MOVES_NOTHING


def _mirror(transfer: Transfer, *, under: UUID) -> NewTransfer:
    return NewTransfer(
        id=uuid5(under, str(transfer.id)),
        debit_account_id=transfer.credit_account_id,
        credit_account_id=transfer.debit_account_id,
        amount_fen=transfer.amount_fen,
        code=transfer.code,
        ledger=transfer.ledger,
        user_data_128=transfer.user_data_128,
        user_data_64=transfer.user_data_64,
        user_data_32=transfer.user_data_32,
    )

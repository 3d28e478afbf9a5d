"""Journals (凭证): transfers that hold all together or not at all, under one idempotency key; and their reversal."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from ledger import posting
from ledger.errors import CreateTransferStatus, JournalStatus
from ledger.posting import Part
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

REMEMBERED = """
SELECT id, request_hash, NULL AS failing_position, NULL AS failing_status
FROM ledger.journals WHERE idempotency_key = %(key)s
UNION ALL SELECT journal_id, request_hash, failing_position, failing_status
FROM ledger.refused_journals WHERE idempotency_key = %(key)s
UNION ALL SELECT id, NULL, NULL, NULL FROM ledger.journals WHERE id = %(id)s AND idempotency_key <> %(key)s
LIMIT 1
"""
INSERT = """
INSERT INTO ledger.journals
    (id, kind, reference, text, actor, value_at, created_at, idempotency_key, request_hash, reverses_id)
VALUES (%(journal_id)s, %(kind)s, %(reference)s, %(text)s, %(actor)s, coalesce(%(value_at)s, %(now)s), %(now)s,
        %(key)s, %(request_hash)s, %(reverses_id)s)
"""
INSERT_REFUSED = """
INSERT INTO ledger.refused_journals
    (idempotency_key, journal_id, request_hash, failing_position, failing_status, created_at)
VALUES (%(key)s, %(journal_id)s, %(request_hash)s, %(failing_position)s, %(failing_status)s, %(now)s)
"""


_STATUSES = {status.value: status for status in CreateTransferStatus}


class _Memory(NamedTuple):
    """What an idempotency key was answered before."""

    journal_id: UUID
    request_hash: bytes | None
    failing_position: int | None
    failing_status: str | None


def post_journal(session: Session, journal: NewJournal) -> JournalResult:
    """Post all transfers of the journal, or none.

    The same key with the same content (ids included) gives the first answer again, refusals for passing reasons
    included; with other content, `idempotency_conflict`. Raises a deadlock or serialisation failure: do the same again.
    """
    return _post(session, journal, reverses_id=None)


def reverse_journal(
    session: Session,
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


def _post(session: Session, journal: NewJournal, *, reverses_id: UUID | None) -> JournalResult:
    if not journal.transfers:
        return JournalResult(status=JournalStatus.JOURNAL_EMPTY, journal_id=journal.id)
    chain = _linked(journal.transfers)
    machine = posting.load(session, chain, journal_id=journal.id, value_at=journal.value_at)
    # After the locks, so that of two equal requests the second one waits and then finds the first one's answer.
    request_hash = _hash(journal, chain)
    if (memory := _remembered(session, journal)) is not None:
        return _answer_again(journal, chain, memory=memory, request_hash=request_hash, machine=machine)
    results = tuple(machine.run(chain))
    values: dict[str, object] = {
        "journal_id": journal.id,
        "key": journal.idempotency_key,
        "request_hash": request_hash,
        "now": machine.now,
    }
    if all(result.status is CreateTransferStatus.CREATED for result in results):
        posting.write(session, machine, _insert_part(journal, values, reverses_id=reverses_id))
        return JournalResult(status=JournalStatus.POSTED, journal_id=journal.id, results=results)
    refused = JournalResult(status=JournalStatus.REFUSED, journal_id=journal.id, results=results)
    posting.write(session, machine, *_refusal_parts(refused, values))
    return refused


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


def _remembered(session: Session, journal: NewJournal) -> _Memory | None:
    rows = posting.execute(session, REMEMBERED, {"key": journal.idempotency_key, "id": journal.id})
    return _Memory._make(rows[0]) if rows else None


def _answer_again(
    journal: NewJournal, chain: Sequence[NewTransfer], *, memory: _Memory, request_hash: bytes, machine: Machine
) -> JournalResult:
    if memory.request_hash is None:
        return JournalResult(status=JournalStatus.JOURNAL_EXISTS, journal_id=journal.id)
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


def _insert_part(journal: NewJournal, values: dict[str, object], *, reverses_id: UUID | None) -> Part:
    return Part(
        INSERT,
        {
            **values,
            "kind": journal.kind,
            "reference": journal.reference,
            "text": journal.text,
            "actor": journal.actor,
            "value_at": journal.value_at,
            "reverses_id": reverses_id,
        },
    )


def _refusal_parts(refused: JournalResult, values: dict[str, object]) -> list[Part]:
    """Remember a refusal only if its ids are burnt; after any other the caller may correct the content."""
    status = refused.failed
    if status is None or not status.passing:
        return []
    position = next(number for number, result in enumerate(refused.results) if result.status is status)
    return [Part(INSERT_REFUSED, {**values, "failing_position": position, "failing_status": status.value})]


def _read_original(
    session: Session, journal_id: UUID
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
        f"SELECT holds.state, {posting.TRANSFER_COLUMNS} FROM ledger.transfers"  # noqa: S608 - column names only
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

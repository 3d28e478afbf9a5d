"""What of a charge is sealed, in which block, and the proofs of it: of postings and of its usage record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import ledger
from app.reconciliation.models import UsageRecord
from app.reconciliation.records.document import document_of
from app.reports.service.postings import Posting


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeSeal:
    """The blocks that seal the last of the postings and the newest version of the record.

    None while one of them waits, or there are none. `proofs` are made only where a document is asked for.
    """

    postings_block: int | None
    record_block: int | None
    waiting: tuple[UUID, ...]
    proofs: tuple[dict[str, Any], ...] = ()

    @property
    def sealed(self) -> bool:
        """Say whether something is sealed and nothing waits."""
        return not self.waiting and (self.postings_block is not None or self.record_block is not None)


def seal_of(
    session: Session, *, postings: Iterable[Posting], records: Sequence[UsageRecord], with_proofs: bool
) -> ChargeSeal:
    """Say how far a charge is sealed, with proofs of what is. What waits is named."""
    posted, documents = posted_ids(postings), [record.document_id for record in records]
    blocks = ledger.sealed_in(session, [*posted, *documents])
    return ChargeSeal(
        postings_block=_last(blocks, posted),
        record_block=_last(blocks, documents[-1:]),
        waiting=tuple(id_ for id_ in (*posted, *documents) if id_ not in blocks),
        proofs=tuple(
            prove_all(
                session,
                [id_ for id_ in posted if id_ in blocks],
                [record for record in records if record.document_id in blocks],
            )
        )
        if with_proofs
        else (),
    )


def posted_ids(postings: Iterable[Posting]) -> list[UUID]:
    """Name the transfers, and the journals that they belong to, each once."""
    named = [id_ for posting in postings for id_ in (posting.journal_id, posting.transfer_id) if id_ is not None]
    return list(dict.fromkeys(named))


def prove_all(session: Session, posted: Iterable[UUID], records: Iterable[UsageRecord]) -> list[dict[str, Any]]:
    """Give the proofs for docs/check_proof.py; those of records with their text. Raises ledger.NotSealedError."""
    proofs: list[dict[str, Any]] = [dict(ledger.prove(session, id_)) for id_ in posted]
    proofs += [{**ledger.prove(session, record.document_id), "document": document_of(record)} for record in records]
    return proofs


def _last(blocks: dict[UUID, int], ids: Sequence[UUID]) -> int | None:
    return max(blocks[id_] for id_ in ids) if ids and all(id_ in blocks for id_ in ids) else None

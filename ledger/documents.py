"""Documents that others write, kept by their hash: the books seal that a text stood so, and never read it.

Whoever makes a document gives it an id from the business and the SHA-256 of its canonical bytes. The row is a fact
like any other, sealed and proved with them; whether the document still is what was written is for its owner to say,
who holds the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.arrays import array
from ledger.posting import execute
from ledger.values import ID_ZERO

DIGEST_BYTES = 32
FEED_LIMIT_MAX = 1_000
INSERT = """
INSERT INTO ledger.documents (id, kind, digest, created_at)
SELECT id, kind, digest, statement_timestamp()
FROM unnest(%(ids)b::uuid[], %(kinds)b::text[], %(digests)b::bytea[]) AS sent (id, kind, digest)
ON CONFLICT (id) DO NOTHING
"""
KNOWN = "SELECT id, kind, digest, created_at FROM ledger.documents WHERE id = ANY(%(ids)b::uuid[])"
# Below the oldest transaction that still runs nothing can come any more (docs/adr/0108); a stranger's numbers close
# nothing, so on a server that has not adopted the books the feed stands still.
CLOSED = """
SELECT id, digest, created_at, xid FROM ledger.documents
WHERE kind = %(kind)s AND (xid, id) > (%(xid)s::bigint, %(id)s::uuid) AND xid < (
    SELECT xid_offset + pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    FROM ledger.clusters ORDER BY number DESC LIMIT 1
)
ORDER BY xid, id LIMIT %(limit)s
"""


class DocumentPlace(NamedTuple):
    """Where a document stands in the order of the log: what a reader keeps to read on from."""

    xid: int
    id: UUID


FIRST_PLACE = DocumentPlace(0, ID_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document to be sealed; `kind` is a short word such as usage-record, `digest` 32 bytes."""

    id: UUID
    kind: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as the books have it, with its place in the log."""

    id: UUID
    digest: bytes
    created_at: datetime
    place: DocumentPlace


class DocumentDiffersError(Exception):
    """A document of that id is known with another kind or hash; nothing of the call should be kept."""


def add_documents(session: Session, documents: Sequence[NewDocument]) -> None:
    """Add documents to the books; the same id with the same kind and hash again changes nothing.

    Raises DocumentDiffersError if an id is known with another kind or hash.
    """
    ids = array("uuid", [document.id for document in documents])
    rows = {
        "ids": ids,
        "kinds": array("text", [document.kind for document in documents]),
        "digests": array("bytea", [document.digest for document in documents]),
    }
    execute(session, INSERT, rows, reads=False)
    stands = {row[0]: (row[1], row[2]) for row in execute(session, KNOWN, {"ids": ids})}
    for document in documents:
        if stands[document.id] != (document.kind, document.digest):
            raise DocumentDiffersError(f"The document {document.id} stands in the books with another kind or hash.")


def digests_of(session: Session, ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """Give the hashes of these documents; those that the books do not know are left out."""
    return {row[0]: row[2] for row in execute(session, KNOWN, {"ids": array("uuid", ids)})}


def documents_after(
    session: Session, *, kind: str, after: DocumentPlace = FIRST_PLACE, limit: int = FEED_LIMIT_MAX
) -> list[Document]:
    """Give documents of a kind behind a place, in the order of the log, from the closed range only: none is skipped.

    A document that was written just now comes as soon as no older transaction is open any more.
    """
    rows = execute(
        session,
        CLOSED,
        {"kind": kind, "xid": after.xid, "id": after.id, "limit": min(limit, FEED_LIMIT_MAX)},
    )
    return [
        Document(id=id_, digest=digest, created_at=created_at, place=DocumentPlace(xid, id_))
        for id_, digest, created_at, xid in rows
    ]

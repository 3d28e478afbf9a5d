"""A proof for one row: its fields, and the way from their hash to a block that was sealed and published.

`docs/check_proof.py` checks such a document on any machine, without this program and without the database.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy.orm import Session

from ledger import merkle
from ledger.lines import KIND_OF_NAME, Kind
from ledger.posting import execute
from ledger.seals import COLUMNS, Seal, leaves_of, place_of

PROVED = (KIND_OF_NAME["transfer"], KIND_OF_NAME["journal"], KIND_OF_NAME["document"])
BLOCK_OF = f"""
SELECT {COLUMNS} FROM ledger.seals
WHERE (last_xid, last_kind, last_id) >= (%(xid)s::bigint, %(kind)s::text, %(id)s::uuid)
ORDER BY last_xid, last_kind, last_id LIMIT 1
"""  # noqa: S608 - column names only
SEALED_IN = " UNION ALL ".join(
    f"""
    SELECT id, (
        SELECT number FROM ledger.seals WHERE (last_xid, last_kind, last_id) >= (facts.xid, '{kind.name}', facts.id)
        ORDER BY last_xid, last_kind, last_id LIMIT 1
    ) FROM {kind.table} AS facts WHERE id = ANY(%(ids)b::uuid[])
    """  # noqa: S608 - constants only
    for kind in PROVED
)
LATER = f"SELECT {COLUMNS} FROM ledger.seals WHERE number > %(number)s AND number <= %(until)s ORDER BY number"  # noqa: S608 - column names only
CHAIN_MAX = 10_000
"""As many blocks as one proof may follow from the row's own to a later one."""


class Proof(TypedDict):
    """A document that is JSON as it stands.

    `record` holds the row's fields as they are written in its line; `path` leads from the line's hash to the root of
    the first block in `blocks`; each further block names the hash of the one before it.
    """

    record: dict[str, str]
    path: list[merkle.Step]
    blocks: list[dict[str, str]]


class NotSealedError(Exception):
    """There is no proof: the row does not stand in the books, or in no block yet, or not as it was sealed."""


def prove(session: Session, row_id: UUID, *, until_block: int | None = None) -> Proof:
    """Give the proof of a transfer, a journal or a document, with the blocks up to `until_block` if that is given.

    Raises NotSealedError with a sentence that says why there is none.
    """
    kind, line = _line(session, row_id)
    block = block_of(session, line)
    if block is None:
        raise NotSealedError(f"The {kind.name} {row_id} is not sealed yet.")
    leaves = leaves_of(session, block)
    try:
        index = leaves.index(merkle.leaf(line))
    except ValueError:
        raise NotSealedError(f"The {kind.name} {row_id} does not stand as block {block.number} sealed it.") from None
    later = _later(session, block, until_block=until_block)
    names = ("format", *kind.fields)
    return Proof(
        record=dict(zip(names, line.decode().split("|"), strict=True)),
        path=merkle.path(leaves, index),
        blocks=[_document(seal) for seal in (block, *later)],
    )


def block_of(session: Session, line: bytes) -> Seal | None:
    """Give the block that seals the row of this line, or None while none does."""
    rows = execute(session, BLOCK_OF, place_of(line)._asdict())
    return Seal._make(rows[0]) if rows else None


def sealed_in(session: Session, row_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Give the number of the block that seals each of these transfers, journals and documents; what waits is left out.

    That it stands as it was sealed is for `prove` and `verify` to say.
    """
    found = execute(session, SEALED_IN, {"ids": list(row_ids)})
    return {row[0]: row[1] for row in found if row[1] is not None}


def _line(session: Session, row_id: UUID) -> tuple[Kind, bytes]:
    for kind in PROVED:
        sql = f"SELECT {kind.line} FROM {kind.table} WHERE id = %(id)s"  # noqa: S608 - constants only
        if rows := execute(session, sql, {"id": row_id}):
            return kind, str(rows[0][0]).encode()
    raise NotSealedError(f"The books know no transfer, no journal and no document {row_id}.")


def _later(session: Session, block: Seal, *, until_block: int | None) -> Sequence[Seal]:
    if until_block is None or until_block <= block.number:
        return ()
    if until_block - block.number > CHAIN_MAX:
        raise NotSealedError(f"Block {until_block} is more than {CHAIN_MAX} blocks away from block {block.number}.")
    found = execute(session, LATER, {"number": block.number, "until": until_block})
    if not found or found[-1][0] != until_block:
        raise NotSealedError(f"There is no block {until_block}.")
    return [Seal._make(row) for row in found]


def _document(seal: Seal) -> dict[str, Any]:
    signature = seal.signature.hex() if seal.signature is not None else ""
    return {**seal.header_fields, "hash": seal.hash.hex(), "signature": signature}

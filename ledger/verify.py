"""The whole proof of the books: every balance from the transfers alone, and every sealed row as it was sealed.

Two walls that do not know each other. The audit asks whether the books follow from themselves; the seals tell whether
they are still the ones that were written. Both look at one snapshot, from two connections, beside live posting.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from ledger import merkle
from ledger.audit import Finding, audit
from ledger.lines import KIND_OF_LETTER, Kind
from ledger.posting import execute
from ledger.seals import (
    BEGINNING,
    BLOCK_ROWS,
    COLUMNS,
    KEY_BYTES,
    NO_HASH,
    Seal,
    hash_of,
    lines_between,
    place_of,
    unsealed,
)
from ledger.touched import find_change

BLOCKS_AT_ONCE = 20
BEHIND_THE_ROWS = BLOCK_ROWS
FINDINGS_MAX = 1_000
"""After so many findings the rest of the log is not read: somebody has to look at these first."""
EXPLAINED_MAX = 20
"""Of so many touched rows it is looked for what was changed in them; that takes up to a second each."""

CheckSignature = Callable[[bytes, bytes, str], bool]
OpenReader = Callable[[], AbstractContextManager[Session]]

# A forged moment outside of what the driver can read must become a finding, not an error.
READABLE = COLUMNS.replace("sealed_at", "least(greatest(sealed_at, '0001-01-02'), '9999-12-30') AS sealed_at")
BLOCKS = f"""
SELECT {READABLE}, keys, leaves FROM ledger.seals WHERE number > %(number)s ORDER BY number LIMIT %(limit)s
"""  # noqa: S608 - column names only
SENTENCES = {
    "seal_order": "The blocks are numbered from 1 without a gap, and each names the hash of the one before it.",
    "seal_hash": "A block's hash follows from its columns.",
    "seal_root": "A block's root follows from the hashes of its rows, and these are kept with their rows' names.",
    "seal_signature": "A block is signed by a key of these books.",
    "seal_published": "The log holds the block that was published.",
    "row_changed": "A sealed row stands as it was sealed.",
    "row_missing": "A sealed row is there.",
    "row_inserted": "No row lies among those that were sealed before it came.",
}


class Published(NamedTuple):
    """A block as it was made known outside: who keeps this holds all rows before it."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was looked at, and every finding: those of the seals in the log's order, then those of the audit."""

    blocks: int
    sealed_rows: int
    unsealed_rows: int
    head: Published | None
    findings: tuple[Finding, ...]


def verify(
    open_reader: OpenReader, *, check_signature: CheckSignature, published: Published | None = None
) -> Verification:
    """Prove the books from outside; they stand as they were written if there is no finding.

    `open_reader` opens a session that sees one snapshot and has asked nothing yet. `check_signature` says whether a
    block's hash, its signature and the key's name belong together. Without `published`, blocks that were removed from
    the log's end are not missed.
    """
    with open_reader() as session, ThreadPoolExecutor(max_workers=1) as beside:
        ((snapshot,),) = execute(session, "SELECT pg_export_snapshot()", {})
        audited = beside.submit(_audit, open_reader, snapshot)
        log = _Log(session, check_signature, published)
        sealed = log.read()
        return Verification(
            blocks=log.last.number if log.last else 0,
            sealed_rows=log.rows,
            unsealed_rows=unsealed(session).rows,
            head=Published(log.last.number, log.last.hash) if log.last else None,
            findings=(*sealed, *audited.result()),
        )


def _audit(open_reader: OpenReader, snapshot: str) -> list[Finding]:
    with open_reader() as session:
        execute(session, f"SET TRANSACTION SNAPSHOT '{snapshot}'", {}, reads=False)
        return audit(session)


class _Block(NamedTuple):
    """A block with the names and the hashes of its rows, one behind the other."""

    seal: Seal
    joined_keys: bytes
    joined_leaves: bytes

    @property
    def keys(self) -> list[bytes]:
        """The rows' keys, one by one."""
        return _keys(self.joined_keys)

    @property
    def leaves(self) -> list[bytes]:
        """The rows' hashes, one by one."""
        return merkle.split(self.joined_leaves)


class _Touched(NamedTuple):
    """A sealed row that is not what it was, or not where it was."""

    block: int
    position: int
    key: bytes
    leaf: bytes
    neighbours: list[bytes]


@dataclass(slots=True)
class _Log:
    """One reading of the log, from its first block to its last, with the rows that it seals."""

    session: Session
    check_signature: CheckSignature
    published: Published | None
    last: Seal | None = None
    rows: int = 0
    _findings: list[tuple[int, int, Finding]] = field(default_factory=list)
    _missing: list[_Touched] = field(default_factory=list)
    _inserted: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    _explained: int = 0

    def read(self) -> list[Finding]:
        """Read everything and give the findings in the order of the log."""
        execute(self.session, "SET LOCAL statement_timeout = '10min'", {}, reads=False)
        execute(self.session, "SET LOCAL work_mem = '64MB'", {}, reads=False)
        while not self._has_enough() and (blocks := self._next_blocks()):
            self._check_rows(blocks)
            for block in blocks:
                self._check_block(block)
                self.rows += block.seal.rows_count
                self.last = block.seal
        self._tell_moved()
        self._tell_inserted()
        self._check_end()
        return [finding for _block, _position, finding in sorted(self._findings, key=itemgetter(0, 1))]

    def _has_enough(self) -> bool:
        return len(self._findings) + len(self._missing) + len(self._inserted) >= FINDINGS_MAX

    def _next_blocks(self) -> list[_Block]:
        after = self.last.number if self.last else -(2**63)
        rows = execute(self.session, BLOCKS, {"number": after, "limit": BLOCKS_AT_ONCE})
        return [_Block(Seal._make(row[:-2]), *row[-2:]) for row in rows]

    def _check_block(self, block: _Block) -> None:
        seal, number = block.seal, block.seal.number
        follows = (self.last.number + 1, self.last.hash) if self.last else (1, NO_HASH)
        if (number, seal.previous_hash) != follows:
            self._find("seal_order", number, derived=_after(*follows), found=_after(number, seal.previous_hash))
        if (derived := hash_of(seal)) != seal.hash:
            self._find("seal_hash", number, derived=derived.hex(), found=seal.hash.hex())
        if (root := merkle.root(block.leaves)) != seal.root:
            self._find("seal_root", number, derived=root.hex(), found=seal.root.hex())
        if seal.signature is None or not self.check_signature(seal.hash, seal.signature, seal.key_id):
            signature = "none" if seal.signature is None else f"{seal.signature.hex()} by {seal.key_id}"
            self._find("seal_signature", number, derived="a signature by a known key", found=signature)
        if self.published is not None and number == self.published.number and seal.hash != self.published.hash:
            self._find("seal_published", number, derived=self.published.hash.hex(), found=seal.hash.hex())

    def _check_rows(self, blocks: Sequence[_Block]) -> None:
        after = self.last.last if self.last else BEGINNING
        lines, joined = lines_between(self.session, after=after, until=blocks[-1].seal.last)
        leaves = [merkle.leaf(line) for line in lines]
        if b"".join(leaves) == b"".join(block.joined_leaves for block in blocks):
            if joined != b"".join(block.joined_keys for block in blocks):
                self._tell_names(blocks, joined)
            return
        keys = _keys(joined)
        stands = dict(zip(keys, zip(lines, leaves, strict=True), strict=True))
        for block in blocks:
            self._compare(block, stands, lines)
        sealed = {key for block in blocks for key in block.keys}
        for key, (line, _leaf) in stands.items():
            if key not in sealed:
                place = place_of(line)
                self._inserted[key] = (next(block.seal.number for block in blocks if place <= block.seal.last), line)

    def _compare(self, block: _Block, stands: Mapping[bytes, tuple[bytes, bytes]], lines: list[bytes]) -> None:
        own = [stands[key][1] for key in block.keys if key in stands]
        if own and merkle.root(own) == block.seal.root:
            return  # the rows are what was sealed; if the block's own hashes are not, that is said of the block
        for position, (key, leaf) in enumerate(zip(block.keys, block.leaves, strict=False)):
            touched = _Touched(block.seal.number, position, key, leaf, lines)
            if key not in stands:
                self._missing.append(touched)
            elif stands[key][1] != leaf:
                self._tell_changed(touched, stands[key][0])

    def _tell_changed(self, touched: _Touched, line: bytes) -> None:
        self._explained += 1
        is_explained = self._explained <= EXPLAINED_MAX
        change = find_change(line, leaf=touched.leaf, others=touched.neighbours) if is_explained else None
        self._find(
            "row_changed",
            touched.block,
            position=touched.position,
            key=touched.key,
            derived=f"{change.field} {change.was or 'none'}" if change else f"the hash {touched.leaf.hex()}",
            found=f"{change.field} {change.now or 'none'}" if change else line.decode(),
        )

    def _tell_moved(self) -> None:
        """Tell apart what is gone and what only stands at another place of the order."""
        for touched in self._missing:
            _block, line = self._inserted.pop(touched.key, (0, None))
            if (line := line or self._line(touched.key)) is not None:
                self._tell_changed(touched, line)
            else:
                self._find(
                    "row_missing",
                    touched.block,
                    position=touched.position,
                    key=touched.key,
                    derived="in the books",
                    found="gone",
                )

    def _tell_inserted(self) -> None:
        for key, (block, line) in self._inserted.items():
            self._find("row_inserted", block, position=BEHIND_THE_ROWS, key=key, derived="nowhere", found=line.decode())

    def _tell_names(self, blocks: Sequence[_Block], keys: bytes) -> None:
        start = 0
        for block in blocks:
            end = start + KEY_BYTES * len(block.leaves)
            if block.joined_keys != keys[start:end]:
                self._find("seal_root", block.seal.number, derived="the names of its rows", found="other names")
            start = end

    def _check_end(self) -> None:
        wanted, last = self.published, self.last.number if self.last else 0
        if wanted is not None and last < wanted.number and not self._has_enough():
            self._find("seal_published", wanted.number, derived=wanted.hash.hex(), found=f"the log ends with {last}")

    def _line(self, key: bytes) -> bytes | None:
        if (kind := _kind(key)) is None:
            return None
        sql = f"SELECT {kind.line} FROM {kind.table} WHERE id = %(id)s"  # noqa: S608 - constants only
        rows = execute(self.session, sql, {"id": UUID(bytes=key[1:])})
        return str(rows[0][0]).encode() if rows else None

    def _find(self, check: str, block: int, *, position: int = -1, key: bytes = b"", derived: str, found: str) -> None:
        what = f"block {block}"
        if key:
            kind = _kind(key)
            what = f"{kind.name if kind else 'row'} of {what}"
        finding = Finding(
            check=check,
            row_id=UUID(bytes=key[1:]) if key else None,
            sentence=SENTENCES[check],
            derived=f"{what}: {derived}",
            found=found,
        )
        self._findings.append((block, position, finding))


def _kind(key: bytes) -> Kind | None:
    return KIND_OF_LETTER.get(chr(key[0]))


def _keys(joined: bytes) -> list[bytes]:
    return [joined[end - KEY_BYTES : end] for end in range(KEY_BYTES, len(joined) + 1, KEY_BYTES)]


def _after(number: int, previous_hash: bytes) -> str:
    return f"number {number} after {previous_hash.hex()}"

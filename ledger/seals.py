"""The seals: a chained Merkle log over every fact of the books, made behind the writers and never in their way.

A block seals up to 1,000 rows of all kinds, in the order of their transactions' numbers. Only closed ranges are taken:
below the oldest transaction that still runs, every row there will ever be is there (docs/adr/0108). A block names the
block before it, so whoever knows the newest hash can tell whether anything behind it was touched.
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from ledger import merkle
from ledger.clusters import Cluster, running_cluster
from ledger.lines import KIND_OF_PREFIX, KINDS, VERSION, encode_value
from ledger.posting import execute
from ledger.values import ID_MAX, ID_ZERO

BLOCK_ROWS = 1_000
KEY_BYTES = 17
NO_HASH = bytes(merkle.HASH_BYTES)
SEAL_LOCK = 0x7E57_5EA1
"""The advisory lock under which one sealer works at a time."""

Sign = Callable[[bytes], bytes]


class Place(NamedTuple):
    """Where a row stands in the order of the log."""

    xid: int
    kind: str
    id: UUID


BEGINNING = Place(0, "", ID_ZERO)
BEHIND_EVERY_KIND = "~"


class Seal(NamedTuple):
    """One block of the log without the hashes in it; field for column, in order."""

    number: int
    version: int
    rows_count: int
    last_xid: int
    last_kind: str
    last_id: UUID
    system_identifier: int
    previous_hash: bytes
    root: bytes
    sealed_at: datetime
    key_id: str
    hash: bytes
    signature: bytes | None

    @property
    def last(self) -> Place:
        """Where the block ends; the row that stands there belongs to it."""
        return Place(self.last_xid, self.last_kind, self.last_id)

    @property
    def header(self) -> str:
        """The line whose hash is the block's."""
        return "|".join(self.header_fields.values())

    @property
    def header_fields(self) -> dict[str, str]:
        """The fields of that line by their names, as they are written in it."""
        named = {"format": f"testcard-seal-v{self.version}"}
        return named | {name: encode_value(getattr(self, name)) for name in HEADER}


class Unsealed(NamedTuple):
    """What waits to be sealed: how many rows, and for how long the oldest of them, by the database's clock."""

    rows: int
    oldest_s: float


HEADER = tuple(name for name in Seal._fields[: Seal._fields.index("hash")] if name != "version")
COLUMNS = ", ".join(Seal._fields)
NEWEST = f"SELECT {COLUMNS} FROM ledger.seals ORDER BY number DESC LIMIT 1"  # noqa: S608 - column names only
LEAVES = "SELECT leaves FROM ledger.seals WHERE number = %(number)s"
INSERT = f"""
INSERT INTO ledger.seals ({COLUMNS}, keys, leaves)
VALUES ({", ".join(f"%({name})s" for name in Seal._fields)}, %(keys)s, %(leaves)s)
"""  # noqa: S608 - column names only
HORIZON = "SELECT %(offset)s + pg_snapshot_xmin(pg_current_snapshot())::text::bigint, statement_timestamp()"
# The numbers alone are what the index understands; kind and id part the rows of one transaction.
BETWEEN = """
xid BETWEEN %(after_xid)s::bigint AND %(until_xid)s::bigint
AND (xid > %(after_xid)s::bigint OR ('{name}' COLLATE "C", id) > (%(after_kind)s::text, %(after_id)s::uuid))
AND (xid < %(until_xid)s::bigint OR ('{name}' COLLATE "C", id) <= (%(until_kind)s::text, %(until_id)s::uuid))
"""


def _of_all_kinds(columns: str) -> str:
    return " UNION ALL ".join(
        f"SELECT xid, '{kind.name}' COLLATE \"C\" AS kind, id"  # noqa: S608 - constants only
        f"{columns.format(line=kind.line, written_at=kind.written_at)} FROM {kind.table}"
        f" WHERE {BETWEEN.format(name=kind.name)}"
        for kind in KINDS
    )


UNSEALED = f"""
SELECT count(*), coalesce(extract(epoch FROM statement_timestamp() - min(at)), 0)::float8
FROM ({_of_all_kinds(", {written_at} AS at")}) AS facts
"""  # noqa: S608 - constants only
PLACE = f"SELECT * FROM ({_of_all_kinds('')}) AS places ORDER BY xid, kind, id OFFSET %(skip)s LIMIT 1"  # noqa: S608 - constants only
# All lines in one value: for the driver, a row costs more than it costs to hash it.
LINES = f"""
SELECT string_agg(line, chr(10) ORDER BY xid, kind, id),
       string_agg(substr(kind, 1, 1)::bytea || uuid_send(id), ''::bytea ORDER BY xid, kind, id)
FROM ({_of_all_kinds(", {line} AS line")}) AS facts
"""  # noqa: S608 - constants only


def seal(session: Session, *, sign: Sign | None, key_id: str, limit_blocks: int) -> int:
    """Seal what is closed, up to `limit_blocks` blocks, and give the number of rows sealed.

    `sign` gives the signature of a block's hash. While another sealer works, nothing is done.
    Raises StrangeClusterError after a move to another database server.
    """
    ((is_alone,),) = execute(session, f"SELECT pg_try_advisory_xact_lock({SEAL_LOCK})", {})
    if not is_alone:
        return 0
    execute(session, "SET LOCAL statement_timeout = '10min'", {}, reads=False)
    execute(session, "SET LOCAL work_mem = '64MB'", {}, reads=False)
    cluster = running_cluster(session)
    horizon, now = _horizon(session, cluster)
    newest = newest_seal(session)
    after = newest.last if newest else BEGINNING
    skipped = execute(session, PLACE, {**_range(after, horizon), "skip": limit_blocks * BLOCK_ROWS - 1})
    lines, keys = lines_between(session, after=after, until=Place._make(skipped[0]) if skipped else horizon)
    for start in range(0, len(lines), BLOCK_ROWS):
        block = lines[start : start + BLOCK_ROWS]
        leaves = [merkle.leaf(line) for line in block]
        newest = _next_seal(
            newest,
            rows_count=len(block),
            last=place_of(block[-1]),
            root=merkle.root(leaves),
            cluster=cluster,
            sealed_at=now,
            key_id=key_id,
            sign=sign,
        )
        contents = {
            "keys": keys[start * KEY_BYTES : (start + BLOCK_ROWS) * KEY_BYTES],
            "leaves": b"".join(leaves),
        }
        execute(session, INSERT, {**newest._asdict(), **contents}, reads=False)
    return len(lines)


def newest_seal(session: Session) -> Seal | None:
    """Give the newest block, or None while there is none. Its number and hash, published, hold all before it."""
    rows = execute(session, NEWEST, {})
    return Seal._make(rows[0]) if rows else None


def unsealed(session: Session) -> Unsealed:
    """Say what no block seals yet, of what is committed."""
    newest = newest_seal(session)
    everything = Place(2**63 - 1, BEHIND_EVERY_KIND, ID_MAX)
    ((rows, oldest_s),) = execute(session, UNSEALED, _range(newest.last if newest else BEGINNING, everything))
    return Unsealed(rows, max(0.0, oldest_s))


def lines_between(session: Session, *, after: Place, until: Place) -> tuple[list[bytes], bytes]:
    """Give the lines of all rows behind one place up to another, in the order of the log, and their keys in one piece.

    A row's key is the first letter of its kind and its id: what a block keeps to name a row that is gone.
    """
    ((lines, keys),) = execute(session, LINES, _range(after, until))
    return (lines.encode().split(b"\n"), keys) if lines is not None else ([], b"")


def leaves_of(session: Session, seal: Seal) -> list[bytes]:
    """Give the hashes of a block's rows, in their order."""
    ((joined,),) = execute(session, LEAVES, {"number": seal.number})
    return merkle.split(joined)


def hash_of(seal: Seal) -> bytes:
    """Give the hash that follows from a block's other columns."""
    return sha256(seal.header.encode()).digest()


def place_of(line: bytes) -> Place:
    """Give the place that a row's line tells of itself."""
    prefix, id_, *_, xid = line.decode().split("|")
    return Place(int(xid), KIND_OF_PREFIX[prefix].name, UUID(id_))


def _next_seal(
    previous: Seal | None,
    *,
    rows_count: int,
    last: Place,
    root: bytes,
    cluster: Cluster,
    sealed_at: datetime,
    key_id: str,
    sign: Sign | None,
) -> Seal:
    seal = Seal(
        number=previous.number + 1 if previous else 1,
        version=VERSION,
        rows_count=rows_count,
        last_xid=last.xid,
        last_kind=last.kind,
        last_id=last.id,
        system_identifier=cluster.system_identifier,
        previous_hash=previous.hash if previous else NO_HASH,
        root=root,
        sealed_at=sealed_at,
        key_id=key_id,
        hash=NO_HASH,
        signature=None,
    )
    digest = hash_of(seal)
    return seal._replace(hash=digest, signature=sign(digest) if sign else None)


def _horizon(session: Session, cluster: Cluster) -> tuple[Place, datetime]:
    """Give the last place of the closed range by the database's snapshot, and its clock."""
    ((first_open_xid, now),) = execute(session, HORIZON, {"offset": cluster.xid_offset})
    return Place(first_open_xid - 1, BEHIND_EVERY_KIND, ID_MAX), now


def _range(after: Place, until: Place) -> dict[str, object]:
    return {
        "after_xid": after.xid,
        "after_kind": after.kind,
        "after_id": after.id,
        "until_xid": until.xid,
        "until_kind": until.kind,
        "until_id": until.id,
    }

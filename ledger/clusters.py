"""Which database server numbers the transactions: after a move to another one, numbers must go on growing.

Seals take the facts in the order of their transactions' numbers. A dump that is restored into another server brings
the old numbers with it, while the new server counts from where it stands: what it writes would lie among rows that are
long sealed. So the books know their server by its identifier, nothing is sealed on a stranger, and `adopt` lets the
numbers of the new one begin above all that were restored.
"""

from typing import NamedTuple

from sqlalchemy.orm import Session

from ledger.lines import KINDS
from ledger.posting import execute

RUNNING = """
SELECT running.system_identifier, xid_offset, clusters.system_identifier = running.system_identifier
FROM ledger.clusters, pg_control_system() AS running ORDER BY number DESC LIMIT 1
"""
GREATEST = " UNION ALL ".join(
    ["SELECT max(last_xid) AS xid FROM ledger.seals", *(f"SELECT max(xid) FROM {kind.table}" for kind in KINDS)]  # noqa: S608 - constants only
)
ADOPT = """
INSERT INTO ledger.clusters (number, system_identifier, xid_offset, adopted_at)
SELECT (SELECT max(number) + 1 FROM ledger.clusters), system_identifier, %(offset)s, statement_timestamp()
FROM pg_control_system()
"""
# Rows that the new server wrote before it was adopted, with a number below the last seal's.
STRAY = """
UPDATE {table} AS facts SET xid = xid + %(offset)s
FROM (SELECT last_xid, last_kind, last_id FROM ledger.seals ORDER BY number DESC LIMIT 1) AS last
WHERE (xid, '{name}' COLLATE "C", facts.id) <= (last_xid, last_kind, last_id) AND NOT EXISTS (
    SELECT FROM ledger.seals, generate_series(0, rows_count - 1) AS place
    WHERE substr(keys, place * 17 + 1, 17) = '{letter}'::bytea || uuid_send(facts.id)
)
"""


class StrangeClusterError(Exception):
    """The books stand in another database server than the one that numbered their rows."""


class Cluster(NamedTuple):
    """A database server: its identifier, and what is added to its transaction numbers."""

    system_identifier: int
    xid_offset: int


def running_cluster(session: Session) -> Cluster:
    """Give the database server that the books stand in. Raises StrangeClusterError unless it numbers their rows."""
    ((system_identifier, offset, is_known),) = execute(session, RUNNING, {})
    if not is_known:
        raise StrangeClusterError(
            "These books were restored from another database server and nothing new can be sealed here."
            " Run `testcard ledger adopt` with the login that owns the tables."
        )
    return Cluster(system_identifier, offset)


def adopt(session: Session) -> bool:
    """Let the numbers of this server's transactions begin above all those in the books; False: they do already.

    Needs the rights of the tables' owner. Waits for every writer, and lets none in until the transaction ends.
    """
    execute(session, "SET LOCAL statement_timeout = '10min'", {}, reads=False)
    execute(session, "SET LOCAL lock_timeout = '30s'", {}, reads=False)
    execute(session, f"LOCK TABLE ledger.clusters, {', '.join(kind.table for kind in KINDS)}", {}, reads=False)
    try:
        running_cluster(session)
    except StrangeClusterError:
        pass
    else:
        return False
    ((offset,),) = execute(session, f"SELECT coalesce(max(xid), 0) FROM ({GREATEST}) AS numbers", {})  # noqa: S608 - constants only
    for kind in KINDS:
        execute(session, f"ALTER TABLE {kind.table} DISABLE TRIGGER only_added", {}, reads=False)
        stray = STRAY.format(table=kind.table, name=kind.name, letter=kind.letter)
        execute(session, stray, {"offset": offset}, reads=False)
        execute(session, f"ALTER TABLE {kind.table} ENABLE TRIGGER only_added", {}, reads=False)
        number = f"{int(offset)} + pg_current_xact_id()::text::bigint"
        execute(session, f"ALTER TABLE {kind.table} ALTER COLUMN xid SET DEFAULT {number}", {}, reads=False)
    execute(session, ADOPT, {"offset": offset}, reads=False)
    return True

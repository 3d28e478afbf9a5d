"""The terminal's SQLite file: what stands here survives a pulled plug, and nothing else is relied on."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    session_id TEXT,
    message TEXT NOT NULL,
    result TEXT
) STRICT;
CREATE TRIGGER IF NOT EXISTS event_is_written_once BEFORE UPDATE OF seq, kind, session_id, message ON event
BEGIN SELECT RAISE(ABORT, 'an event is written once'); END;
CREATE TRIGGER IF NOT EXISTS event_is_never_removed BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;
CREATE TABLE IF NOT EXISTS offline_session (
    session_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    card INTEGER NOT NULL,
    limit_fen INTEGER NOT NULL,
    spent_fen INTEGER,
    ended_seq INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS offline_failure (card INTEGER PRIMARY KEY, version INTEGER NOT NULL, count INTEGER NOT NULL)
STRICT;
"""


class Store:
    """One connection for all threads, one at a time; every transaction is on the disk when it ends."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        # Whatever the folder allows; SQLite gives its other files the rights of this one.
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of it or nothing, alone, and on the disk before the next line runs."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled it back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def fact(self, name: str) -> str | None:
        """Give a single value, or None if it was never kept."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, **facts: str | None) -> None:
        """Keep single values, all or none; None forgets one."""
        with self.transaction() as connection:
            keep_facts(connection, **facts)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()


def keep_facts(connection: sqlite3.Connection, **facts: str | None) -> None:
    """Keep single values within a transaction that does more; None forgets one."""
    for name, value in facts.items():
        if value is None:
            connection.execute("DELETE FROM fact WHERE name = ?", (name,))
        else:
            connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

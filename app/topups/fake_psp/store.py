"""What the fake payment service remembers, in one SQLite file: a restart goes on where it stopped."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

Document = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    created INTEGER NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS delivery (
    event_id TEXT PRIMARY KEY REFERENCES event (id), attempts INTEGER NOT NULL DEFAULT 0, due_at_s REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
"""


class Answer(NamedTuple):
    """A stored answer to a request with an idempotency key."""

    fingerprint: str
    status: int
    body: Document


class Due(NamedTuple):
    """A message to be delivered now."""

    event_id: str
    body: bytes
    attempts: int


class Store:
    """The file. Every method of a `Work` runs in the one transaction that `work` opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as connection:
            connection.executescript(SCHEMA)

    @contextmanager
    def work(self) -> Iterator["Work"]:
        """Open a transaction that is committed when the block ends and undone when it raises; others wait for it."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Work(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


class Work:
    """One transaction on the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, object_id: str) -> Document | None:
        """Give a checkout session or payment intent by its id."""
        return self._document("SELECT document FROM object WHERE id = ?", object_id)

    def keep(self, document: Document) -> None:
        """Write an object, new or changed."""
        self._connection.execute(
            "INSERT INTO object VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            (document["id"], json.dumps(document)),
        )

    def overdue_sessions(self, now_s: float) -> list[Document]:
        """Give the open checkout sessions whose time is over."""
        rows = self._connection.execute(
            "SELECT document FROM object WHERE document ->> 'status' = 'open' AND document ->> 'expires_at' <= ?",
            (int(now_s),),
        )
        return [json.loads(row[0]) for row in rows]

    def objects(self, kind: str) -> list[Document]:
        """Give all objects of a kind, as `checkout.session`."""
        rows = self._connection.execute("SELECT document FROM object WHERE document ->> 'object' = ?", (kind,))
        return [json.loads(row[0]) for row in rows]

    def announce(self, event: Document, *, deliver_at_s: float | None) -> None:
        """Write an event, to be delivered from that moment on if there is somebody to deliver to."""
        self._connection.execute(
            "INSERT INTO event (id, type, created, document) VALUES (?, ?, ?, ?)",
            (event["id"], event["type"], event["created"], json.dumps(event)),
        )
        if deliver_at_s is not None:
            self._connection.execute(
                "INSERT INTO delivery (event_id, due_at_s) VALUES (?, ?)", (event["id"], deliver_at_s)
            )

    def events(self) -> list[Document]:
        """Give all events, newest first."""
        rows = self._connection.execute("SELECT document FROM event ORDER BY position DESC")
        return [json.loads(row[0]) for row in rows]

    def due(self, now_s: float, *, limit: int) -> list[Due]:
        """Give the messages that should be delivered by now."""
        rows = self._connection.execute(
            "SELECT event_id, document, attempts FROM delivery JOIN event ON event.id = event_id"
            " WHERE due_at_s <= ? ORDER BY due_at_s LIMIT ?",
            (now_s, limit),
        )
        return [Due(row[0], row[1].encode(), row[2]) for row in rows]

    def delivered(self, event_id: str) -> None:
        """Note that a message was taken, or given up."""
        self._connection.execute("DELETE FROM delivery WHERE event_id = ?", (event_id,))

    def postpone(self, event_id: str, *, due_at_s: float) -> None:
        """Note that a message was not taken, and when to try again."""
        self._connection.execute(
            "UPDATE delivery SET attempts = attempts + 1, due_at_s = ? WHERE event_id = ?", (due_at_s, event_id)
        )

    def undelivered(self) -> int:
        """Count the messages that nobody has taken yet."""
        return int(self._connection.execute("SELECT count(*) FROM delivery").fetchone()[0])

    def answer(self, key: str) -> Answer | None:
        """Give what was answered under an idempotency key."""
        row = self._connection.execute("SELECT fingerprint, status, body FROM answer WHERE key = ?", (key,)).fetchone()
        return None if row is None else Answer(row[0], row[1], json.loads(row[2]))

    def remember(self, key: str, answer: Answer) -> None:
        """Keep what was answered under an idempotency key."""
        self._connection.execute(
            "INSERT INTO answer VALUES (?, ?, ?, ?)", (key, answer.fingerprint, answer.status, json.dumps(answer.body))
        )

    def _document(self, statement: str, parameter: str) -> Document | None:
        row = self._connection.execute(statement, (parameter,)).fetchone()
        return None if row is None else json.loads(row[0])


def fingerprint(path: str, form: Mapping[str, str]) -> str:
    """Give the same text for the same request only."""
    return hashlib.sha256(json.dumps([path, sorted(form.items())]).encode()).hexdigest()

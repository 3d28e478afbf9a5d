"""What a box has measured and the server has not yet acknowledged, on the box's own disk."""

import sqlite3
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

# At one message a minute a week; what is older makes room, for the newest evidence is worth most.
MESSAGES_MAX = 10_080

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS box (boot INTEGER NOT NULL, seq INTEGER NOT NULL, energy_wh REAL NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    boot INTEGER NOT NULL, seq INTEGER NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (boot, seq)
) WITHOUT ROWID;
"""


class Buffer:
    """A small database that survives a power cut at any moment. To be used from one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin_boot(self) -> tuple[int, float]:
        """Count one boot more, before anything is sent; gives it with the energy counter so far in Wh."""
        if self._file.execute("SELECT count(*) FROM box").fetchone() == (0,):
            self._file.execute("INSERT INTO box VALUES (0, 0, 0.0)")
        row = self._file.execute("UPDATE box SET boot = boot + 1, seq = 0 RETURNING boot, energy_wh").fetchone()
        return int(row[0]), float(row[1])

    def put(self, payload: str, *, boot: int, seq: int, energy_wh: float) -> None:
        """Keep a message until it is acknowledged; a full buffer lets go of its oldest."""
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute("INSERT INTO message VALUES (?, ?, ?)", (boot, seq, payload))
        self._file.execute("UPDATE box SET seq = ?, energy_wh = ?", (seq, energy_wh))
        self._file.execute(
            "DELETE FROM message WHERE (boot, seq) IN"
            " (SELECT boot, seq FROM message ORDER BY boot DESC, seq DESC LIMIT -1 OFFSET ?)",
            (MESSAGES_MAX,),
        )
        self._file.execute("COMMIT")

    def forget(self, *, boot: int, seq: int) -> None:
        """Let go of what the server has stored: this boot's messages up to `seq`."""
        self._file.execute("DELETE FROM message WHERE boot = ? AND seq <= ?", (boot, seq))

    def waiting(self, *, but: Collection[tuple[int, int]], limit: int) -> list[tuple[int, int, str]]:
        """Give (boot, seq, payload) of the oldest messages, without those that are under way."""
        rows = self._file.execute(
            "SELECT boot, seq, payload FROM message ORDER BY boot, seq LIMIT ?", (len(but) + limit,)
        )
        return [(boot, seq, payload) for boot, seq, payload in rows if (boot, seq) not in but][:limit]

    def pending(self) -> list[tuple[int, int, int]]:
        """Give (boot, first, last) of what is still here."""
        rows = self._file.execute("SELECT boot, min(seq), max(seq) FROM message GROUP BY boot ORDER BY boot")
        return [(boot, first, last) for boot, first, last in rows]

    def __len__(self) -> int:
        count: int = self._file.execute("SELECT count(*) FROM message").fetchone()[0]
        return count

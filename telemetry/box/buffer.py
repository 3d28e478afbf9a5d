"""What a box has measured and the server has not yet acknowledged, on the box's own disk.

A power cut at any moment loses nothing that was put here: SQLite writes ahead and waits for the disk at every commit.
What has to go because the disk is full, or was in a file that cannot be read any more, is counted, never just gone.
"""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from telemetry.box.counter import Counter

# At 144 messages a day and channel (an hour is 6) years; what is older makes room, the newest evidence is worth most.
MESSAGES_MAX = 100_000
RESERVE_BYTES = 512 * 1024  # given back to a full disk, so that there is room to make room
ROOM_FRACTION = 20  # of a full buffer a twentieth goes at once, so that it need not be done at every message
# Boots of a box that does not know how often it was started before: below 0, in their order, until they are numbered.
UNSETTLED_FIRST = -1_000_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS box (
    epoch TEXT NOT NULL, boot INTEGER NOT NULL, seq INTEGER NOT NULL, lost INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    boot INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (boot, seq)
) WITHOUT ROWID;
"""

log = structlog.get_logger(__name__)
Kept = tuple[int, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One start of the box. `epoch` names the file that counts them: a new one says that the old count is lost."""

    epoch: str
    number: int
    is_new_epoch: bool


class Buffer:
    """A small database that survives a power cut at any moment. To be used from one thread."""

    def __init__(self, path: Path, *, messages_max: int = MESSAGES_MAX) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._messages_max = path, messages_max
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._file, self._is_new_epoch = self._open()
        self._refill_reserve()
        self._lost: int = self._one("SELECT lost FROM box")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin_boot(self, *, first: int | None = 1) -> Boot:
        """Count one boot more, before anything is sent.

        Where the count is lost or there never was one it begins at `first`, which must be above all numbers that the
        server has seen; None where the box cannot know: then the number is below 0 until `settle` gives another.
        """
        with self._transaction():
            boot, epoch = self._one("SELECT boot, epoch FROM box")
            if boot > 0:
                number = boot + 1
            elif first is not None:
                number = self._number(first)
            else:
                number = boot + 1 if boot else UNSETTLED_FIRST
            self._file.execute("UPDATE box SET boot = ?, seq = 0", (number,))
        return Boot(epoch=epoch, number=number, is_new_epoch=self._is_new_epoch)

    def settle(self, *, first: int) -> int:
        """Number what could not be numbered, this boot last; gives its number. Nothing of it may have been sent."""
        with self._transaction():
            (current,) = self._one("SELECT boot FROM box")
            number = self._number(first, but=current)
            self._file.execute("UPDATE message SET boot = ? WHERE boot = ?", (number, current))
            self._file.execute("UPDATE box SET boot = ?", (number,))
        return number

    def put(self, kind: str, payload: str, *, boot: int, seq: int, counters: dict[int, Counter] | None = None) -> None:
        """Keep a message until it is acknowledged; a full buffer, or a full disk, lets go of its oldest.

        Raises sqlite3.OperationalError where not even that makes room.
        """
        try:
            self._put(kind, payload, boot, seq, counters)
        except sqlite3.OperationalError as error:
            if not _is_full(error):
                raise
            self._make_room()
            self._put(kind, payload, boot, seq, counters)

    def forget(self, *, boot: int, seq: int) -> None:
        """Let go of what the server has stored: this boot's messages up to `seq`."""
        self._roomy("DELETE FROM message WHERE boot = ? AND seq <= ?", boot, seq)

    def waiting(self, *, but: Collection[tuple[int, int]], limit: int, after: tuple[int, int] = (0, 0)) -> list[Kept]:
        """Give (boot, seq, kind, payload) of the oldest messages after one, without those that are under way."""
        rows = self._file.execute(
            "SELECT boot, seq, kind, payload FROM message WHERE boot > 0 AND (boot, seq) > (?, ?)"
            " ORDER BY boot, seq LIMIT ?",
            (*after, len(but) + limit),
        )
        return [row for row in rows if (row[0], row[1]) not in but][:limit]

    def between(self, *, boot: int, first: int, last: int) -> list[tuple[int, int]]:
        """Give (boot, seq) of what is still here of a range."""
        return list(
            self._file.execute(
                "SELECT boot, seq FROM message WHERE boot = ? AND seq BETWEEN ? AND ?", (boot, first, last)
            )
        )

    def pending(self) -> list[tuple[int, int, int]]:
        """Give (boot, first, last) of what is still here."""
        rows = self._file.execute(
            "SELECT boot, min(seq), max(seq) FROM message WHERE boot > 0 GROUP BY boot ORDER BY boot"
        )
        return list(rows)

    def lost(self) -> int:
        """Give how many messages had to go before they were acknowledged, ever."""
        return self._lost

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Keep a small thing under a name, over every restart."""
        self._roomy("INSERT OR REPLACE INTO kept VALUES (?, ?)", name, json.dumps(content))

    def kept(self, name: str) -> dict[str, Any] | None:
        """Give what was kept under a name."""
        row = self._file.execute("SELECT content FROM kept WHERE name = ?", (name,)).fetchone()
        found: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return found

    def counters(self) -> dict[int, Counter]:
        """Give the energy counters by channel, as they were with the last message."""
        return {int(channel): Counter(**each) for channel, each in (self.kept("counters") or {}).items()}

    def __len__(self) -> int:
        count: int = self._one("SELECT count(*) FROM message")[0]
        return count

    def _put(self, kind: str, payload: str, boot: int, seq: int, counters: dict[int, Counter] | None) -> None:
        with self._transaction():
            self._file.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (boot, seq, kind, payload))
            self._file.execute("UPDATE box SET seq = ?", (seq,))
            if counters is not None:
                self.keep("counters", {str(channel): asdict(counter) for channel, counter in counters.items()})
            if len(self) > self._messages_max:
                self._drop_oldest(max(self._messages_max // ROOM_FRACTION, 1))
        (self._lost,) = self._one("SELECT lost FROM box")

    def _number(self, first: int, *, but: int = 0) -> int:
        """Number the unsettled boots from `first`, or from above what is here; gives the number after the last."""
        (greatest,) = self._one("SELECT coalesce(max(boot), 0) FROM message")
        number: int = max(first, greatest + 1)
        unsettled = self._file.execute("SELECT DISTINCT boot FROM message WHERE boot < 0 AND boot <> ?", (but,))
        for (boot,) in sorted(unsettled.fetchall()):
            self._file.execute("UPDATE message SET boot = ? WHERE boot = ?", (number, boot))
            number += 1
        return number

    def _drop_oldest(self, count: int) -> None:
        dropped = self._file.execute(
            "DELETE FROM message WHERE (boot, seq) IN (SELECT boot, seq FROM message ORDER BY boot, seq LIMIT ?)",
            (count,),
        ).rowcount
        self._file.execute("UPDATE box SET lost = lost + ?", (dropped,))
        log.warning("buffer_full", dropped=dropped)

    def _roomy(self, statement: str, *values: object) -> None:
        """Execute what must not fail for a full disk: even letting go is written ahead first."""
        try:
            self._file.execute(statement, values)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or self._file.in_transaction:
                raise
            self._reserve.unlink(missing_ok=True)
            self._file.execute(statement, values)
            self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._refill_reserve()

    def _make_room(self) -> None:
        """Give the reserve to the disk, let go of the oldest, and take the reserve back if there is room again."""
        self._reserve.unlink(missing_ok=True)
        with self._transaction():
            self._drop_oldest(max(len(self) // ROOM_FRACTION, 1))
        self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._refill_reserve()

    def _refill_reserve(self) -> None:
        with contextlib.suppress(OSError):
            if not self._reserve.exists() or self._reserve.stat().st_size < RESERVE_BYTES:
                self._reserve.write_bytes(bytes(RESERVE_BYTES))

    def _open(self) -> tuple[sqlite3.Connection, bool]:
        """Open the file; one that cannot be read is put aside, and what can be read of it taken over."""
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, no rights, no disk: nothing says that the file is broken
            broken = self._path.with_name(f"{self._path.name}.broken-{secrets.token_hex(4)}")
            log.exception("buffer_broken", put_aside=broken.name)
        self._path.rename(broken)
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        file, _ = _connect(self._path)
        _salvage(broken, file)
        return file, True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled it back already
                self._file.execute("ROLLBACK")
            raise

    def _one(self, statement: str, *values: object) -> Any:
        return self._file.execute(statement, values).fetchone()


def _connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    file = sqlite3.connect(path, isolation_level=None)
    try:
        _check(file)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.executescript(_SCHEMA)
        is_new = file.execute("SELECT count(*) FROM box").fetchone() == (0,)
        if is_new:
            file.execute("INSERT INTO box VALUES (?, 0, 0, 0)", (secrets.token_hex(8),))
    except BaseException:
        file.close()
        raise
    return file, is_new


def _check(file: sqlite3.Connection) -> None:
    (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _salvage(broken: Path, file: sqlite3.Connection) -> None:
    """Take over what can still be read. Numbers stay as they were, so nothing can be counted twice."""
    taken = 0
    file.execute("BEGIN IMMEDIATE")
    with contextlib.closing(sqlite3.connect(f"file:{broken}?mode=ro", uri=True)) as old:
        for statement, target in _SALVAGE:
            with contextlib.suppress(sqlite3.DatabaseError):
                for row in old.execute(statement):
                    file.execute(target, row)
                    taken += 1
    file.execute("COMMIT")
    log.warning("buffer_salvaged", rows=taken)


_SALVAGE = (
    ("SELECT name, content FROM kept", "INSERT OR IGNORE INTO kept VALUES (?, ?)"),
    (
        "SELECT boot, seq, kind, payload FROM message",
        "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?)",
    ),
)


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL

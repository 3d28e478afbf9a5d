"""What was started without the server: counted in the terminal's store, in the same transactions as its events."""

import sqlite3
from uuid import UUID

from card_terminal.offline.rules import Used
from card_terminal.protocol import OfflineGrant


def begin(connection: sqlite3.Connection, session_id: UUID, grant: OfflineGrant) -> None:
    """Count a session with all that it may cost."""
    connection.execute(
        "INSERT INTO offline_session (session_id, version, card, limit_fen) VALUES (?, ?, ?, ?)",
        (str(session_id), grant.version, grant.card, grant.limit_fen),
    )


def finish(connection: sqlite3.Connection, session_id: UUID, *, spent_fen: int, seq: int) -> None:
    """Count what it cost at most, and which event will tell the server."""
    connection.execute(
        "UPDATE offline_session SET spent_fen = ?, ended_seq = ? WHERE session_id = ?",
        (spent_fen, seq, str(session_id)),
    )


def used_by_card(connection: sqlite3.Connection, *, version: int, card: int) -> Used:
    """Give what a card had by one list."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(coalesce(spent_fen, limit_fen)), 0) FROM offline_session"
        " WHERE version = ? AND card = ?",
        (version, card),
    ).fetchone()
    return Used(sessions=row[0], fen=row[1])


def unsent(connection: sqlite3.Connection, *, acked_seq: int) -> Used:
    """Give what the server does not know yet, of every list."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(coalesce(spent_fen, limit_fen)), 0) FROM offline_session"
        " WHERE ended_seq IS NULL OR ended_seq > ?",
        (acked_seq,),
    ).fetchone()
    return Used(sessions=row[0], fen=row[1])


def forget(connection: sqlite3.Connection, *, before_version: int, acked_seq: int) -> None:
    """Drop what the server knows of lists that are over."""
    connection.execute("DELETE FROM offline_session WHERE version < ? AND ended_seq <= ?", (before_version, acked_seq))
    connection.execute("DELETE FROM offline_failure WHERE version < ?", (before_version,))


def failures(connection: sqlite3.Connection, *, version: int, card: int) -> int:
    """Give how often something that was not this card pretended to be it, by this list."""
    row = connection.execute(
        "SELECT count FROM offline_failure WHERE card = ? AND version = ?", (card, version)
    ).fetchone()
    return int(row[0]) if row else 0


def fail(connection: sqlite3.Connection, *, version: int, card: int) -> None:
    """Count an attempt, before it is made; `succeed` takes it back."""
    connection.execute(
        "INSERT INTO offline_failure (card, version, count) VALUES (?, ?, 1) ON CONFLICT (card) DO UPDATE SET"
        " count = CASE WHEN version = excluded.version THEN count + 1 ELSE 1 END, version = excluded.version",
        (card, version),
    )


def succeed(connection: sqlite3.Connection, *, card: int) -> None:
    """Forget failures: the card itself was here."""
    connection.execute("DELETE FROM offline_failure WHERE card = ?", (card,))

"""Counts what ingest did, in the transaction that did it, so that a count never says more or less than is stored."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

NO_SLOT = -1  # for batches in which no topic was ours

_COUNT = text("""
INSERT INTO telemetry.ingest_count AS c
    (slot, batches, received, stored, duplicates, dead, wait_s, newest_wait_s, newest_at)
VALUES (:slot, 1, :received, :stored, :duplicates, :dead, :wait_s, :wait_s, :newest_at)
ON CONFLICT (slot) DO UPDATE SET
    batches = c.batches + 1, received = c.received + excluded.received, stored = c.stored + excluded.stored,
    duplicates = c.duplicates + excluded.duplicates, dead = c.dead + excluded.dead,
    wait_s = c.wait_s + excluded.wait_s, newest_wait_s = excluded.newest_wait_s,
    newest_at = greatest(c.newest_at, excluded.newest_at)""")


def count_batch(
    session: Session,
    *,
    received_at: Sequence[datetime],
    now: datetime | None,
    stored: int = 0,
    duplicates: int = 0,
    dead: int = 0,
    shard: int = NO_SLOT,
) -> None:
    """Add one batch of at least one message; `shard` is its lowest, `now` the time at which it is stored, if known."""
    session.execute(
        _COUNT,
        {
            "slot": shard,
            "received": len(received_at),
            "stored": stored,
            "duplicates": duplicates,
            "dead": dead,
            "wait_s": 0.0 if now is None else max((now - min(received_at)).total_seconds(), 0.0),
            "newest_at": max(received_at),
        },
    )

"""Who takes which shards: leases in the database, shared fairly among the workers that live.

Time is the database's own, in real seconds, so that no worker's clock matters. A worker that cannot renew in time must
close its sessions by itself, for another may hold its shards by then.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.errors import Refusal, TelemetryRefused

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('telemetry.shard_lease', 0))")
_LIVE = text("""
INSERT INTO telemetry.ingest_worker (name, until) VALUES (:worker, clock_timestamp() + :lease_s * interval '1 s')
ON CONFLICT (name) DO UPDATE SET until = excluded.until""")
_BURY = text("DELETE FROM telemetry.ingest_worker WHERE until < clock_timestamp()")
_WORKERS = text("SELECT name FROM telemetry.ingest_worker ORDER BY name")
_OTHER_LAYOUT = text("""
SELECT bool_or(worker IS NOT NULL AND until >= clock_timestamp()) FROM telemetry.shard_lease WHERE sets <> :sets""")
_FORGET_LAYOUT = text("DELETE FROM telemetry.shard_lease WHERE sets <> :sets")
_LAY_OUT = text("""
INSERT INTO telemetry.shard_lease (number, sets) SELECT number, :sets FROM generate_series(0, :sets - 1) AS number
ON CONFLICT (number) DO NOTHING""")
_RENEW = text("""
UPDATE telemetry.shard_lease SET until = clock_timestamp() + :lease_s * interval '1 s'
WHERE worker = :worker RETURNING number""")
_TAKE = text("""
UPDATE telemetry.shard_lease SET worker = :worker, until = clock_timestamp() + :lease_s * interval '1 s'
WHERE number IN (SELECT number FROM telemetry.shard_lease WHERE worker IS NULL OR until < clock_timestamp()
                 ORDER BY number LIMIT :count)
RETURNING number""")
_GIVE_BACK = text("""
UPDATE telemetry.shard_lease SET worker = NULL, until = NULL WHERE worker = :worker AND number = ANY(:numbers)""")
_DIE = text("DELETE FROM telemetry.ingest_worker WHERE name = :worker")
_HOLDERS = text("""
SELECT number, CASE WHEN until >= clock_timestamp() THEN worker END AS worker
FROM telemetry.shard_lease ORDER BY number""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The sets of shards a worker holds, and those among them that are more than its share."""

    numbers: frozenset[int]
    surplus: frozenset[int]


class Leases:
    """One worker's leases. Each call is one short transaction; all raise the database's errors."""

    def __init__(
        self,
        *,
        transaction: Callable[[], AbstractContextManager[Session]],
        worker: str,
        sets: int,
        lease_s: float,
    ) -> None:
        self._transaction, self._worker, self._sets, self._lease_s = transaction, worker, sets, lease_s

    def renew(self) -> Holding:
        """Say that this worker lives, keep what it holds, and take what is free up to its share.

        What is surplus is still held: close its sessions, then `give_back`. Raises TelemetryRefused with
        sets_differ while a worker lives that parts the shards into another number of sets.
        """
        ours = {"worker": self._worker, "lease_s": self._lease_s}
        with self._transaction() as session:
            session.execute(_LOCK)
            self._lay_out(session)
            session.execute(_LIVE, ours)
            session.execute(_BURY)
            share = self._share(list(session.scalars(_WORKERS)))
            held = sorted(session.scalars(_RENEW, ours))
            if len(held) < share:
                held += session.scalars(_TAKE, {**ours, "count": share - len(held)})
            return Holding(numbers=frozenset(held), surplus=frozenset(held[share:]))

    def give_back(self, numbers: Collection[int]) -> None:
        """Let others take these sets at once."""
        with self._transaction() as session:
            session.execute(_GIVE_BACK, {"worker": self._worker, "numbers": list(numbers)})

    def leave(self) -> None:
        """Give everything back: this worker ends."""
        with self._transaction() as session:
            session.execute(_GIVE_BACK, {"worker": self._worker, "numbers": list(range(self._sets))})
            session.execute(_DIE, {"worker": self._worker})

    def _lay_out(self, session: Session) -> None:
        is_used = session.scalar(_OTHER_LAYOUT, {"sets": self._sets})
        if is_used:
            raise TelemetryRefused(Refusal.SETS_DIFFER)
        if is_used is not None:
            session.execute(_FORGET_LAYOUT, {"sets": self._sets})
        session.execute(_LAY_OUT, {"sets": self._sets})

    def _share(self, workers: list[str]) -> int:
        """Give this worker's part of the sets: as even as can be, and the first by name take what is left over."""
        rank = workers.index(self._worker)
        return self._sets // len(workers) + (rank < self._sets % len(workers))


def holders(session: Session) -> dict[int, str | None]:
    """Give for every set of shards the worker that holds it now; None: nobody does."""
    return {row.number: row.worker for row in session.execute(_HOLDERS)}

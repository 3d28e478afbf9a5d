"""What became of the worker's jobs: counted in its memory, written down every few seconds, read by the metrics."""

import threading
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base
from app.people.models import Moment


class JobRun(Base):
    """A job of the worker with the sum of its runs; it may be thrown away and begins anew."""

    __tablename__ = "job_run"

    name: Mapped[str] = mapped_column(primary_key=True)
    runs: Mapped[int] = mapped_column(server_default=text("0"))
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    done: Mapped[int] = mapped_column(server_default=text("0"))
    """Things the job did, over all runs."""
    total_s: Mapped[float] = mapped_column(server_default=text("0"))
    newest_s: Mapped[float] = mapped_column(server_default=text("0"))
    """How long the newest run took."""
    succeeded_at: Mapped[datetime | None] = mapped_column(Moment)
    failed_at: Mapped[datetime | None] = mapped_column(Moment)


@dataclass(slots=True)
class _Sum:
    runs: int = 0
    failures: int = 0
    done: int = 0
    total_s: float = 0.0
    newest_s: float = 0.0
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None


class JobSums:
    """The runs since the last writing, added up by the threads that run the jobs."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}
        self._lock = threading.Lock()

    def add(self, name: str, *, done: int | None, duration_s: float, at: datetime) -> None:
        """Count one run; `done` is None if it failed."""
        with self._lock:
            found = self._sums.setdefault(name, _Sum())
            found.runs += 1
            found.total_s += duration_s
            found.newest_s = duration_s
            if done is None:
                found.failures += 1
                found.failed_at = at
            else:
                found.done += done
                found.succeeded_at = at

    def take(self) -> dict[str, _Sum]:
        """Give what was added up and begin anew. What a killed worker did not write is missing from the sums only."""
        with self._lock:
            taken, self._sums = self._sums, {}
        return taken


def write(session: Session, sums: dict[str, _Sum]) -> None:
    """Add sums to the rows of their jobs."""
    for name, found in sorted(sums.items()):
        new = insert(JobRun).values(
            name=name,
            runs=found.runs,
            failures=found.failures,
            done=found.done,
            total_s=found.total_s,
            newest_s=found.newest_s,
            succeeded_at=found.succeeded_at,
            failed_at=found.failed_at,
        )
        added = ("runs", "failures", "done", "total_s")
        session.execute(
            new.on_conflict_do_update(
                index_elements=[JobRun.name],
                set_={
                    **{column: getattr(JobRun, column) + new.excluded[column] for column in added},
                    "newest_s": new.excluded.newest_s,
                    "succeeded_at": text("coalesce(excluded.succeeded_at, job_run.succeeded_at)"),
                    "failed_at": text("coalesce(excluded.failed_at, job_run.failed_at)"),
                },
            )
        )


def job_runs(session: Session) -> list[JobRun]:
    """Give all jobs that ever ran, by name."""
    return list(session.scalars(select(JobRun).order_by(JobRun.name)))

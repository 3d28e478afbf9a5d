"""The worker: the jobs that pull the main job forward, run by one leader while any number stand by.

Every job may be killed at any moment and run twice: it pulls what is due and commits it with the mark that it is done.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy.exc
import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

import ledger
import telemetry.derive
from app import clock, jobs, sealing
from app.cards import exchanges, proof
from app.db import Database
from app.devices import limits, messages
from app.devices.boxes import watching
from app.reconciliation import adjusting
from app.reconciliation import service as reconciliation
from app.sessions import ending
from app.sessions.offline import making as offline_making
from app.sessions.offline import reserves as offline_reserves
from app.settings import Settings
from app.subsidies import service as subsidies
from app.topups import online as top_ups_online
from app.topups import service as top_ups

LEADER_LOCK = 0x7E57CA4D
LEADER_POLL_S = 0.5
# A stopped leader (SIGSTOP, a hung machine) loses its lock this soon (reliability.md, finding 4).
LEADER_IDLE_TIMEOUT = "3s"
BATCH = 200
FORGET_BATCH = 5_000
LISTS_AT_ONCE = 5
SUMS_EVERY_S = 5
# A region of 1,500 channels is looked at in the ten minutes in which each is due once.
CHANNELS_AT_ONCE = 25
# A terminal asks again within seconds; a week is for people who look into what happened.
ANSWERS_KEPT = timedelta(days=7)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something done again and again; `run` gives how many things it did."""

    name: str
    every_s: float
    run: Callable[[Database, Settings], int]


def _in_transaction(work: Callable[[Session], int]) -> Callable[[Database, Settings], int]:
    return lambda database, _settings: database.run(work)


def _seal_ledger(database: Database, settings: Settings) -> int:
    try:
        return sealing.seal_due(database, key=sealing.seal_key(settings.key_encryption_key))
    except ledger.StrangeClusterError as error:
        # Not a mistake of the program: a person must say that the books belong here.
        log.error("ledger_not_sealed", why=str(error))  # noqa: TRY400 - there is nothing to trace
        return 0


def _reconcile(database: Database, settings: Settings) -> int:
    return database.run(
        lambda session: reconciliation.reconcile(session, at=clock.now(), limit=BATCH, zone=settings.site_timezone)
    )


def _prepare_offline_lists(database: Database, settings: Settings) -> int:
    return offline_making.prepare_due(database, settings=settings, at=clock.now(), limit=LISTS_AT_ONCE)


JOBS = (
    Job(
        name="derive_collector_sessions",
        every_s=1,
        run=_in_transaction(lambda session: telemetry.derive.derive(session, now=clock.now(), limit=BATCH)),
    ),
    Job(
        name="reconcile",
        every_s=1,
        run=_reconcile,
    ),
    Job(
        name="adjust_by_policy",
        every_s=10,
        run=_in_transaction(lambda session: adjusting.adjust_due(session, at=clock.now(), limit=BATCH)),
    ),
    Job(
        name="pay_subsidies",
        every_s=1,
        run=_in_transaction(lambda session: subsidies.pay_due(session, at=clock.now(), limit=BATCH)),
    ),
    Job(
        name="end_forgotten_sessions",
        every_s=5,
        run=_in_transaction(lambda session: ending.end_forgotten(session, at=clock.now(), limit=BATCH)),
    ),
    Job(name="prepare_offline_lists", every_s=10, run=_prepare_offline_lists),
    Job(
        name="release_offline_reserves",
        every_s=60,
        run=_in_transaction(lambda session: offline_reserves.release_stale(session, at=clock.now(), limit=BATCH)),
    ),
    Job(
        name="expire_holds",
        every_s=5,
        run=_in_transaction(lambda session: ledger.expire_pending(session, limit=BATCH)),
    ),
    Job(name="seal_ledger", every_s=3, run=_seal_ledger),
    Job(
        name="expire_top_ups",
        every_s=30,
        run=_in_transaction(lambda session: top_ups.expire_old(session, at=clock.now(), limit=BATCH)),
    ),
    Job(
        name="forget_terminal_answers",
        every_s=60,
        run=_in_transaction(
            lambda session: messages.forget_answers(session, before=clock.now() - ANSWERS_KEPT, limit=FORGET_BATCH)
        ),
    ),
    Job(
        name="forget_request_counts",
        every_s=60,
        run=_in_transaction(lambda session: limits.forget(session, at=clock.now(), limit=FORGET_BATCH)),
    ),
    Job(
        name="forget_card_tokens",
        every_s=60,
        run=_in_transaction(
            lambda session: proof.forget_tokens(session, before=clock.now() - ANSWERS_KEPT, limit=FORGET_BATCH)
        ),
    ),
    Job(
        name="forget_card_exchanges",
        every_s=60,
        run=_in_transaction(lambda session: exchanges.forget(session, before=clock.now(), limit=FORGET_BATCH)),
    ),
    Job(
        name="watch_boxes",
        every_s=10,
        run=_in_transaction(lambda session: watching.watch(session, at=clock.now(), limit=CHANNELS_AT_ONCE)),
    ),
    Job(name="poll_payment_events", every_s=60, run=top_ups_online.poll_events),
)


class Leadership:
    """The right to run the jobs: an advisory lock on a connection of its own."""

    def __init__(self, database_url: str) -> None:
        self._engine = create_engine(
            Database.driver_url(database_url),
            connect_args={
                "connect_timeout": 4,
                "tcp_user_timeout": 4000,
                "options": f"-c idle_session_timeout={LEADER_IDLE_TIMEOUT}",
            },
            isolation_level="AUTOCOMMIT",
        )
        self._connection: Connection | None = None

    def is_held(self) -> bool:
        """Take the lock if it is free, or prove that it is still ours; call this at least every second."""
        try:
            if self._connection is None:
                connection = self._engine.connect()
                if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LEADER_LOCK}):
                    connection.close()
                    return False
                log.info("leadership_taken")
                self._connection = connection
            else:
                self._connection.execute(text("SELECT 1"))
        except sqlalchemy.exc.OperationalError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Let another worker lead."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def run(database: Database, settings: Settings, stop: threading.Event) -> None:
    """Run the jobs while this process leads, until `stop` is set; a job under way is finished first."""
    leadership = Leadership(settings.database_url)
    scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
    sums = jobs.JobSums()
    for job in JOBS:
        scheduler.add_job(_run_job, "interval", seconds=job.every_s, args=(job, database, settings, sums), id=job.name)
    scheduler.add_job(_write_sums, "interval", seconds=SUMS_EVERY_S, args=(database, sums))
    scheduler.start(paused=True)
    leading = False
    while not stop.wait(LEADER_POLL_S):
        held = leadership.is_held()
        if held != leading:
            (scheduler.resume if held else scheduler.pause)()
            leading = held
    scheduler.shutdown(wait=True)
    leadership.give_up()


def _run_job(job: Job, database: Database, settings: Settings, sums: jobs.JobSums) -> None:
    started = time.monotonic()
    done: int | None = None
    try:
        done = job.run(database, settings)
    except sqlalchemy.exc.DBAPIError as error:
        log.warning("job_failed", job=job.name, sqlstate=getattr(error.orig, "sqlstate", None))
    except Exception:
        # The outermost loop of the process: a job that fails must not stop the others, and runs again soon.
        log.exception("job_failed", job=job.name)
    else:
        if done:
            log.info("job_done", job=job.name, done=done, seconds=round(time.monotonic() - started, 3))
    sums.add(job.name, done=done, duration_s=time.monotonic() - started, at=clock.now())


def _write_sums(database: Database, sums: jobs.JobSums) -> None:
    """Write down what the jobs did; what cannot be written now is lost to the metrics and to nothing else."""
    taken = sums.take()
    try:
        database.run(lambda session: jobs.write(session, taken))
    except sqlalchemy.exc.SQLAlchemyError as error:
        log.warning("job_sums_not_written", error=type(error).__name__)

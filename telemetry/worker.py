"""An ingest worker: takes its fair share of the shards, and gives them up again when others come or it may not hold on.

Any number may run. One that is killed loses its leases within seconds; the others then continue its sessions at the
broker, where everything waits that it had not acknowledged.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
import sqlalchemy.exc
import structlog
from sqlalchemy.orm import Session

from telemetry.consumer import Consumer
from telemetry.errors import TelemetryRefused
from telemetry.leases import Leases
from telemetry.shards import ShardSession, session_name, shards_of

LEASE_S = 5.0
RENEWALS = 5  # in the time of a lease, so that one lost answer costs nothing

log = structlog.get_logger(__name__)


class Worker:
    """Runs a consumer over the sets of shards that it holds leases of.

    `consumer` has no shards of its own; `name` is unique among all workers that live; `username` is the ingest's user
    at the broker. Raises ValueError if the shards cannot be parted into so many sets.
    """

    def __init__(
        self,
        *,
        consumer: Consumer,
        transaction: Callable[[], AbstractContextManager[Session]],
        name: str,
        username: str,
        sets: int,
        lease_s: float = LEASE_S,
    ) -> None:
        self._consumer, self._name, self._username, self._sets = consumer, name, username, sets
        self._leases = Leases(transaction=transaction, worker=name, sets=sets, lease_s=lease_s)
        self._lease_s = lease_s
        self._held_until_s = 0.0
        self._sessions: dict[int, ShardSession] = {}

    @property
    def numbers(self) -> frozenset[int]:
        """The sets of shards whose sessions are open here and listen."""
        return frozenset(number for number, session in self._sessions.items() if session.listens.is_set())

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then give the shards back."""
        keeper = threading.Thread(target=self._keep_leases, args=(stop,), name="leases")
        keeper.start()
        try:
            self._consumer.run(stop)
        finally:
            stop.set()
            keeper.join()

    def _keep_leases(self, stop: threading.Event) -> None:
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                self._renew()
                self._held_until_s = began_s + self._lease_s
            except TelemetryRefused as refused:
                log.error("leases_refused", why=str(refused))  # noqa: TRY400 - there is nothing to trace
            except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error) as error:
                log.warning("leases_not_renewed", error=type(error).__name__)
            except Exception:
                # The outermost loop of this thread: without it sessions would stay open that others may have by now.
                log.exception("leases_not_renewed")
            # One renewal early, for the next attempt may take its time.
            if self._sessions and time.monotonic() > self._held_until_s - self._lease_s / RENEWALS:
                log.warning("leases_lost", sets=len(self._sessions))
                self._close(frozenset(self._sessions))
            stop.wait(self._lease_s / RENEWALS)
        self._close(frozenset(self._sessions))
        try:
            self._leases.leave()
        except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error) as error:
            log.warning("leases_not_given_back", error=type(error).__name__)

    def _renew(self) -> None:
        holding = self._leases.renew()
        wanted = holding.numbers - holding.surplus
        self._close(frozenset(self._sessions) - wanted)
        if holding.surplus:
            self._leases.give_back(holding.surplus)
        for number in sorted(wanted - self._sessions.keys()):
            name = session_name(self._username, number=number, sets=self._sets)
            self._sessions[number] = self._consumer.attach(name, shards=shards_of(number, sets=self._sets))
            log.info("shards_taken", worker=self._name, session=name)

    def _close(self, numbers: frozenset[int]) -> None:
        for number in sorted(numbers):
            self._sessions[number].leave()  # all at once, for to wait for each may take seconds
        for number in sorted(numbers):
            self._consumer.detach(self._sessions.pop(number))
            log.info("shards_given_up", worker=self._name, set=number)

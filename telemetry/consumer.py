"""Takes messages from the broker and acknowledges them only after the commit.

The broker's own acknowledgement proves nothing (telemetry.md, fact 1), so there are two: MQTT's, which only lets the
broker go on, and ours, cumulative per box and boot, upon which a box may forget. Both follow the commit. While the
database is away nothing is acknowledged and nothing dropped.
"""

import ssl
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime

import psycopg
import sqlalchemy.exc
import structlog
from sqlalchemy.orm import Session

from telemetry import configurations
from telemetry.commands import Configure, encode_command
from telemetry.errors import DeadReason
from telemetry.inbox import Delivery, Inbox
from telemetry.ingest import Acknowledgement, Arrival, bury, store
from telemetry.messages import SHARDS, Topic, encode_ack
from telemetry.shards import Broker, ShardSession
from telemetry.wishes import Wishes

BATCH_WAKE, BATCH_MAX = 1000, 4000
FLUSH_S = 0.2
# Of our own acknowledgement, per box; while a backlog is worked off less often, yet before a box would send again.
ACK_INTERVAL_S, ACK_INTERVAL_BUSY_S = 1.0, 2.5
RETRY_PAUSE_S = 0.5
LOOK_S = 5.0  # between two looks at who should be told the time or a configuration
SILENCE_S = 60.0  # a broker that lost our session stays connected and says nothing: then subscribe again

# COPY goes through the driver itself, whose errors SQLAlchemy does not wrap.
_CONTENT_ERRORS = (
    *(sqlalchemy.exc.DataError, sqlalchemy.exc.IntegrityError),
    *(psycopg.DataError, psycopg.IntegrityError),
)
_DATABASE_ERRORS = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error)

log = structlog.get_logger(__name__)


class Consumer:
    """Stores what the sessions of some shards bring. `run` belongs to one thread; sessions may come and go meanwhile.

    `transaction` opens a session that commits at the end of its block; `now` gives the time of receipt, which is
    simulated where the boxes are. With `shards` it opens one session for them itself.
    """

    def __init__(
        self,
        *,
        transaction: Callable[[], AbstractContextManager[Session]],
        now: Callable[[], datetime],
        host: str,
        port: int,
        username: str,
        password: str,
        tls: ssl.SSLContext | None = None,
        shards: Collection[int] = range(SHARDS),
        client_id: str = "ingest",
    ) -> None:
        self._transaction, self._now = transaction, now
        self._broker = Broker(host=host, port=port, username=username, password=password, tls=tls)
        self._inbox = Inbox(wake_at=BATCH_WAKE, batch_max=BATCH_MAX)
        self._sessions: dict[int, ShardSession] = {}
        self._wishes = Wishes(now=now)
        self._to_tell: dict[str, dict[int, Acknowledgement]] = {}
        self._told_at: dict[str, float] = {}
        self._heard_s = time.monotonic()
        self._look_s = 0.0
        self._own = self._session(client_id, shards=shards) if shards else None

    @property
    def listens(self) -> threading.Event:
        """Set while the broker has promised to hand over what boxes of the own shards send."""
        return threading.Event() if self._own is None else self._own.listens

    def attach(self, name: str, *, shards: Collection[int]) -> ShardSession:
        """Open the session of some shards under its name, as its user; what it brings is stored from now on."""
        session = self._session(name, shards=shards, broker=self._broker.as_user(name))
        self._open(session)
        return session

    def detach(self, session: ShardSession) -> None:
        """Close a session; what was not yet acknowledged is delivered to whoever opens it next."""
        self._sessions = {shard: other for shard, other in self._sessions.items() if other is not session}
        session.close()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what is then not committed stays with the broker and the boxes."""
        if self._own is not None:
            self._open(self._own)
        try:
            while not stop.is_set():
                batch = self._inbox.take(wait_s=FLUSH_S)
                if batch and self._store(batch, stop):
                    self._acknowledge(batch)
                self._guard_against_silence(heard=bool(batch))
                self._tell_boxes(ACK_INTERVAL_S if len(batch) < BATCH_WAKE else ACK_INTERVAL_BUSY_S)
                if time.monotonic() >= self._look_s:
                    self._look_s = time.monotonic() + LOOK_S
                    self._remind_boxes()
        finally:
            for session in set(self._sessions.values()):
                self.detach(session)

    def _session(self, client_id: str, *, shards: Collection[int], broker: Broker | None = None) -> ShardSession:
        return ShardSession(
            broker=broker or self._broker, client_id=client_id, shards=shards, inbox=self._inbox, now=self._now
        )

    def _open(self, session: ShardSession) -> None:
        self._sessions = {**self._sessions, **dict.fromkeys(session.shards, session)}
        session.open()

    def _guard_against_silence(self, *, heard: bool) -> None:
        sessions = set(self._sessions.values())
        if heard or not any(session.is_connected for session in sessions):
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > SILENCE_S:
            self._heard_s = time.monotonic()
            for session in sessions:
                session.subscribe()

    def _store(self, batch: list[Delivery], stop: threading.Event) -> bool:
        """Commit the batch, however long the database is away; False only if `stop` came first."""
        arrivals = [delivery.arrival for delivery in batch]
        size = len(arrivals)
        while arrivals and not stop.is_set():
            try:
                acknowledgements = self._commit(arrivals[:size])
            except _DATABASE_ERRORS as error:
                log.warning("batch_not_stored", messages=size, error=type(error).__name__)
                # A slow database may be able to take less in the time it is given.
                size = max(size // 2, 1)
                stop.wait(RETRY_PAUSE_S)
            else:
                arrivals = arrivals[size:]
                self._remember(acknowledgements)
        return not arrivals

    def _commit(self, arrivals: list[Arrival]) -> list[Acknowledgement]:
        """Commit at once; what is refused for its content is halved, down to the one message it means."""
        try:
            with self._transaction() as session:
                return store(session, arrivals, now=self._now())
        except _CONTENT_ERRORS:
            reason = DeadReason.STORAGE_REFUSED
        except _DATABASE_ERRORS:
            raise
        except Exception:
            # The outermost loop of this process: a message that we stumble over must not come for ever.
            log.exception("message_not_understood", messages=len(arrivals))
            reason = DeadReason.PROGRAM_FAILED
        if len(arrivals) > 1:
            middle = len(arrivals) // 2
            return self._commit(arrivals[:middle]) + self._commit(arrivals[middle:])
        log.warning("message_buried", topic=arrivals[0].topic[:200], reason=reason)
        with self._transaction() as session:
            bury(session, arrivals[0], reason=reason)
        return []

    def _acknowledge(self, batch: list[Delivery]) -> None:
        for delivery in batch:
            if delivery.message_id:
                delivery.session.acknowledge(connection=delivery.connection, message_id=delivery.message_id)

    def _remember(self, acknowledgements: list[Acknowledgement]) -> None:
        for found in acknowledgements:
            self._to_tell.setdefault(found.topic.box, {})[found.boot] = found

    def _tell_boxes(self, interval_s: float) -> None:
        """Publish our own acknowledgements, newest boot last, so that it is the one that stays retained; and wishes."""
        now_s = time.monotonic()
        due = [box for box in self._to_tell if now_s - self._told_at.get(box, 0.0) >= interval_s]
        for box in due:
            boots = sorted(self._to_tell[box].items())
            session = self._sessions.get(boots[0][1].topic.shard)
            if session is not None and not session.is_connected:
                continue
            del self._to_tell[box]
            if session is None:  # another worker has its shard now, and will tell it
                self._wishes.forget(box)
                self._told_at.pop(box, None)
                continue
            self._told_at[box] = now_s
            for _, told in boots:
                self._tell(session, told)

    def _remind_boxes(self) -> None:
        """Tell boxes the time or a configuration where they lack it, after writing down that they are told."""
        sessions = {shard: session for shard, session in self._sessions.items() if session.is_connected}
        if not sessions:
            return
        try:
            with self._transaction() as session:
                commands = list(self._wishes.remind(configurations.due(session, shards=sessions)))
                for due, command in commands:
                    if isinstance(command, Configure) and due.version is not None:
                        configurations.note_told(
                            session, box=due.box, version=due.version, command_id=command.id, at=self._now()
                        )
        except _DATABASE_ERRORS as error:
            log.warning("boxes_not_reminded", error=type(error).__name__)
            return
        for due, command in commands:
            sessions[due.shard].tell(Topic(shard=due.shard, box=due.box, kind="cmd"), encode_command(command))

    def _tell(self, session: ShardSession, told: Acknowledgement) -> None:
        if told.seq > 0:
            session.tell(told.topic, encode_ack(boot=told.boot, seq=told.seq), retain=True)
        for topic, command in self._wishes.consider(told):
            session.tell(topic, encode_command(command))

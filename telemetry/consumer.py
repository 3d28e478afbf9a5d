"""Takes messages from the broker and acknowledges them only after the commit.

The broker's own acknowledgement proves nothing (telemetry.md, fact 1), so there are two: MQTT's, which only lets the
broker go on, and ours, cumulative per box and boot, upon which a box may forget. Both follow the commit. While the
database is away nothing is acknowledged and nothing dropped.
"""

import contextlib
import queue
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy.exc
import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from sqlalchemy.orm import Session

from telemetry.errors import DeadReason
from telemetry.ingest import Acknowledgement, Arrival, bury, store
from telemetry.messages import ROOT, SHARDS, UPLINK_KINDS, encode_ack

BATCH_MAX = 1000
FLUSH_S = 0.2
ACK_INTERVAL_S = 1.0  # of our own acknowledgement, per box
QUEUE_MAX = 20_000  # more than any broker's window; beyond it the network thread waits, and so does the broker
RETRY_PAUSE_S = 0.5
KEEPALIVE_S = 30
SILENCE_S = 60.0  # a broker that lost our session stays connected and says nothing: then subscribe again

# COPY goes through the driver itself, whose errors SQLAlchemy does not wrap.
_CONTENT_ERRORS = (
    *(sqlalchemy.exc.DataError, sqlalchemy.exc.IntegrityError),
    *(psycopg.DataError, psycopg.IntegrityError),
)
_DATABASE_ERRORS = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message with what is needed to acknowledge it on the connection it came by."""

    arrival: Arrival
    connection: int
    message_id: int
    qos: int


class Consumer:
    """One ingest worker for some shards.

    `transaction` opens a session that commits at the end of its block; `now` gives the time of receipt, which is
    simulated where the boxes are.
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
        self._transaction = transaction
        self._now = now
        self._address = (host, port)
        self._shards = tuple(shards)
        self.listens = threading.Event()
        """Set while the broker has promised to hand over what boxes send."""
        self._queue: queue.Queue[_Delivery] = queue.Queue(QUEUE_MAX)
        self._connection = 0
        self._heard_s = time.monotonic()
        self._to_tell: dict[str, dict[int, Acknowledgement]] = {}
        self._told_at: dict[str, float] = {}
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTv311,
            manual_ack=True,
        )
        self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what is then not committed stays with the broker and the boxes."""
        self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        try:
            while not stop.is_set():
                batch = self._next_batch()
                if batch and self._store(batch, stop):
                    self._acknowledge(batch)
                self._guard_against_silence(heard=bool(batch))
                self._tell_boxes()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("broker_refused", reason=str(reason))
            return
        self._connection += 1
        self._subscribe()
        log.info("broker_connected", shards=len(self._shards))

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self.listens.clear()
        log.info("broker_disconnected", reason=str(reason))

    def _on_subscribe(self, *_about: object) -> None:
        self.listens.set()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        """Append, and nothing else: this is the network's thread."""
        topic = message._topic.decode(errors="replace")  # noqa: SLF001 - the property raises on what is not UTF-8
        arrival = Arrival(topic=topic, payload=bytes(message.payload), received_at=self._now(), retained=message.retain)
        self._queue.put(_Delivery(arrival, self._connection, message.mid, message.qos))

    def _subscribe(self) -> None:
        self._client.subscribe([(topic, 1) for topic in self._subscriptions()])

    def _guard_against_silence(self, *, heard: bool) -> None:
        if heard or not self._client.is_connected():
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > SILENCE_S:
            self._heard_s = time.monotonic()
            self._subscribe()

    def _subscriptions(self) -> Iterator[str]:
        shards = ("+",) if len(self._shards) == SHARDS else tuple(f"{shard:02d}" for shard in self._shards)
        for shard in shards:
            for kind in UPLINK_KINDS:
                yield f"{ROOT}/{shard}/+/{kind}"

    def _next_batch(self) -> list[_Delivery]:
        """Collect 1,000 messages or what comes in 200 ms: by count alone the broker's window would fill and stall."""
        batch: list[_Delivery] = []
        deadline = time.monotonic() + FLUSH_S
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH_MAX:
                batch.append(self._queue.get(timeout=max(deadline - time.monotonic(), 0.001)))
        return batch

    def _store(self, batch: list[_Delivery], stop: threading.Event) -> bool:
        """Commit the batch, however long the database is away; False only if `stop` came first."""
        while not stop.is_set():
            try:
                acknowledgements = self._commit([delivery.arrival for delivery in batch])
            except _DATABASE_ERRORS as error:
                log.warning("batch_not_stored", messages=len(batch), error=type(error).__name__)
                stop.wait(RETRY_PAUSE_S)
            else:
                for acknowledgement in acknowledgements:
                    boots = self._to_tell.setdefault(acknowledgement.topic.box, {})
                    boots[acknowledgement.boot] = acknowledgement
                return True
        return False

    def _commit(self, arrivals: list[Arrival]) -> list[Acknowledgement]:
        """Commit at once; what the database refuses for its content is halved, down to the one message it means."""
        try:
            with self._transaction() as session:
                return store(session, arrivals, now=self._now())
        except _CONTENT_ERRORS:
            if len(arrivals) > 1:
                middle = len(arrivals) // 2
                return self._commit(arrivals[:middle]) + self._commit(arrivals[middle:])
            log.warning("message_refused_by_database", topic=arrivals[0].topic)
            with self._transaction() as session:
                bury(session, arrivals[0], reason=DeadReason.STORAGE_REFUSED)
            return []

    def _acknowledge(self, batch: list[_Delivery]) -> None:
        for delivery in batch:
            # After a reconnect the broker counts anew, and an old number would acknowledge another message.
            if delivery.qos > 0 and delivery.connection == self._connection:
                self._client.ack(delivery.message_id, delivery.qos)

    def _tell_boxes(self) -> None:
        """Publish our own acknowledgements, newest boot last, so that it is the one that stays retained."""
        if not self._client.is_connected():
            return
        now_s = time.monotonic()
        due = [box for box in self._to_tell if now_s - self._told_at.get(box, 0.0) >= ACK_INTERVAL_S]
        for box in due:
            for _, told in sorted(self._to_tell.pop(box).items()):
                payload = encode_ack(boot=told.boot, seq=told.seq)
                self._client.publish(str(told.topic), payload, qos=0, retain=True)
            self._told_at[box] = now_s

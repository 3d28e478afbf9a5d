"""Sets of shards, and the persistent MQTT session of one set: whoever holds the set continues it where it was left."""

import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.inbox import Delivery, Inbox
from telemetry.ingest import Arrival
from telemetry.messages import PAYLOAD_BYTES_MAX, ROOT, SHARDS, UPLINK_KINDS, Topic

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
RECONNECT_S_MIN, RECONNECT_S_MAX = 1, 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is, and who the ingest is there."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = None

    def as_user(self, username: str) -> "Broker":
        """Give the same broker for another user with the same password."""
        return replace(self, username=username)


def shards_of(number: int, *, sets: int) -> range:
    """Give the shards of one set."""
    size = SHARDS // sets
    return range(number * size, (number + 1) * size)


def session_name(username: str, *, number: int, sets: int) -> str:
    """Name the session of a set, which is its user name and its client id; the only set has the plain name."""
    return username if sets == 1 else f"{username}-{number:02d}"


def topics_of(shards: Collection[int]) -> Iterator[str]:
    """Give the topics that the ingest of these shards reads."""
    for shard in ("+",) if len(shards) == SHARDS else tuple(f"{shard:02d}" for shard in shards):
        for kind in UPLINK_KINDS:
            yield f"{ROOT}/{shard}/+/{kind}"


class ShardSession:
    """One persistent session at the broker. Its network thread only appends to the inbox.

    `now` gives the time of receipt. Between `open` and `close` it connects again for ever.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        client_id: str,
        shards: Collection[int],
        inbox: Inbox,
        now: Callable[[], datetime],
    ) -> None:
        self.client_id, self.shards = client_id, tuple(shards)
        self.listens = threading.Event()
        """Set while the broker has promised to hand over what boxes send."""
        self.is_closed = False
        self._broker, self._inbox, self._now = broker, inbox, now
        self._connection = 0
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTv311,
            manual_ack=True,
        )
        client.username_pw_set(broker.username, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(min_delay=RECONNECT_S_MIN, max_delay=RECONNECT_S_MAX)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda *_: self.listens.set()
        client.on_message = self._on_message
        self._client = client

    def open(self) -> None:
        """Begin to connect."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def leave(self) -> None:
        """Hang up; what was not acknowledged stays with the broker, for whoever opens this session next."""
        self.is_closed = True
        self._client.disconnect()

    def close(self) -> None:
        """Leave, and wait until the network's thread is at its end."""
        self.leave()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        """Say whether the broker has let us in."""
        return self._client.is_connected()

    def subscribe(self) -> None:
        """Ask for the messages of the shards; asking again does no harm."""
        self._client.subscribe([(topic, 1) for topic in topics_of(self.shards)])

    def acknowledge(self, *, connection: int, message_id: int) -> None:
        """Let the broker forget a message, if it came by the connection that is there now.

        After a reconnect the broker counts anew, and an old number would acknowledge another message.
        """
        if connection == self._connection and not self.is_closed:
            self._client.ack(message_id, 1)

    def tell(self, topic: Topic, payload: bytes, *, retain: bool = False) -> None:
        """Publish to a box; what gets lost is told again."""
        self._client.publish(str(topic), payload, qos=0, retain=retain)

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("broker_refused", session=self.client_id, reason=str(reason))
            return
        self._connection += 1
        self.subscribe()
        log.info("broker_connected", session=self.client_id, shards=len(self.shards))

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        log.warning("broker_unreachable", session=self.client_id, host=self._broker.host, port=self._broker.port)

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self.listens.clear()
        log.info("broker_disconnected", session=self.client_id, reason=str(reason))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        """Append, and nothing else: this is the network's thread."""
        topic = message._topic.decode(errors="replace")  # noqa: SLF001 - the property raises on what is not UTF-8
        payload, size_bytes = bytes(message.payload), None
        if len(payload) > PAYLOAD_BYTES_MAX:  # it will be a dead letter, and need not fill the memory until then
            payload, size_bytes = payload[:PAYLOAD_BYTES_MAX], len(payload)
        arrival = Arrival(
            topic=topic,
            payload=payload,
            received_at=self._now(),
            retained=message.retain,
            size_bytes=size_bytes,
        )
        self._inbox.put(Delivery(arrival, self, self._connection, message.mid if message.qos else 0))

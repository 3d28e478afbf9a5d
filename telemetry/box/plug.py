"""Meters that one can buy and that speak MQTT: the box listens to them on a broker of the site, and forwards."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import structlog
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.adapters.meter import Meter, topics
from telemetry.errors import MessageRefused

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBroker:
    """Where the plugs of a site publish."""

    host: str
    port: int
    username: str | None
    password: str | None


class Plugs:
    """The plugs of one broker, by the prefix of their topics, as long as it is used as a context."""

    def __init__(
        self, broker: LocalBroker, *, meters: Mapping[str, Meter], now: Callable[[], datetime], lock: threading.Lock
    ) -> None:
        self._broker, self._now, self._lock = broker, now, lock
        self._meters = [
            (topic, meter) for prefix, meter in meters.items() for topic in topics(meter.family, prefix=prefix)
        ]
        self._refused: set[str] = set()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect_async(self._broker.host, self._broker.port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.warning("meter_broker_refused", reason=str(reason))
            return
        client.subscribe([(topic, 0) for topic, _ in self._meters])

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        heard = {id(meter): meter for pattern, meter in self._meters if topic_matches_sub(pattern, topic)}
        for meter in heard.values():
            try:
                with self._lock:
                    meter.take(topic, bytes(message.payload), received_at=self._now(), retained=message.retain)
            except MessageRefused as refused:
                if topic not in self._refused and len(self._refused) < 1000:  # noqa: PLR2004 - once a topic is enough
                    self._refused.add(topic)
                    log.warning("meter_message_refused", topic=topic[:100], reason=refused.reason)

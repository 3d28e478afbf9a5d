"""A meter that one can buy as the source of a box's power: the box listens to it over MQTT, on a broker of its own."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Self

import structlog
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.adapters.meter import TOPICS, Family, Meter
from telemetry.errors import MessageRefused

log = structlog.get_logger(__name__)


class Plug:
    """One device, by the prefix of its topics; `power_w` is unknown while it is silent. To be used as a context."""

    def __init__(
        self,
        *,
        family: Family,
        prefix: str,
        channel: int,
        host: str,
        port: int,
        now: Callable[[], datetime],
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._meter, self._channel, self._now = Meter(family), channel, now
        self._topics = [f"{prefix}/{topic}".rstrip("/") for topic in TOPICS[family]]
        self._address = (host, port)
        self._lock = threading.Lock()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(username, password)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect_async(*self._address)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def power_w(self, at: datetime) -> float | None:
        """Give the power of the channel, or None where the meter has fallen silent."""
        with self._lock:
            return self._meter.power_w(self._channel, at=at)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.warning("meter_broker_refused", reason=str(reason))
            return
        client.subscribe([(topic, 0) for topic in self._topics])

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            with self._lock:
                self._meter.take(message.topic, bytes(message.payload), received_at=self._now())
        except MessageRefused as refused:
            log.warning("meter_message_refused", topic=message.topic[:100], reason=refused.reason)

"""The connection of a box to the server's broker: log-in, last will, reconnecting without a storm, what comes down."""

import contextlib
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.errors import MessageRefused
from telemetry.messages import Topic, encode, parse_ack, shard_of

KEEPALIVE_S = 30
COMMANDS_MAX = 100
# A broker that is still busy with the end of a session may take the next one of the same name for it.
RESTART_PAUSE_S = 1.0

log = structlog.get_logger(__name__)


class Link:
    """One box at one broker. The network has a thread of its own; what it hears waits in `acks` and `commands`.

    `password` is asked at every log-in, so that it may change; `will` gives a connection's last will by its number.
    """

    def __init__(
        self,
        *,
        code: str,
        password: Callable[[], str],
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        will: Callable[[int], dict[str, Any]],
        reconnect_s_max: float,
    ) -> None:
        self._code, self._shard, self._address = code, shard_of(code), (host, port)
        self._password, self._will, self._reconnect_s_max = password, will, reconnect_s_max
        self.connection = 0
        self.acks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self.commands: queue.Queue[bytes] = queue.Queue(COMMANDS_MAX)
        self._has_connected, self._listens = threading.Event(), threading.Event()
        self._tls = tls
        self._client = self._make_client()

    @property
    def is_connected(self) -> bool:
        """Say whether the broker has let the box in."""
        return self._client.is_connected()

    @property
    def listens(self) -> bool:
        """Say whether the broker has promised to hand over what is for this box."""
        return self._listens.is_set()

    def start(self) -> None:
        """Begin to connect, and go on for ever."""
        self._draw_delay()
        self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self, *, leave_will: bool = False) -> None:
        """Say no more. `leave_will` breaks the connection, so that the broker tells what the box could not."""
        wire = self._client.socket() if leave_will else None
        if isinstance(wire, socket.socket):
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        else:
            self._client.disconnect()
        self._client.loop_stop()
        self._listens.clear()

    def restart(self) -> None:
        """Log in anew: with another password, or another will."""
        self.stop()
        time.sleep(RESTART_PAUSE_S)
        self._client = self._make_client()  # paho loses sockets when one client is started twice
        self.start()

    @property
    def is_new(self) -> bool:
        """Say whether there is a connection on which the box has not introduced itself."""
        return self._has_connected.is_set()

    def take_new_connection(self) -> bool:
        """Say once for each connection that it is there."""
        if not self.is_connected or not self._has_connected.is_set():
            return False
        self._has_connected.clear()
        return True

    def publish(self, kind: str, content: dict[str, Any], *, qos: int = 1, retain: bool = False) -> MQTTMessageInfo:
        """Send on one of the box's topics."""
        return self._client.publish(self.topic(kind), encode(content), qos=qos, retain=retain)

    def topic(self, kind: str) -> str:
        """Give the box's topic of a kind."""
        return str(Topic(shard=self._shard, box=self._code, kind=kind))

    def _make_client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._code, clean_session=True, protocol=MQTTv311)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._draw_delay()
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda *_: self._listens.set()
        client.on_message = self._on_message
        return client

    def _draw_delay(self) -> None:
        """Boxes that lost the broker together must not come back together."""
        delay_s = random.uniform(0, self._reconnect_s_max)  # noqa: S311 - to spread, not to hide
        self._client.reconnect_delay_set(min_delay=delay_s, max_delay=delay_s)  # type: ignore[arg-type] # takes any

    def _on_pre_connect(self, client: Client, _data: object) -> None:
        """Leave a will that names this connection, so that it can be told from a later one's birth."""
        self.connection += 1
        try:
            client.username_pw_set(self._code, self._password())
        except OSError as error:  # a file that is just being replaced must not end the network's thread
            log.warning("password_unreadable", box=self._code, error=type(error).__name__)
        client.will_set(self.topic("state"), encode(self._will(self.connection)), qos=1, retain=True)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.warning("box_refused", box=self._code, reason=str(reason))
            return
        client.subscribe([(self.topic("ack"), 1), (self.topic("cmd"), 1)])
        self._has_connected.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._listens.clear()
        self._draw_delay()
        log.info("box_disconnected", box=self._code, reason=str(reason))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        # A broker may hand over what nobody asked for; another box's acknowledgement would make this one forget.
        payload = bytes(message.payload)
        if message.topic == self.topic("ack"):
            try:
                self.acks.put(parse_ack(payload))
            except MessageRefused as refused:
                log.warning("acknowledgement_unreadable", box=self._code, reason=refused.reason)
        elif message.topic == self.topic("cmd"):
            try:
                self.commands.put_nowait(payload)
            except queue.Full:
                log.warning("commands_overrun", box=self._code)

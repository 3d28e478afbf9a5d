"""The agent on a collector box: measures, keeps, sends, and forgets only what the server has stored.

It knows the clocks it is given. In a demonstration `now` runs faster than life, and `speed` says by how much, so that
the agent sleeps accordingly; on a real box `uptime_s` is a clock that nobody sets, and paces the samples.
"""

import json
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.box.buffer import Buffer
from telemetry.errors import MessageRefused
from telemetry.messages import FORMAT_VERSION, Topic, encode, parse_ack, shard_of
from telemetry.times import to_ms

FIRMWARE = "testcard-box 1"
UNDER_WAY_MAX = 100
# Real seconds without progress, after which everything under way is sent again; doubled each time it did not help.
RESEND_S_MIN, RESEND_S_MAX = 5.0, 300.0
CATCH_UP_S_MAX = 900  # who slept longer has measured nothing in that time
REAL_WAIT_S_MAX = 1.0
GOODBYE_S = 1.0
KEEPALIVE_S = 30

log = structlog.get_logger(__name__)


class PowerSource(Protocol):
    """What measures the instrument."""

    def power_w(self, at: datetime) -> float | None:
        """Give the mean power of the sample that begins at `at`; None where the meter does not answer."""


class BoxAgent:
    """One box with one channel. `run` belongs to one thread; the network has its own."""

    def __init__(
        self,
        *,
        code: str,
        password: str,
        host: str,
        port: int,
        source: PowerSource,
        now: Callable[[], datetime],
        buffer_path: Path,
        tls: ssl.SSLContext | None = None,
        sample_s: int = 10,
        batch: int = 60,
        heartbeat_s: int = 60,
        speed: float = 1.0,
        reconnect_s_max: int = 120,
        uptime_s: Callable[[], float] | None = None,
        is_synced: Callable[[], bool] = lambda: True,
    ) -> None:
        self._code, self._shard = code, shard_of(code)
        self._address, self._source, self._now = (host, port), source, now
        self._buffer_path = buffer_path
        self._sample_s, self._batch, self._speed = sample_s, batch, speed
        self._uptime_s, self._is_synced = uptime_s, is_synced
        self._heartbeat_s = heartbeat_s
        self._boot = self._seq = self._connection = 0
        self._energy_wh = 0.0
        self._powers: list[float] = []
        self._under_way: set[tuple[int, int]] = set()
        self._acks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._has_connected = threading.Event()
        self._progress_s, self._resend_s = 0.0, RESEND_S_MIN
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=code, clean_session=True, protocol=MQTTv311)
        self._client.username_pw_set(code, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        # Boxes that lost the broker together must not come back together.
        self._client.reconnect_delay_set(
            min_delay=random.randint(1, max(1, reconnect_s_max // 2)),  # noqa: S311 - to spread, not to hide
            max_delay=reconnect_s_max,
        )
        self._client.on_pre_connect = self._on_pre_connect
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then say goodbye; after a kill the will does that."""
        with Buffer(self._buffer_path) as buffer:
            self._boot, self._energy_wh = buffer.begin_boot()
            self._started_at = self._now()
            self._sample_up_s = self._batch_up_s = self._clock()[1]
            heartbeat_up_s = self._sample_up_s
            self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
            self._client.loop_start()
            try:
                while not stop.is_set():
                    self._measure(buffer)
                    self._send(buffer)
                    # Before its CONNECT is through, paho would let a message overtake it.
                    if self._clock()[1] >= heartbeat_up_s and self._client.is_connected():
                        heartbeat_up_s = self._clock()[1] + self._heartbeat_s
                        self._publish("hb", {"seq": self._seq, "buf": len(buffer)}, qos=0)
                    stop.wait(self._real_wait_s())
            finally:
                self._close_batch(buffer)
                self._send(buffer)
                self._say_goodbye()
                self._client.disconnect()
                self._client.loop_stop()

    def _say_goodbye(self) -> None:
        if self._client.is_connected():
            self._publish("state", {"on": 0, "t": to_ms(self._now())}, retain=True).wait_for_publish(GOODBYE_S)

    def _real_wait_s(self) -> float:
        left_s = (self._sample_up_s + self._sample_s - self._clock()[1]) / self._speed
        return min(max(left_s, 0.01), REAL_WAIT_S_MAX)

    def _measure(self, buffer: Buffer) -> None:
        """Take every sample whose time is over, also those that a busy machine was late for."""
        now, up_s = self._clock()
        if up_s - self._sample_up_s > CATCH_UP_S_MAX:
            self._close_batch(buffer)
            self._sample_up_s = self._batch_up_s = up_s
        while self._sample_up_s + self._sample_s <= up_s:
            power_w = self._source.power_w(now - timedelta(seconds=up_s - self._sample_up_s))
            self._sample_up_s += self._sample_s
            if power_w is None:
                self._close_batch(buffer)
                self._batch_up_s = self._sample_up_s
                continue
            self._powers.append(power_w)
            self._energy_wh += power_w * self._sample_s / 3600
            if len(self._powers) >= self._batch:
                self._close_batch(buffer)

    def _close_batch(self, buffer: Buffer) -> None:
        """Put what was measured on the disk, as one message."""
        if not self._powers:
            return
        self._seq += 1
        now, up_s = self._clock()
        content = {
            "v": FORMAT_VERSION,
            "boot": self._boot,
            "seq": self._seq,
            "c": 0,
            "t0": to_ms(now - timedelta(seconds=up_s - self._batch_up_s)),
            "up0": round(self._batch_up_s, 3),
            "dt": self._sample_s * 1000,
            "p": self._powers,
            "e": round(self._energy_wh, 3),
            "sync": int(self._is_synced()),
        }
        buffer.put(json.dumps(content), boot=self._boot, seq=self._seq, energy_wh=self._energy_wh)
        if self._client.is_connected() and len(self._under_way) < UNDER_WAY_MAX:
            # Live data need not wait for a backlog.
            self._publish_message(self._boot, self._seq, {**content, "h": 0})
        self._powers = []
        self._batch_up_s = self._sample_up_s

    def _clock(self) -> tuple[datetime, float]:
        """Give the time and the uptime of one moment. Whoever may set the clock must not move the samples."""
        now = self._now()
        return now, (now - self._started_at).total_seconds() if self._uptime_s is None else self._uptime_s()

    def _send(self, buffer: Buffer) -> None:
        """Forget what was acknowledged; introduce a new connection; send what waits."""
        while not self._acks.empty():
            boot, seq = self._acks.get()
            buffer.forget(boot=boot, seq=seq)
            left = {sent for sent in self._under_way if sent[0] != boot or sent[1] > seq}
            # An acknowledgement that stays before a hole is no progress: the broker has lost what fills it.
            if len(left) < len(self._under_way):
                self._progress_s, self._resend_s = time.monotonic(), RESEND_S_MIN
            self._under_way = left
        if not self._client.is_connected():
            return
        if self._has_connected.is_set():
            self._has_connected.clear()
            self._under_way.clear()
            self._introduce(buffer)
        if self._under_way and time.monotonic() - self._progress_s > self._resend_s:
            self._under_way.clear()
            self._resend_s = min(self._resend_s * 2, RESEND_S_MAX)
        room = UNDER_WAY_MAX - len(self._under_way)
        for boot, seq, payload in buffer.waiting(but=self._under_way, limit=room) if room > 0 else ():
            self._publish_message(boot, seq, {**json.loads(payload), "h": 1})

    def _introduce(self, buffer: Buffer) -> None:
        """Say what this box is and holds, before anything else on a new connection."""
        now, up_s = self._clock()
        pending = buffer.pending()
        if not any(boot == self._boot for boot, _, _ in pending):
            pending.append((self._boot, self._seq + 1, self._seq))
        self._publish("state", {"on": 1, "t": to_ms(now)}, retain=True)
        birth = {
            "fw": FIRMWARE,
            "up": round(up_s, 3),
            "t": to_ms(now),
            "sync": int(self._is_synced()),
            "channels": 1,
            "pending": pending,
            "cfg": f"{self._sample_s}s x {self._batch}",
        }
        self._publish("birth", birth, retain=True)
        self._progress_s = time.monotonic()

    def _publish_message(self, boot: int, seq: int, content: dict[str, Any]) -> None:
        if not self._under_way:
            self._progress_s = time.monotonic()
        self._under_way.add((boot, seq))
        self._client.publish(self._topic("m"), encode(content), qos=1)

    def _publish(self, kind: str, content: dict[str, Any], *, qos: int = 1, retain: bool = False) -> Any:
        who = {"boot": self._boot, "conn": self._connection}
        return self._client.publish(self._topic(kind), encode({**who, **content}), qos=qos, retain=retain)

    def _topic(self, kind: str) -> str:
        return str(Topic(shard=self._shard, box=self._code, kind=kind))

    def _on_pre_connect(self, client: Client, _data: object) -> None:
        """Leave a will that names this connection, so that it can be told from a later one's birth."""
        self._connection += 1
        will = encode({"on": 0, "boot": self._boot, "conn": self._connection, "t": to_ms(self._now())})
        client.will_set(self._topic("state"), will, qos=1, retain=True)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.warning("box_refused", box=self._code, reason=str(reason))
            return
        client.subscribe(self._topic("ack"), qos=1)
        self._has_connected.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        log.info("box_disconnected", box=self._code, reason=str(reason))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        # A broker may hand over what nobody asked for; another box's acknowledgement would make this one forget.
        if message.topic != self._topic("ack"):
            return
        try:
            self._acks.put(parse_ack(bytes(message.payload)))
        except MessageRefused as refused:
            log.warning("acknowledgement_unreadable", box=self._code, reason=refused.reason)

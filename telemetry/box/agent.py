"""The agent on a collector box: measures, keeps, sends, and forgets only what the server has stored.

It knows the clocks it is given. In a demonstration `now` runs faster than life, and `speed` says by how much, so that
the agent sleeps accordingly; on a real box `uptime_s` is a clock that nobody sets, and paces the samples.
"""

import json
import queue
import sqlite3
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from telemetry.box.buffer import MESSAGES_MAX, Boot, Buffer
from telemetry.box.link import Link
from telemetry.box.measuring import Measurement, Recorder
from telemetry.box.source import Source
from telemetry.commands import (
    Configuration,
    Configure,
    Rebirth,
    Resend,
    SetTime,
    encode_configuration,
    parse_command,
    parse_configuration,
)
from telemetry.errors import MessageRefused
from telemetry.times import from_ms, to_ms

FIRMWARE = "testcard-box 2"
UNDER_WAY_MAX = 100
LIVE_UNDER_WAY_MAX = 110  # what is measured now finds room also while a backlog gets no answer
FROM_THE_OLDEST = (0, 0)
# Real seconds without progress, after which everything under way is sent again; doubled each time it did not help.
RESEND_S_MIN, RESEND_S_MAX = 5.0, 300.0
CATCH_UP_S_MAX = 900  # who slept longer has measured nothing in that time
REAL_WAIT_S_MAX = 1.0
GOODBYE_S = 2.0
# So long after listening the broker has handed over the newest acknowledgement that it keeps.
SETTLE_S = 3.0
PENDING_RANGES_MAX = 400  # more would not fit into a birth; older ones come first, and so do their messages
UNSAVED_MAX = 200
# Boots of a file that is new are counted from here on in seconds: no box starts once a second.
COUNT_FROM = datetime(2020, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


class BoxAgent:
    """One box with a channel for each source. `run` belongs to one thread; the network has its own."""

    def __init__(
        self,
        *,
        code: str,
        password: str | Callable[[], str],
        host: str,
        port: int,
        sources: Sequence[Source],
        now: Callable[[], datetime],
        buffer_path: Path,
        tls: ssl.SSLContext | None = None,
        configuration: Configuration | None = None,
        speed: float = 1.0,
        reconnect_s_max: float = 120,
        uptime_s: Callable[[], float] | None = None,
        is_synced: Callable[[], bool] = lambda: True,
        messages_max: int = MESSAGES_MAX,
    ) -> None:
        self._code, self._now, self._speed = code, now, speed
        self._buffer_path, self._messages_max = buffer_path, messages_max
        self._uptime_s, self._is_synced = uptime_s, is_synced
        self._started_at = now()
        self._set_by = timedelta(0)  # what the server's time command added to a clock that was never set
        self._boot = Boot(epoch="", number=0, is_new_epoch=False)
        self._seq = self._told_lost = self._unsaved_lost = 0
        self._recorder = Recorder(sources, configuration or Configuration())
        self._unsaved: deque[tuple[str, int, dict[str, Any]]] = deque()
        self._under_way: set[tuple[int, int]] = set()
        self._passed_over = self._sent_to = FROM_THE_OLDEST
        self._acked_boot, self._listens_since_s = 0, 0.0
        self._progress_s, self._resend_s = 0.0, RESEND_S_MIN
        self._command: dict[str, Any] = {}
        self._must_reconnect = threading.Event()
        self._link = Link(
            code=code,
            password=password if callable(password) else lambda: password,
            host=host,
            port=port,
            tls=tls,
            will=lambda connection: {"on": 0, **self._who(connection), "t": to_ms(self._now())},
            reconnect_s_max=reconnect_s_max,
        )

    def reconnect(self) -> None:
        """Log in anew as soon as possible, with the password that then holds. May be called from anywhere."""
        self._must_reconnect.set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then say goodbye; after a kill the will does that."""
        with Buffer(self._buffer_path, messages_max=self._messages_max) as buffer:
            self._begin(buffer)
            heartbeat_up_s = self._clock()[1]
            self._link.start()
            try:
                while not stop.is_set():
                    self._measure(buffer)
                    self._obey(buffer)
                    self._settle(buffer)
                    self._send(buffer)
                    # Before its CONNECT is through, paho would let a message overtake it.
                    if self._clock()[1] >= heartbeat_up_s and self._can_speak() and not self._link.is_new:
                        heartbeat_up_s = self._clock()[1] + self._recorder.configuration.heartbeat_s
                        self._beat(buffer)
                    stop.wait(self._real_wait_s())
            finally:
                self._close(buffer)
                self._send(buffer)
                self._link.stop(leave_will=not self._said_goodbye())

    def _begin(self, buffer: Buffer) -> None:
        self._started_at = self._now()
        first = self._seconds_counted() if self._is_synced() else None
        self._boot = buffer.begin_boot(first=first)
        self._seq, self._told_lost = 0, buffer.lost()
        kept = buffer.kept("configuration")
        if kept is not None:
            self._recorder.configuration = parse_configuration(kept)
        self._recorder.begin(up_s=self._clock()[1], counters=buffer.counters())
        if self._boot.is_new_epoch:
            log.warning("boot_count_begun", box=self._code, epoch=self._boot.epoch, boot=self._boot.number)

    def _seconds_counted(self) -> int:
        return max(int((self._now() - COUNT_FROM).total_seconds()), 1)

    def _settle(self, buffer: Buffer) -> None:
        """Number this boot where its count was lost: by the clock, or after what the server was told last."""
        if self._boot.number > 0:
            return
        if not self._link.listens:
            self._listens_since_s = time.monotonic()
        has_waited = self._link.is_connected and time.monotonic() - self._listens_since_s > SETTLE_S
        if not (self._is_synced() or (has_waited and self._link.listens)):
            return
        self._take_acks(buffer)
        first = self._seconds_counted() if self._is_synced() else 1
        number = buffer.settle(first=max(first, self._acked_boot + 1))
        self._boot = Boot(epoch=self._boot.epoch, number=number, is_new_epoch=self._boot.is_new_epoch)
        self._link.restart()  # the will is to name the boot

    def _said_goodbye(self) -> bool:
        """Tell the server that this is the end, and say whether the broker has confirmed it."""
        if not self._can_speak():
            return False
        told = self._link.publish("state", {"on": 0, **self._who(), "t": to_ms(self._now())}, retain=True)
        told.wait_for_publish(GOODBYE_S)
        return bool(told.is_published())

    def _real_wait_s(self) -> float:
        left_s = (self._recorder.next_up_s - self._clock()[1]) / self._speed
        return min(max(left_s, 0.01), REAL_WAIT_S_MAX)

    def _measure(self, buffer: Buffer) -> None:
        """Take every sample whose time is over, also those that a busy machine was late for."""
        now, up_s = self._clock()
        if up_s - self._recorder.next_up_s > CATCH_UP_S_MAX:
            self._write(buffer, self._recorder.skip_to(up_s))
        while self._recorder.next_up_s <= up_s:
            self._write(buffer, self._recorder.sample(now=now, up_s=up_s))

    def _close(self, buffer: Buffer) -> None:
        now, up_s = self._clock()
        self._write(buffer, self._recorder.close(now=now, up_s=up_s))

    def _write(self, buffer: Buffer, measured: Sequence[Measurement]) -> None:
        """Put what was measured on the disk, as one message each; what finds no room waits for some."""
        now, up_s = self._clock()
        for each in measured:
            self._seq += 1
            content = {**each.content(now=now, up_s=up_s), "seq": self._seq, "sync": int(self._is_synced())}
            self._unsaved.append((each.kind, self._seq, content))
            if len(self._unsaved) > UNSAVED_MAX:
                self._unsaved.popleft()
                self._unsaved_lost += 1
        while self._unsaved:
            kind, seq, content = self._unsaved[0]
            try:
                counters = self._recorder.counters()
                buffer.put(kind, json.dumps(content), boot=self._boot.number, seq=seq, counters=counters)
            except sqlite3.OperationalError as error:
                log.error("message_not_saved", box=self._code, waiting=len(self._unsaved), error=str(error))  # noqa: TRY400
                return
            self._unsaved.popleft()
            if self._can_speak() and not self._link.is_new and len(self._under_way) < LIVE_UNDER_WAY_MAX:
                # Live data need not wait for a backlog.
                self._publish_message(kind, self._boot.number, seq, {**content, "h": 0})

    def _clock(self) -> tuple[datetime, float]:
        """Give the time and the uptime of one moment. Whoever may set the clock must not move the samples."""
        now = self._now()
        up_s = (now - self._started_at).total_seconds() if self._uptime_s is None else self._uptime_s()
        return now if self._is_synced() else now + self._set_by, up_s

    def _obey(self, buffer: Buffer) -> None:
        """Do what the server has asked for; the next birth says what came of it."""
        while True:
            try:
                payload = self._link.commands.get_nowait()
            except queue.Empty:
                return
            try:
                command = parse_command(payload)
            except MessageRefused as refused:
                self._command = {"id": None, "refused": refused.reason.value}
                log.warning("command_refused", box=self._code, reason=refused.reason)
            else:
                self._command = {"id": command.id}
                self._do(command, buffer)
            if self._can_speak():
                self._introduce(buffer)

    def _do(self, command: SetTime | Configure | Rebirth | Resend, buffer: Buffer) -> None:
        match command:
            case SetTime():
                self._set_by = from_ms(command.time_ms) - self._now()
            case Configure():
                self._close(buffer)
                buffer.keep("configuration", encode_configuration(configuration=command.configuration))
                self._recorder.configuration = command.configuration
            case Resend():
                wanted = set(buffer.between(boot=command.boot, first=command.first, last=command.last))
                self._under_way -= wanted
                self._passed_over = FROM_THE_OLDEST
            case Rebirth():
                pass

    def _send(self, buffer: Buffer) -> None:
        """Forget what was acknowledged; introduce a new connection; send what waits."""
        self._take_acks(buffer)
        if self._must_reconnect.is_set():
            self._must_reconnect.clear()
            self._link.restart()
        if not self._can_speak():
            return
        if self._link.take_new_connection():
            self._under_way.clear()
            self._passed_over = FROM_THE_OLDEST
            self._introduce(buffer)
        if self._under_way and time.monotonic() - self._progress_s > self._resend_s:
            self._under_way.clear()
            # A broker may have lost it: once the same again. Then, if one is never acknowledged, what lies behind it.
            if self._resend_s > RESEND_S_MIN:
                self._passed_over = self._sent_to
            self._resend_s = min(self._resend_s * 2, RESEND_S_MAX)
            self._introduce(buffer)  # if it waits for what is not here any more, it learns so
        if self._lost(buffer) != self._told_lost:
            self._introduce(buffer)
        self._send_waiting(buffer)

    def _send_waiting(self, buffer: Buffer) -> None:
        room = UNDER_WAY_MAX - len(self._under_way)
        if room <= 0:
            return
        waiting = buffer.waiting(but=self._under_way, limit=room, after=self._passed_over)
        for boot, seq, kind, payload in waiting:
            self._sent_to = (boot, seq)
            self._publish_message(kind, boot, seq, {**json.loads(payload), "h": 1})
        if not waiting and not self._under_way:
            self._passed_over = FROM_THE_OLDEST

    def _take_acks(self, buffer: Buffer) -> None:
        while not self._link.acks.empty():
            boot, seq = self._link.acks.get()
            self._acked_boot = max(self._acked_boot, boot)
            buffer.forget(boot=boot, seq=seq)
            left = {sent for sent in self._under_way if sent[0] != boot or sent[1] > seq}
            # Progress is that the oldest has arrived. Who waits for it has waited in vain if only newer ones do: the
            # broker may have lost it, while what is measured now is acknowledged all the time.
            if self._under_way and min(self._under_way) not in left:
                self._progress_s, self._resend_s = time.monotonic(), RESEND_S_MIN
                self._passed_over = FROM_THE_OLDEST
            self._under_way = left

    def _introduce(self, buffer: Buffer) -> None:
        """Say what this box is and holds, before anything else on a new connection."""
        now, up_s = self._clock()
        pending = buffer.pending()
        if not any(boot == self._boot.number for boot, _, _ in pending):
            pending.append((self._boot.number, self._seq + 1, self._seq))
        self._told_lost = self._lost(buffer)
        who, at_ms = self._who(), to_ms(now)
        self._link.publish("state", {"on": 1, **who, "t": at_ms}, retain=True)
        birth = {
            **who,
            "fw": FIRMWARE,
            "up": round(up_s, 3),
            "t": at_ms,
            "sync": int(self._is_synced()),
            "channels": self._recorder.channels,
            "pending": [*pending[: PENDING_RANGES_MAX - 1], pending[-1]]
            if len(pending) > PENDING_RANGES_MAX
            else pending,
            "cfg": self._recorder.configuration.hash(),
            "epoch": self._boot.epoch,
            "new": int(self._boot.is_new_epoch),
            "lost": self._told_lost,
            "cmd": self._command,
            "indicative": self._recorder.indicative(),
        }
        self._link.publish("birth", birth, retain=True)
        self._progress_s = time.monotonic()

    def _beat(self, buffer: Buffer) -> None:
        now, up_s = self._clock()
        beat = {
            **self._who(),
            "seq": self._seq,
            "up": round(up_s, 3),
            "t": to_ms(now),
            "sync": int(self._is_synced()),
            "buf": len(buffer),
            "lost": self._lost(buffer),
            "doubts": self._recorder.doubts(),
        }
        self._link.publish("hb", beat, qos=0)

    def _lost(self, buffer: Buffer) -> int:
        return buffer.lost() + self._unsaved_lost

    def _can_speak(self) -> bool:
        """Say whether the server can be told anything: without a number of its boot a box must not."""
        return self._boot.number > 0 and self._link.is_connected

    def _who(self, connection: int | None = None) -> dict[str, int]:
        return {
            "boot": max(self._boot.number, 0),
            "conn": self._link.connection if connection is None else connection,
        }

    def _publish_message(self, kind: str, boot: int, seq: int, content: dict[str, Any]) -> None:
        if not self._under_way:
            self._progress_s = time.monotonic()
        self._under_way.add((boot, seq))
        self._link.publish(kind, {**content, "boot": boot})

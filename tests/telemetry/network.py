"""A real broker, real boxes and real consumers on the loopback, in threads or in processes that may be killed."""

import contextlib
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from telemetry.broker import Role, User, write_users
from telemetry.consumer import Consumer
from tests.telemetry.wire import BOX, payload, topic

PASSWORD = "a password"
TIMEOUT_S = 30.0
MOSQUITTO = shutil.which("mosquitto")
SERVE = """
import sys, threading
from pathlib import Path
from telemetry import broker
broker.run(port=int(sys.argv[1]), users_file=Path(sys.argv[2]), stop=threading.Event())
"""
BOXES = (BOX, "cb-002", "cb-404")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@dataclass
class Running:
    """A broker in a process of its own, that can be killed and started again at the same address."""

    kind: str
    folder: Path
    port: int = field(default_factory=free_port)
    extra: str = ""  # lines of Mosquitto's configuration
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = self._mosquitto() if self.kind == "mosquitto" else self._embedded()
        self._process = subprocess.Popen(command)  # noqa: S603 - our own command
        wait_until(self._answers)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _embedded(self) -> list[str]:
        names = [("ingest", Role.INGEST), *((code, Role.BOX) for code in BOXES)]
        users = self.folder / "users.json"
        write_users(users, users=[User(name=name, role=role, password=PASSWORD) for name, role in names])
        return [sys.executable, "-c", SERVE, str(self.port), str(users)]

    def _mosquitto(self) -> list[str]:
        assert MOSQUITTO is not None
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 2000\n"
            + self.extra
        )
        return [MOSQUITTO, "-c", str(configuration)]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class Hand:
    """A client driven by hand: publishes what it is told, keeps what it gets."""

    def __init__(self, port: int, *, name: str = BOX, password: str = PASSWORD, client_id: str | None = None) -> None:
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.refused = threading.Event()
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id or name)
        self.client.username_pw_set(name, password)
        self.client.on_message = self._keep
        self.client.on_connect = self._connected
        self._port = port

    def connect(self) -> bool:
        """Log in; False if the broker says no."""
        self.client.connect("127.0.0.1", self._port)
        self.client.loop_start()
        wait_until(lambda: self._ready.is_set() or self.refused.is_set())
        return self._ready.is_set()

    def send(self, kind: str, content: dict[str, Any] | bytes, *, box: str = BOX, retain: bool = False) -> None:
        raw = content if isinstance(content, bytes) else payload(content)
        self.client.publish(topic(kind, box=box), raw, qos=1, retain=retain).wait_for_publish(TIMEOUT_S)

    def listen(self, pattern: str) -> bool:
        """Subscribe; False if the broker says no."""
        answers: queue.Queue[bool] = queue.Queue()
        self.client.on_subscribe = lambda _client, _data, _id, codes, _properties: answers.put(not codes[0].is_failure)
        self.client.subscribe(pattern, qos=1)
        return answers.get(timeout=TIMEOUT_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _keep(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.received.put((message.topic, bytes(message.payload)))

    def _connected(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        (self.refused if reason.is_failure else self._ready).set()


@contextlib.contextmanager
def working(consumer: Consumer) -> Iterator[None]:
    """Run a consumer for the length of a block, which begins when the broker listens for it."""
    with thread(consumer.run):
        assert consumer.listens.wait(TIMEOUT_S), "the broker did not take the subscription"
        yield


@contextlib.contextmanager
def thread(target: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run something that stops by an event for the length of a block."""
    stop = threading.Event()
    running = threading.Thread(target=target, args=(stop,))
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()

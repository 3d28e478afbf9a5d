"""`make bench NAME=ingest`: the ingest against a bare subscriber that drops everything, on the same messages.

In turns, some rounds: a backlog of QoS 1 messages waits at Mosquitto in a persistent session; a process of its own
takes it, once with nothing but paho and its automatic acknowledgement, once as the ingest does it: read, checked,
committed to PostgreSQL, then acknowledged. Ratios are speeds of the ingest relative to the bare subscriber; the last
line is JSON with the middle of the rounds' ratios. `ARGS="--rounds 1 --messages 5"` only shows that everything runs.
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import insert

from app import clock
from app.db import Database
from app.embedded import EmbeddedPostgres
from bench import report
from migrations import upgrade
from telemetry import mosquitto
from telemetry.consumer import Consumer
from telemetry.inbox import Delivery
from telemetry.messages import UPLINK_KINDS, encode, shard_of
from telemetry.models import Box
from telemetry.passwords import verifier_of
from telemetry.times import to_ms

BOXES = 1469
SAMPLES = 60
USER, PASSWORD, FEEDER = "ingest", "bench", "feeder"
TIMEOUT_S = 300
STARTED = datetime(2026, 11, 1, tzinfo=UTC)


def main() -> int:
    arguments = _arguments()
    if arguments.role == "bare":
        return take_bare(arguments.port, arguments.count)
    if arguments.role == "ingest":
        return take_ingest(arguments.port, arguments.count, arguments.url)
    if shutil.which("mosquitto") is None:
        print("Mosquitto is missing: apt-get install mosquitto", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's system user must reach its data in it
        postgres = EmbeddedPostgres(folder / "postgres", options=("synchronous_commit=on", "max_wal_size=4GB"))
        postgres.start()
        try:
            measure(folder, postgres, rounds=arguments.rounds, messages=arguments.messages)
        finally:
            postgres.stop()
    return 0


def measure(folder: Path, postgres: EmbeddedPostgres, *, rounds: int, messages: int) -> None:
    """Run the rounds and print what came of them."""
    postgres.ensure_database()
    url = postgres.url()
    upgrade(url)
    enrol(url)
    port = free_port()
    broker = start_mosquitto(folder, port)
    found: dict[str, list[float]] = {"bare_wall": [], "bare_cpu": [], "ingest_wall": [], "ingest_cpu": []}
    try:
        for boot in range(1, rounds + 1):
            for role in ("bare", "ingest"):
                open_session(port)
                feed(port, packets(boot, messages))
                took = take(role, port=port, count=BOXES * messages, url=url)
                for name, value in took.items():
                    found[f"{role}_{name}"].append(value)
    finally:
        broker.terminate()
        broker.wait()
    ratios = {
        name: [bare / ours for bare, ours in zip(found[f"bare_{name}"], found[f"ingest_{name}"], strict=True)]
        for name in ("wall", "cpu")
    }
    rows = [(name, *(round(value, 1) for value in values)) for name, values in found.items()]
    rows += [(f"{name}_vs_bare", *(round(value, 3) for value in values)) for name, values in ratios.items()]
    report.table(rows, head=("µs a message, or ratio", *(f"round {number + 1}" for number in range(rounds))))
    report.summary(
        "ingest",
        {
            "wall_vs_bare": statistics.median(ratios["wall"]),
            "cpu_vs_bare": statistics.median(ratios["cpu"]),
            "bare_messages_per_s": 1e6 / statistics.median(found["bare_wall"]),
            "ingest_messages_per_s": 1e6 / statistics.median(found["ingest_wall"]),
            "bare_cpu_us": statistics.median(found["bare_cpu"]),
            "ingest_cpu_us": statistics.median(found["ingest_cpu"]),
            "messages": BOXES * messages,
            "samples_per_message": SAMPLES,
            "rounds": rounds,
            "cores": os.cpu_count(),
        },
    )


def enrol(url: str) -> None:
    database = Database(url)
    with database.transaction() as session:
        session.execute(
            insert(Box),
            [{"code": code, "shard": shard_of(code), "channels": 1, "enrolled_at": STARTED} for code in codes()],
        )
    database.close()


def codes() -> list[str]:
    return [f"cb-{number:04d}" for number in range(BOXES)]


def start_mosquitto(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start Mosquitto with the files that `broker config` writes, but for saving its queue: that would be measured."""
    user = "root" if os.geteuid() == 0 else str(os.geteuid())
    content = mosquitto.configuration(folder, listener=mosquitto.Listener(port=port), user=user)
    left_out = ("persistence", "autosave", "log_type notice")
    kept = [line for line in content.splitlines() if not line.startswith(left_out)]
    (folder / mosquitto.CONFIGURATION).write_text("\n".join(kept) + "\n", encoding="utf-8")
    verifiers = {FEEDER: verifier_of(PASSWORD)}
    mosquitto.write_users(folder, verifiers=verifiers, ingest=USER, ingest_password=PASSWORD, sets=1, user=user)
    access = folder / mosquitto.ACCESS
    access.write_text(access.read_text() + f"user {FEEDER}\ntopic write cb/v1/#\n", encoding="utf-8")
    process = subprocess.Popen(  # noqa: S603 - fixed arguments
        [str(shutil.which("mosquitto")), "-c", str(folder / mosquitto.CONFIGURATION)], stderr=subprocess.DEVNULL
    )
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process


def open_session(port: int) -> None:
    """Subscribe and leave: what is published from now on waits."""
    done = threading.Event()
    client = subscriber()
    client.on_connect = lambda *_: client.subscribe([(f"cb/v1/+/+/{kind}", 1) for kind in UPLINK_KINDS])
    client.on_subscribe = lambda *_: done.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert done.wait(TIMEOUT_S)
    client.disconnect()
    client.loop_stop()


def subscriber() -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id=USER, clean_session=False, protocol=MQTTv311)
    client.username_pw_set(USER, PASSWORD)
    return client


def packets(boot: int, messages: int) -> Iterator[bytes]:
    """Give PUBLISH packets: every box's first message, every box's second, ..., each of ten minutes."""
    chance = random.Random(boot)
    for seq in range(1, messages + 1):
        for code in codes():
            content = {
                "v": 1,
                "boot": boot,
                "seq": seq,
                "c": 0,
                "t0": to_ms(STARTED) + seq * 600_000,
                "up0": seq * 600.0,
                "dt": 10_000,
                "p": [round(chance.uniform(0, 300), 1) for _ in range(SAMPLES)],
                "e": seq * 12.5,
                "sync": 1,
                "h": 1,
            }
            topic = f"cb/v1/{shard_of(code):02d}/{code}/m".encode()
            body = text(topic) + struct.pack("!H", seq % 60_000 + 1) + encode(content)
            yield b"\x32" + length(len(body)) + body


def feed(port: int, stream: Iterator[bytes]) -> None:
    """Publish as fast as Mosquitto takes it, by hand: paho would need longer than everything that is measured."""
    with socket.create_connection(("127.0.0.1", port)) as broker:
        log_in = text(b"MQTT") + b"\x04\xc2\x00\x3c" + text(FEEDER.encode()) * 2 + text(PASSWORD.encode())
        broker.sendall(b"\x10" + length(len(log_in)) + log_in)
        assert broker.recv(4) == b"\x20\x02\x00\x00"
        sent = threading.Event()
        counts = {"sent": 0, "acknowledged": 0}
        reader = threading.Thread(target=_count_acknowledgements, args=(broker, counts, sent))
        reader.start()
        for packet in stream:
            broker.sendall(packet)
            counts["sent"] += 1
        sent.set()
        reader.join()


def _count_acknowledgements(broker: socket.socket, counts: dict[str, int], sent: threading.Event) -> None:
    size = 0
    while not sent.is_set() or size < 4 * counts["sent"]:
        size += len(broker.recv(65_536))


def text(raw: bytes) -> bytes:
    return struct.pack("!H", len(raw)) + raw


def length(count: int) -> bytes:
    """Write a remaining length: seven bits a byte, the lowest first."""
    raw = bytearray()
    while True:
        count, low = divmod(count, 128)
        raw.append(low | (128 if count else 0))
        if not count:
            return bytes(raw)


def take(role: str, *, port: int, count: int, url: str) -> dict[str, float]:
    """Let a process of its own take the backlog; gives µs a message of wall time and of its CPU time."""
    ended = subprocess.run(  # noqa: S603 - our own command
        [
            sys.executable,
            "-m",
            "bench.ingest",
            "--role",
            role,
            "--port",
            str(port),
            "--count",
            str(count),
            "--url",
            url,
        ],
        stdout=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
    )
    took: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return took


class Watch:
    """Measures from the first message to the last acknowledgement."""

    def __init__(self, count: int) -> None:
        self._left = self._count = count
        self._started: tuple[float, float] | None = None
        self.ended = threading.Event()
        self.took: dict[str, float] = {}

    def first(self) -> None:
        if self._started is None:
            self._started = time.perf_counter(), time.process_time()

    def done(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and not self.ended.is_set():
            assert self._started is not None
            wall_s, cpu_s = self._started
            self.took = {
                "wall": (time.perf_counter() - wall_s) / self._count * 1e6,
                "cpu": (time.process_time() - cpu_s) / self._count * 1e6,
            }
            self.ended.set()


def take_bare(port: int, count: int) -> int:
    watch, client = Watch(count), subscriber()

    def drop(*_: object) -> None:
        watch.first()
        watch.done(1)

    client.on_message = drop
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert watch.ended.wait(TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    print(json.dumps(watch.took))
    return 0


def take_ingest(port: int, count: int, url: str) -> int:
    watch, stop, database = Watch(count), threading.Event(), Database(url)

    class Watched(Consumer):
        def _acknowledge(self, batch: list[Delivery]) -> None:
            super()._acknowledge(batch)
            watch.done(len(batch))

    def now() -> datetime:
        watch.first()
        return clock.now()

    consumer = Watched(
        transaction=database.transaction, now=now, host="127.0.0.1", port=port, username=USER, password=PASSWORD
    )
    running = threading.Thread(target=consumer.run, args=(stop,))
    running.start()
    assert watch.ended.wait(TIMEOUT_S)
    stop.set()
    running.join()
    print(json.dumps(watch.took))
    return 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the middle counts")
    parser.add_argument("--messages", type=int, default=20, help=f"of each of the {BOXES} boxes in a round")
    parser.add_argument("--role", choices=("bare", "ingest"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

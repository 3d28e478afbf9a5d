"""A box and a server that is played by hand: births, commands, a lost count, a new password, TLS, a full buffer."""

import contextlib
import json
import queue
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import clock
from telemetry.box.agent import BoxAgent
from telemetry.box.buffer import Buffer
from telemetry.box.link import Link
from telemetry.box.programme import Programme, run_slices
from telemetry.broker import replace_boxes
from telemetry.commands import (
    Configuration,
    Configure,
    Rebirth,
    Resend,
    SetTime,
    Threshold,
    encode_command,
)
from telemetry.messages import encode_ack, parse
from telemetry.passwords import verifier_of
from telemetry.times import to_ms
from tests.telemetry.network import MOSQUITTO, PASSWORD, Hand, Running, thread, wait_until
from tests.telemetry.wire import BOX, START, topic

SPEED = 300.0
TRACE = Programme(trace="projector", slices=run_slices("projector", margin_s=600), starts_at=START - timedelta(days=1))
KINDS = ("m", "ev", "hb", "birth", "state")


class Operator(Hand):
    """Hears everything that boxes say, and tells them what it likes."""

    def __init__(self, port: int) -> None:
        super().__init__(port, name="ingest")
        assert self.connect()
        for kind in KINDS:
            assert self.listen(f"cb/v1/+/+/{kind}")

    def next(self, kind: str, *, timeout_s: float = 20.0, **wanted: Any) -> dict[str, Any]:
        """The next message of a kind with these contents; every one on the way must be what the wire allows."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                its_topic, raw = self.received.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                raise AssertionError(f"no {kind} with {wanted} came") from None
            its_kind = its_topic.rpartition("/")[2]
            parse(its_kind, payload=raw)
            content: dict[str, Any] = json.loads(raw)
            if its_kind == kind and all(content.get(name) == value for name, value in wanted.items()):
                return content

    def tell(self, kind: str, raw: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic(kind), raw, qos=1, retain=retain).wait_for_publish(10)


@pytest.fixture
def operator(embedded_broker: Running) -> Iterator[Operator]:
    hand = Operator(embedded_broker.port)
    yield hand
    hand.close()


@pytest.fixture(autouse=True)
def _fast_clock() -> None:
    clock.set_anchor(clock.Anchor(real=clock.now(), simulated=START, speed=SPEED))


def agent(port: int, folder: Path, **how: Any) -> BoxAgent:
    given: dict[str, Any] = {
        "code": BOX,
        "password": PASSWORD,
        "host": "127.0.0.1",
        "port": port,
        "sources": [TRACE],
        "now": clock.now,
        "buffer_path": folder / "buffer.db",
        "configuration": Configuration(batch=6),
        "speed": SPEED,
        "reconnect_s_max": 0.5,
    }
    return BoxAgent(**{**given, **how})


def test_a_birth_says_everything_and_a_heartbeat_how_much_waits(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    with thread(agent(embedded_broker.port, tmp_path).run):
        birth = operator.next("birth")
        beat = operator.next("hb")
    assert birth["boot"] > 0
    assert (birth["conn"], birth["channels"], birth["sync"], birth["lost"], birth["new"]) == (1, 1, 1, 0, 1)
    assert birth["cfg"] == Configuration(batch=6).hash()
    assert birth["fw"].startswith("testcard-box")
    assert len(birth["epoch"]) == 16
    assert {"boot", "conn", "seq", "up", "t", "sync", "buf", "lost", "doubts"} <= beat.keys()


def test_a_configuration_is_obeyed_told_and_kept_over_a_restart(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    wanted = Configuration(sample_s=20, batch=3, thresholds={0: Threshold(run_w=60.0, rest_w=20.0)})
    with thread(agent(embedded_broker.port, tmp_path).run):
        first = operator.next("birth")
        operator.tell("cmd", encode_command(Configure(id=7, configuration=wanted)))
        assert operator.next("birth", cmd={"id": 7})["cfg"] == wanted.hash() != first["cfg"]
        assert len(operator.next("m", dt=20_000)["p"]) <= 3
        assert operator.next("ev")["s"] in ("run", "rest")
    with thread(agent(embedded_broker.port, tmp_path).run):
        again = operator.next("birth", boot=first["boot"] + 1)
    assert (again["cfg"], again["new"], again["epoch"]) == (wanted.hash(), 0, first["epoch"])


def test_a_command_that_cannot_be_is_told_in_the_next_birth_and_changes_nothing(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    with thread(agent(embedded_broker.port, tmp_path).run):
        first = operator.next("birth")
        operator.tell("cmd", b'{"id":3,"do":"configuration","sample_s":0}')
        refused = operator.next("birth", cmd={"id": None, "refused": "out_of_range"})
        assert refused["cfg"] == first["cfg"]
        operator.tell("cmd", encode_command(Rebirth(id=4)))
        assert operator.next("birth", cmd={"id": 4})["conn"] == first["conn"]


def test_what_the_server_asks_for_again_is_sent_again(
    embedded_broker: Running, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.box.agent.RESEND_S_MIN", 1000.0)
    with thread(agent(embedded_broker.port, tmp_path).run):
        boot = operator.next("birth")["boot"]
        operator.next("m", seq=4)
        operator.tell("ack", encode_ack(boot=boot, seq=1))
        operator.tell("cmd", encode_command(Resend(id=9, boot=boot, first=1, last=3)))
        operator.next("birth", cmd={"id": 9})
        assert [operator.next("m", h=1)["seq"] for _ in range(2)] == [2, 3]


def test_a_box_without_a_clock_takes_the_servers_and_says_that_it_is_not_its_own(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    clock.set_anchor(clock.Anchor(real=datetime.now(UTC), simulated=START, speed=1.0))
    unset = timedelta(days=20_000)
    box = agent(
        embedded_broker.port,
        tmp_path,
        now=lambda: clock.now() - unset,
        is_synced=lambda: False,
        configuration=Configuration(sample_s=1, batch=1),
        speed=1.0,
        sources=[Programme(trace="projector", slices=TRACE.slices, starts_at=START - timedelta(days=30_000))],
    )
    with thread(box.run):
        birth = operator.next("birth")
        assert birth["sync"] == 0
        before = operator.next("m")
        assert before["sync"] == 0
        assert abs(before["t0"] - to_ms(START - unset)) < 60_000, before
        operator.tell("cmd", encode_command(SetTime(id=1, time_ms=to_ms(clock.now()))))
        operator.next("birth", cmd={"id": 1})
        after = operator.next("m", h=0)
    assert after["sync"] == 0
    assert abs(after["t0"] - to_ms(clock.now())) < 10_000
    assert after["up0"] > before["up0"]


def test_a_box_that_lost_count_and_has_no_clock_goes_on_after_what_the_server_knows(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    operator.tell("ack", encode_ack(boot=41, seq=4711), retain=True)
    with thread(agent(embedded_broker.port, tmp_path, is_synced=lambda: False).run):
        birth = operator.next("birth")
        message = operator.next("m")
    assert (birth["boot"], birth["new"], message["boot"], message["seq"]) == (42, 1, 42, 1)


def test_a_new_password_loses_nothing_of_what_waits(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong so far\n")
    box = agent(embedded_broker.port, tmp_path, password=lambda: secret.read_text().strip())
    with thread(box.run):
        wait_until(lambda: box._seq >= 5)
        assert not box._link.is_connected
        secret.write_text("the second\n")
        replace_boxes(tmp_path / "users.json", verifiers={BOX: verifier_of("the second")})
        first = operator.next("birth")
        assert first["pending"][0][1:] == [1, first["pending"][0][2]]
        secret.write_text("the third\n")
        replace_boxes(tmp_path / "users.json", verifiers={BOX: verifier_of("the third")})
        box.reconnect()
        second = operator.next("birth")
        assert second["conn"] > first["conn"]
        assert second["pending"][0][:2] == first["pending"][0][:2]
        assert operator.next("m", seq=1)["boot"] == first["boot"]


def test_what_a_full_buffer_let_go_of_is_told_and_not_waited_for(
    embedded_broker: Running, operator: Operator, tmp_path: Path
) -> None:
    embedded_broker.kill()
    box = agent(embedded_broker.port, tmp_path, messages_max=100, configuration=Configuration(batch=1))
    with thread(box.run):
        wait_until(lambda: box._seq > 150)
        embedded_broker.start()
        wait_until(operator.client.is_connected)
        for kind in KINDS:
            operator.listen(f"cb/v1/+/+/{kind}")
        birth = operator.next("birth")
    ((boot, first, _last),) = birth["pending"]
    assert (boot, first) == (birth["boot"], birth["lost"] + 1)
    assert birth["lost"] >= 50


def test_boxes_that_lost_the_broker_together_come_back_over_two_minutes() -> None:
    delays = []
    for number in range(300):
        link = Link(
            code=f"cb-{number}",
            password=lambda: "",
            host="127.0.0.1",
            port=1,
            tls=None,
            will=lambda _connection: {},
            reconnect_s_max=120.0,
        )
        link._draw_delay()
        delays.append(link._client._reconnect_min_delay)
    assert all(0 <= delay <= 120 for delay in delays)
    in_each_quarter = [sum(30 * quarter <= delay < 30 * (quarter + 1) for delay in delays) for quarter in range(4)]
    assert all(40 <= count <= 120 for count in in_each_quarter)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho closes no socket it mistrusts
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_box_speaks_tls_and_only_to_a_server_that_it_trusts(tmp_path: Path) -> None:
    for name in ("server", "stranger"):
        subprocess.run(  # noqa: S603 - our own command
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    broker = Running("mosquitto", tmp_path)
    broker.extra = f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\nuser root\n"
    broker.start()
    with contextlib.closing(_Closing(broker)):
        stranger = agent(broker.port, tmp_path / "a", tls=ssl.create_default_context(cafile=tmp_path / "stranger.pem"))
        with thread(stranger.run):
            wait_until(lambda: stranger._link.connection >= 2)
            assert not stranger._link.is_connected
        trusting = agent(broker.port, tmp_path / "b", tls=ssl.create_default_context(cafile=tmp_path / "server.pem"))
        with thread(trusting.run):
            wait_until(lambda: trusting._link.is_connected and len(trusting._under_way) > 0)
        with Buffer(tmp_path / "b" / "buffer.db") as buffer:
            assert len(buffer) > 0


class _Closing:
    def __init__(self, broker: Running) -> None:
        self.close = broker.kill

"""The real program as a process, over real HTTP: started, tapped at, killed with SIGKILL, started again."""

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

from card_terminal.protocol import Ended, SessionState, Started
from tests.card_terminal.honest_server import HonestServer, TurnedClock

SPEED = 60
SIMULATED = "2009-03-02T08:00:00+00:00"


class SharedClock(TurnedClock):
    """The server's clock, on the same anchor as the terminal's."""

    def __init__(self, real: datetime) -> None:
        super().__init__()
        self._real = real

    def __getattribute__(self, name: str) -> Any:
        if name == "wall":
            passed_s = (datetime.now(UTC) - self._real).total_seconds() * SPEED
            return int((datetime.fromisoformat(SIMULATED).timestamp() + passed_s) * 1000)
        return super().__getattribute__(name)


@pytest.fixture
def shared_clock() -> SharedClock:
    return SharedClock(datetime.now(UTC))


@pytest.fixture
def honest(shared_clock: SharedClock) -> HonestServer:
    return HonestServer(clock=shared_clock, balances_fen={"1001": 1_000_00, "1002": 1_000_00}, pins={"1002": "4711"})


@pytest.fixture
def address(honest: HonestServer) -> Iterator[str]:
    """The honest server behind real HTTP, one question at a time."""
    app = Flask("honest")
    alone = threading.Lock()

    @app.post("/terminal/v1/<path:name>")
    def handle(name: str) -> Any:
        with alone:
            status, body = honest.handle(name, request.get_json())
        return jsonify(body), status

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Process:
    """`python -m card_terminal` and what a person at its page would do."""

    def __init__(self, folder: Path, *, address: str, real: datetime) -> None:
        self.folder, self.port = folder, free_port()
        self.page = f"http://127.0.0.1:{self.port}"
        self.command = [
            *(sys.executable, "-m", "card_terminal", "--simulate", "--server", address, "--data", str(folder)),
            *("--kiosk-port", str(self.port), "--enrol-code", "GOOD-CODE"),
            *("--clock-anchor", f"{real.isoformat()},{SIMULATED},{SPEED}"),
        ]
        cards = folder / "cards"
        cards.mkdir(parents=True)
        for number in ("1001", "1002"):
            (cards / f"{number}.json").write_text(json.dumps({"class": "typed", "number": number}))
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=log)  # noqa: S603 - our own program

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def state(self) -> dict[str, Any]:
        return self._when_there(lambda: requests.get(f"{self.page}/state", timeout=10))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._when_there(lambda: requests.post(f"{self.page}/{path}", json=body, timeout=30))

    def _when_there(self, ask: Any) -> dict[str, Any]:
        give_up_at = time.monotonic() + 30
        while True:
            try:
                answer = ask()
            except requests.ConnectionError:
                answer = None
            if answer is not None and answer.ok and answer.json()["state"] != "enrolling":
                return answer.json()  # type: ignore[no-any-return]
            assert time.monotonic() < give_up_at, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def wait_for(self, *states: str, until: Any = lambda _view: True) -> dict[str, Any]:
        give_up_at = time.monotonic() + 30
        while (view := self.state())["state"] not in states or not until(view):
            assert time.monotonic() < give_up_at, json.dumps(view) + (self.folder / "log").read_text()[-1500:]
            time.sleep(0.02)
        return view


@pytest.fixture
def process(tmp_path: Path, address: str, shared_clock: SharedClock) -> Iterator[Process]:
    process = Process(tmp_path / "terminal", address=address, real=shared_clock._real)
    yield process
    if process.process.poll() is None:
        process.stop(signal.SIGKILL)


def test_the_program_enrols_starts_and_ends_a_session_by_two_taps_and_stops_cleanly(
    process: Process, honest: HonestServer
) -> None:
    view = process.post("tap", card="1002", pin="4711", minutes=30)
    assert view["state"] == "active"
    process.wait_for("active", until=lambda view: view["session"]["elapsed_s"] >= 60)
    view = process.post("tap", card="1002")
    assert view["state"] == "receipt"
    assert view["receipt"]["amount_fen"] == 1_000_00 - honest.balances_fen["1002"] > 0
    assert process.stop(signal.SIGTERM) == 0
    assert process.process.returncode == 0


def test_two_programs_never_share_a_journal(process: Process) -> None:
    process.state()
    second = subprocess.run(process.command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert second.returncode == 78
    assert "already runs" in second.stderr


def test_the_page_answers_its_own_host_only_and_says_what_is_wrong(process: Process) -> None:
    process.state()
    strange = requests.get(f"{process.page}/state", headers={"Host": "evil.example"}, timeout=5)
    assert strange.status_code == 403
    assert requests.post(f"{process.page}/tap", data="card=1001", timeout=5).status_code == 415
    for path, body, status in [
        ("tap", {"card": "nobody"}, 404),
        ("tap", {"card": 5}, 400),
        ("choose", {"action": "dance"}, 400),
        ("choose", {"action": "pin"}, 400),
        ("choose", [], 400),
        ("nowhere", {}, 404),
    ]:
        answer = requests.post(f"{process.page}/{path}", json=body, timeout=5)
        assert (answer.status_code, bool(answer.json()["message"])) == (status, True), path
    page = requests.get(f"{process.page}/", timeout=5)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for asset in ("kiosk.css", "kiosk.js"):
        assert requests.get(f"{process.page}/{asset}", timeout=5).ok
    assert requests.get(f"{process.page}/cards", timeout=5).json()[0] == {"name": "1001", "label": "1001"}


@pytest.mark.parametrize("seed", range(2))
def test_sigkill_at_random_moments_neither_loses_nor_doubles_a_charge(
    process: Process, honest: HonestServer, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - play, not secrets
    process.state()
    for card, pin in [("1001", None), ("1002", "4711")]:
        killer = threading.Timer(chance.uniform(0.0, 0.6), process.process.kill)
        killer.start()
        _tap_and_be_interrupted(process, card, pin)
        killer.join()
        process.process.wait()
        process.start()
        process.wait_for("idle", "active")
        if process.state()["state"] == "active":
            time.sleep(0.2)
            _tap_and_be_interrupted(process, card, pin)
        process.wait_for("idle", until=lambda view: view["queue"] == 0)
    process.post("tap", card="1002", pin="4711", minutes=30)
    process.wait_for("active", until=lambda view: view["session"]["elapsed_s"] >= 60)
    process.post("tap", card="1002")
    process.wait_for("idle", until=lambda view: view["queue"] == 0)
    open_sessions = [
        each for each in honest.sessions.values() if each.state in {SessionState.HELD, SessionState.ACTIVE}
    ]
    assert not open_sessions
    started = [event.body.session_id for event in honest.events if isinstance(event.body, Started)]
    ended = [event.body.session_id for event in honest.events if isinstance(event.body, Ended)]
    charged = [session_id for session_id, each in honest.sessions.items() if each.charged_fen is not None]
    assert ended
    assert sorted(started) == sorted(ended) == sorted(charged)


def _tap_and_be_interrupted(process: Process, card: str, pin: str | None) -> None:
    body = {"card": card, "minutes": 30, **({"pin": pin} if pin else {})}
    try:
        requests.post(f"{process.page}/tap", json=body, timeout=30)
    except requests.RequestException:
        return

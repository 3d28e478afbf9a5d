"""The main job over HTTP: how many requests a second at 1 and 8 clients, and how long a person waits after a tap.

Every client is a terminal with its own key and card at its own instrument: tap, hold, start, end, capture. The
reference in the same run is the cheapest page of the same server: what the machine and the web server can do at all.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from app.demo.site import Ports, Site
from app.settings import Settings
from bench import report
from card_terminal import protocol
from tests.app import taps

SECONDS = 8.0
CLIENTS = (1, 8)
REQUESTS_PER_JOB = 3
PRINCIPAL_FEN = 1_000_000_00


class Answer:
    """An HTTP answer as the test's terminals read it."""

    def __init__(self, answer: requests.Response) -> None:
        self.status_code = answer.status_code
        self._answer = answer

    def get_json(self) -> Any:
        return self._answer.json()

    def get_data(self, *, as_text: bool) -> str:
        assert as_text
        return self._answer.text


class Client:
    """A connection of its own to the running server, in the form of a test client."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = requests.Session()

    def post(self, path: str, *, json: object) -> Answer:
        return Answer(self._http.post(f"{self._url}{path}", json=json, timeout=30))

    def health(self) -> None:
        assert self._http.get(f"{self._url}/health", timeout=30).ok


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="testcard-bench-"))
    site = Site(folder, speed=1, ports=Ports.near(8300))
    try:
        # No person's hand is as quick as these clients.
        limits = {"TESTCARD_TAPS_PER_TERMINAL_MAX": "1000000", "TESTCARD_TAPS_PER_CARD_MAX": "1000000"}
        site.environment.update(limits)
        database, settings = site.start_storage(), site.settings()
        site.start_service({})
        measure(site, database, settings)
    finally:
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(site: Site, database: Any, settings: Settings) -> None:
    center = taps.new_site(database, settings, Client(site.url))  # type: ignore[arg-type]
    desks = [(center.terminal(), center.card(principal_fen=PRINCIPAL_FEN)) for _ in range(max(CLIENTS))]
    for tap, _ in desks:
        tap.client = Client(site.url)  # type: ignore[assignment]
    rows, values = [], {}
    for clients in CLIENTS:
        waits: list[float] = []
        lock = threading.Lock()
        health = rate([Client(site.url).health for _ in range(clients)])
        jobs = rate([job(tap, card, waits, lock) for tap, card in desks[:clients]])
        p50, p99 = report.quantile(waits, 0.5) * 1000, report.quantile(waits, 0.99) * 1000
        rows.append((clients, jobs, jobs * REQUESTS_PER_JOB, health, p50, p99))
        values |= {
            f"jobs_per_s_{clients}": jobs,
            f"requests_per_s_{clients}": jobs * REQUESTS_PER_JOB,
            f"requests_vs_health_{clients}": jobs * REQUESTS_PER_JOB / health,
            f"tap_to_answer_ms_p50_{clients}": p50,
            f"tap_to_answer_ms_p99_{clients}": p99,
        }
    report.table(rows, head=("clients", "jobs/s", "requests/s", "/health/s", "tap-to-answer p50 ms", "p99 ms"))
    report.summary("try", values)


def job(tap: taps.Tap, card: taps.CardInHand, waits: list[float], lock: threading.Lock) -> Callable[[], None]:
    """Give one main job as a function: from the tap until the server has captured."""

    def run() -> None:
        session_id = uuid4()
        started = time.perf_counter()
        held = tap.hold(card, session_id=session_id)
        waited = time.perf_counter() - started
        assert held.status_code == 200, held.get_data(as_text=True)
        results = tap.report(
            protocol.Started(session_id=session_id),
            protocol.Ended(session_id=session_id, elapsed_ms=60_000, cause=protocol.EndCause.TAPPED),
        )
        assert [result["status"] for result in results] == ["accepted", "accepted"], results
        with lock:
            waits.append(waited)

    return run


def rate(workers: list[Callable[[], None]]) -> float:
    """Give how many times a second the workers together do their work."""
    counts = [0] * len(workers)
    stop_at = time.perf_counter() + SECONDS

    def work(number: int) -> None:
        while time.perf_counter() < stop_at:
            workers[number]()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(workers))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

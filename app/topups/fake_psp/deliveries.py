"""The thread that delivers events to the service, signed, again and again until they are taken."""

import threading
from dataclasses import dataclass

import requests
import structlog

from app import clock
from app.topups import signatures
from app.topups.fake_psp import payments
from app.topups.fake_psp.store import Due, Store

POLL_S = 0.5
BATCH = 20
TIMEOUT_S = 10.0
PAUSE_S_MAX = 60.0
# With pauses that grow to a minute, these many tries last three days, as with the real service.
ATTEMPTS_MAX = 3 * 24 * 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where events go, and the secret they are signed with."""

    url: str
    secret: str


class Deliveries:
    """Delivers in the background between `start` and `stop`; `wake` says that there is something new."""

    def __init__(self, store: Store, receiver: Receiver | None) -> None:
        self._store = store
        self._receiver = receiver
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)

    def start(self) -> None:
        """Begin to deliver, first what an earlier run left."""
        self._thread.start()

    def stop(self) -> None:
        """End after the delivery under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """Look for due events at once."""
        self._wake.set()

    def _run(self) -> None:
        with requests.Session() as http:
            while not self._stopping:
                self._wake.clear()
                self._turn(http)
                self._wake.wait(POLL_S)

    def _turn(self, http: requests.Session) -> None:
        now = clock.real_now()
        with self._store.work() as work:
            payments.expire_due(work, now=now, deliver=self._receiver is not None)
            due = work.due(now.timestamp(), limit=BATCH)
        for delivery in due:
            if self._receiver is not None and not self._stopping:
                self._deliver(http, delivery, receiver=self._receiver)

    def _deliver(self, http: requests.Session, delivery: Due, *, receiver: Receiver) -> None:
        now = clock.real_now()
        try:
            answer = http.post(
                receiver.url,
                data=delivery.body,
                headers={
                    "Content-Type": "application/json; charset=utf-8",
                    "Stripe-Signature": signatures.sign(delivery.body, secret=receiver.secret, at=now),
                },
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
            taken = answer.ok
        except requests.RequestException:
            taken = False
        give_up = delivery.attempts + 1 >= ATTEMPTS_MAX
        if give_up and not taken:
            log.warning("delivery_given_up", event_id=delivery.event_id)
        with self._store.work() as work:
            if taken or give_up:
                work.delivered(delivery.event_id)
            else:
                pause_s = min(PAUSE_S_MAX, POLL_S * 2 ** min(delivery.attempts, 10))
                work.postpone(delivery.event_id, due_at_s=now.timestamp() + pause_s)

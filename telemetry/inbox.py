"""What came from the broker and waits to be stored: many networks' threads append, one thread takes batches."""

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from telemetry.ingest import Arrival

if TYPE_CHECKING:
    from telemetry.shards import ShardSession

QUEUE_MAX = 20_000  # more than any broker's window; beyond it the network's thread waits, and so does the broker
FULL_PAUSE_S = 0.01


class Delivery(NamedTuple):
    """A message with what is needed to acknowledge it on the connection it came by; `message_id` 0 needs none."""

    arrival: Arrival
    session: "ShardSession"
    connection: int
    message_id: int


class Inbox:
    """A queue that wakes its reader for many messages only: a lock for every message would cost more than reading it.

    The more wait, the more it gives at once, for every batch costs something for each box that it speaks of.
    """

    def __init__(self, *, wake_at: int, batch_max: int) -> None:
        self._wake_at, self._batch_max = wake_at, batch_max
        self._waiting: deque[Delivery] = deque()
        self._has_batch = threading.Event()

    def put(self, delivery: Delivery) -> None:
        """Append; called by the network's thread, which waits here while far too much is waiting."""
        self._waiting.append(delivery)
        waiting = len(self._waiting)
        if waiting >= self._wake_at:
            self._has_batch.set()
            while len(self._waiting) >= QUEUE_MAX and not delivery.session.is_closed:
                time.sleep(FULL_PAUSE_S)

    def take(self, *, wait_s: float) -> list[Delivery]:
        """Give a batch as soon as there is enough for one, or after `wait_s` what has come so far."""
        self._has_batch.wait(wait_s)
        self._has_batch.clear()
        count = min(len(self._waiting), self._batch_max)
        batch = [self._waiting.popleft() for _ in range(count)]
        if len(self._waiting) >= self._wake_at:
            self._has_batch.set()
        return batch

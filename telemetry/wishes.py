"""What the server asks of boxes: to send again what is missing, and to say what they are."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from telemetry.commands import Command, Rebirth, Resend
from telemetry.ingest import Acknowledgement
from telemetry.messages import Topic
from telemetry.times import to_ms

K = TypeVar("K")

# A box with a backlog fills its holes by itself; only one that stands still is worth a word.
PATIENCE_S = 10.0
PATIENCE_S_MAX = 600.0
RESEND_MESSAGES_MAX = 500


@dataclass(slots=True)
class _Missing:
    """A hole that was seen: where it begins, and when it is asked for next."""

    seq: int
    due_s: float
    patience_s: float


class Wishes:
    """Remembers what is missing of which box; it may forget all of it at any time, for it comes up again."""

    def __init__(self, *, now: Callable[[], datetime], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now, self._monotonic_s = now, monotonic_s
        self._holes: dict[tuple[str, int], _Missing] = {}
        self._unborn: dict[str, _Missing] = {}
        self._last_id = 0

    def consider(self, found: Acknowledgement) -> Iterator[tuple[Topic, Command]]:
        """Give the commands that are due to a box after what was found in its newest batch, with their topic."""
        topic = Topic(shard=found.topic.shard, box=found.topic.box, kind="cmd")
        key = (topic.box, found.boot)
        if found.hole is None:
            self._holes.pop(key, None)
        elif self._is_due(self._holes, key, seq=found.hole[0]):
            first, last = found.hole
            last = min(last, first + RESEND_MESSAGES_MAX - 1)
            yield topic, Resend(id=self._next_id(), boot=found.boot, first=first, last=last)
        if found.born:
            self._unborn.pop(topic.box, None)
        elif self._is_due(self._unborn, topic.box, seq=found.boot):
            yield topic, Rebirth(id=self._next_id())

    def forget(self, box: str) -> None:
        """Ask nothing more of a box that another worker looks after now."""
        self._unborn.pop(box, None)
        for key in [key for key in self._holes if key[0] == box]:
            del self._holes[key]

    def _is_due(self, seen: dict[K, _Missing], key: K, *, seq: int) -> bool:
        now_s = self._monotonic_s()
        missing = seen.get(key)
        if missing is None or missing.seq != seq:
            seen[key] = _Missing(seq=seq, due_s=now_s + PATIENCE_S, patience_s=PATIENCE_S)
            return False
        if now_s < missing.due_s:
            return False
        missing.patience_s = min(missing.patience_s * 2, PATIENCE_S_MAX)
        missing.due_s = now_s + missing.patience_s
        return True

    def _next_id(self) -> int:
        """Numbers that grow over restarts: milliseconds, or one more than the last."""
        self._last_id = max(self._last_id + 1, to_ms(self._now()))
        return self._last_id

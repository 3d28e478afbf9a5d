"""What the server asks of boxes: what is missing, what they are, and to take over the time and a configuration."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from telemetry.commands import Command, Configure, Rebirth, Resend, SetTime
from telemetry.configurations import Due
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
        self._reminded: dict[tuple[str, str], _Missing] = {}
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

    def remind(self, due: Sequence[Due]) -> Iterator[tuple[Due, SetTime | Configure]]:
        """Give what is to be said at once to boxes that were not told yet, and again to those that did not obey.

        `due` are all boxes that should be told something now; who is not among them any more has obeyed or gone.
        """
        wanted = {(each.box, "time"): (each, 0) for each in due if each.needs_time}
        wanted |= {(each.box, "configuration"): (each, each.version or 0) for each in due if each.configuration}
        for key in self._reminded.keys() - wanted.keys():
            del self._reminded[key]
        for key, (each, version) in wanted.items():
            if not self._is_due(self._reminded, key, seq=version, is_patient=False):
                continue
            if key[1] == "time":
                yield each, SetTime(id=self._next_id(), time_ms=to_ms(self._now()))
            elif each.configuration is not None:
                yield each, Configure(id=self._next_id(), configuration=each.configuration)

    def forget(self, box: str) -> None:
        """Ask nothing more of a box that another worker looks after now."""
        self._unborn.pop(box, None)
        for key in [key for key in self._holes if key[0] == box]:
            del self._holes[key]

    def _is_due(self, seen: dict[K, _Missing], key: K, *, seq: int, is_patient: bool = True) -> bool:
        now_s = self._monotonic_s()
        missing = seen.get(key)
        if missing is None or missing.seq != seq:
            seen[key] = _Missing(seq=seq, due_s=now_s + PATIENCE_S, patience_s=PATIENCE_S)
            return not is_patient
        if now_s < missing.due_s:
            return False
        missing.patience_s = min(missing.patience_s * 2, PATIENCE_S_MAX)
        missing.due_s = now_s + missing.patience_s
        return True

    def _next_id(self) -> int:
        """Numbers that grow over restarts: milliseconds, or one more than the last."""
        self._last_id = max(self._last_id + 1, to_ms(self._now()))
        return self._last_id

"""Everything that can go wrong between a terminal and the real server: messages, processes, machines, clocks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from app import clock
from card_terminal.client import TRY_TIMEOUT_S
from card_terminal.protocol import RefusalCode, refusal, refuse
from tests.card_terminal.honest_server import TurnedClock
from tests.card_terminal.world import Killed

KEPT_MESSAGES_MAX = 300
SLOW_MS = 2_000
SILENCE_MS = int(TRY_TIMEOUT_S * 1000)


class Fault(StrEnum):
    """What may become of one message; each is used up by the next one that is sent."""

    REFUSED = "refused"
    """Nobody listens: the sender knows at once, and nothing was heard."""
    HOLE = "hole"
    """Lost before the server."""
    LATE = "late"
    """Given up by the sender, and delivered when nobody waits for it any more."""
    LOST = "lost"
    """Done, and the answer lost."""
    GARBAGE = "garbage"
    """Done, and the answer unreadable."""
    ERROR = "error"
    """Not done: a proxy before the server answers 500."""
    BUSY = "busy"
    """Not done: the server asks to come again."""
    DOUBLE = "double"
    """Delivered twice."""
    SLOW = "slow"
    """Answered late, but in time."""
    MEANWHILE = "meanwhile"
    """While it is on its way, the terminal's other thread delivers events and says hello."""


class ServerDiedError(BaseException):
    """The server's process ends here: its open transaction is rolled back, and no answer goes out."""


@dataclass
class RegionTime:
    """The time of a region: the server's clock, and those of all terminals, which run on from where they stand."""

    moment: datetime
    clocks: list[TurnedClock] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.set(self.moment)

    def set(self, moment: datetime) -> None:
        """Put the server's clock to a moment, at which it stands still."""
        self.moment = moment
        clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=moment, speed=0.0))

    def turn(self, duration_ms: int) -> None:
        for each in self.clocks:
            each.turn(duration_ms)
        self.set(self.moment + timedelta(milliseconds=duration_ms))

    @property
    def epoch_ms(self) -> int:
        return round(self.moment.timestamp() * 1000)


class ServerDeath:
    """Kills the server just before one of its next SQL statements or commits, once for each time it is armed."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._steps_left: int | None = None
        self._is_at_work = False
        self.deaths = 0
        for engine in engines:
            event.listen(engine, "before_cursor_execute", self._step)
            event.listen(engine, "commit", self._step)

    def arm(self, step: int | None) -> None:
        self._steps_left = step

    @contextmanager
    def strikes(self) -> Iterator[None]:
        """Let it die of what is done in this block, and go on after it: a supervisor has started it anew."""
        self._is_at_work = True
        try:
            yield
        except ServerDiedError:
            self.deaths += 1
        finally:
            self._is_at_work = False

    def _step(self, connection: Connection, *_anything: object) -> None:
        if self._steps_left is None or not self._is_at_work:
            return
        if self._steps_left == 0:
            self._steps_left = None
            connection.invalidate()
            raise ServerDiedError
        self._steps_left -= 1


class FaultyWire:
    """Brings messages to the real server, in this process, with the faults that wait for them."""

    def __init__(self, client: FlaskClient, *, time: RegionTime, death: ServerDeath) -> None:
        self._client = client
        self._death = death
        self._time = time
        self.faults: list[Fault] = []
        self.down_until = time.moment
        self.before: Callable[[str], None] = lambda _place: None
        self.meanwhile: Callable[[], None] = lambda: None
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.wandering: list[tuple[str, dict[str, Any]]] = []
        self.posts = 0

    def post(self, name: str, *, body: dict[str, Any], timeout_s: float) -> tuple[int, object] | None:
        """Do what `card_terminal.client.Transport` does."""
        assert timeout_s > 0
        self.before(f"before {name} is sent")
        fault = self.faults.pop(0) if self.faults else None
        if self._time.moment < self.down_until or fault is Fault.REFUSED:
            return None
        self._keep(name, body)
        if fault in _NEVER_HEARD:
            return self._never_heard(fault, name, body)
        if fault is Fault.MEANWHILE and name not in _SENT_BY_THE_OTHER_THREAD:
            self.meanwhile()
        if fault is Fault.DOUBLE:
            self.deliver(name, body)
        answer = self.deliver(name, body)
        self.before(f"after {name} was done")
        if fault is Fault.LOST:
            self._time.turn(SILENCE_MS)
            return None
        if fault is Fault.SLOW:
            self._time.turn(SLOW_MS)
        return (HTTPStatus.OK, ["what?"]) if fault is Fault.GARBAGE else answer

    def deliver(self, name: str, body: dict[str, Any]) -> tuple[int, object] | None:
        """Bring a message to the server, whoever waits for its answer."""
        self.posts += 1
        with self._death.strikes():
            answer = self._client.post(f"/terminal/v1/{name}", json=body)
            assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, answer.get_data(as_text=True)
            return answer.status_code, answer.get_json()
        return None

    def deliver_wandering(self, number: int) -> None:
        """Let one late message arrive at last, or an old one again."""
        waiting = self.wandering or self.sent
        if waiting:
            name, body = waiting[number % len(waiting)]
            if self.wandering:
                self.wandering.remove((name, body))
            self.deliver(name, body)

    def _never_heard(self, fault: Fault | None, name: str, body: dict[str, Any]) -> tuple[int, object] | None:
        if fault is Fault.ERROR:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": "Internal Server Error"}
        if fault is Fault.BUSY:
            code = RefusalCode.RETRY
            return refusal(code).http_status, refuse(code, server_time=self._time.epoch_ms)
        if fault is Fault.LATE:
            self.wandering.append((name, body))
        self._time.turn(SILENCE_MS)
        return None

    def _keep(self, name: str, body: dict[str, Any]) -> None:
        self.sent.append((name, body))
        del self.sent[:-KEPT_MESSAGES_MAX]


_NEVER_HEARD = {Fault.HOLE, Fault.LATE, Fault.ERROR, Fault.BUSY}
# The lock of `Delivery` keeps these from overtaking each other.
_SENT_BY_THE_OTHER_THREAD = {"events", "hello", "config"}


@dataclass
class DeathAt:
    """Kills the terminal's process at the n-th step from now, or at the next of a name.

    Steps are before and after a transaction, before a message is sent, and after it was done.
    """

    step: int | str

    def __call__(self, place: str) -> None:
        if self.step in (0, place):
            raise Killed(place)
        if isinstance(self.step, int):
            self.step -= 1

"""Samples become messages: one recorder for all channels of a box, on the clock of its uptime. Knows no network."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from telemetry.box.counter import Counter
from telemetry.box.source import Place, Source
from telemetry.commands import Configuration, Threshold
from telemetry.messages import FORMAT_VERSION
from telemetry.times import to_ms

RUN, REST, UNKNOWN = "run", "rest", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(ABC):
    """What is to become a message; `kind` is its topic."""

    channel: int
    start_up_s: float

    @property
    @abstractmethod
    def kind(self) -> str:
        """Give the topic's last part."""

    @abstractmethod
    def content(self, *, now: datetime, up_s: float) -> dict[str, Any]:
        """Give what the message says, but for who says it; `now` and `up_s` are one moment on both clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Measurement):
    """Consecutive mean powers of one channel."""

    sample_s: int
    powers_w: tuple[float, ...]
    energy_wh: float | None

    @property
    def kind(self) -> str:
        """Give the topic's last part."""
        return "m"

    def content(self, *, now: datetime, up_s: float) -> dict[str, Any]:
        """Give what the message says."""
        return {
            "v": FORMAT_VERSION,
            "c": self.channel,
            "t0": to_ms(now - timedelta(seconds=up_s - self.start_up_s)),
            "up0": round(self.start_up_s, 3),
            "dt": self.sample_s * 1000,
            "p": list(self.powers_w),
            "e": self.energy_wh,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Measurement):
    """A channel that began to run, came to rest, or fell silent, by the thresholds of the configuration."""

    state: str
    power_w: float | None

    @property
    def kind(self) -> str:
        """Give the topic's last part."""
        return "ev"

    def content(self, *, now: datetime, up_s: float) -> dict[str, Any]:
        """Give what the message says."""
        return {
            "v": FORMAT_VERSION,
            "c": self.channel,
            "t": to_ms(now - timedelta(seconds=up_s - self.start_up_s)),
            "up": round(self.start_up_s, 3),
            "s": self.state,
            "w": self.power_w,
        }


@dataclass(slots=True)
class _Channel:
    number: int
    source: Source
    counter: Counter = field(default_factory=Counter)
    powers_w: list[float] = field(default_factory=list)
    batch_up_s: float = 0.0
    state: str | None = None


class Recorder:
    """Asks every source for every sample. Times are seconds of uptime."""

    def __init__(self, sources: Sequence[Source], configuration: Configuration) -> None:
        self._all = [_Channel(number, source) for number, source in enumerate(sources)]
        self._configuration = configuration
        self._sample_up_s = 0.0

    @property
    def configuration(self) -> Configuration:
        """How to measure. Close what is under way before it is changed."""
        return self._configuration

    @configuration.setter
    def configuration(self, configuration: Configuration) -> None:
        self._configuration = configuration
        for channel in self._all:
            channel.state = None

    @property
    def channels(self) -> int:
        """Give how many channels the box has, measured or not."""
        return len(self._all)

    @property
    def next_up_s(self) -> float:
        """Give when the sample under way is over."""
        return self._sample_up_s + self._configuration.sample_s

    def begin(self, *, up_s: float, counters: dict[int, Counter]) -> None:
        """Begin with a sample at `up_s`."""
        self._sample_up_s = up_s
        for channel in self._all:
            channel.counter = counters.get(channel.number, channel.counter)

    def counters(self) -> dict[int, Counter]:
        """Give the energy counters by channel."""
        return {channel.number: channel.counter for channel in self._all}

    def doubts(self) -> dict[str, list[str]]:
        """Give by channel why its meter is not believed, where it is not."""
        places = {channel.number: channel.source for channel in self._all if isinstance(channel.source, Place)}
        found = {number: place.doubts() for number, place in places.items()}
        return {str(number): doubts for number, doubts in found.items() if doubts}

    def indicative(self) -> list[int]:
        """Give the channels whose meter may tell old values as new ones."""
        return [each.number for each in self._all if isinstance(each.source, Place) and each.source.indicative]

    def sample(self, *, now: datetime, up_s: float) -> list[Measurement]:
        """Take the sample that is over; gives what is complete by it. `now` and `up_s` are one moment."""
        start_up_s, sample_s = self._sample_up_s, self._configuration.sample_s
        start = now - timedelta(seconds=up_s - start_up_s)
        self._sample_up_s += sample_s
        found: list[Measurement] = []
        for channel in self._measured():
            power_w = channel.source.mean_w(start=start, start_up_s=start_up_s, seconds=sample_s)
            found += self._changes(channel, power_w, start_up_s)
            if power_w is None:
                found += self._close(channel, at=start, up_s=start_up_s)
                continue
            if not channel.powers_w:
                channel.batch_up_s = start_up_s
            channel.powers_w.append(round(power_w, 3))
            if len(channel.powers_w) >= self._configuration.batch:
                found += self._close(channel, at=start + timedelta(seconds=sample_s), up_s=self._sample_up_s)
        return found

    def close(self, *, now: datetime, up_s: float) -> list[Measurement]:
        """Give what is under way as it is."""
        at = now - timedelta(seconds=up_s - self._sample_up_s)
        return [batch for channel in self._all for batch in self._close(channel, at=at, up_s=self._sample_up_s)]

    def skip_to(self, up_s: float) -> list[Measurement]:
        """Leave out everything until `up_s`: nobody has measured it. Gives what was under way.

        The counters are not asked: they may already have counted what is left out.
        """
        found = [batch for channel in self._all for batch in self._close(channel)]
        self._sample_up_s = up_s
        return found

    def _measured(self) -> Iterator[_Channel]:
        wanted = self._configuration.channels
        return (channel for channel in self._all if wanted is None or channel.number in wanted)

    def _close(self, channel: _Channel, *, at: datetime | None = None, up_s: float = 0.0) -> list[Measurement]:
        if not channel.powers_w:
            return []
        counted_wh = None if at is None else channel.source.energy_wh(at=at, up_s=up_s)
        energy_wh = None
        if counted_wh is not None:
            energy_wh = channel.counter.take(counted_wh, rollover_wh=channel.source.rollover_wh)
        powers_w, channel.powers_w = tuple(channel.powers_w), []
        return [
            Batch(
                channel=channel.number,
                start_up_s=channel.batch_up_s,
                sample_s=self._configuration.sample_s,
                powers_w=powers_w,
                energy_wh=energy_wh,
            )
        ]

    def _changes(self, channel: _Channel, power_w: float | None, start_up_s: float) -> list[Measurement]:
        threshold = self._configuration.thresholds.get(channel.number)
        state = None if threshold is None else _state(power_w, threshold, before=channel.state)
        if state == channel.state or state is None:
            return []
        channel.state = state
        return [Change(channel=channel.number, start_up_s=start_up_s, state=state, power_w=power_w)]


def _state(power_w: float | None, threshold: Threshold, *, before: str | None) -> str | None:
    if power_w is None:
        return UNKNOWN
    if power_w >= threshold.run_w:
        return RUN
    if power_w < threshold.rest_w:
        return REST
    return before if before in (RUN, REST) else None

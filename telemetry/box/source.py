"""What the agent of a box measures: one source for each of its channels, whatever is behind it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from telemetry.adapters.channel import Channels
from telemetry.times import EPOCH


class Source(Protocol):
    """What measures one instrument. A moment is told by the box's clock, and by its uptime, which nobody sets."""

    @property
    def rollover_wh(self) -> float | None:
        """Give where the energy counter begins again at 0."""

    def mean_w(self, *, start: datetime, start_up_s: float, seconds: float) -> float | None:
        """Give the mean power over `seconds`; None where the meter did not answer in a part of them."""

    def energy_wh(self, *, at: datetime, up_s: float) -> float | None:
        """Give what the meter's energy counter says; None where it has none, or does not answer."""


def steady(uptime_s: Callable[[], float]) -> Callable[[], datetime]:
    """Give a clock for meters that no time server moves: it counts from 1970 since the box was switched on."""
    return lambda: EPOCH + timedelta(seconds=uptime_s())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A channel of a real meter, or several whose sum is meant; the meter is stamped by a steady clock.

    `lock` is the one under which messages are laid over the meter.
    """

    meter: Channels
    channels: tuple[int, ...]
    lock: threading.Lock
    name: str
    indicative: bool = False
    rollover_wh: float | None = None

    def mean_w(self, *, start: datetime, start_up_s: float, seconds: float) -> float | None:  # noqa: ARG002
        """Give the mean power over `seconds`, or None where a part of it is unknown."""
        begin = EPOCH + timedelta(seconds=start_up_s)
        with self.lock:
            return self.meter.mean_w(*self.channels, start=begin, end=begin + timedelta(seconds=seconds))

    def energy_wh(self, *, at: datetime, up_s: float) -> float | None:  # noqa: ARG002
        """Give the lifetime counter, or None where there is none."""
        with self.lock:
            return self.meter.energy_wh(*self.channels, at=EPOCH + timedelta(seconds=up_s))

    def doubts(self) -> list[str]:
        """Give why the meter is not believed, where it is not."""
        with self.lock:
            return [str(doubt) for doubt in self.meter.doubts(*self.channels)]

    def is_known(self, *, up_s: float) -> bool:
        """Say whether the power is known now."""
        with self.lock:
            return self.meter.power_w(*self.channels, at=EPOCH + timedelta(seconds=up_s)) is not None

    def describe(self, *, up_s: float) -> str:
        """Say in one line what is known now, for the person who mounts the box."""
        at = EPOCH + timedelta(seconds=up_s)
        with self.lock:
            power_w = self.meter.power_w(*self.channels, at=at)
            energy_wh, doubts = self.meter.energy_wh(*self.channels, at=at), self.meter.doubts(*self.channels)
            known = [self.meter.channel(channel) for channel in self.channels]
        volts = ", ".join(f"{each.voltage_v:.1f} V" for each in known if each.voltage_v is not None)
        amperes = ", ".join(f"{each.current_a:.3f} A" for each in known if each.current_a is not None)
        parts = [
            "no answer" if power_w is None else f"{power_w:.1f} W",
            volts,
            amperes,
            "no counter" if energy_wh is None else f"{energy_wh / 1000:.3f} kWh",
            *(f"not believed: {doubt}" for doubt in doubts),
            "indicative only" if self.indicative else "",
        ]
        return f"{self.name}: " + ", ".join(part for part in parts if part)

"""The terminal's only clock: a wall that may jump, and milliseconds that never do.

A demonstration runs faster than life by an anchor "real,simulated,speed", which all its processes share; then both the
wall and the monotonic milliseconds are simulated, so that durations and prices come out as in life.
"""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MS_PER_NS = 1_000_000


class Clock(Protocol):
    """What the terminal asks of time."""

    @property
    def boot_key(self) -> str:
        """Name the period within which `mono_ms` may be compared: one start of the machine."""

    def wall_ms(self) -> int:
        """Give the wall's time in epoch ms; it may be wrong, and it may jump."""

    def mono_ms(self) -> int:
        """Give milliseconds that run evenly through the death and restart of a process, but not of the machine."""

    def real_s(self, duration_ms: int) -> float:
        """Give how many seconds of life this clock needs for a duration of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """At `real` the simulated wall showed `simulated`; since then it has run `speed` times as fast."""

    real: datetime
    simulated: datetime
    speed: float

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """Read "real,simulated,speed" (ISO 8601, ISO 8601, a positive number). Raises ValueError."""
        real, simulated, speed = text.split(",")
        anchor = cls(real=_moment(real), simulated=_moment(simulated), speed=float(speed))
        if not anchor.speed > 0:
            raise ValueError("the speed must be positive")
        return anchor


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class MachineClock:
    """The machine's clocks, or simulated ones that follow them by an anchor."""

    def __init__(self, anchor: Anchor | None = None) -> None:
        self._anchor = anchor
        self._speed = anchor.speed if anchor else 1.0
        name = f"{anchor.real.isoformat()},{anchor.simulated.isoformat()},{anchor.speed:g}" if anchor else "life"
        self.boot_key = f"{_machine_boot()} {name}"

    def wall_ms(self) -> int:
        """Give the wall's time in epoch ms."""
        real = datetime.now(UTC)
        if self._anchor is None:
            return round(real.timestamp() * 1000)
        passed = timedelta(seconds=(real - self._anchor.real).total_seconds() * self._speed)
        return round((self._anchor.simulated + passed).timestamp() * 1000)

    def mono_ms(self) -> int:
        """Give milliseconds since the machine's start, also those it slept through."""
        return int(time.clock_gettime_ns(time.CLOCK_BOOTTIME) * self._speed) // _MS_PER_NS

    def real_s(self, duration_ms: int) -> float:
        """Give how many seconds of life pass while this clock runs `duration_ms`."""
        return duration_ms / 1000 / self._speed


def _machine_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # Without a name for the machine's start, each process is taken for one: durations become lower bounds.
        return f"process {os.getpid()} {time.time_ns()}"

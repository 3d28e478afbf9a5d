"""The only "now" of the service.

In production it is the machine's clock. A demonstration may run faster than life: then all its processes share an
*anchor* (real moment, simulated moment, speed) and agree on a simulated time without talking to each other.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """At `real` the simulated clock showed `simulated`; since then it has run `speed` times as fast."""

    real: datetime
    simulated: datetime
    speed: float

    def __str__(self) -> str:
        return f"{self.real.isoformat()},{self.simulated.isoformat()},{self.speed:g}"

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """Read what `str` wrote. Raises ValueError on anything else."""
        real, simulated, speed = text.split(",")
        return cls(real=datetime.fromisoformat(real), simulated=datetime.fromisoformat(simulated), speed=float(speed))

    def at(self, real: datetime) -> datetime:
        """Give the simulated moment at a real one."""
        return self.simulated + timedelta(seconds=(real - self.real).total_seconds() * self.speed)


_anchor: Anchor | None = None


def set_anchor(anchor: Anchor | None) -> None:
    """Make this process read simulated time, or with None the machine's clock again."""
    global _anchor  # noqa: PLW0603 - the process has one clock, and this is its place
    _anchor = anchor


def now() -> datetime:
    """Give the present moment in UTC."""
    real = real_now()
    return real if _anchor is None else _anchor.at(real)


def allowing(real: timedelta) -> timedelta:
    """Give how far this clock runs while people and networks take `real` of their own time, and never less than that.

    A demonstration that runs faster than life gives nobody less time for what a person or a machine must do in life.
    """
    return real if _anchor is None else real * max(1.0, _anchor.speed)


def real_now() -> datetime:
    """Give the machine's own moment in UTC, for what is agreed with the outside world, such as a payment's age."""
    return datetime.now(UTC)

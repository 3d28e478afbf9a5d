"""A meter as its messages make it known: partial ones are laid over what was known, and what is old is silent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from telemetry.adapters import shelly, tasmota, zigbee2mqtt
from telemetry.adapters.values import MeterReading


class Family(StrEnum):
    """The families of meters that are understood."""

    SHELLY = "shelly"
    TASMOTA = "tasmota"
    ZIGBEE2MQTT = "zigbee2mqtt"


Reader = Callable[[str, bytes], list[MeterReading]]
READERS: dict[Family, Reader] = {
    Family.SHELLY: shelly.read,
    Family.TASMOTA: tasmota.read,
    Family.ZIGBEE2MQTT: zigbee2mqtt.read,
}
# Below a device's prefix, what to subscribe to.
TOPICS: dict[Family, tuple[str, ...]] = {
    Family.SHELLY: shelly.TOPICS,
    Family.TASMOTA: tasmota.TOPICS,
    Family.ZIGBEE2MQTT: zigbee2mqtt.TOPICS,
}
# The longest time between two messages of a healthy meter by its factory settings, with a margin.
SILENT_AFTER: dict[Family, timedelta] = {
    Family.SHELLY: timedelta(seconds=90),
    Family.TASMOTA: timedelta(seconds=330),
    Family.ZIGBEE2MQTT: timedelta(seconds=660),
}


@dataclass(slots=True)
class _Channel:
    """What is known of a channel, and since when."""

    power_w: float | None = None
    relay_on: bool | None = None
    fresh_at: datetime | None = None
    measured_at: datetime | None = None


@dataclass(slots=True)
class Meter:
    """One device of a family; `power_w` is the newest value, for as long as the meter is not silent."""

    family: Family
    _channels: dict[int, _Channel] = field(default_factory=dict)
    _online: bool = True

    def take(self, topic: str, payload: bytes, *, received_at: datetime) -> None:
        """Lay a message over what is known. Raises MessageRefused for what is none of this family."""
        for reading in READERS[self.family](topic, payload):
            if reading.online is not None:
                self._online = reading.online
                continue
            self._online = True
            self._lay_over(self._channels.setdefault(reading.channel, _Channel()), reading, received_at)

    def power_w(self, channel: int, *, at: datetime) -> float | None:
        """Give the power of a channel, or None where nobody knows it."""
        known = self._channels.get(channel)
        if not self._online or known is None or known.fresh_at is None or known.power_w is None:
            return None
        return known.power_w if at - known.fresh_at <= SILENT_AFTER[self.family] else None

    @staticmethod
    def _lay_over(known: _Channel, reading: MeterReading, received_at: datetime) -> None:
        if reading.at is not None and known.measured_at is not None and reading.at <= known.measured_at:
            return  # cached, and published again: it says nothing about now
        known.measured_at = reading.at or known.measured_at
        known.fresh_at = received_at
        if reading.relay_on is not None:
            known.relay_on = reading.relay_on
        if reading.power_w is not None:
            known.power_w = reading.power_w
        elif known.relay_on is False:
            known.power_w = 0.0  # with the relay open no current flows, whatever was measured before

"""A meter as its messages make it known: partial ones are laid over what was known, and what is old is silent."""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from telemetry.adapters import shelly, shelly_gen1, tasmota, zigbee2mqtt
from telemetry.adapters.channel import Channels
from telemetry.adapters.values import MeterReading


class Family(StrEnum):
    """The families of meters that are understood."""

    SHELLY = "shelly"
    SHELLY_GEN1 = "shelly-gen1"
    TASMOTA = "tasmota"
    ZIGBEE2MQTT = "zigbee2mqtt"


Reader = Callable[[str, bytes], list[MeterReading]]
READERS: dict[Family, Reader] = {
    Family.SHELLY: shelly.read,
    Family.SHELLY_GEN1: shelly_gen1.read,
    Family.TASMOTA: tasmota.read,
    Family.ZIGBEE2MQTT: zigbee2mqtt.read,
}
# Below a device's prefix, what to subscribe to.
TOPICS: dict[Family, tuple[str, ...]] = {
    Family.SHELLY: shelly.TOPICS,
    Family.SHELLY_GEN1: shelly_gen1.TOPICS,
    Family.TASMOTA: tasmota.TOPICS,
    Family.ZIGBEE2MQTT: zigbee2mqtt.TOPICS,
}
# The longest time between two messages of a healthy meter by its factory settings, with a margin.
SILENT_AFTER: dict[Family, timedelta] = {
    Family.SHELLY: timedelta(seconds=90),
    Family.SHELLY_GEN1: timedelta(seconds=90),
    Family.TASMOTA: timedelta(seconds=330),
    Family.ZIGBEE2MQTT: timedelta(seconds=660),
}
# What may be old without saying so tells a person something, and no court.
INDICATIVE = frozenset({Family.ZIGBEE2MQTT})
_TASMOTA_ROOTS = ("tele", "stat")


def topics(family: Family, *, prefix: str) -> list[str]:
    """Give what to subscribe to for a device; Tasmota answers and reports under two roots."""
    roots = [prefix]
    root, slash, device = prefix.partition("/")
    if family is Family.TASMOTA and slash and root in _TASMOTA_ROOTS:
        roots = [f"{each}/{device}" for each in _TASMOTA_ROOTS]
    return [f"{root}/{topic}".rstrip("/") for root in roots for topic in TOPICS[family]]


class Meter(Channels):
    """One device of a family; `power_w` is the newest value, for as long as the meter is not silent."""

    def __init__(self, family: Family) -> None:
        super().__init__(SILENT_AFTER[family])
        self.family = family

    def take(self, topic: str, payload: bytes, *, received_at: datetime, retained: bool = False) -> None:
        """Lay a message over what is known. Raises MessageRefused for what is none of this family."""
        self.take_readings(READERS[self.family](topic, payload), received_at=received_at, retained=retained)

    def is_repeated(self, reading: MeterReading) -> bool:
        """Say whether a family that publishes from a cache has published the same measurement again."""
        measured_at = self.channel(reading.channel).measured_at
        return self.family in INDICATIVE and reading.at is not None and reading.at == measured_at

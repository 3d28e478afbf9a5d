"""Zigbee2MQTT: indicative only. It publishes what it has cached again, and single attributes on topics of their own."""

from datetime import UTC, datetime
from typing import Any

from telemetry.adapters.values import (
    WH_PER_KWH,
    Flag,
    MeterReading,
    energy,
    number,
    parse_json,
    parse_word,
    power,
    zoned_time,
)
from telemetry.errors import DeadReason, MessageRefused

ENERGY_STEP_WH = 10.0
TOPICS = ("", "power", "energy", "current", "voltage", "state", "availability")
_NUMBERS = ("power", "energy", "current", "voltage")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message of `zigbee2mqtt/<device>[/attribute]`. Raises MessageRefused."""
    attribute = topic.split("/", maxsplit=2)[2] if topic.count("/") > 1 else ""
    if attribute == "availability":
        return [MeterReading(online=_is_online(payload))]
    if attribute == "state":
        return [MeterReading(relay_on=parse_word(payload, yes="on", no="off"))]
    if attribute in _NUMBERS:
        return [_reading({attribute: parse_json(payload)})]
    if attribute:
        return []
    content = parse_json(payload)
    if not isinstance(content, dict):
        raise MessageRefused(DeadReason.NOT_AN_OBJECT)
    return [_reading(content)]


def _reading(content: dict[str, Any]) -> MeterReading:
    state = content.get("state")
    # Members that were never measured are null only where all of the cache is published.
    is_whole_cache = any(value is None for name, value in content.items() if name not in _NUMBERS)
    return MeterReading(
        power_w=power(content.get("power")),
        voltage_v=number(content.get("voltage")),
        current_a=number(content.get("current")),
        energy_wh=energy(content.get("energy"), WH_PER_KWH),
        energy_step_wh=ENERGY_STEP_WH,
        relay_on=state == "ON" if state in ("ON", "OFF") else None,
        at=_last_seen(content.get("last_seen")),
        flags=frozenset({Flag.POSSIBLY_CACHED}) if is_whole_cache else frozenset(),
    )


def _is_online(payload: bytes) -> bool:
    """Read the word itself or, since Zigbee2MQTT 2, an object with it."""
    content = parse_json(payload) if payload[:1] == b"{" else None
    if isinstance(content, dict):
        payload = str(content.get("state")).encode(errors="replace")
    return parse_word(payload, yes="online", no="offline")


def _last_seen(value: object) -> datetime | None:
    """Read ISO 8601 with a zone or milliseconds since 1970; both are settings of Zigbee2MQTT."""
    count = number(value)
    try:
        return zoned_time(value) if count is None else datetime.fromtimestamp(count / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None

"""Zigbee2MQTT: indicative only. It publishes what it has cached again, and single attributes on topics of their own."""

import re
from dataclasses import replace
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
_NUMBERS = ("power", "energy", "current", "voltage")
_COMMANDS = ("set", "get")
# What Zigbee2MQTT appends to an attribute of a device with several: sockets of a strip, clamps, phases.
_PLACES = {f"l{number}": number - 1 for number in range(1, 9)} | {"left": 0, "right": 1, "center": 2}
_PHASES = {"a": 0, "b": 1, "c": 2} | {"phase_b": 1, "phase_c": 2}
_ATTRIBUTE = re.compile(rf"({'|'.join(_NUMBERS)}|state)(?:_({'|'.join([*_PLACES, *_PHASES])}))?")
TOPICS = (
    *("", "availability", "state", *_NUMBERS),
    *(f"{name}_{place}" for place in (*_PLACES, "phase_b", "phase_c") for name in ("state", *_NUMBERS)),
)


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message of `zigbee2mqtt/<device>[/attribute]`. Raises MessageRefused.

    A device may have slashes in its name; what is no attribute of ours is then a part of it.
    """
    attribute = topic.rpartition("/")[2] if topic.count("/") > 1 else ""
    if attribute == "availability":
        return [MeterReading(online=_is_online(payload))]
    if attribute in _COMMANDS:
        return []
    place = _ATTRIBUTE.fullmatch(attribute)
    if place is not None:
        return _attribute(place[1], place[2] or "", payload)
    content = parse_json(payload)
    if isinstance(content, dict):
        return _readings(content)
    if attribute:
        return []
    raise MessageRefused(DeadReason.NOT_AN_OBJECT)


def _attribute(name: str, place: str, payload: bytes) -> list[MeterReading]:
    if place in ("a", "b", "c"):
        return []  # alone it does not say whether it is a channel, or a phase of one that is told as a whole
    channel = (_PLACES | _PHASES).get(place, 0)
    if name == "state":
        return [MeterReading(channel=channel, relay_on=parse_word(payload, yes="on", no="off"))]
    return [_reading({name: parse_json(payload)}, {}, channel=channel)]


def _readings(content: dict[str, Any]) -> list[MeterReading]:
    """Part the attributes by what they belong to: the whole device, or one of its places."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        attribute = _ATTRIBUTE.fullmatch(key)
        if attribute is not None:
            found.setdefault(attribute[2] or "", {})[attribute[1]] = value
    whole = found.pop("", {})
    # A voltage or a current alone is no channel.
    places = {name: values for name, values in found.items() if values.keys() & {"power", "energy", "state"}}
    first: MeterReading | None
    if "power" in whole and "power" not in places.get("l1", places.get("left", {})):
        phases = [places.pop(name)["power"] for name in ("a", "b", "c") if "power" in places.get(name, {})]
        first = replace(_reading(whole, content), power_w_phases=tuple(power(value) for value in phases))
    else:
        first = None if places else _reading(whole, content)
    others = [
        _reading({"voltage": whole.get("voltage"), **values}, content, channel=(_PLACES | _PHASES)[name])
        for name, values in places.items()
    ]
    readings = sorted([*([] if first is None else [first]), *others], key=lambda reading: reading.channel)
    measured = [reading for reading in readings if reading.power_w is not None]
    if len(measured) > 1 and "energy" in whole:
        # Of several channels one counter is the device's.
        total_wh = energy(whole["energy"], WH_PER_KWH)
        return [
            replace(reading, device_energy_wh=total_wh, energy_wh=None if reading is first else reading.energy_wh)
            for reading in readings
        ]
    return readings


def _reading(values: dict[str, Any], content: dict[str, Any], *, channel: int = 0) -> MeterReading:
    state = values.get("state")
    # Members that were never measured are null only where all of the cache is published.
    is_whole_cache = any(value is None for name, value in content.items() if name not in _NUMBERS)
    return MeterReading(
        channel=channel,
        power_w=power(values.get("power")),
        voltage_v=number(values.get("voltage")),
        current_a=number(values.get("current")),
        energy_wh=energy(values.get("energy"), WH_PER_KWH),
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

"""Shelly Gen1: watt-minutes on relays, watt-hours on clamps, and a local time that only looks like seconds since 1970.

Over MQTT each value has a topic of its own (`shellies/<device>/relay/0/power`); the answer of `GET /status` has all.
"""

import re
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from telemetry.adapters.values import (
    Flag,
    MeterReading,
    energy,
    number,
    parse_json,
    parse_number,
    parse_object,
    parse_word,
    power,
)
from telemetry.errors import DeadReason, MessageRefused

MINUTES_PER_HOUR = 60
ENERGY_STEP_WH = 0.1
TOPICS = (
    *("online", "relay/+", "relay/+/power", "relay/+/energy", "meter/+/power", "meter/+/energy"),
    *("emeter/+/power", "emeter/+/total", "emeter/+/current", "emeter/+/voltage"),
)
_TOPIC = re.compile(r"(relay|meter|emeter)/([0-9]{1,2})(?:/([a-z_]+))?$")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message, or of one answer of `GET /status`. Raises MessageRefused."""
    if topic.endswith("/online"):
        return [MeterReading(online=parse_json(payload) is True)]
    place = _TOPIC.search(topic)
    if place is not None:
        return _value(place[1], int(place[2]), place[3], payload)
    if topic.rstrip(")").endswith("/status"):
        return _status(parse_object(payload))
    return []


def _value(kind: str, channel: int, name: str | None, payload: bytes) -> list[MeterReading]:
    found: dict[str, Any]
    match (kind, name):
        case ("relay", None):
            return [MeterReading(channel=channel, relay_on=parse_word(payload, yes="on", no="off"))]
        case (_, "power"):
            found = {"power_w": power(parse_number(payload))}
        case ("relay" | "meter", "energy"):
            found = {"energy_wh": _watt_minutes(parse_number(payload)), "energy_step_wh": ENERGY_STEP_WH}
        case ("emeter", "total"):
            found = {"energy_wh": energy(parse_number(payload)), "energy_step_wh": ENERGY_STEP_WH}
        case ("emeter", "current"):
            found = {"current_a": parse_number(payload)}
        case ("emeter", "voltage"):
            found = {"voltage_v": parse_number(payload)}
        case _:
            return []
    return [replace(MeterReading(channel=channel, by_clamp=kind == "emeter"), **found)]


def _status(content: dict[str, Any]) -> list[MeterReading]:
    relays, meters, clamps = (_objects(content.get(name, [])) for name in ("relays", "meters", "emeters"))
    if clamps:
        return [_clamp(channel, clamp) for channel, clamp in enumerate(clamps)]
    return [
        _meter(channel, relay or {}, meter or {}) for channel, (relay, meter) in enumerate(zip_longest(relays, meters))
    ]


def _meter(channel: int, relay: dict[str, Any], meter: dict[str, Any]) -> MeterReading:
    is_valid, is_on = meter.get("is_valid", True) is True, relay.get("ison")
    return MeterReading(
        channel=channel,
        power_w=power(meter.get("power")) if is_valid else None,
        energy_wh=_watt_minutes(meter.get("total")) if is_valid else None,
        energy_step_wh=ENERGY_STEP_WH,
        relay_on=is_on if isinstance(is_on, bool) else None,
        flags=frozenset() if is_valid else frozenset({Flag.POWER_INVALID}),
    )


def _clamp(channel: int, clamp: dict[str, Any]) -> MeterReading:
    is_valid = clamp.get("is_valid", True) is True
    return MeterReading(
        channel=channel,
        power_w=power(clamp.get("power")) if is_valid else None,
        voltage_v=number(clamp.get("voltage")),
        current_a=number(clamp.get("current")),
        energy_wh=energy(clamp.get("total")) if is_valid else None,
        energy_step_wh=ENERGY_STEP_WH,
        by_clamp=True,
        flags=frozenset() if is_valid else frozenset({Flag.POWER_INVALID}),
    )


def _watt_minutes(value: object) -> float | None:
    """Give Wh, to a tenth: the power behind it is known to a percent."""
    found_wh = energy(value, 1 / MINUTES_PER_HOUR)
    return None if found_wh is None else round(found_wh, 1)


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise MessageRefused(DeadReason.FIELD_WRONG)
    return value

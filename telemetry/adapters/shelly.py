"""Shelly Gen2 to Gen4: notifications that say only what changed, and component states that carry no time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from telemetry.adapters.values import Flag, MeterReading, energy, number, parse_json, parse_object, power, unix_time
from telemetry.errors import DeadReason, MessageRefused

# Component → where its power and its energy in Wh are. Three-phase meters keep energy in a component of its own.
_POWER = dict.fromkeys(("switch", "pm1", "cover", "light", "rgb", "rgbw", "cct"), "apower")
_METERS = {"em": "total_act_power", "em1": "act_power"}
_ENERGY = {"emdata": "total_act", "em1data": "total_act_energy"}
_PHASES = ("a", "b", "c")
_ERRORS = ("errors", *(f"{phase}_errors" for phase in _PHASES))
ENERGY_STEP_WH = 0.1
TOPICS = ("events/rpc", "status/+", "online")
_METHODS = ("NotifyStatus", "NotifyFullStatus")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message below the device's prefix. Raises MessageRefused."""
    if topic.endswith("/online"):
        return [MeterReading(online=parse_json(payload) is True)]
    if topic.endswith("/events/rpc"):
        return _notification(parse_object(payload))
    _, found, name = topic.rpartition("/status/")
    if not found:
        return []
    content = parse_json(payload)
    if not isinstance(content, dict):
        if name.partition(":")[0] not in {*_POWER, *_METERS, *_ENERGY}:
            return []  # `status/mqtt` and the like say things that are none of ours in whatever form
        raise MessageRefused(DeadReason.NOT_AN_OBJECT)
    return list(_component(name, content))


def _notification(content: dict[str, Any]) -> list[MeterReading]:
    if content.get("method") not in _METHODS:
        return []
    params = content.get("params")
    if not isinstance(params, dict):
        raise MessageRefused(DeadReason.FIELD_WRONG)
    at = unix_time(params.get("ts"))
    # Before it has met a time server a Shelly counts from 1970.
    flags = frozenset({Flag.CLOCK_UNSET}) if at is None and params.get("ts") is not None else frozenset()
    booted_at = _booted_at(params.get("sys"))
    return [
        replace(reading, at=at, flags=flags | reading.flags, booted_at=booted_at)
        for name, part in params.items()
        for reading in _component(name, part)
    ]


def _component(name: str, content: Any) -> Iterator[MeterReading]:
    kind, _, place = name.partition(":")
    if kind not in _POWER and kind not in _METERS and kind not in _ENERGY:
        return
    if not (place.isascii() and place.isdecimal()) or len(place) > 3 or not isinstance(content, dict):  # noqa: PLR2004
        raise MessageRefused(DeadReason.FIELD_WRONG)
    if kind in _ENERGY:
        yield MeterReading(
            channel=int(place),
            energy_wh=energy(content.get(_ENERGY[kind])),
            energy_step_wh=ENERGY_STEP_WH,
            by_clamp=True,
        )
    elif kind in _METERS:
        yield _meter(int(place), content, power_key=_METERS[kind])
    else:
        yield _switch(int(place), content, power_key=_POWER[kind])


def _switch(channel: int, content: dict[str, Any], *, power_key: str) -> MeterReading:
    counter = content.get("aenergy")
    counted = counter if isinstance(counter, dict) else {}
    output, is_valid = content.get("output"), _is_valid(content)
    return MeterReading(
        channel=channel,
        power_w=power(content.get(power_key)) if is_valid else None,
        voltage_v=number(content.get("voltage")),
        current_a=number(content.get("current")),
        energy_wh=energy(counted.get("total")),
        energy_step_wh=ENERGY_STEP_WH,
        relay_on=output if isinstance(output, bool) else None,
        not_before=unix_time(counted.get("minute_ts")),
        flags=frozenset() if is_valid else frozenset({Flag.POWER_INVALID}),
    )


def _meter(channel: int, content: dict[str, Any], *, power_key: str) -> MeterReading:
    phases = [f"{phase}_act_power" for phase in _PHASES if f"{phase}_act_power" in content]
    total_current, is_valid = content.get("total_current", content.get("current")), _is_valid(content)
    return MeterReading(
        channel=channel,
        power_w=power(content.get(power_key)) if is_valid else None,
        power_w_phases=tuple(power(content[phase]) for phase in phases),
        voltage_v=number(content.get("voltage")),
        current_a=number(total_current),
        by_clamp=True,
        flags=frozenset() if is_valid else frozenset({Flag.POWER_INVALID}),
    )


def _is_valid(content: dict[str, Any]) -> bool:
    """Say whether a component believes its own power; of its other errors, as being too hot, none says otherwise."""
    told = [content.get(name) for name in _ERRORS]
    errors = [str(error) for each in told if isinstance(each, list) for error in each]
    return not any(
        error == "power_meter_failure" or (error.startswith("out_of_range:") and error.endswith("power"))
        for error in errors
    )


def _booted_at(system: object) -> datetime | None:
    """Give when the device was switched on: after a power cut some counters begin again at 0."""
    if not isinstance(system, dict):
        return None
    now, uptime_s = unix_time(system.get("unixtime")), number(system.get("uptime"))
    if now is None or uptime_s is None or not 0 <= uptime_s <= now.timestamp():
        return None
    return now - timedelta(seconds=uptime_s)

"""Tasmota: local time without a zone, so none that counts; values that are scalar, list or object; energy in kWh."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from telemetry.adapters.values import (
    WH_PER_KWH,
    Flag,
    MeterReading,
    energy,
    number,
    parse_object,
    parse_word,
    power,
    unix_time,
    zoned_time,
)
from telemetry.errors import DeadReason, MessageRefused

TOPICS = ("SENSOR", "STATE", "LWT", "STATUS8", "STATUS10", "STATUS11", "RESULT", "POWER", "POWER1", "POWER2")
YEAR_MIN = 2016  # the first Tasmota; a clock that shows less was never set
_RELAY = re.compile(r"POWER([1-9][0-9]?)?")
_CHANNELS_MAX = 32


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message of `tele/<device>/…` or `stat/<device>/…`. Raises MessageRefused."""
    kind = topic.rpartition("/")[2]
    if kind == "LWT":
        return [MeterReading(online=parse_word(payload, yes="online", no="offline"))]
    relay = _RELAY.fullmatch(kind)
    if relay is not None:
        return [MeterReading(channel=int(relay[1] or 1) - 1, relay_on=parse_word(payload, yes="on", no="off"))]
    if kind not in TOPICS:
        return []
    content = parse_object(payload)
    sensors, state = _inner(content, "StatusSNS"), _inner(content, "StatusSTS")
    return _timed(sensors, _sensors(sensors)) + _timed(state, _relays(state))


def _timed(content: dict[str, Any], found: list[MeterReading]) -> list[MeterReading]:
    flags, at = _clock(content.get("Time"))
    return [replace(reading, flags=flags, at=at) for reading in found]


def _inner(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Give what an answer to `Status` wraps once more."""
    wrapped = content.get(name)
    return wrapped if isinstance(wrapped, dict) else content


def _sensors(content: dict[str, Any]) -> list[MeterReading]:
    sensor = content.get("ENERGY")
    if sensor is None:
        return _clamps(content.get("ANALOG"))
    if not isinstance(sensor, dict):
        raise MessageRefused(DeadReason.FIELD_WRONG)
    return _channels(sensor)


def _channels(sensor: dict[str, Any]) -> list[MeterReading]:
    """Each socket of a strip, or each phase, is a channel; one total for many of them is the device's."""
    powers, totals = _as_list(sensor.get("Power")), _as_list(sensor.get("Total"))
    voltages, currents = _as_list(sensor.get("Voltage")), _as_list(sensor.get("Current"))
    if len(powers) > _CHANNELS_MAX:
        raise MessageRefused(DeadReason.OUT_OF_RANGE)
    is_shared = len(totals) == 1 < len(powers)
    return [
        MeterReading(
            channel=channel,
            power_w=power(power_w),
            voltage_v=number(_of(voltages, channel, is_for_all=True)),
            current_a=number(_of(currents, channel, is_for_all=len(powers) == 1)),
            energy_wh=None if len(totals) != len(powers) else energy(totals[channel], WH_PER_KWH),
            device_energy_wh=energy(totals[0], WH_PER_KWH) if is_shared else None,
            energy_step_wh=_step_wh(_of(totals, channel, is_for_all=True)),
        )
        for channel, power_w in enumerate(powers)
    ]


def _clamps(analog: object) -> list[MeterReading]:
    if not isinstance(analog, dict):
        return []
    clamps = [
        clamp for name, clamp in sorted(analog.items()) if name.startswith("CTEnergy") and isinstance(clamp, dict)
    ]
    return [
        MeterReading(
            channel=channel,
            power_w=power(clamp.get("Power")),
            voltage_v=number(clamp.get("Voltage")),
            current_a=number(clamp.get("Current")),
            energy_wh=energy(clamp.get("Energy"), WH_PER_KWH),
            energy_step_wh=_step_wh(clamp.get("Energy")),
            by_clamp=True,
        )
        for channel, clamp in enumerate(clamps)
    ]


def _relays(content: dict[str, Any]) -> list[MeterReading]:
    """POWER is the relay and no power; with several relays they are POWER1, POWER2 and so on."""
    readings: list[MeterReading] = []
    for name, value in content.items():
        place = _RELAY.fullmatch(name)
        if place is not None and value in ("ON", "OFF"):
            readings.append(MeterReading(channel=int(place[1] or 1) - 1, relay_on=value == "ON"))
    return readings


def _clock(value: object) -> tuple[frozenset[Flag], datetime | None]:
    """Say whether the clock was ever set; the moment itself only where the text has a zone, or counts from 1970."""
    at = zoned_time(value) or unix_time(value)
    if at is None and isinstance(value, int | float) and not isinstance(value, bool):
        return frozenset({Flag.CLOCK_UNSET}), None
    try:
        shown = at or (datetime.fromisoformat(value) if isinstance(value, str) else None)
    except ValueError:
        return frozenset(), None
    if shown is not None and shown.year < YEAR_MIN:
        return frozenset({Flag.CLOCK_UNSET}), None
    return frozenset(), at


def _step_wh(total: object) -> float:
    """Give the step of a counter: firmware that was built without decimals counts whole kWh."""
    return 1.0 if isinstance(total, float) else float(WH_PER_KWH)


def _of(values: list[Any], channel: int, *, is_for_all: bool) -> object:
    if is_for_all and len(values) == 1:
        return values[0]
    return values[channel] if channel < len(values) and len(values) > 1 else None


def _as_list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else [value]

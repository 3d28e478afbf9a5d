"""Tasmota: local time without a zone, so none that counts; values that are scalar, list or object; energy in kWh."""

from typing import Any

from telemetry.adapters.values import MeterReading, parse_object, power, scaled

WH_PER_KWH = 1000
TOPICS = ("SENSOR", "STATE", "LWT")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message of `tele/<device>/…`. Raises MessageRefused."""
    kind = topic.rpartition("/")[2]
    if kind == "LWT":
        return [MeterReading(online=payload == b"Online")]
    content = parse_object(payload)
    if kind == "STATE":
        return _relays(content)
    if kind != "SENSOR":
        return []
    energy = content.get("ENERGY")
    if isinstance(energy, dict):
        return _channels(energy.get("Power"), energy.get("Total"))
    return _clamps(content.get("ANALOG"))


def _channels(powers: object, totals: object) -> list[MeterReading]:
    """Each socket of a strip, or each phase, is a channel; one total for many of them belongs to none."""
    power_list, total_list = _as_list(powers), _as_list(totals)
    if len(power_list) != len(total_list):
        total_list = [None] * len(power_list)
    return [
        MeterReading(channel=channel, power_w=power(power_w), energy_wh=scaled(total, WH_PER_KWH))
        for channel, (power_w, total) in enumerate(zip(power_list, total_list, strict=True))
    ]


def _clamps(analog: object) -> list[MeterReading]:
    if not isinstance(analog, dict):
        return []
    clamps = [
        clamp for name, clamp in sorted(analog.items()) if name.startswith("CTEnergy") and isinstance(clamp, dict)
    ]
    return [
        MeterReading(
            channel=channel, power_w=power(clamp.get("Power")), energy_wh=scaled(clamp.get("Energy"), WH_PER_KWH)
        )
        for channel, clamp in enumerate(clamps)
    ]


def _relays(content: dict[str, Any]) -> list[MeterReading]:
    """POWER is the relay and no power; with several relays they are POWER1, POWER2 and so on."""
    readings: list[MeterReading] = []
    for name, value in content.items():
        place = name.removeprefix("POWER")
        if name.startswith("POWER") and value in ("ON", "OFF") and (not place or place.isdecimal()):
            readings.append(MeterReading(channel=int(place or 1) - 1, relay_on=value == "ON"))
    return readings


def _as_list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else [value]

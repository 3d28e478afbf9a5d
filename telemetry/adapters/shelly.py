"""Shelly Gen2 to Gen4: notifications that say only what changed, and component states that carry no time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from telemetry.adapters.values import MeterReading, number, parse_json, parse_object, power, scaled
from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import DEVICE_MS_MAX, DEVICE_MS_MIN

# Component → where its power and its energy in Wh are. Three-phase meters keep energy in a component of its own.
_POWER = {"switch": "apower", "pm1": "apower", "cover": "apower", "em": "total_act_power", "em1": "act_power"}
_ENERGY = {"emdata": "total_act", "em1data": "total_act_energy"}
TOPICS = ("events/rpc", "status/+", "online")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message below the device's prefix. Raises MessageRefused."""
    if topic.endswith("/online"):
        return [MeterReading(online=parse_json(payload) is True)]
    content = parse_object(payload)
    if topic.endswith("/events/rpc"):
        if content.get("method") not in ("NotifyStatus", "NotifyFullStatus"):
            return []
        params = content.get("params")
        if not isinstance(params, dict):
            raise MessageRefused(DeadReason.FIELD_WRONG)
        at = _time(params.get("ts"))
        return [reading for name, part in params.items() for reading in _component(name, part, at=at)]
    _, _, name = topic.rpartition("/status/")
    return list(_component(name, content, at=None))


def _component(name: str, content: Any, *, at: datetime | None) -> Iterator[MeterReading]:
    kind, _, place = name.partition(":")
    if kind not in _POWER and kind not in _ENERGY:
        return
    if not place.isdecimal() or not isinstance(content, dict):
        raise MessageRefused(DeadReason.FIELD_WRONG)
    total = content.get(_ENERGY[kind]) if kind in _ENERGY else _total(content)
    output = content.get("output")
    yield MeterReading(
        channel=int(place),
        power_w=power(content.get(_POWER[kind])) if kind in _POWER else None,
        energy_wh=scaled(total, 1),
        relay_on=output if isinstance(output, bool) else None,
        at=at,
    )


def _total(content: dict[str, Any]) -> object:
    energy = content.get("aenergy")
    return energy.get("total") if isinstance(energy, dict) else None


def _time(value: object) -> datetime | None:
    found = number(value)
    # Before it has met a time server a Shelly counts from 1970.
    is_set = found is not None and DEVICE_MS_MIN <= found * 1000 < DEVICE_MS_MAX
    return datetime.fromtimestamp(found, UTC) if found is not None and is_set else None

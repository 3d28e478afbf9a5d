"""Zigbee2MQTT: indicative only. It publishes what it has cached again, and single attributes on topics of their own."""

from datetime import UTC, datetime

from telemetry.adapters.values import MeterReading, number, parse_json, power, scaled
from telemetry.errors import DeadReason, MessageRefused

WH_PER_KWH = 1000
TOPICS = ("", "power", "energy", "state", "availability")


def read(topic: str, payload: bytes) -> list[MeterReading]:
    """Give the readings of one message of `zigbee2mqtt/<device>[/attribute]`. Raises MessageRefused."""
    attribute = topic.split("/", maxsplit=2)[2] if topic.count("/") > 1 else ""
    if attribute == "availability":
        return [MeterReading(online=b"online" in payload)]
    if attribute == "state":
        return [MeterReading(relay_on=payload.strip(b'"') == b"ON")]
    content = parse_json(payload)
    if attribute in ("power", "energy"):
        content = {attribute: content}
    elif attribute:
        return []
    if not isinstance(content, dict):
        raise MessageRefused(DeadReason.NOT_AN_OBJECT)
    state = content.get("state")
    return [
        MeterReading(
            power_w=power(content.get("power")),
            energy_wh=scaled(content.get("energy"), WH_PER_KWH),
            relay_on=state == "ON" if state in ("ON", "OFF") else None,
            at=_last_seen(content.get("last_seen")),
        )
    ]


def _last_seen(value: object) -> datetime | None:
    """Read ISO 8601 with a zone or milliseconds since 1970; both are settings of Zigbee2MQTT."""
    count = number(value)
    try:
        if count is not None:
            return datetime.fromtimestamp(count / 1000, UTC)
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None

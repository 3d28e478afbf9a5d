"""What the server may tell a box on `cmd`: the time, a configuration, to be born again, to send again.

A command is JSON with `do` and an `id` that the box repeats in its next birth, so that the server sees what was done
and what was refused. Commands are never retained: one that was lost is told again when the birth does not show it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import (
    CHANNEL_MAX,
    COUNT_MAX,
    DEVICE_MS_MAX,
    DEVICE_MS_MIN,
    PAYLOAD_BYTES_MAX,
    POWER_W_MAX,
    SAMPLES_MAX,
    SPAN_MS_MAX,
    STEP_MS_MAX,
    encode,
)

HEARTBEAT_S_MIN, HEARTBEAT_S_MAX = 10, 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From `run_w` on a channel runs, below `rest_w` it rests, in between it stays as it was."""

    run_w: float
    rest_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How a box measures. `channels` None is all that it has; only channels with a threshold send events."""

    sample_s: int = 10
    batch: int = 60
    heartbeat_s: int = 60
    channels: tuple[int, ...] | None = None
    thresholds: dict[int, Threshold] = field(default_factory=dict)

    def hash(self) -> str:
        """Give the same 16 characters for the same configuration on every machine."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTime:
    """The server's time; for a box that has no other."""

    id: int
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Measure like this from now on, also after a restart."""

    id: int
    configuration: Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebirth:
    """Say again what you are and hold."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """Send again what you still hold of a boot, from `first` to `last`."""

    id: int
    boot: int
    first: int
    last: int


Command = SetTime | Configure | Rebirth | Resend


def encode_command(command: Command) -> bytes:
    """Write a command as it goes over the wire."""
    match command:
        case SetTime():
            return encode({"id": command.id, "do": "time", "t": command.time_ms})
        case Configure():
            return encode(
                {"id": command.id, "do": "configuration", **encode_configuration(configuration=command.configuration)}
            )
        case Rebirth():
            return encode({"id": command.id, "do": "rebirth"})
        case Resend():
            return encode(
                {"id": command.id, "do": "resend", "boot": command.boot, "first": command.first, "last": command.last}
            )


def encode_configuration(*, configuration: Configuration) -> dict[str, Any]:
    """Give a configuration in the words of the wire."""
    content: dict[str, Any] = {
        "sample_s": configuration.sample_s,
        "batch": configuration.batch,
        "heartbeat_s": configuration.heartbeat_s,
    }
    if configuration.channels is not None:
        content["channels"] = list(configuration.channels)
    if configuration.thresholds:
        content["thresholds"] = {str(channel): asdict(each) for channel, each in configuration.thresholds.items()}
    return content


def parse_command(payload: bytes) -> Command:
    """Read a command. Raises MessageRefused."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        _refuse(DeadReason.TOO_LARGE)
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        _refuse(DeadReason.NOT_JSON)
    if not isinstance(content, dict):
        _refuse(DeadReason.NOT_AN_OBJECT)
    number = _integer(content, "id")
    match content.get("do"):
        case "time":
            return SetTime(id=number, time_ms=_integer(content, "t", low=DEVICE_MS_MIN, high=DEVICE_MS_MAX))
        case "configuration":
            return Configure(id=number, configuration=parse_configuration(content))
        case "rebirth":
            return Rebirth(id=number)
        case "resend":
            return _resend(content, number)
    raise MessageRefused(DeadReason.FIELD_WRONG if "do" in content else DeadReason.FIELD_MISSING)


def parse_configuration(content: dict[str, Any]) -> Configuration:
    """Read a configuration; what is not said is as from the factory. Raises MessageRefused."""
    default = Configuration()
    sample_s = _integer(content, "sample_s", low=1, high=STEP_MS_MAX // 1000, default=default.sample_s)
    batch = _integer(content, "batch", low=1, high=SAMPLES_MAX, default=default.batch)
    if sample_s * batch * 1000 > SPAN_MS_MAX:
        _refuse(DeadReason.OUT_OF_RANGE)
    return Configuration(
        sample_s=sample_s,
        batch=batch,
        heartbeat_s=_integer(
            content, "heartbeat_s", low=HEARTBEAT_S_MIN, high=HEARTBEAT_S_MAX, default=default.heartbeat_s
        ),
        channels=_channels(content.get("channels")),
        thresholds=_thresholds(content.get("thresholds", {})),
    )


def _resend(content: dict[str, Any], number: int) -> Resend:
    first, last = _integer(content, "first", low=1), _integer(content, "last", low=1)
    if first > last:
        _refuse(DeadReason.OUT_OF_RANGE)
    return Resend(id=number, boot=_integer(content, "boot"), first=first, last=last)


def _channels(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or any(type(channel) is not int for channel in value):
        _refuse(DeadReason.FIELD_WRONG)
    if not value or len(set(value)) != len(value) or not all(0 <= channel <= CHANNEL_MAX for channel in value):
        _refuse(DeadReason.OUT_OF_RANGE)
    return tuple(sorted(value))


def _thresholds(value: object) -> dict[int, Threshold]:
    if not isinstance(value, dict):
        _refuse(DeadReason.FIELD_WRONG)
    found: dict[int, Threshold] = {}
    for name, content in sorted(value.items()):
        if not name.isascii() or not name.isdecimal() or not isinstance(content, dict):
            _refuse(DeadReason.FIELD_WRONG)
        run_w, rest_w = _watts(content.get("run_w")), _watts(content.get("rest_w"))
        if len(name) > 3 or int(name) > CHANNEL_MAX or not 0 < rest_w <= run_w <= POWER_W_MAX:  # noqa: PLR2004
            _refuse(DeadReason.OUT_OF_RANGE)
        found[int(name)] = Threshold(run_w=run_w, rest_w=rest_w)
    return found


def _watts(value: object) -> float:
    if type(value) is not int and type(value) is not float:
        _refuse(DeadReason.FIELD_MISSING if value is None else DeadReason.FIELD_WRONG)
    if not 0 <= value <= POWER_W_MAX:
        _refuse(DeadReason.OUT_OF_RANGE)
    return float(value)


def _integer(
    content: dict[str, Any], name: str, *, low: int = 0, high: int = COUNT_MAX, default: int | None = None
) -> int:
    value = content.get(name, default)
    if type(value) is not int:
        _refuse(DeadReason.FIELD_MISSING if value is None else DeadReason.FIELD_WRONG)
    if not low <= value <= high:
        _refuse(DeadReason.OUT_OF_RANGE)
    return value


def _refuse(reason: DeadReason) -> NoReturn:
    raise MessageRefused(reason)

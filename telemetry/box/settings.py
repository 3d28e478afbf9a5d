"""What the person who mounts a collector box writes into its file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry.adapters.channel import CHANNELS_MAX
from telemetry.adapters.meter import Family
from telemetry.box.buffer import MESSAGES_MAX
from telemetry.box.profile import Profile, read_profile
from telemetry.commands import Configuration, parse_configuration
from telemetry.errors import MessageRefused
from telemetry.messages import CODE

MODBUS_RTU, MODBUS_TCP = "modbus-rtu", "modbus-tcp"
BOX_CHANNELS_MAX = 16
_REQUIRED = object()
Entry = tuple[tuple[type, ...], object]
Table = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """One `[[meter]]`. Each of its places is a channel of the box: a channel of the meter, or several to be summed."""

    kind: str
    places: tuple[tuple[int, ...], ...]
    host: str
    port: int
    prefix: str = ""
    username: str | None = None
    password: str | None = None
    profile: Profile | None = None
    unit: int = 1
    factor: float = 1.0
    baud_rate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    rtu_over_tcp: bool = False

    @property
    def family(self) -> Family | None:
        """Give the family of a plug; None for what speaks Modbus."""
        return None if self.kind in (MODBUS_RTU, MODBUS_TCP) else Family(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSettings:
    """The file's entries. `server_ca` turns TLS on; `synced_file` exists once the clock is set."""

    code: str
    password: str | None
    password_file: Path | None
    server_host: str
    server_port: int
    server_ca: Path | None
    buffer: Path
    messages_max: int
    synced_file: Path | None
    reconnect_s_max: int
    poll_s: float
    configuration: Configuration
    meters: tuple[MeterSettings, ...]

    def read_password(self) -> str:
        """Give the password that holds now: a file may have been replaced. Raises OSError."""
        if self.password_file is None:
            return self.password or ""
        return self.password_file.read_text(encoding="utf-8").strip()


_BOX: dict[str, Entry] = {
    "code": ((str,), _REQUIRED),
    "password": ((str,), None),
    "password_file": ((str,), None),
    "server_host": ((str,), _REQUIRED),
    "server_port": ((int,), 8883),
    "server_ca": ((str,), None),
    "buffer": ((str,), _REQUIRED),
    "messages_max": ((int,), MESSAGES_MAX),
    "synced_file": ((str,), None),
    "reconnect_s_max": ((int,), 120),
    "poll_s": ((int, float), 2),
    "sample_s": ((int,), 10),
    "batch": ((int,), 60),
    "heartbeat_s": ((int,), 60),
    "thresholds": ((dict,), {}),
    "meter": ((list,), _REQUIRED),
}
_MODBUS: dict[str, Entry] = {
    "kind": ((str,), _REQUIRED),
    "profile": ((str,), _REQUIRED),
    "unit": ((int,), 1),
    "factor": ((int, float), 1),
    "channels": ((list,), [0]),
}
_METER: dict[str, dict[str, Entry]] = {
    MODBUS_TCP: {
        **_MODBUS,
        "host": ((str,), _REQUIRED),
        "port": ((int,), 502),
        "rtu_over_tcp": ((bool,), False),
    },
    MODBUS_RTU: {
        **_MODBUS,
        "device": ((str,), _REQUIRED),
        "baud_rate": ((int,), None),
        "parity": ((str,), None),
        "stop_bits": ((int,), None),
    },
}
_PLUG: dict[str, Entry] = {
    "kind": ((str,), _REQUIRED),
    "prefix": ((str,), _REQUIRED),
    "host": ((str,), "127.0.0.1"),
    "port": ((int,), 1883),
    "username": ((str,), None),
    "password": ((str,), None),
    "channels": ((list,), [0]),
}
_METER |= dict.fromkeys(Family, _PLUG)


def read_settings(path: Path) -> BoxSettings:
    """Read a TOML file. Raises OSError, or ValueError that names every mistake at once."""
    mistakes: list[str] = []
    box = _take(tomllib.loads(path.read_text(encoding="utf-8")), _BOX, "", mistakes)
    meters = [_meter(number, each, mistakes) for number, each in enumerate(box["meter"] or [], start=1)]
    configuration = _configuration(box, mistakes)
    _check(box, meters, mistakes)
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return BoxSettings(
        **{name: box[name] for name in ("code", "password", "server_host", "server_port", "messages_max", "poll_s")},
        password_file=_path(box["password_file"]),
        server_ca=_path(box["server_ca"]),
        synced_file=_path(box["synced_file"]),
        reconnect_s_max=box["reconnect_s_max"],
        buffer=Path(box["buffer"]),
        configuration=configuration,
        meters=tuple(meter for meter in meters if meter is not None),
    )


def _check(box: Table, meters: list[MeterSettings | None], mistakes: list[str]) -> None:
    if isinstance(box["code"], str) and CODE.fullmatch(box["code"]) is None:
        mistakes.append("code has other than letters, digits, hyphens and underscores, or more than 40")
    if (box["password"] is None) is (box["password_file"] is None):
        mistakes.append("one of password and password_file is wanted")
    for name, low in (("messages_max", 100), ("reconnect_s_max", 0), ("poll_s", 0.1)):
        if isinstance(box[name], int | float) and box[name] < low:
            mistakes.append(f"{name} is below {low}")
    places = sum(len(meter.places) for meter in meters if meter is not None)
    prefixes = [(meter.host, meter.port, meter.prefix) for meter in meters if meter is not None and meter.prefix]
    if len(set(prefixes)) < len(prefixes):
        mistakes.append("a prefix stands twice; give one meter all its channels")
    if not mistakes and not 1 <= places <= BOX_CHANNELS_MAX:
        mistakes.append(f"a box has 1 to {BOX_CHANNELS_MAX} channels, and not {places}")


def _configuration(box: Table, mistakes: list[str]) -> Configuration:
    try:
        wanted = {
            name: box[name] for name in ("sample_s", "batch", "heartbeat_s", "thresholds") if box[name] is not None
        }
        return parse_configuration(wanted)
    except MessageRefused:
        mistakes.append("sample_s, batch, heartbeat_s or thresholds are outside of what can be")
        return Configuration()


def _meter(number: int, content: object, mistakes: list[str]) -> MeterSettings | None:
    where = f"meter {number}: "
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(kind, str) or kind not in _METER:
        mistakes.append(f"{where}kind {kind!r} is none of {', '.join(sorted(_METER))}")
        return None
    before = len(mistakes)
    found = _take(content, _METER[kind], where, mistakes)
    places = _places(found["channels"])
    if places is None:
        mistakes.append(f"{where}channels are not numbers of channels, or lists of them")
    profile = _profile(found.get("profile"), where, mistakes)
    if places is None or len(mistakes) > before:
        return None
    if profile is not None:
        known = {register.channel for register in profile.registers}
        if any(channel not in known for place in places for channel in place):
            mistakes.append(f"{where}{profile.name} has only the channels {', '.join(map(str, sorted(known)))}")
        for name in ("baud_rate", "parity", "stop_bits"):
            found[name] = getattr(profile, name) if found.get(name) is None else found[name]
    return _meter_of(found, kind, places, profile)


def _meter_of(found: Table, kind: str, places: tuple[tuple[int, ...], ...], profile: Profile | None) -> MeterSettings:
    given = ("prefix", "username", "password", "unit", "factor", "baud_rate", "parity", "stop_bits", "rtu_over_tcp")
    return MeterSettings(
        kind=kind,
        places=places,
        host=found.get("host") or found.get("device") or "",
        port=found.get("port") or 0,
        profile=profile,
        **{name: found[name] for name in given if found.get(name) is not None},
    )


def _profile(name: object, where: str, mistakes: list[str]) -> Profile | None:
    if not isinstance(name, str):
        return None
    try:
        return read_profile(name)
    except (OSError, ValueError) as mistake:
        mistakes.append(f"{where}{mistake}")
        return None


def _places(value: object) -> tuple[tuple[int, ...], ...] | None:
    entries = [each if isinstance(each, list) else [each] for each in value] if isinstance(value, list) else []
    numbers = [number for entry in entries for number in entry]
    are_good = all(type(number) is int and 0 <= number < CHANNELS_MAX for number in numbers)
    if not entries or not all(entries) or not are_good:
        return None
    return tuple(tuple(entry) for entry in entries)


def _take(content: Table, entries: dict[str, Entry], where: str, mistakes: list[str]) -> Table:
    mistakes.extend(f"{where}{name} is unknown" for name in content if name not in entries)
    found: Table = {}
    for name, (types, default) in entries.items():
        value = content.get(name, default)
        if value is _REQUIRED:
            mistakes.append(f"{where}{name} is missing")
            value = None
        elif name in content and type(value) not in types:
            mistakes.append(f"{where}{name} has the wrong type")
            value = None
        found[name] = value
    return found


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)

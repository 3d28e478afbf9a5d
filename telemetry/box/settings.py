"""What the person who mounts a collector box writes into its file."""

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from telemetry.adapters.meter import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSettings:
    """The file's entries. `server_ca` turns TLS on; `synced_file` exists once the clock is set."""

    code: str
    password: str
    server_host: str
    server_port: int = 8883
    server_ca: Path | None = None
    buffer: Path
    synced_file: Path | None = None
    meter_family: Family
    meter_prefix: str
    meter_channel: int = 0
    meter_host: str = "127.0.0.1"
    meter_port: int = 1883
    meter_username: str | None = None
    meter_password: str | None = None
    sample_s: int = 10
    batch: int = 60


_FORMS: dict[str, Any] = {"server_ca": Path, "buffer": Path, "synced_file": Path, "meter_family": Family}
_NUMBERS = {"server_port", "meter_port", "meter_channel", "sample_s", "batch"}


def read_settings(path: Path) -> BoxSettings:
    """Read a TOML file. Raises OSError, or ValueError that names every mistake at once."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {field.name: field for field in fields(BoxSettings)}
    mistakes = [f"{name} is unknown" for name in content if name not in known]
    mistakes += [
        f"{name} is missing" for name, field in known.items() if field.default is MISSING and name not in content
    ]
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name not in known:
            continue
        if type(value) is not (int if name in _NUMBERS else str):
            mistakes.append(f"{name} has the wrong type")
            continue
        try:
            values[name] = _FORMS.get(name, type(value))(value)
        except ValueError as mistake:
            mistakes.append(f"{name}: {mistake}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return BoxSettings(**values)

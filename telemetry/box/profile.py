"""What the registers of a Modbus meter mean, as data: one TOML file per meter, in `profiles/` or anywhere else."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, cast

from telemetry.adapters.channel import CHANNELS_MAX

FOLDER = Path(__file__).parent / "profiles"
BLOCK_REGISTERS_MAX = 60  # some meters answer no more at once
ADDRESS_MAX = 0xFFFF


class Table(StrEnum):
    """Which of the two tables of registers, and with it the function code: 4 and 3."""

    INPUT = "input"
    HOLDING = "holding"


class Quantity(StrEnum):
    """What a register tells."""

    POWER = "power"
    ENERGY = "energy"
    VOLTAGE = "voltage"
    CURRENT = "current"


# Unit → factor to W, Wh, V, A.
UNITS: dict[Quantity, dict[str, float]] = {
    Quantity.POWER: {"W": 1.0, "kW": 1000.0},
    Quantity.ENERGY: {"Wh": 1.0, "kWh": 1000.0, "MWh": 1_000_000.0, "Wmin": 1 / 60},
    Quantity.VOLTAGE: {"V": 1.0},
    Quantity.CURRENT: {"A": 1.0, "mA": 0.001},
}
# Type → how many registers of 16 bits.
WIDTHS = dict.fromkeys(("int16", "uint16"), 1) | dict.fromkeys(("int32", "uint32", "float32"), 2)
WIDTHS |= dict.fromkeys(("int64", "uint64", "float64"), 4)
WordOrder = Literal["big", "little"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """One value; `factor` turns what is read into W, Wh, V or A."""

    quantity: Quantity
    channel: int
    address: int
    type: str
    factor: float

    @property
    def width(self) -> int:
        """How many registers of 16 bits it takes."""
        return WIDTHS[self.type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of meter. `baud_rate`, `parity` and `stop_bits` are its factory settings on RS-485."""

    name: str
    table: Table
    word_order: WordOrder
    baud_rate: int
    parity: str
    stop_bits: int
    rollover_wh: float | None
    energy_step_wh: float
    registers: tuple[Register, ...]

    def blocks(self) -> list[list[Register]]:
        """Give the registers in groups that touch, each to be read at once; nothing between them is ever asked for."""
        blocks: list[list[Register]] = []
        for register in sorted(self.registers, key=lambda each: each.address):
            last = blocks[-1] if blocks else None
            fits = last is not None and register.address + register.width - last[0].address <= BLOCK_REGISTERS_MAX
            if last is not None and fits and register.address == last[-1].address + last[-1].width:
                last.append(register)
            else:
                blocks.append([register])
        return blocks


def names() -> list[str]:
    """Give the profiles that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_profile(name: str) -> Profile:
    """Read a profile of ours by its name, or anybody's by the path of its file.

    Raises OSError, or ValueError that names every mistake at once.
    """
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    if path.suffix != ".toml":
        raise ValueError(f"no profile {name}; there are {', '.join(names())}, or give the path of a .toml file")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    mistakes: list[str] = []
    entries = content.get("register")
    if not isinstance(entries, list) or not entries:
        mistakes.append("there is no [[register]]")
        entries = []
    registers = [_register(number, entry, mistakes) for number, entry in enumerate(entries, start=1)]
    profile = _profile(content, mistakes)
    if not any(register is not None and register.quantity is Quantity.POWER for register in registers):
        mistakes.append("no register tells the power")
    if mistakes:
        raise ValueError(f"{path.name}: " + "; ".join(mistakes))
    return Profile(**profile, registers=tuple(register for register in registers if register is not None))


def _profile(content: dict[str, Any], mistakes: list[str]) -> dict[str, Any]:
    def take(name: str, allowed: tuple[type, ...], default: object) -> Any:
        value = content.get(name, default)
        if type(value) not in allowed:
            mistakes.append(f"{name} has the wrong type")
        return value

    table, word_order = take("table", (str,), None), take("word_order", (str,), "big")
    if table not in list(Table):
        mistakes.append("table is neither input nor holding")
    if word_order not in ("big", "little"):
        mistakes.append("word_order is neither big nor little")
    parity = take("parity", (str,), "N")
    if parity not in ("N", "E", "O"):
        mistakes.append("parity is none of N, E, O")
    rollover_kwh = take("rollover_kwh", (int, float, type(None)), None)
    return {
        "name": take("name", (str,), None),
        "table": Table(table) if table in list(Table) else None,
        "word_order": cast("WordOrder", word_order),
        "baud_rate": take("baud_rate", (int,), 9600),
        "parity": parity,
        "stop_bits": take("stop_bits", (int,), 1),
        "rollover_wh": rollover_kwh * 1000.0 if isinstance(rollover_kwh, int | float) else None,
        "energy_step_wh": take("energy_step_wh", (int, float), 10.0),
    }


def _register(number: int, entry: object, mistakes: list[str]) -> Register | None:
    where = f"register {number}"
    if not isinstance(entry, dict):
        mistakes.append(f"{where} is no table")
        return None
    known = {"quantity", "channel", "address", "type", "unit", "scale"}
    before = len(mistakes)
    mistakes.extend(f"{where}: {name} is unknown" for name in sorted(entry.keys() - known))
    quantity, kind, unit = (entry.get(name) for name in ("quantity", "type", "unit"))
    channel, address, scale = entry.get("channel", 0), entry.get("address"), entry.get("scale", 1)
    units = UNITS[Quantity(quantity)] if isinstance(quantity, str) and quantity in list(Quantity) else None
    if units is None:
        mistakes.append(f"{where}: quantity is none of {', '.join(Quantity)}")
    elif unit not in units:
        mistakes.append(f"{where}: unit is none of {', '.join(units)}")
    if kind not in WIDTHS:
        mistakes.append(f"{where}: type is none of {', '.join(WIDTHS)}")
    if type(address) is not int or not 0 <= address <= ADDRESS_MAX:
        mistakes.append(f"{where}: address is not between 0 and 0xFFFF")
    if type(channel) is not int or not 0 <= channel < CHANNELS_MAX:
        mistakes.append(f"{where}: channel is not between 0 and {CHANNELS_MAX - 1}")
    if type(scale) not in (int, float) or scale <= 0:
        mistakes.append(f"{where}: scale is not above 0")
    if units is None or len(mistakes) > before:
        return None
    factor = scale * units[str(unit)]
    return Register(
        quantity=Quantity(str(quantity)), channel=channel, address=cast("int", address), type=str(kind), factor=factor
    )

"""The wire format of boxes: bytes to frozen values, and back for the box.

Topics are `cb/v1/{shard}/{box}/{m|ev|hb|birth|state|ack|cmd}`; payloads are JSON. Whatever is wrong raises
MessageRefused with a reason of the closed list in `telemetry.errors`, never anything else.
"""

import json
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from telemetry.errors import DeadReason, MessageRefused

ROOT = "cb/v1"
SHARDS = 64
SETS = (1, 2, 4, 8, 16, 32, 64)
"""Into how many sets the shards may be parted for the ingest: a site chooses one, and all its workers must agree."""
CODE = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CHANNEL = re.compile(r"[0-9]{1,3}")
PAYLOAD_BYTES_MAX = 16 * 1024
FORMAT_VERSION = 1
SAMPLES_MAX = 600
STEP_MS_MIN, STEP_MS_MAX = 100, 60_000
SPAN_MS_MAX = 3_600_000
POWER_W_MAX = 1_000_000.0
ENERGY_WH_MAX = 1e12
COUNT_MAX = 2**53 - 1  # a JSON number beyond it is not exact everywhere
UPTIME_S_MAX = 100 * 366 * 86_400
# A clock that shows less was never set: boxes wake up in 1970.
DEVICE_MS_MIN = 1_577_836_800_000  # 2020-01-01
DEVICE_MS_MAX = 4_102_444_800_000  # 2100-01-01
PENDING_MAX = 1000
CHANNEL_MAX = 255
DOUBTS_MAX = 10  # of one channel; boxes know four


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Where a message was published; the broker's rules let a box publish only below its own."""

    shard: int
    box: str
    kind: str

    def __str__(self) -> str:
        return f"{ROOT}/{self.shard:02d}/{self.box}/{self.kind}"


class Measured(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`m`: powers of one channel, numbered within the boot. `ev`: a change of state, in the same numbering."""

    kind: str
    boot: int
    seq: int
    channel: int
    device_ms: int | None  # None: the clock was never set
    uptime_ms: int
    step_ms: int
    powers_w: tuple[float, ...]
    energy_wh: float | None
    synced: bool
    buffered: bool

    @property
    def span_ms(self) -> int:
        """The time from the start of the first to the end of the last sample."""
        return self.step_ms * len(self.powers_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """`hb`: the box lives; which is not to say that the instrument does anything.

    What a box does not say of itself is None. `lost` are messages it gave up before they were acknowledged, ever;
    `doubts` says by channel why it does not believe its meter.
    """

    boot: int
    connection: int
    seq: int
    buffered_messages: int
    uptime_ms: int = 0
    device_ms: int | None = None
    synced: bool | None = None
    lost: int | None = None
    doubts: dict[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """`birth`: what the box is, and for each boot the range of messages it still holds (boot, first, last).

    `epoch` names the file that counts its boots, which is new if `is_new_epoch`; `command_id` is the command it obeyed
    last, `command_refused` why it did not; the meters of the channels in `indicative` may tell old values.
    """

    boot: int
    connection: int
    uptime_ms: int
    channels: int
    firmware: str
    configuration_hash: str
    pending: tuple[tuple[int, int, int], ...]
    device_ms: int | None = None
    synced: bool | None = None
    lost: int | None = None
    epoch: str = ""
    is_new_epoch: bool = False
    command_id: int | None = None
    command_refused: str = ""
    indicative: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """`state`: on or off line; off line comes as the last will of a connection."""

    boot: int
    connection: int
    online: bool


Uplink = Measured | Heartbeat | Birth | Presence


def shard_of(box: str) -> int:
    """Give the shard a box belongs to: the same for the same code on every machine, for ever."""
    return zlib.crc32(box.encode()) % SHARDS


def parse_topic(topic: str) -> Topic:
    """Read a topic of a box. Raises MessageRefused(topic_unknown)."""
    parts = topic.split("/")
    if len(parts) != 5 or f"{parts[0]}/{parts[1]}" != ROOT or parts[4] not in _PARSERS:  # noqa: PLR2004 - the five parts
        _refuse(DeadReason.TOPIC_UNKNOWN)
    if len(parts[2]) != 2 or not parts[2].isascii() or not parts[2].isdigit() or int(parts[2]) >= SHARDS:  # noqa: PLR2004
        _refuse(DeadReason.TOPIC_UNKNOWN)
    return Topic(shard=int(parts[2]), box=parts[3], kind=parts[4])


def parse(kind: str, *, payload: bytes) -> Uplink:
    """Read the payload of a topic's kind. Raises MessageRefused."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        _refuse(DeadReason.TOO_LARGE)
    try:
        content = json.loads(payload, parse_constant=_no_constant)
    except MessageRefused:
        raise
    except (ValueError, RecursionError):
        _refuse(DeadReason.NOT_JSON)
    if not isinstance(content, dict):
        _refuse(DeadReason.NOT_AN_OBJECT)
    return _PARSERS[kind](content)


def encode(content: dict[str, Any]) -> bytes:
    """Write a payload in the shortest form."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def encode_ack(*, boot: int, seq: int) -> bytes:
    """Write the server's own acknowledgement: every message of this boot up to `seq` is safe."""
    return encode({"boot": boot, "seq": seq})


def parse_ack(payload: bytes) -> tuple[int, int]:
    """Read (boot, seq). Raises MessageRefused."""
    try:
        content = json.loads(payload, parse_constant=_no_constant)
    except ValueError:
        _refuse(DeadReason.NOT_JSON)
    if not isinstance(content, dict):
        _refuse(DeadReason.NOT_AN_OBJECT)
    return _integer(content, "boot"), _integer(content, "seq")


def _measured(content: dict[str, Any]) -> Measured:
    _check_version(content)
    step_ms = _integer(content, "dt", low=STEP_MS_MIN, high=STEP_MS_MAX)
    powers_w = _powers(content)
    if step_ms * len(powers_w) > SPAN_MS_MAX:
        _refuse(DeadReason.OUT_OF_RANGE)
    return Measured(
        kind="m",
        boot=_integer(content, "boot"),
        seq=_integer(content, "seq", low=1),
        channel=_integer(content, "c", high=CHANNEL_MAX),
        device_ms=_device_ms(content, "t0"),
        uptime_ms=round(_number(content, "up0", low=0, high=UPTIME_S_MAX) * 1000),
        step_ms=step_ms,
        powers_w=powers_w,
        energy_wh=None if content.get("e") is None else _number(content, "e", low=0, high=ENERGY_WH_MAX),
        synced=_flag(content, "sync"),
        buffered=_flag(content, "h"),
    )


def _event(content: dict[str, Any]) -> Measured:
    _check_version(content)
    return Measured(
        kind="ev",
        boot=_integer(content, "boot"),
        seq=_integer(content, "seq", low=1),
        channel=_integer(content, "c", high=CHANNEL_MAX),
        device_ms=_device_ms(content, "t"),
        uptime_ms=round(_number(content, "up", low=0, high=UPTIME_S_MAX) * 1000),
        step_ms=0,
        powers_w=(),
        energy_wh=None,
        synced=_flag(content, "sync"),
        buffered=_flag(content, "h"),
    )


def _heartbeat(content: dict[str, Any]) -> Heartbeat:
    return Heartbeat(
        boot=_integer(content, "boot"),
        connection=_integer(content, "conn"),
        seq=_integer(content, "seq"),
        buffered_messages=_integer(content, "buf"),
        uptime_ms=_uptime_ms(content),
        device_ms=_device_ms(content, "t"),
        synced=_flag(content, "sync") if "sync" in content else None,
        lost=_integer(content, "lost") if "lost" in content else None,
        doubts=_doubts(content.get("doubts", {})),
    )


def _birth(content: dict[str, Any]) -> Birth:
    pending, command = content.get("pending", []), content.get("cmd", {})
    if not isinstance(pending, list) or not isinstance(command, dict):
        _refuse(DeadReason.FIELD_WRONG)
    if len(pending) > PENDING_MAX:
        _refuse(DeadReason.OUT_OF_RANGE)
    return Birth(
        boot=_integer(content, "boot"),
        connection=_integer(content, "conn"),
        uptime_ms=_uptime_ms(content),
        channels=_integer(content, "channels", low=1, high=255),
        firmware=_text(content, "fw"),
        configuration_hash=_text(content, "cfg"),
        pending=tuple(_pending_range(entry) for entry in pending),
        device_ms=_device_ms(content, "t"),
        synced=_flag(content, "sync") if "sync" in content else None,
        lost=_integer(content, "lost") if "lost" in content else None,
        epoch=_text(content, "epoch"),
        is_new_epoch=_flag(content, "new"),
        command_id=None if command.get("id") is None else _integer(command, "id"),
        command_refused=_text(command, "refused"),
        indicative=_numbers_of_channels(content.get("indicative", [])),
    )


def _pending_range(entry: object) -> tuple[int, int, int]:
    if not isinstance(entry, list) or len(entry) != 3:  # noqa: PLR2004 - boot, first, last
        _refuse(DeadReason.FIELD_WRONG)
    boot, first, last = (_integer({"pending": value}, "pending") for value in entry)
    if not 1 <= first <= last + 1:
        _refuse(DeadReason.OUT_OF_RANGE)
    return boot, first, last


def _presence(content: dict[str, Any]) -> Presence:
    return Presence(boot=_integer(content, "boot"), connection=_integer(content, "conn"), online=_flag(content, "on"))


def _uptime_ms(content: dict[str, Any]) -> int:
    return round(_number(content, "up", low=0, high=UPTIME_S_MAX) * 1000) if "up" in content else 0


def _doubts(value: object) -> dict[int, tuple[str, ...]]:
    if not isinstance(value, dict):
        _refuse(DeadReason.FIELD_WRONG)
    numbers = _numbers_of_channels([int(name) if _CHANNEL.fullmatch(name) else -1 for name in value])
    found: dict[int, tuple[str, ...]] = {}
    for number, doubts in zip(numbers, value.values(), strict=True):
        if not isinstance(doubts, list):
            _refuse(DeadReason.FIELD_WRONG)
        if len(doubts) > DOUBTS_MAX:
            _refuse(DeadReason.OUT_OF_RANGE)
        found[number] = tuple(_text({"doubt": doubt}, "doubt") for doubt in doubts)
    return found


def _numbers_of_channels(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        _refuse(DeadReason.FIELD_WRONG)
    return tuple(_integer({"channel": number}, "channel", high=CHANNEL_MAX) for number in value)


_PARSERS: dict[str, Callable[[dict[str, Any]], Uplink]] = {
    "m": _measured,
    "ev": _event,
    "hb": _heartbeat,
    "birth": _birth,
    "state": _presence,
}
UPLINK_KINDS = tuple(_PARSERS)
DOWNLINK_KINDS = ("ack", "cmd")


def _check_version(content: dict[str, Any]) -> None:
    if content.get("v") != FORMAT_VERSION:
        _refuse(DeadReason.VERSION_UNKNOWN if "v" in content else DeadReason.FIELD_MISSING)


def _powers(content: dict[str, Any]) -> tuple[float, ...]:
    values = _present(content, "p")
    if not isinstance(values, list):
        _refuse(DeadReason.FIELD_WRONG)
    if not 1 <= len(values) <= SAMPLES_MAX:
        _refuse(DeadReason.OUT_OF_RANGE)
    for value in values:
        # `type` and not `isinstance`: true is an int in Python. Below 0 a meter is wired the wrong way round.
        if type(value) is not float and type(value) is not int:
            _refuse(DeadReason.FIELD_WRONG)
        if not 0 <= value <= POWER_W_MAX:
            _refuse(DeadReason.OUT_OF_RANGE)
    return tuple(values)


def _device_ms(content: dict[str, Any], name: str) -> int | None:
    if content.get(name) is None:
        return None
    device_ms = _integer(content, name)
    return device_ms if DEVICE_MS_MIN <= device_ms < DEVICE_MS_MAX else None


def _present(content: dict[str, Any], name: str) -> Any:
    if name not in content:
        _refuse(DeadReason.FIELD_MISSING)
    return content[name]


def _integer(content: dict[str, Any], name: str, *, low: int = 0, high: int = COUNT_MAX) -> int:
    value = _present(content, name)
    if type(value) is not int:
        _refuse(DeadReason.FIELD_WRONG)
    if not low <= value <= high:
        _refuse(DeadReason.OUT_OF_RANGE)
    return value


def _number(content: dict[str, Any], name: str, *, low: float, high: float) -> float:
    value = _present(content, name)
    if type(value) is not int and type(value) is not float:
        _refuse(DeadReason.FIELD_WRONG)
    if not (low <= value <= high and math.isfinite(value)):
        _refuse(DeadReason.OUT_OF_RANGE)
    return float(value)


def _flag(content: dict[str, Any], name: str) -> bool:
    value = content.get(name, 0)
    if value not in (0, 1):
        _refuse(DeadReason.FIELD_WRONG)
    return bool(value)


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        _refuse(DeadReason.FIELD_WRONG)
    # PostgreSQL keeps no NUL, and JSON may smuggle half a surrogate pair past the UTF-8 check.
    if len(value) > 100 or not value.isprintable():  # noqa: PLR2004
        _refuse(DeadReason.OUT_OF_RANGE)
    return value


def _no_constant(_name: str) -> NoReturn:
    _refuse(DeadReason.NOT_JSON)


def _refuse(reason: DeadReason) -> NoReturn:
    raise MessageRefused(reason)

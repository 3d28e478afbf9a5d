"""A real box: the meters of its settings, measured and sent until it is told to stop."""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from telemetry.adapters.meter import INDICATIVE, Meter
from telemetry.box.agent import BoxAgent
from telemetry.box.modbus import Line, ModbusBus, ModbusMeter, SerialLine, TcpLine
from telemetry.box.plug import LocalBroker, Plugs
from telemetry.box.profile import Profile
from telemetry.box.settings import MODBUS_RTU, BoxSettings, MeterSettings
from telemetry.box.source import Place, steady

Uptime = Callable[[], float]


def now() -> datetime:
    """Give the time of the board's clock, right or wrong."""
    return datetime.now(UTC)


def uptime() -> Uptime:
    """Give a clock of the seconds since this call, which nobody can set."""
    started_s = time.monotonic()
    return lambda: time.monotonic() - started_s


def make_agent(settings: BoxSettings, *, places: list[Place], uptime_s: Uptime) -> BoxAgent:
    """Make the agent of a box with these places as its channels. Raises OSError where the CA cannot be read."""
    return BoxAgent(
        code=settings.code,
        password=settings.read_password,
        host=settings.server_host,
        port=settings.server_port,
        tls=None if settings.server_ca is None else ssl.create_default_context(cafile=settings.server_ca),
        sources=places,
        now=now,
        uptime_s=uptime_s,
        is_synced=lambda: settings.synced_file is None or settings.synced_file.exists(),
        buffer_path=settings.buffer,
        messages_max=settings.messages_max,
        configuration=settings.configuration,
        reconnect_s_max=settings.reconnect_s_max,
    )


@contextlib.contextmanager
def measuring(settings: BoxSettings, *, uptime_s: Uptime) -> Iterator[list[Place]]:
    """Ask and hear all meters for the length of a block; gives the box's channels in order."""
    lock, clock = threading.Lock(), steady(uptime_s)
    meters = [_meter_of(meter, poll_s=settings.poll_s) for meter in settings.meters]
    with contextlib.ExitStack() as stack:
        for line, group in _by_line(settings.meters, meters):
            stack.enter_context(ModbusBus(line, meters=group, poll_s=settings.poll_s, now=clock, lock=lock))
        for broker, plugs in _by_broker(settings.meters, meters):
            stack.enter_context(Plugs(broker, meters=plugs, now=clock, lock=lock))
        yield [
            place
            for meter, device in zip(settings.meters, meters, strict=True)
            for place in _places(meter, device, lock)
        ]


def check(settings: BoxSettings, *, wait_s: float) -> tuple[list[str], bool]:
    """Read every meter once, waiting for up to `wait_s`; gives a line for each channel, and whether all answered."""
    uptime_s = uptime()
    with measuring(settings, uptime_s=uptime_s) as places:
        while uptime_s() < wait_s and not all(place.is_known(up_s=uptime_s()) for place in places):
            time.sleep(0.1)
        up_s = uptime_s()
        lines = [f"channel {number}: {place.describe(up_s=up_s)}" for number, place in enumerate(places)]
        return lines, all(place.is_known(up_s=up_s) for place in places)


def _meter_of(meter: MeterSettings, *, poll_s: float) -> Meter | ModbusMeter:
    if meter.family is not None:
        return Meter(meter.family)
    return ModbusMeter(_profile(meter), unit=meter.unit, factor=meter.factor, poll_s=poll_s)


def _places(meter: MeterSettings, device: Meter | ModbusMeter, lock: threading.Lock) -> Iterator[Place]:
    name = meter.prefix if meter.family is not None else f"{_profile(meter).name} unit {meter.unit} at {meter.host}"
    rollover_wh = _profile(meter).rollover_wh if meter.family is None else None
    for channels in meter.places:
        yield Place(
            meter=device,
            channels=channels,
            lock=lock,
            name=f"{name} [{'+'.join(map(str, channels))}]",
            indicative=meter.family in INDICATIVE,
            rollover_wh=None if rollover_wh is None else rollover_wh * meter.factor * len(channels),
        )


def _by_line(
    meters: tuple[MeterSettings, ...], devices: list[Meter | ModbusMeter]
) -> Iterator[tuple[Line, list[ModbusMeter]]]:
    """All meters on one pair of wires are asked by one client."""
    pairs = [(_line(meter), device) for meter, device in zip(meters, devices, strict=True) if meter.family is None]
    for line in dict.fromkeys(line for line, _ in pairs):
        yield line, [device for other, device in pairs if other == line and isinstance(device, ModbusMeter)]


def _by_broker(
    meters: tuple[MeterSettings, ...], devices: list[Meter | ModbusMeter]
) -> Iterator[tuple[LocalBroker, dict[str, Meter]]]:
    pairs = [
        (LocalBroker(host=each.host, port=each.port, username=each.username, password=each.password), each, device)
        for each, device in zip(meters, devices, strict=True)
        if isinstance(device, Meter)
    ]
    for broker in dict.fromkeys(broker for broker, _, _ in pairs):
        yield broker, {each.prefix: device for other, each, device in pairs if other == broker}


def _line(meter: MeterSettings) -> Line:
    if meter.kind == MODBUS_RTU:
        return SerialLine(port=meter.host, baud_rate=meter.baud_rate, parity=meter.parity, stop_bits=meter.stop_bits)
    return TcpLine(host=meter.host, port=meter.port, is_rtu=meter.rtu_over_tcp)


def _profile(meter: MeterSettings) -> Profile:
    if meter.profile is None:
        raise ValueError(f"{meter.kind} needs a profile")
    return meter.profile

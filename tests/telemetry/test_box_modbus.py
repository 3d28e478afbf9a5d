"""Meters on a rail against real servers of pymodbus: what their registers say, over TCP and as RTU frames."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus import FramerType, ModbusException
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from telemetry.box.modbus import ModbusBus, ModbusMeter, SerialLine, TcpLine
from telemetry.box.profile import Profile, Quantity, Register, Table, names, read_profile
from tests.telemetry.network import free_port, wait_until

NOW = datetime(2026, 9, 9, 10, 0, tzinfo=UTC)
# What each kind of meter has in its registers, and what that is: (address, float) → channel: (W, Wh, V, A).
METERS: dict[str, tuple[dict[int, float], dict[int, tuple[float | None, ...]]]] = {
    "eastron-sdm120": (
        {0x0000: 230.1, 0x0006: 4.35, 0x000C: 1000.5, 0x0156: 1234.56},
        {0: (1000.5, 1_234_560.0, 230.1, 4.35)},
    ),
    "eastron-sdm230": (
        {0x0000: 229.9, 0x0006: 0.5, 0x000C: -115.0, 0x0156: 7.25},
        {0: (115.0, 7250.0, 229.9, 0.5)},
    ),
    "eastron-sdm630": (
        {0x0000: 230.0, 0x0002: 231.0, 0x0004: 232.0, 0x0006: 1.0, 0x0008: 2.0, 0x000A: 3.0}
        | {0x000C: 200.0, 0x000E: 400.0, 0x0010: 600.0, 0x0034: 1200.0}
        | {0x0156: 60.0, 0x0166: 10.0, 0x0168: 20.0, 0x016A: 30.0},
        {
            0: (1200.0, 60_000.0, None, None),
            1: (200.0, 10_000.0, 230.0, 1.0),
            2: (400.0, 20_000.0, 231.0, 2.0),
            3: (600.0, 30_000.0, 232.0, 3.0),
        },
    ),
    "chint-ddsu666": (
        {0x2000: 220.5, 0x2002: 5.0, 0x2004: 1.1025, 0x4000: 88.75},
        {0: (1102.5, 88_750.0, 220.5, 5.0)},
    ),
    "chint-dtsu666": (
        {0x2006: 2301.0, 0x2008: 2302.0, 0x200A: 2303.0, 0x200C: 1000.0, 0x200E: 2000.0, 0x2010: 3000.0}
        | {0x2012: 13_800.0, 0x2014: 2300.0, 0x2016: 4600.0, 0x2018: 6900.0, 0x101E: 500.0},
        {
            0: (1380.0, 500_000.0, None, None),
            1: (230.0, None, 230.1, 1.0),
            2: (460.0, None, 230.2, 2.0),
            3: (690.0, None, 230.3, 3.0),
        },
    ),
}


def words(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def shelf(registers: dict[int, float], *, unit: int = 1, table: Table = Table.INPUT) -> SimDevice:
    """A meter in which nothing exists but these registers, so that asking for others is refused."""
    data = [SimData(at, values=words(value), datatype=DataType.REGISTERS) for at, value in sorted(registers.items())]
    other = [SimData(60_000, values=[0], datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    holding, inputs = (other, data) if table is Table.INPUT else (data, other)
    return SimDevice(unit, simdata=(bits, bits, holding, inputs))


@contextlib.contextmanager
def serving(*devices: SimDevice, framer: FramerType = FramerType.SOCKET, port: int = 0) -> Iterator[int]:
    port = port or free_port()
    loop, ready = asyncio.new_event_loop(), threading.Event()
    servers: list[ModbusTcpServer] = []

    async def serve() -> None:
        servers.append(ModbusTcpServer(list(devices), framer=framer, address=("127.0.0.1", port)))
        await servers[0].serve_forever(background=True)
        ready.set()
        await servers[0].serving

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(servers[0].shutdown(), loop).result(10)  # type: ignore[no-untyped-call]
        thread.join()
        loop.close()


def meter(profile: str, *, unit: int = 1, factor: float = 1.0) -> ModbusMeter:
    return ModbusMeter(read_profile(profile), unit=unit, factor=factor, poll_s=0.05)


@contextlib.contextmanager
def asked(
    line: TcpLine | SerialLine, *meters: ModbusMeter, now: Callable[[], datetime] = lambda: NOW
) -> Iterator[ModbusBus]:
    with ModbusBus(line, meters=meters, poll_s=0.05, now=now, lock=threading.Lock()) as bus:
        yield bus


def power_w(meter: ModbusMeter, channel: int = 0) -> float | None:
    return meter.power_w(channel, at=NOW)


@pytest.fixture
def serial_line() -> Iterator[Callable[[int], str]]:
    """Make a serial device of this machine whose other end is a TCP port, byte for byte."""
    master, slave = os.openpty()
    tty.setraw(slave)
    stop, threads, sockets = threading.Event(), list[threading.Thread](), list[socket.socket]()

    def carry(wire: socket.socket) -> None:
        while not stop.is_set():
            for ready in select.select([master, wire.fileno()], [], [], 0.05)[0]:
                if ready != master:
                    os.write(master, wire.recv(1000))
                else:
                    wire.sendall(os.read(master, 1000))

    def open_line(port: int) -> str:
        sockets.append(socket.create_connection(("127.0.0.1", port)))
        threads.append(threading.Thread(target=carry, args=(sockets[-1],)))
        threads[-1].start()
        return os.ttyname(slave)

    yield open_line
    stop.set()
    for thread in threads:
        thread.join()
    for wire in sockets:
        wire.close()
    os.close(master)
    os.close(slave)


def test_every_profile_that_comes_with_the_program_is_tested_here() -> None:
    assert set(names()) == set(METERS)


@pytest.mark.parametrize("name", METERS)
def test_the_registers_of_a_meter_say_what_it_measures(name: str) -> None:
    registers, expected = METERS[name]
    device = meter(name)
    with serving(shelf(registers, table=device.profile.table)) as port:
        client = TcpLine(host="127.0.0.1", port=port).client()
        found = {reading.channel: reading for reading in device.ask(client)}
        client.close()  # type: ignore[no-untyped-call]
    assert found.keys() == expected.keys()
    assert device.profile.table is (Table.INPUT if name.startswith("eastron") else Table.HOLDING)
    for channel, (power, energy_wh, voltage_v, current_a) in expected.items():
        reading = found[channel]
        said = (reading.power_w, reading.energy_wh, reading.voltage_v, reading.current_a)
        for value, meant in zip(said, (power, energy_wh, voltage_v, current_a), strict=True):
            assert value is meant is None or value == pytest.approx(meant, rel=1e-6)


def test_several_meters_on_one_line_are_told_apart_by_their_unit() -> None:
    one, two = meter("eastron-sdm120", unit=1), meter("eastron-sdm120", unit=7, factor=10.0)
    registers, _ = METERS["eastron-sdm120"]
    devices = shelf(registers), shelf({**registers, 0x000C: 42.0}, unit=7)
    with serving(*devices) as port, asked(TcpLine(host="127.0.0.1", port=port), one, two):
        wait_until(lambda: power_w(one) is not None and power_w(two) is not None)
    assert (power_w(one), power_w(two)) == (1000.5, 420.0)
    assert one.energy_wh(0, at=NOW) == pytest.approx(1_234_560, rel=1e-6)
    assert two.channel(0).energy_wh == pytest.approx(12_345_600, rel=1e-6)
    assert two.energy_wh(0, at=NOW) is None  # behind such a transformer it counts in steps that are too coarse


def test_a_gateway_that_passes_rtu_frames_on_is_understood() -> None:
    registers, _ = METERS["eastron-sdm120"]
    device = meter("eastron-sdm120")
    with serving(shelf(registers), framer=FramerType.RTU) as port:
        with asked(TcpLine(host="127.0.0.1", port=port, is_rtu=True), device):
            wait_until(lambda: power_w(device) is not None)
        assert power_w(device) == 1000.5


def test_a_meter_on_a_serial_line_is_read(serial_line: Callable[[int], str]) -> None:
    registers, _ = METERS["eastron-sdm120"]
    device = meter("eastron-sdm120")
    with serving(shelf(registers), framer=FramerType.RTU) as port:
        line = SerialLine(port=serial_line(port), baud_rate=9600, parity="N", stop_bits=1)
        with asked(line, device):
            wait_until(lambda: power_w(device) is not None)
    assert power_w(device) == 1000.5


def test_a_meter_that_does_not_answer_falls_silent_and_is_heard_again_when_it_is_back() -> None:
    moment = [NOW]
    registers, _ = METERS["eastron-sdm120"]
    device, port = meter("eastron-sdm120"), free_port()
    with asked(TcpLine(host="127.0.0.1", port=port), device, now=lambda: moment[0]):
        with serving(shelf(registers), port=port):
            wait_until(lambda: power_w(device) is not None)
        wait_until(lambda: device.is_answering is False)
        moment[0] = NOW + timedelta(minutes=5)
        assert device.power_w(0, at=moment[0]) is None
        with serving(shelf({**registers, 0x000C: 7.0}), port=port):
            wait_until(lambda: device.power_w(0, at=moment[0]) == 7.0)


def test_a_meter_without_the_registers_of_its_profile_is_refused_and_not_guessed() -> None:
    device = meter("eastron-sdm630")
    with serving(shelf(METERS["eastron-sdm120"][0])) as port:
        client = TcpLine(host="127.0.0.1", port=port).client()
        with pytest.raises(ModbusException):
            device.ask(client)
        client.close()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_power_that_cannot_be_is_no_power(bad: float) -> None:
    device = meter("eastron-sdm120")
    with serving(shelf({**METERS["eastron-sdm120"][0], 0x000C: bad})) as port:
        client = TcpLine(host="127.0.0.1", port=port).client()
        try:
            (reading,) = device.ask(client)
        except ModbusException:
            return
        finally:
            client.close()  # type: ignore[no-untyped-call]
    assert reading.power_w is None


TYPES = st.sampled_from(["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"])


@given(
    kind=TYPES,
    order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([1.0, 0.1, 1000.0]),
    value=st.integers(0, 30_000),
)
def test_every_type_in_every_order_gives_back_what_the_meter_meant(
    kind: str, order: str, scale: float, value: int
) -> None:
    register = Register(quantity=Quantity.POWER, channel=0, address=0, type=kind, factor=scale)
    profile = Profile(
        name="any",
        table=Table.INPUT,
        word_order=order,  # type: ignore[arg-type]
        baud_rate=9600,
        parity="N",
        stop_bits=1,
        rollover_wh=None,
        energy_step_wh=1.0,
        registers=(register,),
    )
    data_type = ModbusClientMixin.DATATYPE[kind.upper()]
    raw = ModbusClientMixin.convert_to_registers(value, data_type, word_order=order)  # type: ignore[arg-type]
    assert len(raw) == register.width
    device = ModbusMeter(profile, unit=1, factor=1.0, poll_s=1.0)
    assert device._value(register, raw) == pytest.approx(value * scale)


@given(st.lists(st.tuples(st.integers(0, 200), TYPES), min_size=1, max_size=20, unique_by=lambda each: each[0]))
def test_blocks_ask_for_every_register_once_and_for_nothing_between(places: list[tuple[int, str]]) -> None:
    registers = tuple(
        Register(quantity=Quantity.POWER, channel=0, address=at * 4, type=kind, factor=1.0) for at, kind in places
    )
    profile = read_profile("eastron-sdm120")
    blocks = Profile(
        **{name: getattr(profile, name) for name in profile.__slots__ if name != "registers"}, registers=registers
    ).blocks()
    assert sorted(register.address for block in blocks for register in block) == sorted(
        each.address for each in registers
    )
    for block in blocks:
        asked_for = block[-1].address + block[-1].width - block[0].address
        assert asked_for == sum(register.width for register in block) <= 60


def test_anybody_may_write_a_profile_and_every_mistake_in_it_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    good = '[[register]]\nquantity = "power"\naddress = 3\ntype = "uint16"\nunit = "W"\nscale = 0.1\n'
    path.write_text(f'name = "Mine"\ntable = "holding"\nword_order = "little"\n{good}')
    profile = read_profile(str(path))
    assert (profile.name, profile.word_order, profile.registers[0].factor) == ("Mine", "little", 0.1)
    path.write_text(
        'name = 7\ntable = "coils"\nword_order = "middle"\nparity = "X"\n'
        '[[register]]\nquantity = "power"\naddress = 70000\ntype = "float31"\nunit = "kWh"\nscale = 0\ncolour = 1\n'
    )
    with pytest.raises(ValueError, match="neither input nor holding") as mistakes:
        read_profile(str(path))
    for part in ("name has", "table is", "word_order", "parity", "address", "type is", "unit is", "scale", "colour"):
        assert part in str(mistakes.value)
    with pytest.raises(ValueError, match="eastron-sdm630"):
        read_profile("no-such-meter")
    path.write_text('name = "Mine"\ntable = "input"\n')
    with pytest.raises(ValueError, match="no register tells the power"):
        read_profile(str(path))

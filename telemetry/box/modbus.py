"""Meters on a rail that speak Modbus, over RS-485 or TCP: asked one after the other, for one line has one speaker."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

import structlog
from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin

from telemetry.adapters.channel import Channels
from telemetry.adapters.values import MeterReading, energy, number, power
from telemetry.box.profile import Profile, Quantity, Register, Table

TIMEOUT_S = 1.0
RETRIES = 1
SILENT_AFTER_MIN = timedelta(seconds=15)
SILENT_AFTER_POLLS = 4

log = structlog.get_logger(__name__)
Client = ModbusSerialClient | ModbusTcpClient


class Line(Protocol):
    """How to reach the meters: makes a client that is not yet connected."""

    def client(self) -> Client:
        """Make a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLine:
    """An RS-485 adapter; all meters on it have the same rate, parity and stop bits."""

    port: str
    baud_rate: int
    parity: str
    stop_bits: int

    def client(self) -> Client:
        """Make a client for Modbus RTU."""
        return ModbusSerialClient(
            self.port,
            baudrate=self.baud_rate,
            parity=self.parity,
            stopbits=self.stop_bits,
            timeout=TIMEOUT_S,
            retries=RETRIES,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLine:
    """A meter with Ethernet, or a gateway to RS-485; `is_rtu` where the gateway passes RTU frames on as they are."""

    host: str
    port: int
    is_rtu: bool = False

    def client(self) -> Client:
        """Make a client for Modbus TCP."""
        framer = FramerType.RTU if self.is_rtu else FramerType.SOCKET
        return ModbusTcpClient(self.host, port=self.port, framer=framer, timeout=TIMEOUT_S, retries=RETRIES)


class ModbusMeter(Channels):
    """One meter. `factor` is the ratio of its current transformers, where it does not know it itself."""

    def __init__(self, profile: Profile, *, unit: int, factor: float, poll_s: float) -> None:
        super().__init__(max(SILENT_AFTER_MIN, timedelta(seconds=SILENT_AFTER_POLLS * poll_s)))
        self.profile, self.unit, self.factor = profile, unit, factor
        self.is_answering: bool | None = None

    def ask(self, client: Client) -> list[MeterReading]:
        """Read all registers once. Raises ModbusException or OSError where the meter does not answer rightly."""
        found: dict[int, dict[Quantity, float | None]] = {}
        for block in self.profile.blocks():
            first, last = block[0], block[-1]
            words = self._read(client, first.address, last.address + last.width - first.address)
            for register in block:
                offset = register.address - first.address
                value = self._value(register, words[offset : offset + register.width])
                found.setdefault(register.channel, {})[register.quantity] = value
        return [self._reading(channel, values) for channel, values in sorted(found.items())]

    def _read(self, client: Client, address: int, count: int) -> list[int]:
        is_input = self.profile.table is Table.INPUT
        read = client.read_input_registers if is_input else client.read_holding_registers
        answer = read(address, count=count, device_id=self.unit)
        if answer.isError() or len(answer.registers) != count:
            raise ModbusException(f"unit {self.unit} refuses {count} registers from {address:#06x}: {answer}")
        return list(answer.registers)

    def _value(self, register: Register, words: Sequence[int]) -> float | None:
        data_type = ModbusClientMixin.DATATYPE[register.type.upper()]
        read = ModbusClientMixin.convert_from_registers(words, data_type, word_order=self.profile.word_order)
        found = number(read)
        return None if found is None else found * register.factor

    def _reading(self, channel: int, values: dict[Quantity, float | None]) -> MeterReading:
        power_w, energy_wh = _times(values.get(Quantity.POWER), self.factor), values.get(Quantity.ENERGY)
        power_w = power(power_w)
        return MeterReading(
            channel=channel,
            power_w=None if power_w is None else round(power_w, 3),
            voltage_v=values.get(Quantity.VOLTAGE),
            current_a=values.get(Quantity.CURRENT),
            energy_wh=energy(energy_wh, self.factor),
            energy_step_wh=self.profile.energy_step_wh * self.factor,
        )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


class ModbusBus:
    """Asks every meter of one line in turn, as long as it is used as a context."""

    def __init__(
        self,
        line: Line,
        *,
        meters: Sequence[ModbusMeter],
        poll_s: float,
        now: Callable[[], datetime],
        lock: threading.Lock,
    ) -> None:
        self._client, self._meters, self._poll_s, self._now, self._lock = line.client(), meters, poll_s, now, lock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modbus")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()  # type: ignore[no-untyped-call]

    def ask_all(self) -> None:
        """Ask each meter once; one that does not answer is left to fall silent."""
        for meter in self._meters:
            if self._stop.is_set():
                return
            try:
                readings = meter.ask(self._client)
            except (ModbusException, OSError) as error:
                self._tell(meter, is_answering=False, error=str(error))
                # What still comes must not be taken for the next answer.
                self._client.close()  # type: ignore[no-untyped-call]
                continue
            self._tell(meter, is_answering=True)
            with self._lock:
                meter.take_readings(readings, received_at=self._now())

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask_all()
            self._stop.wait(self._poll_s)

    @staticmethod
    def _tell(meter: ModbusMeter, *, is_answering: bool, error: str = "") -> None:
        if meter.is_answering is not is_answering:
            meter.is_answering = is_answering
            if is_answering:
                log.info("meter_answers", unit=meter.unit, profile=meter.profile.name)
            else:
                log.warning("meter_does_not_answer", unit=meter.unit, error=error[:200])

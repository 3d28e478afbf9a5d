"""The program on a real box: settings from a file, power from meters that one can buy, messages to the server."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app import clock
from telemetry.box import __main__ as program
from telemetry.box.settings import read_settings
from telemetry.consumer import Consumer
from telemetry.models import Message
from tests.telemetry.network import MOSQUITTO, PASSWORD, Hand, Running, free_port, thread, wait_until
from tests.telemetry.test_box_modbus import METERS, serving, shelf
from tests.telemetry.wire import BOX, Server

FILE = """
code = "cb-001"
password_file = "{folder}/password"
server_host = "127.0.0.1"
server_port = {server_port}
buffer = "{folder}/buffer.db"
reconnect_s_max = 1
poll_s = 0.2
sample_s = 1
batch = 2

[[meter]]
kind = "modbus-tcp"
profile = "eastron-sdm630"
host = "127.0.0.1"
port = {modbus_port}
channels = [0, [1, 2]]

[[meter]]
kind = "shelly"
prefix = "plug-7"
port = {plug_port}

[[meter]]
kind = "tasmota"
prefix = "tele/strip"
port = {plug_port}
channels = [1]

[[meter]]
kind = "zigbee2mqtt"
prefix = "zigbee2mqtt/lamp"
port = {plug_port}
"""
PLUGS = {
    "plug-7/status/switch:0": b'{"id":0,"output":true,"apower":42.5,"aenergy":{"total":1000.5}}',
    "tele/strip/SENSOR": b'{"Time":"2026-05-04T08:00:00","ENERGY":{"Total":[0.5,1.5],"Power":[10,200]}}',
    "zigbee2mqtt/lamp": b'{"power":7,"energy":2.5,"state":"ON"}',
}
# Channels 0 and 1 are the rail meter's sum and its phases 1 and 2; then one for each plug.
EXPECTED = {0: (1200.0, 60_000.0), 1: (600.0, 30_000.0), 2: (42.5, 1000.5), 3: (200.0, 1500.0), 4: (7.0, 2500.0)}


def write(folder: Path, *, server_port: int = 1, modbus_port: int = 2, plug_port: int = 3, text: str = FILE) -> Path:
    path = folder / "box.toml"
    path.write_text(text.format(folder=folder, server_port=server_port, modbus_port=modbus_port, plug_port=plug_port))
    (folder / "password").write_text(f"{PASSWORD}\n")
    return path


@pytest.fixture
def plugs(tmp_path: Path) -> Iterator[Running]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    folder = tmp_path / "plugs"
    folder.mkdir()
    running = Running("mosquitto", folder)
    running.start()
    plug = Hand(running.port, name="plug")
    assert plug.connect()

    def say(stop: threading.Event) -> None:
        while not stop.wait(0.2):
            for topic, raw in PLUGS.items():
                plug.client.publish(topic, raw)

    with thread(say):
        yield running
    plug.close()
    running.kill()


def test_the_file_of_a_box_is_read(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path))
    assert settings.server_ca is None
    assert settings.buffer == tmp_path / "buffer.db"
    assert settings.read_password() == PASSWORD
    assert [(meter.kind, meter.places) for meter in settings.meters] == [
        ("modbus-tcp", ((0,), (1, 2))),
        ("shelly", ((0,),)),
        ("tasmota", ((1,),)),
        ("zigbee2mqtt", ((0,),)),
    ]
    (tmp_path / "password").write_text("another\n")
    assert settings.read_password() == "another"


def test_a_meter_on_a_serial_line_has_the_factory_settings_of_its_profile(tmp_path: Path) -> None:
    meter = '[[meter]]\nkind = "modbus-rtu"\ndevice = "/dev/ttyUSB0"\nprofile = "eastron-sdm120"\n'
    head = 'code = "x"\npassword = "y"\nserver_host = "z"\nbuffer = "b"\n'
    (found,) = read_settings(write(tmp_path, text=head + meter)).meters
    assert (found.host, found.baud_rate, found.parity, found.stop_bits, found.unit) == ("/dev/ttyUSB0", 2400, "N", 1, 1)
    (found,) = read_settings(write(tmp_path, text=head + meter + 'baud_rate = 9600\nparity = "E"\n')).meters
    assert (found.baud_rate, found.parity) == (9600, "E")


def test_every_mistake_in_the_file_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        'code = "x y"\nport = 1\nbatch = "many"\nsample_s = true\nmessages_max = 1\n'
        '[[meter]]\nkind = "fritz"\n[[meter]]\nkind = "shelly"\nchannels = []\n'
        '[[meter]]\nkind = "modbus-tcp"\nhost = "h"\nprofile = "none"\n'
        '[[meter]]\nkind = "modbus-tcp"\nhost = "h"\nprofile = "eastron-sdm120"\nchannels = [7]\n'
    )
    path = write(tmp_path, text=text)
    with pytest.raises(ValueError, match="port is unknown") as mistakes:
        read_settings(path)
    for part in ("server_host is missing", "'fritz'", "batch has the wrong type", "sample_s has the wrong type"):
        assert part in str(mistakes.value)
    for part in ("meter 2: prefix is missing", "meter 2: channels", "no profile none", "has only the channels 0"):
        assert part in str(mistakes.value)
    for part in ("code has other", "one of password and password_file", "messages_max is below"):
        assert part in str(mistakes.value)
    assert program.main([str(path)]) == program.WRONG
    assert program.main([]) == program.WRONG
    assert program.main([str(tmp_path / "nowhere.toml")]) == program.WRONG
    assert "port is unknown" in capsys.readouterr().err


def test_the_program_tells_what_it_can_do_and_which_meters_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        program.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--check", "--profiles", "--wait", "settings"))
    assert program.main(["--profiles"]) == program.ANSWERED
    assert "eastron-sdm630: Eastron SDM630" in capsys.readouterr().out


def test_check_reads_every_meter_once_and_prints_it(
    plugs: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(shelf(METERS["eastron-sdm630"][0])) as modbus_port:
        path = write(tmp_path, modbus_port=modbus_port, plug_port=plugs.port)
        assert program.main([str(path), "--check"]) == program.ANSWERED
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith("channel")]
    assert [line.partition("]: ")[2].split(",")[0] for line in said] == [
        *("1200.0 W", "600.0 W", "42.5 W", "200.0 W", "7.0 W"),
    ]
    assert "Eastron SDM630 unit 1 at 127.0.0.1 [1+2]" in said[1]
    assert "230.0 V, 231.0 V" in said[1]
    assert "1.000 kWh" in said[2]
    assert "indicative only" in said[4]
    assert not (tmp_path / "buffer.db").exists()


def test_check_says_which_meter_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, modbus_port=free_port(), plug_port=free_port())
    assert program.main([str(path), "--check", "--wait", "0.5"]) == program.SILENT
    assert capsys.readouterr().out.count("no answer") == len(EXPECTED)


def test_what_the_meters_of_a_site_say_reaches_the_server_as_messages_of_one_box(
    embedded_broker: Running, plugs: Running, server: Server, tmp_path: Path
) -> None:
    server.enrol(channels=len(EXPECTED))
    consumer = Consumer(
        transaction=server.database.transaction,
        now=clock.now,
        host="127.0.0.1",
        port=embedded_broker.port,
        username="ingest",
        password=PASSWORD,
    )

    def stored() -> dict[int, tuple[float, float | None]]:
        with server.database.reader() as session:
            rows = session.scalars(select(Message).where(Message.box == BOX, Message.kind == "m").order_by(Message.seq))
            return {row.channel: (row.powers_w[0], row.energy_wh) for row in rows}

    with serving(shelf(METERS["eastron-sdm630"][0])) as modbus_port:
        path = write(tmp_path, server_port=embedded_broker.port, modbus_port=modbus_port, plug_port=plugs.port)
        settings = read_settings(path)
        with thread(consumer.run), thread(lambda stop: program.run(settings, stop)):
            wait_until(lambda: stored() == EXPECTED)
    assert server.dead_reasons() == []

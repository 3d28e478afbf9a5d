"""The program on a real box: settings from a file, power from a plug that one can buy, messages to the server."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from telemetry.adapters.meter import Family
from telemetry.box import __main__ as program
from telemetry.box.settings import read_settings
from telemetry.consumer import Consumer
from telemetry.models import Message
from tests.telemetry.network import MOSQUITTO, PASSWORD, Hand, Running, thread, wait_until
from tests.telemetry.wire import BOX, Server

FILE = """
code = "cb-001"
password = "a password"
server_host = "127.0.0.1"
server_port = {server_port}
buffer = "{folder}/buffer.db"
meter_family = "shelly"
meter_prefix = "plug-7"
meter_port = {meter_port}
sample_s = 1
batch = 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "box.toml"
    path.write_text(text)
    return path


def test_the_file_of_a_box_is_read(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, FILE.format(server_port=1, meter_port=2, folder=tmp_path)))
    assert (settings.meter_family, settings.meter_channel, settings.server_ca) == (Family.SHELLY, 0, None)
    assert settings.buffer == tmp_path / "buffer.db"


def test_every_mistake_in_the_file_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, 'code = "x"\nport = 1\nmeter_family = "fritz"\nbatch = "many"\nsample_s = true\n')
    with pytest.raises(ValueError, match="port is unknown") as mistakes:
        read_settings(path)
    for part in ("password is missing", "'fritz'", "batch has the wrong type", "sample_s has the wrong type"):
        assert part in str(mistakes.value)
    assert program.main([str(path)]) == 2
    assert program.main([]) == 2
    assert program.main([str(tmp_path / "nowhere.toml")]) == 2
    assert "port is unknown" in capsys.readouterr().err


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_the_power_of_a_plug_reaches_the_server(embedded_broker: Running, server: Server, tmp_path: Path) -> None:
    server.enrol()
    plugs = Running("mosquitto", tmp_path)
    plugs.start()
    plug = Hand(plugs.port, name="plug")
    assert plug.connect()
    settings = read_settings(
        write(tmp_path, FILE.format(server_port=embedded_broker.port, meter_port=plugs.port, folder=tmp_path))
    )
    consumer = Consumer(
        transaction=server.database.transaction,
        now=program._now,
        host="127.0.0.1",
        port=embedded_broker.port,
        username="ingest",
        password=PASSWORD,
    )

    def measured() -> list[list[float]]:
        plug.client.publish("plug-7/status/switch:0", b'{"id":0,"apower":42.5}')
        with server.database.reader() as session:
            return list(session.scalars(select(Message.powers_w).where(Message.box == BOX)))

    def box(stop: threading.Event) -> None:
        program.run(settings, stop)

    with thread(consumer.run), thread(box):
        wait_until(lambda: [42.5, 42.5] in measured())
    plug.close()
    plugs.kill()
    assert {power_w for powers in measured() for power_w in powers} == {42.5}

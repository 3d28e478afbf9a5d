"""The program on a real collector box: `python -m telemetry.box box.toml`; what the file holds is in `settings`."""

import signal
import ssl
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from telemetry.box.agent import BoxAgent
from telemetry.box.plug import Plug
from telemetry.box.settings import BoxSettings, read_settings


def _now() -> datetime:
    return datetime.now(UTC)


def run(settings: BoxSettings, stop: threading.Event) -> None:
    """Measure and send until `stop` is set."""
    started_s = time.monotonic()
    with Plug(
        family=settings.meter_family,
        prefix=settings.meter_prefix,
        channel=settings.meter_channel,
        host=settings.meter_host,
        port=settings.meter_port,
        username=settings.meter_username,
        password=settings.meter_password,
        now=_now,
    ) as plug:
        BoxAgent(
            code=settings.code,
            password=settings.password,
            host=settings.server_host,
            port=settings.server_port,
            tls=None if settings.server_ca is None else ssl.create_default_context(cafile=settings.server_ca),
            source=plug,
            now=_now,
            uptime_s=lambda: time.monotonic() - started_s,
            is_synced=lambda: settings.synced_file is None or settings.synced_file.exists(),
            buffer_path=settings.buffer,
            sample_s=settings.sample_s,
            batch=settings.batch,
        ).run(stop)


def main(arguments: list[str]) -> int:
    """Read the settings and run until told to stop."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m telemetry.box box.toml\n")
        return 2
    try:
        settings = read_settings(Path(arguments[0]))
    except (OSError, ValueError) as mistake:
        sys.stderr.write(f"{arguments[0]}: {mistake}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The program on a real collector box: `python -m telemetry.box box.toml`; what the file holds is in `settings`."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from telemetry.box import profile
from telemetry.box.program import check, make_agent, measuring, uptime
from telemetry.box.settings import BoxSettings, read_settings

CHECK_WAIT_S = 20.0
ANSWERED, SILENT, WRONG = 0, 1, 2


def run(settings: BoxSettings, stop: threading.Event) -> None:
    """Measure and send until `stop` is set; SIGHUP logs in anew, with the password that then holds."""
    uptime_s = uptime()
    with measuring(settings, uptime_s=uptime_s) as places:
        agent = make_agent(settings, places=places, uptime_s=uptime_s)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, lambda *_: agent.reconnect())
        agent.run(stop)


def main(arguments: list[str]) -> int:
    """Read the settings, and run until told to stop, or check the meters once."""
    parser = argparse.ArgumentParser(prog="python -m telemetry.box", description=__doc__)
    parser.add_argument("settings", nargs="?", type=Path, help="the box's TOML file; docs/how-to/box.md explains it")
    parser.add_argument("--check", action="store_true", help="read every meter once, print what it says, and end")
    parser.add_argument("--wait", type=float, default=CHECK_WAIT_S, metavar="SECONDS", help="how long --check waits")
    parser.add_argument("--profiles", action="store_true", help="list the Modbus meters that are known, and end")
    chosen = parser.parse_args(arguments)
    if chosen.profiles:
        for name in profile.names():
            sys.stdout.write(f"{name}: {profile.read_profile(name).name}\n")
        return ANSWERED
    if chosen.settings is None:
        parser.print_usage(sys.stderr)
        return WRONG
    try:
        settings = read_settings(chosen.settings)
        settings.read_password()
    except (OSError, ValueError) as mistake:
        sys.stderr.write(f"{chosen.settings}: {mistake}\n")
        return WRONG
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # says with every question what we say once
    if chosen.check:
        lines, have_answered = check(settings, wait_s=chosen.wait)
        sys.stdout.write("\n".join(lines) + "\n")
        return ANSWERED if have_answered else SILENT
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings, stop)
    return ANSWERED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

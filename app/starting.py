"""What every process does first: read the settings, set up the log, and agree on what the site brings of its own."""

import signal
import threading

from app import books, clock, settings
from app.logs import configure as configure_logs


def prepare() -> settings.Settings:
    """Read the settings and make this process ready to work by them. Raises SettingsError that names every mistake."""
    values = settings.load()
    configure_logs(values.log_format)
    if values.clock_anchor is not None:
        clock.set_anchor(clock.Anchor.parse(values.clock_anchor))
    books.use_chart(None if values.chart_file is None else books.read_chart(values.chart_file))
    return values


def stop_on_signal() -> threading.Event:
    """Give an event that a TERM or INT sets, so that a process ends after what it has in hand."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop

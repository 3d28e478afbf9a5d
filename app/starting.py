"""What every process does first: read the settings, set up the log, and agree on what the site brings of its own."""

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

"""The program at the instrument: reads cards, journals, talks to the server over HTTP."""

APP_VERSION = "0.1.0"

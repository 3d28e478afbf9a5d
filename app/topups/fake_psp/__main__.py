"""Runs the fake payment service where the settings look for the payment service, until it is told to stop."""

import argparse
import signal
import threading
from pathlib import Path
from urllib.parse import urlsplit

import app.settings
from app import logs
from app.topups.fake_psp import Config, FakePsp
from app.topups.fake_psp.deliveries import Receiver

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, with address, key, secret and folder of the settings unless told otherwise."""
    settings = app.settings.load()
    logs.configure(settings.log_format)
    address = urlsplit(settings.psp_base_url)
    parser = argparse.ArgumentParser(prog="python -m app.topups.fake_psp", description=__doc__)
    parser.add_argument("--port", type=int, default=address.port or 8090)
    parser.add_argument("--file", type=Path, default=settings.var_dir / "payment-service.sqlite3")
    parser.add_argument("--webhook-url", default=f"{settings.public_url.rstrip('/')}/webhooks/psp")
    options = parser.parse_args()
    if address.hostname not in LOOPBACK:
        parser.error("TESTCARD_PSP_BASE_URL is not on this machine: the fake payment service is for demonstrations")
    secrets = settings.psp_webhook_secrets
    receiver = Receiver(url=options.webhook_url, secret=secrets[0]) if secrets else None
    psp = FakePsp(Config(file=options.file, api_key=settings.psp_api_key, receiver=receiver, port=options.port))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    psp.start()
    stop.wait()
    psp.stop()


if __name__ == "__main__":
    main()

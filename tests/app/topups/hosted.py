"""The service and the fake payment service as two real HTTP servers on loopback that know each other's address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from werkzeug.serving import make_server

from app import create_app, web
from app.settings import Settings
from app.topups.fake_psp import Config, FakePsp
from app.topups.fake_psp.deliveries import Receiver


@contextmanager
def hosted_site(settings: Settings, *, folder: Path) -> Iterator[str]:
    """Serve both, and give the address of the service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    receiver = Receiver(url=f"{url}/webhooks/psp", secret="whsec_test")
    psp = FakePsp(Config(file=folder / "psp.sqlite3", api_key="sk_test_x", receiver=receiver))
    psp.start()
    flask = create_app(replace(settings, psp_base_url=psp.url, public_url=url, psp_timeout_s=5.0))
    server = make_server("127.0.0.1", port, flask, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        psp.stop()
        with flask.app_context():
            web.database().close()

"""A bad network in front of the payment service: real HTTP, real faults."""

import http.server
import threading
import time
from enum import StrEnum
from typing import Any

import requests


class Fault(StrEnum):
    NONE = "none"
    LOST_REQUEST = "lost_request"
    LOST_REPLY = "lost_reply"
    SILENCE = "silence"
    SERVER_ERROR = "server_error"
    BUSY = "busy"
    NOT_JSON = "not_json"


class Network:
    """Passes requests on to `upstream`, but for the fault it is told to make."""

    def __init__(self, upstream: str) -> None:
        self.fault = Fault.NONE
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        network = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                network.seen.append((self.command, self.path, dict(self.headers.items()), body))
                if network._spoil(self, before=True):
                    return
                answer = requests.request(
                    self.command,
                    upstream + self.path,
                    headers=dict(self.headers.items()),
                    data=body,
                    timeout=10,
                    allow_redirects=False,
                )
                if network._spoil(self, before=False):
                    return
                _reply(self, answer.status_code, answer.content, location=answer.headers.get("Location"))

            do_GET = do_POST  # noqa: N815 - the name http.server looks for

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _spoil(self, handler: http.server.BaseHTTPRequestHandler, *, before: bool) -> bool:
        """Make the fault if this is its moment: before the payment service hears the request, or after."""
        if self.fault is Fault.NONE or before is (self.fault is Fault.LOST_REPLY):
            return False
        match self.fault:
            case Fault.LOST_REQUEST | Fault.LOST_REPLY:
                handler.close_connection = True
            case Fault.SILENCE:
                time.sleep(2)
            case Fault.SERVER_ERROR:
                _reply(handler, 500, b'{"error": {"type": "api_error"}}')
            case Fault.BUSY:
                _reply(handler, 429, b'{"error": {"type": "rate_limit_error"}}')
            case Fault.NOT_JSON:
                _reply(handler, 200, b"<html>maintenance</html>")
        return True


def _reply(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, *, location: str | None = None
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    if location is not None:
        handler.send_header("Location", location)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

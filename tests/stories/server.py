"""The service over real HTTP, with what a network does to it."""

import socket
import threading
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from card_terminal.protocol import PATH_PREFIX

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Server:
    """Can go away and come back at the same place, and do what it is asked without anybody hearing the answer."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._port = 0
        self._server: BaseWSGIServer | None = None
        self._thread = threading.Thread()
        self.loses: Counter[str] = Counter()
        """How many answers of each of a terminal's doors are still to be lost."""

    @property
    def url(self) -> str:
        """Where it is, also while it is down."""
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Begin to answer."""
        self._server = make_server("127.0.0.1", self._port, self._answer, threaded=True)
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def down(self) -> None:
        """Answer nothing any more."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        answer = self._app(environ, start_response)
        door = environ["PATH_INFO"].removeprefix(PATH_PREFIX)
        if self.loses[door] > 0:
            self.loses[door] -= 1
            # All is done, and nothing was sent yet.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return answer

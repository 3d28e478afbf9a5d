"""The kiosk's small web server: the page, the state as JSON, and buttons; on 127.0.0.1 and nowhere else."""

import logging
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from card_terminal.flow import State
from card_terminal.kiosk.inputs import Choice, ChoiceMade, Tap, read_choice, read_tap
from card_terminal.program import BusyError, Program
from card_terminal.protocol import MessageError, fingerprint
from card_terminal.readers.simulated import SimulatedReader, UnknownCardError
from card_terminal.settings import SettingsError
from card_terminal.terminal import Terminal
from card_terminal.view import Viewer

HOST = "127.0.0.1"
SETTLE_S_MAX = 20.0
BODY_BYTES_MAX = 4096

_HOSTS = {"127.0.0.1", "localhost"}
_POLL_S = 0.02
_PASSING = {State.READING, State.AUTH, State.CONFIRM, State.AUTHORIZING, State.ENDING}
_ASSETS = {
    "kiosk.css": "text/css",
    "kiosk.js": "text/javascript",
    "kiosk-screens.js": "text/javascript",
    "kiosk.svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """What the web server needs to know: before enrolment only who we are, then the terminal."""

    def __init__(self, *, program: Program, reader: SimulatedReader | None, key: Ed25519PrivateKey) -> None:
        self.program = program
        self.reader = reader
        self.restarts: Callable[[], int] = lambda: 0
        """How many threads of the program were started anew."""
        self._fingerprint = fingerprint(key.public_key())
        self._terminal: Terminal | None = None
        self._viewer: Viewer | None = None

    def show(self, terminal: Terminal, *, viewer: Viewer) -> None:
        """Show this terminal from now on."""
        self._viewer = viewer
        self._terminal = terminal

    def view(self) -> dict[str, Any]:
        """Give the present state as JSON."""
        simulated = self.reader is not None
        if self._terminal is None or self._viewer is None:
            return {"state": "enrolling", "fingerprint": self._fingerprint, "simulated": simulated}
        view = self._viewer.view(self._terminal.screen)
        health = {"reader": str(self.program.reader_state), "restarts": self.restarts()}
        return {**view, **health, "simulated": simulated}

    def settled_view(self) -> dict[str, Any]:
        """Give the state once what was begun has come to an answer, or SETTLE_S_MAX later."""
        give_up_at = time.monotonic() + SETTLE_S_MAX
        self.program.submit(lambda _terminal: None).result(timeout=SETTLE_S_MAX)
        while self._is_passing() and time.monotonic() < give_up_at:
            time.sleep(_POLL_S)
        return self.view()

    def _is_passing(self) -> bool:
        return self._terminal is not None and self._terminal.screen.state in _PASSING

    @property
    def is_ready(self) -> bool:
        """Whether there is a terminal to tap at."""
        return self._terminal is not None


class Kiosk:
    """The running web server; use it as a context. Raises SettingsError when the port is taken."""

    def __init__(self, page: Page, *, port: int) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        try:
            self._server = make_server(HOST, port, create_kiosk(page), threaded=True)
        except (OSError, SystemExit) as error:
            raise SettingsError(f"Port {port} on {HOST} is taken (--kiosk-port).") from error

    def serve(self) -> threading.Thread:
        """Serve the page in a thread of its own, also when the one before has died."""
        self.thread = threading.Thread(target=self._server.serve_forever, name="kiosk", daemon=True)
        self.thread.start()
        return self.thread

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.port}/"

    def __enter__(self) -> Self:
        self.serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.thread.join()
        self._server.server_close()


def create_kiosk(page: Page) -> Flask:
    """Make the WSGI application of the page."""
    kiosk = Flask(__name__, static_folder=None)
    kiosk.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    kiosk.before_request(_only_from_here)
    kiosk.after_request(_with_headers)
    kiosk.register_error_handler(HTTPException, _as_json)
    kiosk.register_error_handler(MessageError, lambda error: _problem(error.detail, status=400))
    kiosk.register_error_handler(UnknownCardError, lambda error: _problem(str(error), status=404))
    for busy in (BusyError, TimeoutError):
        kiosk.register_error_handler(busy, lambda _error: _problem("the terminal is busy", status=503))
    kiosk.add_url_rule("/", view_func=lambda: _asset("kiosk.html", kind="text/html"), endpoint="page")
    names = ",".join(f"'{name}'" for name in _ASSETS)
    kiosk.add_url_rule(f"/<any({names}):name>", view_func=_named_asset, endpoint="asset")
    kiosk.add_url_rule("/state", view_func=lambda: jsonify(page.view()), endpoint="state")
    kiosk.add_url_rule("/choose", view_func=lambda: _choose(page), endpoint="choose", methods=["POST"])
    if page.reader is not None:
        reader = page.reader
        kiosk.add_url_rule("/cards", view_func=lambda: _cards(reader), endpoint="cards")
        kiosk.add_url_rule("/tap", view_func=lambda: _tap(page, reader), endpoint="tap", methods=["POST"])
    return kiosk


def _only_from_here() -> None:
    # A page of the wide web that resolves its own name to 127.0.0.1 must find nothing here.
    if request.host.rsplit(":", 1)[0] not in _HOSTS:
        abort(403)


def _with_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


def _as_json(error: HTTPException) -> Response:
    return _problem(error.name, status=error.code or 500)


def _problem(message: str, *, status: int) -> Response:
    response = jsonify({"message": message})
    response.status_code = status
    return response


def _asset(name: str, *, kind: str) -> Response:
    return Response(files(__package__).joinpath(name).read_bytes(), mimetype=kind)


def _named_asset(name: str) -> Response:
    return _asset(name, kind=_ASSETS[name])


def _cards(reader: SimulatedReader) -> Response:
    return jsonify([{"name": name, "label": reader.label(name)} for name in reader.names()])


def _tap(page: Page, reader: SimulatedReader) -> Response:
    tap: Tap = read_tap(request.get_json())
    if not page.is_ready:
        raise BusyError
    reader.present(tap.card, pin=tap.pin, minutes=tap.minutes)
    return jsonify(page.settled_view())


_DO: dict[Choice, Callable[[Terminal], None]] = {
    Choice.CONFIRM: lambda terminal: terminal.confirm(),
    Choice.BACK: lambda terminal: terminal.back(),
    Choice.CALL: lambda terminal: terminal.call_staff(),
    Choice.TAKE_OVER: lambda terminal: terminal.take_over(),
}


def _choose(page: Page) -> Response:
    choice: ChoiceMade = read_choice(request.get_json())
    if not page.is_ready:
        raise BusyError
    if choice.action is Choice.PIN:
        pin = choice.pin or ""
        page.program.submit(lambda terminal: terminal.enter_pin(pin))
    else:
        page.program.submit(_DO[choice.action])
    return jsonify(page.settled_view())

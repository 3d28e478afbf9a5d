"""A stand-in for stripe-mock: it refuses whatever Stripe's specification does not name, and remembers nothing.

The parts of the specification that top-ups use are written down here once more, independent of the product.
"""

import http.server
import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Check = Callable[[str], bool]


def _text(maximum: int) -> Check:
    return lambda value: 0 < len(value) <= maximum


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _whole(value: str) -> bool:
    return re.fullmatch(r"-?\d+", value, re.ASCII) is not None


ANY = object()
METADATA = {ANY: _text(500)}
EXPAND = [_text(5000)]
CHECKOUT = {
    "mode": _one_of("payment", "setup", "subscription"),
    "client_reference_id": _text(200),
    "success_url": _text(5000),
    "cancel_url": _text(5000),
    "expires_at": _whole,
    "line_items": [
        {
            "quantity": _whole,
            "price_data": {"currency": _text(3), "unit_amount": _whole, "product_data": {"name": _text(5000)}},
        }
    ],
    "metadata": METADATA,
    "payment_intent_data": {"description": _text(1000), "metadata": METADATA},
    "payment_method_options": {"wechat_pay": {"client": _one_of("android", "ios", "web")}},
    "expand": EXPAND,
}
EVENTS = {
    "created": {"gt": _whole, "gte": _whole, "lt": _whole, "lte": _whole},
    "limit": _whole,
    "starting_after": _text(5000),
    "types": [_text(5000)],
}
ROUTES = {
    ("POST", r"/v1/checkout/sessions"): CHECKOUT,
    ("GET", r"/v1/checkout/sessions/\w+"): {"expand": EXPAND},
    ("POST", r"/v1/checkout/sessions/\w+/expire"): {"expand": EXPAND},
    ("GET", r"/v1/events"): EVENTS,
}


def violations(form: list[tuple[str, str]], specification: Any) -> list[str]:
    """Name the parameters that the specification does not have or does not have so."""
    return [name for name, value in form if not _fits(re.findall(r"[^\[\]]+", name), value, specification)]


def _fits(path: list[str], value: str, specification: Any) -> bool:
    if callable(specification):
        return not path and specification(value)
    if not path:
        return False
    if isinstance(specification, list):
        return path[0].isdigit() and _fits(path[1:], value, specification[0])
    inner = specification.get(path[0], specification.get(ANY))
    return inner is not None and _fits(path[1:], value, inner)


class StrictApi:
    """The server. Its answers are always the same: amounts null, no metadata, an event about somebody else."""

    def __init__(self, *, page_url: str | None) -> None:
        self.page = "with" if page_url else "without"
        self.refused: list[str] = []
        self.calls: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        api = self
        session: dict[str, object] = {
            "id": "cs_test_a1",
            "object": "checkout.session",
            "amount_total": None,
            "client_reference_id": None,
            "currency": None,
            "livemode": False,
            "metadata": {},
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "url": page_url,
        }
        foreign = {"id": "evt_1", "object": "event", "created": 1234567890, "type": "plan.created", "livemode": False}
        listing = {"object": "list", "has_more": False, "data": [{**foreign, "data": {"object": {"id": "price_1"}}}]}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                address = urlsplit(self.path)
                form = parse_qsl(body if self.command == "POST" else address.query, keep_blank_values=True)
                headers = dict(self.headers.items())
                api.calls.append((self.command, address.path, headers, dict(form)))
                api.refused += api._judge(self.command, address.path, headers, form)
                answer = listing if address.path == "/v1/events" else session
                text = json.dumps({"error": {"type": "invalid_request_error"}} if api.refused else answer).encode()
                self.send_response(400 if api.refused else 200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST  # noqa: N815 - the name http.server looks for

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @staticmethod
    def _judge(method: str, path: str, headers: dict[str, str], form: list[tuple[str, str]]) -> list[str]:
        found = [rules for (verb, pattern), rules in ROUTES.items() if verb == method and re.fullmatch(pattern, path)]
        if not found:
            return [f"no route {method} {path}"]
        wrong = violations(form, found[0])
        if method == "POST" and headers.get("Content-Type") != "application/x-www-form-urlencoded":
            wrong.append("Content-Type")
        if not headers.get("Authorization", "").startswith("Bearer sk_test_"):
            wrong.append("Authorization")
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.\w+)?", headers.get("Stripe-Version", "")):
            wrong.append("Stripe-Version")
        return wrong

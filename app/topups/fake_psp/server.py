"""The fake payment service over HTTP: the API that the service calls, and the page that the customer pays on."""

import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import werkzeug.serving
from flask import Flask, Response, abort, jsonify, redirect, render_template, request
from werkzeug.serving import make_server
from werkzeug.wrappers import Response as AnyResponse

from app import clock
from app.money import yuan
from app.topups.fake_psp import forms, payments
from app.topups.fake_psp.deliveries import Deliveries, Receiver
from app.topups.fake_psp.errors import ApiError
from app.topups.fake_psp.store import Answer, Document, Store, Work, fingerprint

FORM = "application/x-www-form-urlencoded"
KEY_LENGTH_MAX = 255
BODY_BYTES_MAX = 256 * 1024
EVENTS_DEFAULT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where it listens, what it remembers in, and whom it tells. Without `receiver` it tells nobody."""

    file: Path
    api_key: str
    receiver: Receiver | None
    host: str = "127.0.0.1"
    port: int = 0


class FakePsp:
    """The running service; port 0 takes a free one."""

    def __init__(self, config: Config) -> None:
        self.store = Store(config.file)
        self._deliveries = Deliveries(self.store, config.receiver)
        flask = build(self.store, config=config, wake=self._deliveries.wake)
        self._server = make_server(config.host, config.port, flask, threaded=True, request_handler=_QuietRequestHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-psp", daemon=True)
        self.url = f"http://{config.host}:{self._server.server_port}"

    def start(self) -> None:
        """Serve and deliver in the background."""
        self._deliveries.start()
        self._thread.start()

    def is_running(self) -> bool:
        """Say whether it serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop serving and delivering; what it remembers stays."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._deliveries.stop()


class _QuietRequestHandler(werkzeug.serving.WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing for every request."""


def build(store: Store, *, config: Config, wake: Callable[[], None]) -> Flask:
    """Build the web application over a store; `wake` is called when there is something to deliver."""
    flask = Flask(__name__)
    flask.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    flask.add_template_filter(yuan)
    flask.register_error_handler(ApiError, lambda error: (jsonify(error.body), error.status))
    flask.before_request(lambda: _check_call(config.api_key) if request.path.startswith("/v1/") else None)
    _add_api(flask, store, deliver=config.receiver is not None, wake=wake)
    _add_page(flask, store, deliver=config.receiver is not None, wake=wake)
    return flask


def _add_api(flask: Flask, store: Store, *, deliver: bool, wake: Callable[[], None]) -> None:
    @flask.post("/v1/checkout/sessions")
    def create_session() -> Response:
        form = _form(forms.CHECKOUT_RULES)
        pay_url = f"{request.host_url}pay"
        version = request.headers.get("Stripe-Version", "")

        def make(work: Work) -> Document:
            session = payments.new_session(form, pay_url=pay_url, api_version=version, now=clock.real_now())
            work.keep(session)
            return payments.public(session)

        return _once(store, form, make)

    @flask.get("/v1/checkout/sessions/<session_id>")
    def retrieve_session(session_id: str) -> Response:
        query = _query(forms.EXPAND_RULES)
        with store.work() as work:
            session = payments.public(_find(work, session_id, kind="checkout.session"))
            if "payment_intent" in query.values() and session["payment_intent"] is not None:
                session["payment_intent"] = work.find(session["payment_intent"])
        return jsonify(session)

    @flask.post("/v1/checkout/sessions/<session_id>/expire")
    def expire_session(session_id: str) -> Response:
        def close(work: Work) -> Document:
            session = _find(work, session_id, kind="checkout.session")
            return payments.public(payments.expire(work, session, now=clock.real_now(), deliver=deliver))

        answer = _once(store, _form(forms.EXPAND_RULES), close)
        wake()
        return answer

    @flask.get("/v1/payment_intents/<intent_id>")
    def retrieve_intent(intent_id: str) -> Response:
        _query(forms.EXPAND_RULES)
        with store.work() as work:
            return jsonify(_find(work, intent_id, kind="payment_intent"))

    @flask.get("/v1/events")
    def list_events() -> Response:
        query = _query(forms.EVENTS_RULES)
        with store.work() as work:
            return jsonify(_page_of_events(work.events(), query))

    @flask.get("/v1/balance")
    def balance() -> Response:
        _query(())
        with store.work() as work:
            received = sum(intent["amount_received"] for intent in work.objects("payment_intent"))
        return jsonify(
            {
                "object": "balance",
                "livemode": False,
                "available": [{"amount": received, "currency": "cny"}],
                "pending": [{"amount": 0, "currency": "cny"}],
            }
        )


def _add_page(flask: Flask, store: Store, *, deliver: bool, wake: Callable[[], None]) -> None:
    @flask.get("/pay/<session_id>")
    def show(session_id: str) -> str:
        with store.work() as work:
            session = work.find(session_id)
        if session is None:
            abort(404)
        return render_template("pay.html", session=session)

    @flask.post("/pay/<session_id>")
    def act(session_id: str) -> AnyResponse:
        with store.work() as work:
            session = work.find(session_id)
            if session is None:
                abort(404)
            if request.form.get("action") != "pay":
                # As with the real page: going back leaves the session open.
                return redirect(session["cancel_url"] or session["success_url"], code=303)
            if session["status"] == "open":
                payments.pay(work, session, now=clock.real_now(), deliver=deliver)
        wake()
        if session["status"] != "complete":
            return redirect(f"/pay/{session_id}", code=303)
        return redirect(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id), code=303)


def _check_call(api_key: str) -> None:
    """Check what every call to the API must have. Raises ApiError."""
    credentials = request.authorization
    given = "" if credentials is None else credentials.token or credentials.username or ""
    if not hmac.compare_digest(given.encode(), api_key.encode()):
        raise ApiError(401, "Invalid API Key provided.", code="invalid_api_key")
    if request.method == "POST" and request.mimetype != FORM:
        raise ApiError(400, f"Content-Type must be {FORM}, also of an empty body.")


def _form(rules: tuple[forms.Rule, ...]) -> dict[str, str]:
    return _checked(request.form.to_dict(flat=False), rules)


def _query(rules: tuple[forms.Rule, ...]) -> dict[str, str]:
    return _checked(request.args.to_dict(flat=False), rules)


def _checked(given: Mapping[str, list[str]], rules: tuple[forms.Rule, ...]) -> dict[str, str]:
    for name, values in given.items():
        if len(values) > 1:
            raise ApiError(400, f"{name} is given more than once.", param=name)
    flat = {name: values[0] for name, values in given.items()}
    forms.check(flat, rules)
    return flat


def _once(store: Store, form: Mapping[str, str], work_on: Callable[[Work], Document]) -> Response:
    """Do a POST once for its idempotency key: the same request hears the same answer, another one is refused."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_LENGTH_MAX:
        raise ApiError(400, "The idempotency key is too long.", kind="idempotency_error")
    mark = fingerprint(request.path, form)
    with store.work() as work:
        if key and (before := work.answer(key)) is not None:
            if before.fingerprint != mark:
                raise ApiError(400, "The key was used before with other parameters.", kind="idempotency_error")
            replayed = jsonify(before.body)
            replayed.headers["Idempotent-Replayed"] = "true"
            return replayed
        body = work_on(work)
        if key:
            work.remember(key, Answer(mark, 200, body))
    return jsonify(body)


def _find(work: Work, object_id: str, *, kind: str) -> Document:
    found = work.find(object_id)
    if found is None or found["object"] != kind:
        raise ApiError(404, f"No such {kind}: {object_id}", code="resource_missing", param="id")
    return found


def _page_of_events(events: list[Document], query: Mapping[str, str]) -> Document:
    """Give one page of the events, newest first, as the query asks."""
    wanted = set(forms.nested(query, "types").values()) | ({query["type"]} if "type" in query else set())
    compare: dict[str, Callable[[int, int], bool]] = {
        "gt": int.__gt__,
        "gte": int.__ge__,
        "lt": int.__lt__,
        "lte": int.__le__,
    }
    bounds = [(compare[name], int(value)) for name, value in forms.nested(query, "created").items()]
    after = query.get("starting_after")
    if after is not None:
        position = next((place for place, event in enumerate(events) if event["id"] == after), None)
        if position is None:
            raise ApiError(404, f"No such event: {after}", code="resource_missing", param="starting_after")
        events = events[position + 1 :]
    found: list[Any] = [
        event
        for event in events
        if (not wanted or event["type"] in wanted) and all(holds(event["created"], bound) for holds, bound in bounds)
    ]
    limit = int(query.get("limit", EVENTS_DEFAULT))
    return {"object": "list", "url": "/v1/events", "has_more": len(found) > limit, "data": found[:limit]}

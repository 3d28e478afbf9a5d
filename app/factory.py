"""The web application: settings in, Flask out, with every room of every domain registered."""

import importlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask_babel
import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response, request, session
from marshmallow import RAISE, Schema
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter, Map

import app.settings
from app import books, clock, health, logs, presentation, problems, protection, web
from app.clock import Anchor
from app.db import Database
from app.domains import DOMAINS, rooms
from app.fields import INTEGER_MAX
from app.settings import Settings

BODY_BYTES_MAX = 1024 * 1024
FORM_PARTS_MAX = 1000
# Where the domains keep doors for programs (documented in OpenAPI) and where for people.
PROGRAM_ROOMS = ("api", "terminal", "webhooks")
LANGUAGES = {"zh": "zh_Hans_CN", "en": "en"}


def build(given: Settings | None = None) -> Flask:
    """Build the application; see `app.create_app`."""
    chosen = given or app.settings.load()
    logs.configure(chosen.log_format)
    if chosen.clock_anchor is not None:
        clock.set_anchor(Anchor.parse(chosen.clock_anchor))
    books.use_chart(None if chosen.chart_file is None else books.read_chart(chosen.chart_file))
    flask = Flask("app", root_path=str(Path(__file__).parent))
    flask.config.update(_config(chosen))
    if chosen.proxies:
        # Else everybody comes from the proxy, and whoever tries codes there slows down all others.
        flask.wsgi_app = ProxyFix(flask.wsgi_app, x_for=chosen.proxies, x_proto=chosen.proxies)  # type: ignore[method-assign]
    web.equip(flask, database=Database(chosen.database_url), settings=chosen)
    logs.install(flask)
    protection.install(flask, settings=chosen)
    flask_babel.Babel(
        flask, locale_selector=_locale, timezone_selector=lambda: str(chosen.site_timezone), default_locale="zh_Hans_CN"
    )
    presentation.install(flask)
    problems.install(flask)
    flask.url_map.converters["int"] = StorableInteger
    flask.register_blueprint(health.blueprint)
    # By name, as the rooms are: it reads every domain, and a domain may need the application.
    flask.register_blueprint(importlib.import_module("app.metrics").blueprint)
    _register_rooms(flask)
    return flask


def _config(chosen: Settings) -> dict[str, object]:
    return {
        "SECRET_KEY": chosen.secret_key,
        "MAX_CONTENT_LENGTH": BODY_BYTES_MAX,
        "MAX_FORM_MEMORY_SIZE": BODY_BYTES_MAX,
        "MAX_FORM_PARTS": FORM_PARTS_MAX,
        # The prefix __Host- binds the cookie to this host and to HTTPS; browsers refuse it without both.
        "SESSION_COOKIE_NAME": "__Host-testcard" if chosen.secure_cookies else "testcard",
        "SESSION_COOKIE_SECURE": chosen.secure_cookies,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=30),
        "API_TITLE": "Analysis-test card service",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/api/v1",
        "API_SPEC_OPTIONS": {
            "info": {"description": "Cards, charges, evidence and subsidies of a region's shared instruments."},
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
            "security": [{"bearer": []}],
        },
    }


def _locale() -> str:
    """The language asked for by `?lang=`, else the one kept in the cookie, else Chinese."""
    asked = request.args.get("lang")
    if asked in LANGUAGES and session.get("language") != asked:
        session["language"] = asked
        session.permanent = True
    return LANGUAGES.get(session.get("language", "zh"), LANGUAGES["zh"])


class StorableInteger(IntegerConverter):
    """An integer in an address: what no id can be is no address, instead of an error of the database."""

    def __init__(self, map: Map, *arguments: Any, **options: Any) -> None:  # noqa: A002 - werkzeug's own name
        super().__init__(map, *arguments, **{"max": INTEGER_MAX, **options})


class DocumentedApi(flask_smorest.Api):  # type: ignore[misc] # flask-smorest ships no types
    """The JSON doors in one OpenAPI document, their refusals in the shape of all refusals."""

    ERROR_SCHEMA = problems.ProblemSchema
    DEFAULT_RESPONSE_CONTENT_TYPE: str = "application/json"

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer an HTTP error as a program or a person needs it; flask-smorest itself knows JSON only."""
        return problems.of_http_error(error)

    def _register_responses(self) -> None:
        """Document refusals under their own content type; flask-smorest takes that of ordinary answers."""
        normal = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = problems.CONTENT_TYPE
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = normal


def _schema_name(schema: type[Schema] | Schema) -> str:
    """Name a schema in the document by its domain and class, because two domains may use the same word."""
    found = schema if isinstance(schema, type) else type(schema)
    domain = found.__module__.partition(".")[2].partition(".")[0]
    name = found.__name__.removesuffix("Schema")
    return f"{domain}.{name}" if domain in DOMAINS else name


def _register_rooms(flask: Flask) -> None:
    # All blueprints read by this one parser: what a query does not know is refused, as it is in a body.
    reader = flask_smorest.Blueprint.ARGUMENTS_PARSER
    reader.DEFAULT_UNKNOWN_BY_LOCATION = {**reader.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}
    api = DocumentedApi(flask, spec_kwargs={"marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name)})
    for name in PROGRAM_ROOMS:
        for room in rooms(name):
            api.register_blueprint(room.blueprint)
    for room in rooms("pages"):
        flask.register_blueprint(room.blueprint)

"""What protects every request before a view sees it and every answer before it leaves: CSRF, clean text, headers."""

import json
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask_wtf.csrf import CSRFError, CSRFProtect

from app import problems
from app.errors import Code, Refusal
from app.settings import Settings

STRIPE_CHECKOUT = "https://checkout.stripe.com"
NESTING_MAX = 32
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Same-origin, not none: Flask-WTF checks the referrer of forms sent over HTTPS.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def install(flask: Flask, *, settings: Settings) -> None:
    """Protect the application; doors for programs need no CSRF token, because they never read the cookie."""
    flask.config["WTF_CSRF_CHECK_DEFAULT"] = False
    flask.config["WTF_CSRF_TIME_LIMIT"] = None  # a token lives as long as the log-in it belongs to
    csrf = CSRFProtect(flask)
    headers = HEADERS | {"Content-Security-Policy": content_security_policy(settings)}
    if settings.secure_cookies:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

    def before() -> None:
        _refuse_unstorable_text()
        if not problems.is_for_programs(request.path):
            csrf.protect()

    def after(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    flask.before_request(before)
    flask.after_request(after)
    flask.register_error_handler(CSRFError, lambda _error: problems.answer(Code.FORM_EXPIRED))


def content_security_policy(settings: Settings) -> str:
    """Give the policy: everything from here alone, nothing inline; forms may lead on to the payment page.

    Browsers apply `form-action` to the redirect after a form too, so the payment service's page must be named.
    """
    service = urlsplit(settings.psp_base_url)
    origin = f"{service.scheme}://{service.netloc}"
    payment_page = STRIPE_CHECKOUT if service.netloc == "api.stripe.com" else origin
    return (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {payment_page}"
    )


def _refuse_unstorable_text() -> None:
    """Refuse what no field of ours may hold: NUL and lone surrogates (PostgreSQL stores neither), NaN, deep nesting."""
    texts = [request.path, *_flat(request.args.lists())]
    if request.mimetype == "application/x-www-form-urlencoded":
        texts += _flat(request.form.lists())
    if any("\x00" in text for text in texts):
        raise Refusal(Code.VALIDATION_FAILED, fields={"_text": ["NUL characters are not allowed."]})
    # A terminal's door reads as strictly itself, and refuses in the words of its own protocol.
    if request.is_json and not request.path.startswith("/terminal/") and request.get_data(cache=True):
        try:
            _check_json(_parse(request.get_data(cache=True)), depth=0)
        except (ValueError, RecursionError) as error:
            raise Refusal(Code.VALIDATION_FAILED, fields={"_json": ["Not valid JSON."]}) from error


def _flat(lists: Any) -> list[str]:
    return [text for name, values in lists for text in (name, *values)]


def _parse(body: bytes) -> object:
    parsed: object = json.loads(body, parse_constant=_refuse_constant)
    return parsed


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_json(value: object, *, depth: int) -> None:
    if depth > NESTING_MAX:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("NUL character")
        value.encode()  # raises UnicodeEncodeError, a ValueError, on a lone surrogate
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_json(name, depth=depth + 1)
            _check_json(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth=depth + 1)

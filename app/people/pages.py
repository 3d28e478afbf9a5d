"""Logging in and out in the browser."""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for

from app import clock, problems, security, web
from app.errors import Code, RefusalText
from app.people import service
from app.presentation import chinese

blueprint = Blueprint("people_pages", __name__)

USERNAME_LENGTH_MAX = 100
PASSWORD_LENGTH_MAX = 200


@blueprint.get("/log-in")
def log_in() -> Any:
    """Ask for user name and password; who is logged in already goes on."""
    if security.principal_or_none() is not None:
        return redirect(_next_address())
    return _form()


@blueprint.post("/log-in")
def open_log_in() -> Any:
    """Check user name and password; the count of failures is kept also when they are wrong."""
    username = request.form.get("username", "").strip()
    password = request.form.get("password", "")
    if not username or len(username) > USERNAME_LENGTH_MAX or len(password) > PASSWORD_LENGTH_MAX:
        return _form(username=username[:USERNAME_LENGTH_MAX], refusal=Code.LOG_IN_FAILED)
    decision = web.database().run(
        lambda session: service.log_in(
            session, username=username, password=password, at=clock.now(), lifetime=web.settings().login_lifetime
        )
    )
    if decision.token is None:
        return _form(username=username, refusal=decision.refusal or Code.LOG_IN_FAILED)
    security.remember(decision.token)
    return redirect(_next_address())


@blueprint.post("/log-out")
def log_out() -> Any:
    """End the log-in here and on the server."""
    token = security.token()
    if token is not None:
        web.database().run(lambda session: service.log_out(session, token=token, at=clock.now()))
    security.forget()
    return redirect(url_for("people_pages.log_in"))


def _form(*, username: str = "", refusal: Code | None = None) -> Any:
    text: RefusalText | None = None if refusal is None else problems.text_of(refusal)
    page = render_template(
        "people/log_in.html",
        username=username,
        next_address=_next_address(),
        sentence=text and (text.zh if chinese() else text.en),
        advice=text and (text.advice_zh if chinese() else text.advice_en),
    )
    return page, 200 if text is None else text.status


def _next_address() -> str:
    """Where to go after the log-in: an address of this site, never another one's (an open redirect helps phishing)."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted)
    if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme:
        return wanted
    return "/"

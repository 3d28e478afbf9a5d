"""Who may call a view: the log-in behind a request, and the roles a view asks for."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import g, redirect, request
from flask import session as cookie

from app import clock, problems, web
from app.errors import Code, Refusal
from app.people import service
from app.people.models import Role
from app.people.principals import Grant, Principal

__all__ = [
    "Grant",
    "Principal",
    "Role",
    "change",
    "forget",
    "principal",
    "principal_or_none",
    "remember",
    "require",
    "token",
]

_COOKIE_KEY = "log_in"
LOG_IN_PATH = "/log-in"
View = TypeVar("View", bound=Callable[..., Any])
T = TypeVar("T")


def require(*roles: Role) -> Callable[[View], View]:
    """Let a view be called only by a person with one of these roles; without roles, by any logged-in person.

    Without a log-in, programs get 401 NOT_LOGGED_IN and people the log-in page; with the wrong role, 403 FORBIDDEN.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(*arguments: Any, **values: Any) -> Any:
            found = principal_or_none()
            if found is None:
                return _ask_to_log_in()
            if roles and not found.has(*roles):
                raise Refusal(Code.FORBIDDEN)
            return view(*arguments, **values)

        return guarded  # type: ignore[return-value] # functools.wraps keeps the signature

    return decorate


def principal() -> Principal:
    """Give the person behind the present request. Raises Refusal(NOT_LOGGED_IN) if there is none."""
    found = principal_or_none()
    if found is None:
        raise Refusal(Code.NOT_LOGGED_IN)
    return found


def principal_or_none() -> Principal | None:
    """Give the person behind the present request, for pages that everyone may open."""
    if "principal" not in g:
        presented = token()
        g.principal = None
        if presented is not None:
            with web.database().reader() as reading:
                g.principal = service.principal_of_token(reading, token=presented, at=clock.now())
        g.person_id = None if g.principal is None else g.principal.person_id
    found: Principal | None = g.principal
    return found


def token() -> str | None:
    """Give the log-in token of the request: programs send it as a bearer, pages in the cookie, never the other way."""
    if problems.is_for_programs(request.path):
        presented = request.authorization
        return presented.token if presented is not None and presented.type == "bearer" else None
    kept = cookie.get(_COOKIE_KEY)
    return kept if isinstance(kept, str) else None


def remember(log_in_token: str) -> None:
    """Keep a fresh log-in in the cookie; what a stranger may have put there before is dropped, but for the language."""
    language = cookie.get("language")
    cookie.clear()
    cookie[_COOKIE_KEY] = log_in_token
    if language is not None:
        cookie["language"] = language


def forget() -> None:
    """Drop the log-in from the cookie; `people.service.log_out` ends it on the server."""
    cookie.pop(_COOKIE_KEY, None)
    g.pop("principal", None)


def change(work: Callable[..., T], **values: Any) -> T:
    """Do one change in one transaction in the name of the person who asks, at the present moment.

    `work` is a service's function: session first, then `values`, `actor` and `at`.
    """
    actor, at = principal().username, clock.now()
    return web.database().run(lambda session: work(session, **values, actor=actor, at=at))


def _ask_to_log_in() -> Any:
    if problems.is_for_programs(request.path):
        raise Refusal(Code.NOT_LOGGED_IN)
    if request.method != "GET":
        return redirect(LOG_IN_PATH)
    return redirect(f"{LOG_IN_PATH}?{urlencode({'next': request.full_path.rstrip('?')})}")

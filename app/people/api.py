"""JSON doors for people: logging in and out, who am I, and the administrator's list."""

from http import HTTPStatus
from typing import Any

import flask_smorest

from app import clock, security
from app.errors import Code, Refusal
from app.people import service
from app.people.models import Role
from app.people.schemas import (
    LogInSchema,
    NewPersonSchema,
    PeopleQuery,
    PeopleSchema,
    PersonSchema,
    TokenSchema,
)
from app.problems import refuses
from app.web import database, settings

blueprint = flask_smorest.Blueprint(
    "people", __name__, url_prefix="/api/v1", description="Log-ins, people and their roles."
)


@blueprint.post("/log-in")
@refuses(blueprint, Code.LOG_IN_FAILED, Code.LOG_IN_LOCKED)
@blueprint.arguments(LogInSchema)
@blueprint.response(HTTPStatus.OK, TokenSchema)
@blueprint.doc(security=[])
def log_in(body: dict[str, Any]) -> service.LogInDecision:
    """Open a log-in and give its token."""
    decision = database().run(
        lambda session: service.log_in(
            session,
            username=body["username"],
            password=body["password"],
            at=clock.now(),
            lifetime=settings().login_lifetime,
        )
    )
    if decision.refusal is not None:
        raise Refusal(decision.refusal)
    return decision


@blueprint.post("/log-out")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.NO_CONTENT)
@security.require()
def log_out() -> None:
    """End the log-in whose token comes with the request."""
    token = security.token() or ""
    database().run(lambda session: service.log_out(session, token=token, at=clock.now()))


@blueprint.get("/me")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.response(HTTPStatus.OK, PersonSchema)
@security.require()
def me() -> security.Principal:
    """Give the person who is logged in, with her roles."""
    return security.principal()


@blueprint.get("/people")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(PeopleQuery, location="query")
@blueprint.response(HTTPStatus.OK, PeopleSchema)
@security.require(Role.ADMIN, Role.AUDITOR)
def list_people(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of people by user name. For the administrator and the auditor."""
    with database().reader() as session:
        found = service.list_people(session, **query)
        return {"people": [service.principal_of(person) for person in found]}


@blueprint.post("/people")
@refuses(
    blueprint,
    *(
        Code.NOT_LOGGED_IN,
        Code.FORBIDDEN,
        Code.USERNAME_TAKEN,
        Code.PASSWORD_TOO_WEAK,
        Code.SCOPE_WRONG,
        Code.NOT_FOUND,
    ),
)
@blueprint.arguments(NewPersonSchema)
@blueprint.response(HTTPStatus.CREATED, PersonSchema)
@security.require(Role.ADMIN)
def create_person(body: dict[str, Any]) -> security.Principal:
    """Record a person with her first roles. For the administrator, who touches no money."""
    actor = security.principal().username
    return database().run(
        lambda session: service.create_person_with_roles(session, **body, actor=actor, at=clock.now())
    )

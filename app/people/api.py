"""JSON doors for people: logging in and out, who am I, and the administrator's list."""

from http import HTTPStatus
from typing import Any

import flask_smorest

from app import clock, security
from app.errors import Code, Refusal
from app.people import schemas, service
from app.people.models import Role
from app.people.principals import CENTER_ROLES
from app.problems import refuses
from app.web import database, settings

blueprint = flask_smorest.Blueprint(
    "people", __name__, url_prefix="/api/v1", description="Log-ins, people and their roles."
)


@blueprint.post("/log-in")
@refuses(blueprint, Code.LOG_IN_FAILED, Code.LOG_IN_LOCKED)
@blueprint.arguments(schemas.LogInSchema)
@blueprint.response(HTTPStatus.OK, schemas.TokenSchema)
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
@blueprint.response(HTTPStatus.OK, schemas.PersonSchema)
@security.require()
def me() -> security.Principal:
    """Give the person who is logged in, with her roles."""
    return security.principal()


@blueprint.get("/people")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.PeopleQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.PeopleSchema)
@security.require(Role.ADMIN, Role.AUDITOR)
def list_people(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of people by user name. For the administrator and the auditor."""
    with database().reader() as session:
        found = service.list_people(session, **query)
        return {"people": [service.principal_of(person) for person in found]}


@blueprint.post("/people")
@refuses(
    blueprint,
    *(Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND),
    *(Code.USERNAME_TAKEN, Code.PASSWORD_TOO_WEAK, Code.SCOPE_WRONG),
)
@blueprint.arguments(schemas.NewPersonSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.PersonSchema)
@security.require(Role.ADMIN)
def create_person(body: dict[str, Any]) -> Any:
    """Record a person with her first roles. For the administrator, who touches no money."""
    return security.change(service.create_person_with_roles, **body)


@blueprint.post("/me/password")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.LOG_IN_FAILED, Code.PASSWORD_TOO_WEAK)
@blueprint.arguments(schemas.ChangePasswordSchema)
@blueprint.response(HTTPStatus.NO_CONTENT)
@security.require()
def change_password(body: dict[str, Any]) -> None:
    """Exchange one's own password; all other log-ins end."""
    person_id, token = security.principal().person_id, security.token() or ""
    database().run(
        lambda session: service.change_password(session, person_id=person_id, **body, keep_token=token, at=clock.now())
    )


@blueprint.post("/people/<int:person_id>/grants")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.SCOPE_WRONG)
@blueprint.arguments(schemas.GrantSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.GrantSchema)
@security.require(Role.ADMIN)
def grant_role(body: dict[str, Any], person_id: int) -> Any:
    """Give a person a role. Granting again changes nothing."""
    return security.change(service.grant_role, person_id=person_id, **body)


@blueprint.post("/people/<int:person_id>/deactivate")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.PersonSchema)
@security.require(Role.ADMIN)
def deactivate(person_id: int) -> Any:
    """Let a person log in no more; her log-ins end at once."""
    return security.change(service.deactivate, person_id=person_id)


@blueprint.get("/organisations")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.PeopleQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.OrganisationsSchema)
@security.require(*CENTER_ROLES)
def list_organisations(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of organisations. For the service center."""
    with database().reader() as session:
        return {"organisations": service.list_organisations(session, **query)}


@blueprint.post("/organisations")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.NewOrganisationSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.OrganisationSchema)
@security.require(Role.CLERK, Role.ADMIN)
def create_organisation(body: dict[str, Any]) -> Any:
    """Record an organisation: a customer, or the legal person of a member unit."""
    return security.change(service.create_organisation, **body)


@blueprint.get("/audit-trail")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.AuditQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.AuditTrailSchema)
@security.require(Role.AUDITOR, Role.ADMIN)
def audit_trail(query: dict[str, Any]) -> dict[str, Any]:
    """Give who changed what, the newest first. For the auditor and the administrator."""
    with database().reader() as session:
        return {"entries": service.audit_trail(session, **query)}

"""JSON doors of cards: accounts and cards for clerks, an own account and a lost card for their holders."""

from http import HTTPStatus
from typing import Any

import flask_smorest

from app import clock
from app.cards import numbers, schemas, service
from app.cards.models import Card, Project
from app.cards.service import AccountView
from app.errors import Code
from app.people.models import Role
from app.problems import refuses
from app.security import change, principal, require
from app.web import database, settings

KNOWN = (Code.NOT_LOGGED_IN, Code.FORBIDDEN)

blueprint = flask_smorest.Blueprint(
    "cards", __name__, url_prefix="/api/v1", description="Card accounts with their money, and cards."
)


@blueprint.get("/accounts")
@refuses(blueprint, Code.NOT_LOGGED_IN)
@blueprint.arguments(schemas.AccountsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.AccountsSchema)
@require()
def list_accounts(query: dict[str, Any]) -> dict[str, Any]:
    """Give your accounts and those of your organisation with their money; for the service center, all."""
    reader = principal()
    limit, offset = query["page_size"], (query["page"] - 1) * query["page_size"]
    with database().reader() as session:
        if reader.sees_everything and not query["mine"]:
            found = service.all_accounts(session, limit=limit, offset=offset)
        else:
            found = service.accounts_of(session, reader=reader, limit=limit, offset=offset)
        return {"accounts": [_account(view) for view in found]}


@blueprint.get("/accounts/<int(min=1, max=9007199254740991):account_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.AccountSchema)
@require()
def get_account(account_id: int) -> dict[str, Any]:
    """Give one account with its money and its cards."""
    with database().reader() as session:
        return _account(service.account_view(session, account_id=account_id, reader=principal()))


@blueprint.post("/accounts")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewAccountSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.AccountSchema)
@require(Role.CLERK)
def open_account(body: dict[str, Any]) -> dict[str, Any]:
    """Open a card account for a person or for an organisation. For clerks."""
    account = change(service.open_account, **body)
    with database().reader() as session:
        return _account(service.account_view(session, account_id=account.id, reader=principal()))


@blueprint.post("/accounts/<int(min=1, max=9007199254740991):account_id>/cards")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND, Code.ACCOUNT_NOT_ACTIVE, Code.CODE_TAKEN)
@blueprint.arguments(schemas.NewCardSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.IssuedCardSchema)
@require(Role.CLERK)
def issue_card(body: dict[str, Any], account_id: int) -> dict[str, Any]:
    """Issue a card to a person, or bind a card of hers by its UID where the site takes such cards. For clerks."""
    given, taken = body.pop("uid"), settings().takes_uid_cards
    values = {"uid": None if given is None else bytes.fromhex(given), "takes_uid_cards": taken, **body}
    card = change(service.issue_card, account_id=account_id, **values)
    return {**_card(card), "face_number": card.face_number}


@blueprint.post("/accounts/<int(min=1, max=9007199254740991):account_id>/projects")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewProjectSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.ProjectSchema)
@require(Role.CLERK)
def add_project(body: dict[str, Any], account_id: int) -> Project:
    """Record a project whose tests the account's cards may pay for. For clerks."""
    return change(service.add_project, account_id=account_id, **body)


@blueprint.post("/cards/<int(min=1, max=9007199254740991):card_id>/pin")
@refuses(blueprint, *KNOWN, Code.NOT_FOUND)
@blueprint.arguments(schemas.PinSchema)
@blueprint.response(HTTPStatus.OK, schemas.CardSchema)
@require(Role.CLERK)
def set_pin(body: dict[str, Any], card_id: int) -> dict[str, Any]:
    """Give a card a new PIN, and its five tries back. For clerks, with the holder present."""
    return _card(change(service.set_pin, card_id=card_id, **body))


@blueprint.post("/cards/<int(min=1, max=9007199254740991):card_id>/report-lost")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.CardSchema)
@require()
def report_lost(card_id: int) -> dict[str, Any]:
    """Stop one of your cards at once; a session that runs can still end."""
    reader = principal()
    return _card(
        database().run(lambda session: service.report_lost(session, card_id=card_id, reader=reader, at=clock.now()))
    )


def _account(view: AccountView) -> dict[str, Any]:
    account, balances = view.account, view.balances
    customer = account.organisation.name_zh if account.organisation else account.person.name if account.person else ""
    return {
        "id": account.id,
        "number": account.number,
        "person_id": account.person_id,
        "organisation_id": account.organisation_id,
        "customer": customer,
        "status": account.status,
        "created_at": account.created_at,
        "balances": {
            "principal_fen": balances.principal_fen,
            "subsidy_fen": balances.subsidy_fen,
            "held_fen": balances.held_fen,
            "available_fen": balances.available_fen,
            "debt_fen": balances.debt_fen,
        },
        "cards": [_card(card) for card in view.cards],
    }


def _card(card: Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "number_masked": numbers.masked_number(card.face_number),
        "card_class": card.card_class,
        "status": card.status,
        "holder_id": card.holder_id,
        "project_id": card.project_id,
        "expires_on": card.expires_on,
    }

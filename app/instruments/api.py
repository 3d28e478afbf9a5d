"""JSON doors for instruments: the catalog that everybody reads, prices and quotes, and recording what there is."""

from http import HTTPStatus
from typing import Any

import flask_smorest
from sqlalchemy.orm import Session

from app import clock, security
from app.errors import Code
from app.instruments import schemas, service
from app.instruments.models import CustomerClass, Instrument, Tariff
from app.instruments.price_rules import parse_rules
from app.instruments.price_texts import describe
from app.people.models import Role
from app.problems import refuses
from app.web import database, settings

PRICE_ROLES = (Role.CLERK, Role.ADMIN)

blueprint = flask_smorest.Blueprint(
    "instruments", __name__, url_prefix="/api/v1", description="The catalog of instruments, their prices and homes."
)


@blueprint.get("/instruments")
@blueprint.arguments(schemas.InstrumentsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.InstrumentsSchema)
@blueprint.doc(security=[])
def list_instruments(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of the catalog by code, with today's prices and subsidy eligibility."""
    with database().reader() as session:
        found, total = service.list_instruments(session, **query)
        return {"instruments": _catalog_entries(session, found), "total": total}


@blueprint.get("/instruments/<int:instrument_id>")
@refuses(blueprint, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.InstrumentSchema)
@blueprint.doc(security=[])
def get_instrument(instrument_id: int) -> dict[str, Any]:
    """Give one instrument of the catalog."""
    with database().reader() as session:
        return _catalog_entries(session, [service.get_instrument(session, instrument_id=instrument_id)])[0]


@blueprint.get("/instruments/<int:instrument_id>/tariffs")
@refuses(blueprint, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.TariffsSchema)
@blueprint.doc(security=[])
def list_tariffs(instrument_id: int) -> dict[str, Any]:
    """Give all tariffs of an instrument, past, present and announced, the newest first."""
    with database().reader() as session:
        return {"tariffs": [_tariff(found) for found in service.tariffs_of(session, instrument_id=instrument_id)]}


@blueprint.post("/instruments/<int:instrument_id>/quotes")
@refuses(blueprint, Code.NOT_FOUND, Code.OPTION_UNKNOWN)
@blueprint.arguments(schemas.QuoteQuerySchema)
@blueprint.response(HTTPStatus.OK, schemas.QuoteSchema)
@blueprint.doc(security=[])
def quote(body: dict[str, Any], instrument_id: int) -> dict[str, Any]:
    """Reckon what a session would cost, line by line; nothing is recorded."""
    with database().reader() as session:
        found = service.quote(session, instrument_id=instrument_id, **body, site_timezone=settings().site_timezone)
    return {
        "tariff_id": found.tariff_id,
        "lines": found.charge.as_json(),
        "amount_fen": found.charge.amount_fen,
        "hold_fen": found.hold_fen,
        "no_show_fen": found.no_show.amount_fen,
        "late_cancel_fen": found.late_cancel.amount_fen,
    }


@blueprint.post("/instruments/<int:instrument_id>/tariffs")
@refuses(blueprint, *(Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.TARIFF_INVALID, Code.TARIFF_OVERLAP))
@blueprint.arguments(schemas.NewTariffSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.TariffSchema)
@security.require(*PRICE_ROLES)
def set_tariff(body: dict[str, Any], instrument_id: int) -> dict[str, Any]:
    """Announce price rules for an instrument and a customer class."""
    return _tariff(security.change(service.set_tariff, instrument_id=instrument_id, **body))


@blueprint.post("/tariffs/<int:tariff_id>/end")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.TARIFF_INVALID)
@blueprint.arguments(schemas.EndTariffSchema)
@blueprint.response(HTTPStatus.OK, schemas.TariffSchema)
@security.require(*PRICE_ROLES)
def end_tariff(body: dict[str, Any], tariff_id: int) -> dict[str, Any]:
    """Let a tariff hold only until a moment that lies ahead."""
    return _tariff(security.change(service.end_tariff, tariff_id=tariff_id, **body))


@blueprint.post("/instruments/<int:instrument_id>/collaborative-listings")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.ALREADY_DECIDED, Code.TIMES_REVERSED)
@blueprint.arguments(schemas.NewListingSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.CreatedSchema)
@security.require(Role.CLERK)
def list_as_collaborative(body: dict[str, Any], instrument_id: int) -> Any:
    """Put an instrument on the list whose use earns a subsidy."""
    return security.change(service.list_as_collaborative, instrument_id=instrument_id, **body)


@blueprint.post("/sub-centers")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.CODE_TAKEN)
@blueprint.arguments(schemas.NewSubCenterSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.CreatedSchema)
@security.require(Role.ADMIN)
def create_sub_center(body: dict[str, Any]) -> Any:
    """Record a sub-center."""
    return security.change(service.create_sub_center, **body)


@blueprint.post("/units")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.CODE_TAKEN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewUnitSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.CreatedSchema)
@security.require(Role.ADMIN)
def create_unit(body: dict[str, Any]) -> Any:
    """Record a member unit and open its account in the ledger."""
    return security.change(service.create_unit, **body)


@blueprint.post("/groups")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewGroupSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.CreatedSchema)
@security.require(Role.ADMIN)
def create_group(body: dict[str, Any]) -> Any:
    """Record an instrument group of a unit."""
    return security.change(service.create_group, **body)


@blueprint.post("/instruments")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.CODE_TAKEN, Code.NOT_FOUND)
@blueprint.arguments(schemas.NewInstrumentSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.CreatedSchema)
@security.require(Role.ADMIN)
def create_instrument(body: dict[str, Any]) -> Any:
    """Record an instrument of a group."""
    return security.change(service.create_instrument, **body)


@blueprint.post("/instruments/<int:instrument_id>/allowances")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.arguments(schemas.AllowancesSchema)
@blueprint.response(HTTPStatus.OK, schemas.AllowancesSchema)
@security.require(Role.ADMIN)
def set_allowances(body: dict[str, Any], instrument_id: int) -> Any:
    """Change the warm-up and after-treatment that count as effective time; what was decided keeps its figures."""
    return security.change(service.set_allowances, instrument_id=instrument_id, **body)


def _catalog_entries(session: Session, found: list[Instrument]) -> list[dict[str, Any]]:
    at = clock.now()
    ids = [instrument.id for instrument in found]
    tariffs = service.tariffs_at(session, instrument_ids=ids, at=at)
    listed = service.collaborative_ids(session, at=at, among=ids)
    return [
        {
            **{name: getattr(instrument, name) for name in ("id", "code", "name_zh", "name_en", "instrument_class")},
            **{name: getattr(instrument, name) for name in ("place", "special", "typical_session_min", "group")},
            **{name: getattr(instrument, name) for name in ("warm_up_min", "after_treatment_min")},
            "unit": instrument.group.unit,
            "sub_center": instrument.group.unit.sub_center,
            "earns_subsidy": instrument.id in listed,
            "prices": [_price(tariff.customer_class, tariff.rules) for tariff in tariffs[instrument.id]],
        }
        for instrument in found
    ]


def _price(customer_class: CustomerClass | None, rules: dict[str, Any]) -> dict[str, Any]:
    return {"customer_class": customer_class, "text": describe(parse_rules(rules))}


def _tariff(found: Tariff) -> dict[str, Any]:
    names = ("id", "customer_class", "valid_from", "valid_to", "rules", "split_at_change", "source")
    return {**{name: getattr(found, name) for name in names}, "text": describe(parse_rules(found.rules))}

"""What people read: every query behind the pages and documents, over all domains; nothing here changes anything."""

from app.reports.service.charges import (
    ChargeLine,
    ChargeList,
    InstrumentCharges,
    charges_of_customer,
    charges_of_instrument,
)
from app.reports.service.evidence import Evidence, evidence, proofs
from app.reports.service.hours import HoursLine, MachineHours, machine_hours, machine_hours_of
from app.reports.service.ledger_view import Figures, LedgerView, Node, UnitAccount, ledger_view, unit_account
from app.reports.service.places import Listing, Place, Price, catalog, classes, place, prices, units
from app.reports.service.postings import Posting, Side
from app.reports.service.statement import TRANSFERS_IN_FILE_MAX, Money, Statement, StatementLine, statement
from app.reports.service.today import BookCheck, Today, today
from app.reports.service.wall import Happening, Tile, Wall, open_charges, wall
from app.reports.service.watched import Point, Watched

__all__ = [
    "TRANSFERS_IN_FILE_MAX",
    "BookCheck",
    "ChargeLine",
    "ChargeList",
    "Evidence",
    "Figures",
    "Happening",
    "HoursLine",
    "InstrumentCharges",
    "LedgerView",
    "Listing",
    "MachineHours",
    "Money",
    "Node",
    "Place",
    "Point",
    "Posting",
    "Price",
    "Side",
    "Statement",
    "StatementLine",
    "Tile",
    "Today",
    "UnitAccount",
    "Wall",
    "Watched",
    "catalog",
    "charges_of_customer",
    "charges_of_instrument",
    "classes",
    "evidence",
    "ledger_view",
    "machine_hours",
    "machine_hours_of",
    "open_charges",
    "place",
    "prices",
    "proofs",
    "statement",
    "today",
    "unit_account",
    "units",
    "wall",
]

"""Pages of reconciliation: exceptions, contests, parked events, unpaid use, silence rules, policies, control totals."""

from app.reconciliation.pages import contesting, exceptions, parking, policing, reviewing, ruling, totals, unpaid
from app.reconciliation.pages.common import blueprint

__all__ = ["blueprint", "contesting", "exceptions", "parking", "policing", "reviewing", "ruling", "totals", "unpaid"]

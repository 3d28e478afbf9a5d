"""The accountant's pages: finance and approver act, the auditor reads, nobody else sees them."""

from app.accounting.pages import drafting, months, reading
from app.accounting.pages.common import blueprint

__all__ = ["blueprint", "drafting", "months", "reading"]

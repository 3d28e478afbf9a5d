"""Who may see which charges, as SQL conditions: no sub-center sees another's, no cardholder anybody else's."""

from typing import Any

from sqlalchemy import ColumnElement, or_, select, true

from app.cards.models import CardAccount
from app.instruments.models import Instrument, InstrumentGroup, Unit
from app.people.principals import Principal
from app.reconciliation.models import ChargeVerdict
from app.sessions.models import CardSession

# Waiting for the box, or nothing to compare: there is nothing yet for a person to look at.
NO_EXCEPTION = frozenset({ChargeVerdict.PROVISIONAL, ChargeVerdict.EXEMPT})


def instruments_managed_by(reader: Principal) -> ColumnElement[bool]:
    """Condition on `Instrument`: those of the reader's sub-centers and groups; of the service center, all."""
    if reader.sees_everything:
        return true()
    return Instrument.group_id.in_(
        select(InstrumentGroup.id)
        .join(Unit, Unit.id == InstrumentGroup.unit_id)
        .where(or_(Unit.sub_center_id.in_(reader.sub_center_ids), InstrumentGroup.id.in_(reader.group_ids)))
    )


def managed_by(reader: Principal, *, instrument_id: Any = CardSession.instrument_id) -> ColumnElement[bool]:
    """Condition on a column that names an instrument (of `CardSession` unless told otherwise)."""
    if reader.sees_everything:
        return true()
    return instrument_id.in_(select(Instrument.id).where(instruments_managed_by(reader)))  # type: ignore[no-any-return]


def owned_by(reader: Principal, *, account_id: Any = CardSession.account_id) -> ColumnElement[bool]:
    """Condition on a column that names a card account: the reader's own and her organisation's."""
    own = CardAccount.person_id == reader.person_id
    if reader.organisation_id is not None:
        own = or_(own, CardAccount.organisation_id == reader.organisation_id)
    return account_id.in_(select(CardAccount.id).where(own))  # type: ignore[no-any-return]

"""Quotes: what a session would cost, before anyone taps a card."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.errors import Code, Refusal
from app.instruments import pricing
from app.instruments.models import CustomerClass
from app.instruments.service.tariffs import tariff_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The charge of a session by the tariffs announced for it, the hold for it, and what not coming to it costs."""

    tariff_id: int
    charge: pricing.Charge
    hold_fen: int
    no_show: pricing.Charge
    late_cancel: pricing.Charge


def quote(
    session: Session,
    *,
    instrument_id: int,
    starts_at: datetime,
    minutes: int,
    customer_class: CustomerClass,
    samples: int = 0,
    components: int = 0,
    urgent: bool = False,
    options: Collection[str] = (),
    site_timezone: ZoneInfo,
) -> Quote:
    """Reckon what a session would cost. Refuses NOT_FOUND without a tariff, OPTION_UNKNOWN for an unknown option."""
    tariff = tariff_at(session, instrument_id=instrument_id, customer_class=customer_class, at=starts_at)
    if tariff is None:
        raise Refusal(Code.NOT_FOUND, instrument_id=instrument_id)
    rules = pricing.parse_rules(tariff["rules"])
    unknown = sorted(set(options) - set(rules.options))
    if unknown:
        raise Refusal(Code.OPTION_UNKNOWN, unknown=unknown, known=sorted(rules.options))
    changes = pricing.parse_changes(tariff["changes"])
    ends_at = starts_at + timedelta(minutes=minutes)
    return Quote(
        tariff_id=tariff["tariff_id"],
        charge=pricing.price(
            rules,
            started_at=starts_at,
            ended_at=ends_at,
            site_timezone=site_timezone,
            customer_class=customer_class,
            samples=samples,
            components=components,
            urgent=urgent,
            options=options,
            changes=changes,
        ),
        hold_fen=pricing.hold_for(
            rules,
            minutes=minutes,
            starts_at=starts_at,
            site_timezone=site_timezone,
            customer_class=customer_class,
            samples=samples,
            urgent=urgent,
            changes=changes,
        ),
        no_show=pricing.no_show_fee(
            rules, booked_from=starts_at, booked_to=ends_at, site_timezone=site_timezone, customer_class=customer_class
        ),
        late_cancel=pricing.late_cancel_fee(
            rules,
            cancelled_at=starts_at,
            booked_from=starts_at,
            booked_to=ends_at,
            site_timezone=site_timezone,
            customer_class=customer_class,
        ),
    )
